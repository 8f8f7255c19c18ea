"""The virtual drive servers that introducers tell a client of.

Source: docs/spec/vdrive.md, sections 4.3 and 10.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from holdfast.grid.announced_servers import is_private
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.interfaces.introducer import KnownAnnouncement
from holdfast.protocol.nurl import Nurl, parse_nurl, spki_hash_bytes

VDRIVE = "vdrive"  # name of the service
ACCOUNTS = "accounts"  # names of properties
PUBLIC_ROOT = "public-root"


@dataclass(frozen=True, slots=True)
class AnnouncedVdrive:
    """One service.

    Attributes:
        sid: its id, 32 bytes.
        nurls: where it is; the first counts.
        accounts: open or token; empty if it does not say.
        public_root: none, read-only or read-write; empty if it does not say.
        fresh: its announcement is not past its expiry.
    """

    sid: bytes
    nurls: Sequence[Nurl] = field(repr=False)
    nickname: str
    accounts: str
    public_root: str
    fresh: bool


class AnnouncedVdrives:
    """What is announced at the moment. Of what it is asked it asks the client of the introducers."""

    def __init__(self, client: IntroducerClient | None, settings: IntroducerClientSettings | None) -> None:
        """``client``: None if the node lists no introducers. It is told to listen."""
        self._client = client
        self._settings = settings
        if client is not None:
            client.subscribe_to(VDRIVE, lambda known: None)

    def all(self) -> list[AnnouncedVdrive]:
        """Return the services that can be used: those first that are there and let all make directories."""
        if self._client is None or self._settings is None:
            return []
        found: dict[bytes, AnnouncedVdrive] = {}
        for known in self._client.known(VDRIVE):
            service = _service_of(known, allow_private=self._settings.allow_private_addresses)
            if service is not None and (service.sid not in found or service.fresh):
                found[service.sid] = service
        return sorted(found.values(), key=lambda one: (one.accounts != "open", not one.fresh, one.sid))

    def get(self, sid: bytes) -> AnnouncedVdrive | None:
        """Return what is announced of one service."""
        return next((service for service in self.all() if service.sid == sid), None)

    def places(self, sid: bytes) -> Sequence[Nurl]:
        """Return where a service is said to be."""
        service = self.get(sid)
        return () if service is None else service.nurls

    async def heard(self) -> None:
        """Return once an introducer has told what it knows, or none can; see ``IntroducerClient.ready``."""
        if self._client is not None:
            await self._client.ready()


def _service_of(known: KnownAnnouncement, *, allow_private: bool) -> AnnouncedVdrive | None:
    """Return the service that is announced; None if it cannot be used from here."""
    nurls = [nurl for nurl in map(parse_nurl, known.nurls) if nurl.scheme == "pb"]
    if not allow_private:
        nurls = [nurl for nurl in nurls if not is_private(nurl.host)]
    if not nurls:
        return None
    sid = spki_hash_bytes(nurls[0].spki_hash)
    return AnnouncedVdrive(
        sid,
        tuple(nurl for nurl in nurls if spki_hash_bytes(nurl.spki_hash) == sid),
        known.nickname,
        _text(known.properties.get(ACCOUNTS)),
        _text(known.properties.get(PUBLIC_ROOT)),
        known.freshness == "fresh",
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
