"""The public root that a client sees: that of its own virtual drive server, or of one that is announced.

Source: docs/spec/vdrive.md, section 10.2.
"""

from __future__ import annotations

from pathlib import Path

from holdfast.caps.vdrive import VdrivePlace
from holdfast.drive.roots import PublicRoot
from holdfast.grid.vdrive.servers import VdriveServers, place_of
from holdfast.interfaces.vdrive_errors import NoPublicRootError
from holdfast.interfaces.virtual_drive import PublicRootChanged
from holdfast.node.announced_vdrives import AnnouncedVdrives
from holdfast.node.default_vdrive import DefaultVdrive

NONE = "none"


class FoundPublicRoot(PublicRoot):
    """The public root at a service that is found when it is needed first."""

    def __init__(
        self, path: Path, default: DefaultVdrive, announced: AnnouncedVdrives, servers: VdriveServers
    ) -> None:
        super().__init__(path, self._ask, b"")
        self._default = default
        self._announced = announced
        self._servers = servers

    async def compare(self) -> PublicRootChanged | None:
        """Do as ``PublicRoot``; a service that offers no root has changed none."""
        try:
            return await super().compare()
        except NoPublicRootError:
            return None

    async def _ask(self) -> str:
        place = await self._place()
        self._sid = place.sid
        said = self._announced.get(place.sid)
        if said is not None and said.public_root == NONE:
            raise NoPublicRootError("this server offers no root that all share")
        return await self._servers.server(place).public_root()

    async def _place(self) -> VdrivePlace:
        place = await self._default.find()
        if place is not None:
            return place
        offering = [one for one in self._announced.all() if one.public_root not in ("", NONE)]
        return place_of(offering[0].nurls[0]) if offering else await self._default.needed()
