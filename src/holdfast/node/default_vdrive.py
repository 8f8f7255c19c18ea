"""Which virtual drive server a client makes its directories at: the one it was told, else the first that
is announced and lets it. That one is written down, so that it stays the same.

Source: docs/spec/vdrive.md, sections 10.1 and 13.1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import structlog

from holdfast.caps.vdrive import VdrivePlace
from holdfast.errors import UnavailableError
from holdfast.grid.vdrive.servers import VdriveServers, place_of
from holdfast.node.announced_vdrives import AnnouncedVdrives
from holdfast.node.vdrive_places import VdrivePlaces, change_vdrive_places
from holdfast.protocol.nurl import spki_hash_bytes

log = structlog.get_logger(__name__)


class NoVdriveServiceError(UnavailableError, LookupError):
    """This client knows no virtual drive server that it may make directories at."""


class DefaultVdrive:
    """The choice of one client."""

    def __init__(
        self,
        private: Path,
        places: VdrivePlaces,
        announced: AnnouncedVdrives,
        servers: VdriveServers,
        *,
        enabled: bool,
    ) -> None:
        """``enabled``: False for a client that is to use no virtual drive but by capabilities."""
        self._private = private
        self._places = places
        self._announced = announced
        self._servers = servers
        self._enabled = enabled
        if places.service is not None and places.account is not None:
            servers.use_account(spki_hash_bytes(places.service.spki_hash), places.account)

    @property
    def enabled(self) -> bool:
        return self._enabled

    @property
    def account(self) -> str | None:
        """The token of the account at the service; None if the client has none."""
        return self._places.account

    @property
    def service(self) -> VdrivePlace | None:
        """Where the service is as far as that is known now; None if none is known."""
        if not self._enabled:
            return None
        nurl = self._places.service
        if nurl is None:
            self._choose()
            nurl = self._places.service
        if nurl is None:
            return None
        told = self._announced.places(spki_hash_bytes(nurl.spki_hash))
        return place_of(told[0] if told else nurl)

    async def find(self) -> VdrivePlace | None:
        """Return the same; if none is known yet, hear what the introducers say first."""
        if not self._enabled:
            return None
        if self.service is None:
            await self._announced.heard()
        return self.service

    async def needed(self) -> VdrivePlace:
        """Return the same.

        Raises:
            NoVdriveServiceError: there is none.
        """
        place = await self.find()
        if place is None:
            raise NoVdriveServiceError(
                "no virtual drive server is known that lets this client make directories: name one, and an"
                f" account there, in {self._private / 'vdrive.toml'}, or use directories of the grid"
            )
        return place

    async def may_create(self) -> bool:
        """Tell whether there is a service that lets this client make directories.

        Raises:
            HoldfastError: nobody says so but the service, and it does not answer.
        """
        place = await self.find()
        if place is None:
            return False
        if self._places.account is not None:
            return True
        said = self._announced.get(place.sid)
        if said is not None and said.accounts:
            return said.accounts == "open"
        return (await self._servers.server(place).version()).accounts == "open"

    def _choose(self) -> None:
        """Take a service that is announced, and keep to it. One that takes a token this client has not is
        left to others."""
        usable = [one for one in self._announced.all() if one.accounts == "open" or self._places.account]
        if not usable:
            return
        nurl = usable[0].nurls[0]

        def choose(places: VdrivePlaces) -> VdrivePlaces:
            # A person, or another program of this client, may have chosen meanwhile.
            return places if places.service is not None else replace(places, service=nurl)

        try:
            self._places = change_vdrive_places(self._private, choose)
        except OSError as error:
            self._places = replace(self._places, service=nurl)
            log.warning("which virtual drive server is used could not be kept", reason=error.strerror)
        if self._places.service is not None and self._places.account is not None:
            sid = spki_hash_bytes(self._places.service.spki_hash)
            self._servers.use_account(sid, self._places.account)
