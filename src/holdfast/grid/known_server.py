"""One server a client knows: whether it is up, when to try again, what it last said of
itself, and the secrets this client uses with it.

Source: docs/spec/grid.md, sections 5.2 and 7.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import structlog

from holdfast.crypto import lease_secrets
from holdfast.errors import ServerError, WrongServerKeyError
from holdfast.grid.server_state import ServerState
from holdfast.grid.shared_question import SharedQuestion
from holdfast.interfaces.storage import (
    Allocation,
    LeaseSecrets,
    ReadTestWriteResult,
    ServerVersion,
    StorageService,
    StoreRequest,
    StreamedWrite,
    TestVector,
)
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol.server_record import ServerRecord

log = structlog.get_logger(__name__)

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0
RETRY_IMPOSTOR_S = 3600.0
RETRY_JITTER = 0.25
VERSION_AGE_MAX_S = 60.0
LATENCY_WEIGHT = 0.3  # of the newest measurement in the average

OnContact = Callable[[ServerError | None], None]
"""Told of every answer of a server (None), and of every failure to get one."""


class ServerClient(StorageService, Protocol):
    """A storage service over connections, with what Holdfast's servers offer beyond the protocol."""

    async def features(self) -> frozenset[str]:
        """Return the extensions the server offers; none for one that knows of none."""
        ...

    @property
    def known_features(self) -> frozenset[str] | None:
        """Return what ``features`` would without asking; None if it would ask."""
        ...

    async def read_slot(
        self, index: StorageIndex, ranges: Sequence[tuple[int, int]], numbers: Collection[int] | None = None
    ) -> Mapping[int, Sequence[bytes]]:
        """Return (offset, length) ranges of every mutable share, or of some, all of one moment.

        Raises:
            TooLargeError: that is more than the server answers at once.
        """
        ...

    async def read_shares(
        self, index: StorageIndex, ranges: Sequence[tuple[int, int]]
    ) -> Mapping[int, Sequence[bytes]]:
        """Return (offset, length) ranges of every immutable share of an index, cut at its end.

        Raises:
            TooLargeError: that is more than the server answers at once.
        """
        ...

    async def write_share(
        self,
        index: StorageIndex,
        write_enabler: bytes,
        lease: LeaseSecrets,
        number: int,
        tests: Sequence[TestVector],
        writes: Sequence[StreamedWrite],
        read_vector: Sequence[tuple[int, int]],
    ) -> ReadTestWriteResult:
        """Test and write one share as by ``read_test_write``, without holding its data at once."""
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

    async def store_gathered(self, request: StoreRequest) -> Allocation:
        """Store small shares whole, as ``store`` does, together with those of other files."""
        ...

    @property
    def idle(self) -> int:
        """Return how many connections are open without a request."""
        ...

    def when_connection_lost(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the server ends a connection that has no request."""
        ...

    def close_idle(self) -> None:
        """End the connections without a request."""
        ...

    def retire(self) -> None:
        """Keep no connection from now on. Requests go on, and can still be made."""
        ...

    def close(self) -> None:
        """End every connection at once."""
        ...


ServiceMaker = Callable[[ServerRecord, OnContact], ServerClient]
"""Makes what speaks to a server."""


class ServerKeeper(Protocol):
    """Whoever keeps the servers and wants to know what happens to them."""

    def state_changed(self, server: KnownServer) -> None:
        """Called after a server came up or went down, or the reason changed."""
        ...

    def may_be_gone(self, server: KnownServer) -> None:
        """Called when a server ended a connection that was kept: it restarts, died, or just saves some."""
        ...


class KnownServer:
    """One server under one key. A transfer may go on with it after it has been retired."""

    def __init__(
        self,
        record: ServerRecord,
        make_service: ServiceMaker,
        lease_secret: bytes,
        keeper: ServerKeeper,
        *,
        uploads: bool = True,
        incompatible: str | None = None,
    ) -> None:
        """``uploads``: new shares may go there. ``incompatible``: why it cannot be used at all."""
        self.id = record.server_id
        self.record = record
        self.service = make_service(record, self._contact)
        self.service.when_connection_lost(self._connection_lost)
        self.uploads = uploads
        self.incompatible = incompatible
        self.retired = False
        self.retry_at = 0.0  # monotonic; the time before which a server that is down is left alone
        self.probed_at = 0.0  # monotonic; when the last probe ended
        self.used_at = 0.0  # monotonic; when it last answered anything but a probe
        self.suspected = False  # since it ended a kept connection, until it is probed
        self._lease_secret = lease_secret
        self._keeper = keeper
        self._state, self._reason, self._since = "unknown", "not tried yet", time.time()
        self._delay_s = RETRY_FIRST_S
        self._version: ServerVersion | None = None
        self._asking_version = SharedQuestion(self._ask_version)
        self._version_at: float | None = None  # monotonic; None: to be asked again
        self._latency_s: float | None = None
        self._errors = 0
        self._last_contact = 0.0
        self._probing = False

    @property
    def name(self) -> str:
        """Return a name for people."""
        return self.record.nickname or self.id[:11]

    @property
    def state(self) -> ServerState:
        version = self._version
        return ServerState(
            self.id,
            self.record.nickname,
            self._state if self.incompatible is None else "incompatible",
            self._reason if self.incompatible is None else self.incompatible,
            self._since,
            version="" if version is None else version.application_version,
            available_space=None if version is None else version.available_space,
            latency_s=self._latency_s,
            errors=self._errors,
            addresses=tuple(_address(nurl.host, nurl.port) for nurl in self.record.nurls),
            uploads=self.accepts_uploads,
            last_contact=self._last_contact,
        )

    @property
    def up(self) -> bool:
        """True if it can be used and answered last time."""
        return self.incompatible is None and self._state == "up"

    @property
    def down(self) -> bool:
        return self._state == "down"

    @property
    def available(self) -> bool:
        """True if it can be used, and is not down with too little time gone to try again."""
        return self.incompatible is None and (not self.down or time.monotonic() >= self.retry_at)

    @property
    def latency_s(self) -> float | None:
        """Return how long the server takes to say that it is there; None if that was not measured."""
        return self._latency_s

    @property
    def accepts_uploads(self) -> bool:
        """True if new shares may go there; one that is not is read from only."""
        return self.uploads and self.incompatible is None

    @property
    def recent_version(self) -> ServerVersion | None:
        """Return what ``version`` would without asking; None if it would ask."""
        fresh = self._version_at is not None and time.monotonic() - self._version_at <= VERSION_AGE_MAX_S
        return self._version if fresh else None

    async def version(self) -> ServerVersion:
        """Return what the server says of itself, at most a minute old.

        Raises:
            ServerError: it gave no usable answer.
        """
        return self.recent_version or await self._asking_version.answer()

    async def probe(self, timeout_s: float) -> None:
        """Ask for the version, to see whether the server is up. Its state then says so.

        An answer to any other request meanwhile counts as well: the link may just be busy.
        """
        contact_before = self._last_contact
        self._probing = True
        self.suspected = False
        try:
            async with asyncio.timeout(timeout_s):
                await self._ask_version()
        except TimeoutError:
            if self._last_contact == contact_before:
                self._contact(ServerError(f"hung: no answer within {timeout_s:g} s"))
        except (ServerError, StorageRefusalError):
            pass  # the service has told of it, if it means that the server is down
        finally:
            self._probing = False
            self.probed_at = time.monotonic()

    def lease(self, index: StorageIndex) -> LeaseSecrets:
        """Return this client's lease secrets for one file on this server."""
        return lease_secrets_for(self._lease_secret, index, self.record.server_seed)

    def retry_now(self) -> None:
        """Forget the waiting time: the network seems to be back."""
        self.retry_at = 0.0
        self._delay_s = RETRY_FIRST_S

    def can_become(self, record: ServerRecord) -> bool:
        """Return true if ``record`` only describes this server anew: connections and secrets stay."""
        mine = self.record
        return record == replace(mine, nickname=record.nickname, permutation_seed=record.permutation_seed)

    def retire(self) -> None:
        """Let running transfers finish with this server, which nobody else will be given."""
        self.retired = True
        self.service.retire()

    async def _ask_version(self) -> ServerVersion:
        began = time.monotonic()
        version = await self.service.version()
        took = time.monotonic() - began
        before = took if self._latency_s is None else self._latency_s
        self._latency_s = before + LATENCY_WEIGHT * (took - before)
        self._version = version
        self._version_at = time.monotonic()
        return version

    def _contact(self, error: ServerError | None) -> None:
        if error is None:
            self._answered()
        else:
            self._failed(error)

    def _answered(self) -> None:
        self._last_contact = time.time()
        if not self._probing:
            self.used_at = time.monotonic()
        self._delay_s = RETRY_FIRST_S
        if self._state != "up":
            self._change("up", "answers")

    def _failed(self, error: ServerError) -> None:
        impostor = isinstance(error, WrongServerKeyError)
        self._errors += 1
        self._version_at = None
        wait = RETRY_IMPOSTOR_S if impostor else self._delay_s
        jitter = random.uniform(-RETRY_JITTER, RETRY_JITTER)  # noqa: S311  (spreads load, protects nothing)
        self.retry_at = time.monotonic() + wait * (1 + jitter)
        self._delay_s = min(self._delay_s * 2, RETRY_MAX_S)
        if self._state != "down" or self._reason != str(error):
            self._change("down", str(error))
            (log.error if impostor else log.info)("server down", server=self.name, reason=str(error))

    def _change(self, state: str, reason: str) -> None:
        self._state, self._reason, self._since = state, reason, time.time()
        if not self.retired:
            self._keeper.state_changed(self)

    def _connection_lost(self) -> None:
        if not self.retired:
            self.suspected = True
            self._keeper.may_be_gone(self)


def lease_secrets_for(lease_secret: bytes, index: bytes, server_seed: bytes) -> LeaseSecrets:
    """Derive the secrets of a client's lease on one file at one server (grid.md, section 7)."""
    renew, cancel = _secrets_of_file(lease_secret, index)
    return LeaseSecrets(
        lease_secrets.bucket_renewal_secret(renew, server_seed),
        lease_secrets.bucket_cancel_secret(cancel, server_seed),
    )


@lru_cache(maxsize=64)  # each server of a file needs them
def _secrets_of_file(lease_secret: bytes, index: bytes) -> tuple[bytes, bytes]:
    renew, cancel = _secrets_of_client(lease_secret)
    return (
        lease_secrets.file_renewal_secret(renew, index),
        lease_secrets.file_cancel_secret(cancel, index),
    )


@lru_cache(maxsize=4)
def _secrets_of_client(lease_secret: bytes) -> tuple[bytes, bytes]:
    return (
        lease_secrets.client_renewal_secret(lease_secret),
        lease_secrets.client_cancel_secret(lease_secret),
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
