"""The servers a client knows: whether each is up, when to try again, what it last
said of itself, and the secrets this client uses with it.

Source: docs/spec/grid.md, sections 5.2, 7 and 8.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from holdfast.crypto import lease_secrets
from holdfast.errors import ServerError, WrongServerKeyError
from holdfast.grid.http_storage import HttpStorageServer
from holdfast.interfaces.storage import Allocation, LeaseSecrets, ServerVersion, StorageService
from holdfast.interfaces.types import StorageIndex
from holdfast.planning.permutation import permuted
from holdfast.protocol.server_record import ServerRecord
from holdfast.wire.client import Address, ServerConnections
from holdfast.wire.pinning import pinning_ssl_context

log = structlog.get_logger(__name__)

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0
RETRY_IMPOSTOR_S = 3600.0
RETRY_JITTER = 0.25
VERSION_AGE_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class ServerState:
    """How a server is seen: ``state`` is up, down or unknown; ``since`` in Unix seconds."""

    server_id: str
    nickname: str
    state: str
    reason: str
    since: float


OnContact = Callable[[ServerError | None], None]
"""Told of every answer of a server (None), and of every failure to get one."""


class ServerClient(StorageService, Protocol):
    """A storage service over connections, with what Holdfast's servers offer beyond the protocol."""

    async def features(self) -> frozenset[str]:
        """Return the extensions the server offers; none for one that knows of none."""
        ...

    async def hold_canary(self, index: StorageIndex, upload_secret: bytes) -> None:
        """Hold a stream open until cancelled: when it breaks, the server drops unfinished shares.

        Returns or raises when the stream breaks.
        """
        ...

    async def store(
        self,
        index: StorageIndex,
        shares: Mapping[int, bytes],
        upload_secret: bytes,
        lease: LeaseSecrets,
        *,
        only_if_none: bool,
    ) -> Allocation:
        """Store small shares of one length whole; what is ``allocated`` in the answer is complete.

        ``only_if_none``: nothing is stored if the index has any complete share there.
        """
        ...

    def close(self) -> None: ...


ServiceMaker = Callable[[ServerRecord, OnContact], ServerClient]
"""Makes what speaks to a server."""


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


class KnownServer:
    """One server of the list."""

    def __init__(
        self, record: ServerRecord, make_service: ServiceMaker, lease_secret: bytes, owner: Servers
    ) -> None:
        self.record = record
        self.id = record.server_id
        self.name = record.nickname or record.server_id[:11]
        self.service = make_service(record, self._contact)
        self._lease_secret = lease_secret
        self._owner = owner
        self._state = ServerState(self.id, record.nickname, "unknown", "not tried yet", time.time())
        self._delay_s = RETRY_FIRST_S
        self._retry_at = 0.0
        self._version: ServerVersion | None = None
        self._version_at = 0.0

    @property
    def state(self) -> ServerState:
        return self._state

    @property
    def available(self) -> bool:
        """True unless it is down and it is too early to try again."""
        return self._state.state != "down" or time.monotonic() >= self._retry_at

    async def version(self) -> ServerVersion:
        """Return what the server says of itself, at most a minute old.

        Raises:
            ServerError: it gave no usable answer.
        """
        if self._version is None or time.monotonic() - self._version_at > VERSION_AGE_MAX_S:
            self._version = await self.service.version()
            self._version_at = time.monotonic()
        return self._version

    def lease(self, index: StorageIndex) -> LeaseSecrets:
        """Return this client's lease secrets for one file on this server."""
        return lease_secrets_for(self._lease_secret, index, self.record.server_seed)

    def retry_now(self) -> None:
        """Forget the waiting time: the network seems to be back."""
        self._retry_at = 0.0
        self._delay_s = RETRY_FIRST_S

    def _contact(self, error: ServerError | None) -> None:
        if error is None:
            if self._state.state != "up":
                self._change("up", "answers")
                self._owner.came_up()
            self._delay_s = RETRY_FIRST_S
            return
        impostor = isinstance(error, WrongServerKeyError)
        self._version = None
        if self._state.state != "down" or self._state.reason != str(error):
            self._change("down", str(error))
            (log.error if impostor else log.info)("server down", server=self.name, reason=str(error))
        wait = RETRY_IMPOSTOR_S if impostor else self._delay_s
        jitter = random.uniform(-RETRY_JITTER, RETRY_JITTER)  # noqa: S311  (spreads load, protects nothing)
        self._retry_at = time.monotonic() + wait * (1 + jitter)
        self._delay_s = min(self._delay_s * 2, RETRY_MAX_S)

    def _change(self, state: str, reason: str) -> None:
        self._owner.changing(self, state)
        self._state = ServerState(self.id, self.record.nickname, state, reason, time.time())


class Servers:
    """All servers of the list."""

    def __init__(
        self,
        records: Sequence[ServerRecord],
        lease_secret: bytes,
        preferred: frozenset[str],
        make_service: ServiceMaker,
    ) -> None:
        self._preferred = preferred
        self._servers = {r.server_id: KnownServer(r, make_service, lease_secret, self) for r in records}
        self._all_were_down = False

    def __len__(self) -> int:
        return len(self._servers)

    def __getitem__(self, server_id: str) -> KnownServer:
        return self._servers[server_id]

    def all(self) -> list[KnownServer]:
        """Return every server, in the order of the list."""
        return list(self._servers.values())

    def in_order(self, index: StorageIndex) -> list[KnownServer]:
        """Return the servers worth trying now, in the permuted order of this file."""
        seeds = [(s.id, s.record.permutation_seed) for s in self._servers.values() if s.available]
        return [self._servers[key] for key in permuted(index, seeds, self._preferred)]

    def nickname(self, server_id: str) -> str:
        """Return the name for people of a server."""
        return self._servers[server_id].name

    def changing(self, server: KnownServer, state: str) -> None:
        """Note, before it happens, that a server's state changes."""
        if state == "down":
            others = [s for s in self._servers.values() if s is not server]
            self._all_were_down = all(s.state.state == "down" for s in others)

    def came_up(self) -> None:
        """After all were down, this machine was offline: try the others at once."""
        if self._all_were_down:
            self._all_were_down = False
            for server in self._servers.values():
                server.retry_now()

    def close(self) -> None:
        """End every connection."""
        for server in self._servers.values():
            server.service.close()


def lease_secrets_for(lease_secret: bytes, index: bytes, server_seed: bytes) -> LeaseSecrets:
    """Derive the secrets of a client's lease on one file at one server (grid.md, section 7)."""
    renew = lease_secrets.file_renewal_secret(lease_secrets.client_renewal_secret(lease_secret), index)
    cancel = lease_secrets.file_cancel_secret(lease_secrets.client_cancel_secret(lease_secret), index)
    return LeaseSecrets(
        lease_secrets.bucket_renewal_secret(renew, server_seed),
        lease_secrets.bucket_cancel_secret(cancel, server_seed),
    )
