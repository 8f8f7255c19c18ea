"""Which server a capability means, and where it is.

Source: docs/spec/vdrive.md, sections 4.3, 13.1 and 14.6.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from holdfast.caps.vdrive import VdrivePlace
from holdfast.grid.vdrive.http_service import HttpVirtualDriveServer
from holdfast.interfaces.vdrive import VirtualDriveServer
from holdfast.protocol.nurl import Nurl, spki_hash_bytes, spki_hash_text
from holdfast.wire.pinning import pinning_ssl_context

Announced = Callable[[bytes], Sequence[Nurl]]
"""From the id of a service to the places that it announced."""


class ServerSource(Protocol):
    """Finds servers. ``VdriveServers`` is the one for real ones."""

    def server(self, place: VdrivePlace) -> VirtualDriveServer: ...

    def service_id(self, place: VdrivePlace) -> bytes:
        """Return the id of the service that has the place now, 32 bytes; enablers are made for it."""
        ...

    def account(self, sid: bytes) -> str | None:
        """Return the token of the account that directories of a service are charged to."""
        ...


class VdriveServers:
    """One ``VirtualDriveServer`` for each service. Close it after use."""

    def __init__(
        self,
        *,
        moved: Mapping[bytes, Nurl] | None = None,
        announced: Announced = lambda sid: (),
        accounts: Mapping[bytes, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """
        Args:
            moved: by the id of a service that is no more, where its directories are now.
            announced: asked again at every use, since places change.
            accounts: tokens by the id of the service.
        """
        self._moved = dict(moved or {})
        self._announced = announced
        self._accounts = dict(accounts or {})
        self._context = context or pinning_ssl_context()
        self._servers: dict[bytes, HttpVirtualDriveServer] = {}
        self._hinted: dict[bytes, dict[Nurl, None]] = {}

    def server(self, place: VdrivePlace) -> VirtualDriveServer:
        """Return the server of a place: where it was moved to, or else announced, or else hinted at."""
        sid = self.service_id(place)
        server = self._servers.get(sid)
        if server is None:
            server = HttpVirtualDriveServer((), context=self._context)
            self._servers[sid] = server
        hinted = self._hinted.setdefault(sid, {})
        if place.sid == sid:
            hinted.update(dict.fromkeys(_hinted_places(place)))
        moved = [self._moved[place.sid]] if place.sid in self._moved else []
        announced = [nurl for nurl in self._announced(sid) if spki_hash_bytes(nurl.spki_hash) == sid]
        server.use_places([*moved, *announced, *hinted])
        return server

    def service(self, nurl: Nurl) -> VirtualDriveServer:
        """Return the server at a place that is given in full."""
        return self.server(place_of(nurl))

    def service_id(self, place: VdrivePlace) -> bytes:
        moved = self._moved.get(place.sid)
        return place.sid if moved is None else spki_hash_bytes(moved.spki_hash)

    def account(self, sid: bytes) -> str | None:
        return self._accounts.get(sid)

    def use_account(self, sid: bytes, token: str) -> None:
        """Charge directories that are made at this service from now on to the account of ``token``."""
        self._accounts[sid] = token

    def close(self) -> None:
        """End every connection at once."""
        for server in self._servers.values():
            server.close()


def place_of(nurl: Nurl) -> VdrivePlace:
    """Return the place that capabilities of new directories at this service name."""
    hint = f"tor:{nurl.address}" if nurl.scheme == "pb+tor" else nurl.address
    return VdrivePlace(spki_hash_bytes(nurl.spki_hash), nurl.swissnum, (hint,))


def _hinted_places(place: VdrivePlace) -> list[Nurl]:
    """Return the places in a capability. Those that only Tor reaches are left out."""
    key = spki_hash_text(place.sid)
    places = []
    for hint in place.hints:
        host, _, port = hint.rpartition(":")
        if not hint.startswith("tor:"):
            places.append(Nurl("pb", key, host.strip("[]"), int(port), place.swissnum))
    return places
