"""All servers a client knows. They come, change and go while transfers run: a transfer keeps
those it was given, and a server that went is let go of when its requests are done.

Source: docs/spec/grid.md, sections 5.2 and 8; docs/spec/control-and-introducer.md, sections 3.7 and 3.9.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from holdfast.grid.http_storage import HttpStorageServer
from holdfast.grid.known_server import KnownServer, OnContact, ServerClient, ServiceMaker
from holdfast.interfaces.types import StorageIndex
from holdfast.planning.permutation import permuted
from holdfast.protocol.server_record import ServerRecord
from holdfast.wire.client import Address, ServerConnections
from holdfast.wire.pinning import pinning_ssl_context

ServerListener = Callable[[KnownServer], None]
"""Told of a server that was added, changed, came up, went down, may be gone, or was retired."""


def http_services() -> ServiceMaker:
    """Return what makes pinned HTTPS clients; they share one TLS context."""
    context = pinning_ssl_context()

    def make(record: ServerRecord, on_contact: OnContact) -> ServerClient:
        first = record.nurls[0]
        # An address with a permission of its own would need requests of its own.
        alike = [nurl for nurl in record.nurls if nurl.swissnum == first.swissnum]
        addresses = [Address(nurl.host, nurl.port) for nurl in alike]
        connections = ServerConnections(addresses, first.spki_hash, context)
        return HttpStorageServer(connections, first.swissnum, on_contact)

    return make


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record, and what may be done with its server."""

    record: ServerRecord
    uploads: bool
    incompatible: str | None


class Servers:
    """The servers by id. Those that share a TLS key count as one: the first known."""

    def __init__(
        self,
        records: Sequence[ServerRecord],
        lease_secret: bytes,
        preferred: frozenset[str],
        make_service: ServiceMaker,
    ) -> None:
        self._lease_secret = lease_secret
        self._preferred = preferred
        self._make_service = make_service
        self._servers: dict[str, KnownServer] = {}
        self._holders: dict[str, str] = {}  # hash of a TLS key to the id of the server that counts
        self._same_key: dict[str, _Entry] = {}  # by id: those that do not, in order of arrival
        self._retired: weakref.WeakSet[ServerClient] = weakref.WeakSet()
        self._listeners: list[ServerListener] = []
        self._all_were_down = False
        for record in records:
            self.add_or_change(record)

    def __len__(self) -> int:
        return len(self._servers)

    def __getitem__(self, server_id: str) -> KnownServer:
        return self._servers[server_id]

    def all(self) -> list[KnownServer]:
        """Return every server, in the order in which they became known."""
        return list(self._servers.values())

    @property
    def connected(self) -> int:
        """Return how many servers are up and can be used."""
        return sum(server.up for server in self._servers.values())

    # -- which to use

    def in_order(self, index: StorageIndex) -> list[KnownServer]:
        """Return the servers worth reading from now: in the permuted order of this file.

        Those that take no uploads come last.
        """
        usable = [server for server in self._servers.values() if server.available]
        fresh = self._permuted(index, (s for s in usable if s.accepts_uploads))
        return fresh + self._permuted(index, (s for s in usable if not s.accepts_uploads))

    def for_uploads(self, index: StorageIndex) -> list[KnownServer]:
        """Return the servers worth offering new shares now, in the permuted order of this file."""
        return self._permuted(index, (s for s in self._servers.values() if s.available and s.accepts_uploads))

    def _permuted(self, index: StorageIndex, servers: Iterable[KnownServer]) -> list[KnownServer]:
        seeds = [(server.id, server.record.permutation_seed) for server in servers]
        return [self._servers[key] for key in permuted(index, seeds, self._preferred)]

    # -- coming and going

    def add_or_change(
        self, record: ServerRecord, *, uploads: bool = True, incompatible: str | None = None
    ) -> None:
        """Make a server known, or what is new about it.

        Args:
            uploads: false if it is only to be read from.
            incompatible: why it cannot be used, if so; it is only shown then.
        """
        entry = _Entry(record, uploads, incompatible)
        known = self._servers.get(record.server_id)
        if known is None or _key(known.record) != _key(record):
            self.remove(record.server_id)
            if _key(record) in self._holders:
                self._same_key[record.server_id] = entry
            else:
                self._admit(entry)
        elif known.can_become(record):
            known.record, known.uploads, known.incompatible = record, uploads, incompatible
            self._tell(known)
        else:
            self._admit(entry)
            self._retire(known)

    def remove(self, server_id: str) -> None:
        """Forget a server, if it is known. Transfers that use it go on."""
        self._same_key.pop(server_id, None)
        known = self._servers.pop(server_id, None)
        if known is None:
            return
        del self._holders[_key(known.record)]
        heirs = (entry for entry in self._same_key.values() if _key(entry.record) == _key(known.record))
        heir = next(heirs, None)
        if heir is not None:
            del self._same_key[heir.record.server_id]
            self._admit(heir)
        self._retire(known)

    def on_change(self, listener: ServerListener) -> Callable[[], None]:
        """Have ``listener`` called for each change; return what ends that. It must not raise."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def close(self) -> None:
        """End every connection."""
        for service in [*(server.service for server in self._servers.values()), *self._retired]:
            service.close()

    def _admit(self, entry: _Entry) -> None:
        record = entry.record
        server = KnownServer(
            record,
            self._make_service,
            self._lease_secret,
            self,
            uploads=entry.uploads,
            incompatible=entry.incompatible,
        )
        self._servers[server.id] = server
        self._holders[_key(record)] = server.id
        self._tell(server)

    def _retire(self, server: KnownServer) -> None:
        server.retire()
        self._retired.add(server.service)
        self._tell(server)

    def _tell(self, server: KnownServer) -> None:
        for listener in list(self._listeners):
            listener(server)

    # -- told by the servers

    def state_changed(self, server: KnownServer) -> None:
        if server.down:
            usable = (s for s in self._servers.values() if s.incompatible is None)
            self._all_were_down = all(s.down for s in usable)
        elif self._all_were_down:
            # This machine was offline: the others are tried at once.
            self._all_were_down = False
            for other in self._servers.values():
                other.retry_now()
                self._tell(other)
        self._tell(server)

    def may_be_gone(self, server: KnownServer) -> None:
        self._tell(server)


def _key(record: ServerRecord) -> str:
    return record.nurls[0].spki_hash
