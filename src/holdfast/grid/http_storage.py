"""A storage server, spoken to over pinned HTTPS: every call of the storage protocol.

Source: docs/spec/storage-protocol.md, sections 5 to 12.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from holdfast.errors import ServerError, WrongServerKeyError
from holdfast.grid.shared_question import SharedQuestion
from holdfast.grid.store_queue import StoreQueue
from holdfast.interfaces.storage import (
    Allocation,
    ByteRange,
    LeaseSecrets,
    ReadTestWriteResult,
    ServerVersion,
    ShareVectors,
    StoreRequest,
    StreamedWrite,
    TestVector,
)
from holdfast.interfaces.storage_errors import (
    REFUSALS,
    BadRequestError,
    NoSuchShareError,
    StorageRefusalError,
)
from holdfast.interfaces.types import Buffer, StorageIndex
from holdfast.protocol import storage_calls as calls
from holdfast.protocol import storage_extensions as extensions
from holdfast.protocol import storage_messages as messages
from holdfast.protocol.store_messages import decode_store_answer, encode_store_requests
from holdfast.wire.client import ServerConnections
from holdfast.wire.client_connection import Answer, BrokenAnswerError
from holdfast.wire.pinning import WrongKeyError
from holdfast.wire.streamed_body import StreamedBody

T = TypeVar("T")

VERSION_S = 5.0  # seconds without a sign of life, by kind of call
SELECTION_S = 15.0
TRANSFER_S = 30.0  # the reference allows 60
STORED_BYTES_PER_S_MIN = 8 << 20  # a server may write all of a share before it answers
CANARY_SILENCE_S = 30.0
CBOR_ANSWER_MAX = 30 << 20  # bytes
TOGETHER_MAX = 16 * 1024  # bytes of a piece of a body that is sent with the next one


class HttpStorageServer:
    """Implements ``interfaces.storage.StorageService`` for one server.

    Every method raises ServerError for a server that is gone, hung, fails or breaks the protocol,
    WrongServerKeyError for one with another key, and the refusals of ``interfaces.storage_errors``.
    """

    def __init__(
        self, connections: ServerConnections, swissnum: str, on_contact: Callable[[ServerError | None], None]
    ) -> None:
        """``on_contact`` is told of every answer (None), and of every failure to get one."""
        self._connections = connections
        self._on_contact = on_contact
        self._features: frozenset[str] | None = None
        self._asking_features = SharedQuestion(self._ask_features)
        self._small = StoreQueue(self._store_all)
        self._authorization = ("Authorization", calls.authorization_value(swissnum))

    async def version(self) -> ServerVersion:
        answer = await self._call("GET", calls.version_path(), (), None, silence_s=VERSION_S, urgent=True)
        return self._decoded(answer, messages.decode_version)

    async def allocate(
        self,
        index: StorageIndex,
        share_numbers: frozenset[int],
        allocated_size: int,
        upload_secret: bytes,
        lease: LeaseSecrets,
    ) -> Allocation:
        answer = await self._call(
            "POST",
            calls.allocate_path(index),
            (*_lease_headers(lease), _secret("upload-secret", upload_secret)),
            [messages.encode_allocate_request(share_numbers, allocated_size)],
            silence_s=SELECTION_S,
        )
        return self._decoded(answer, messages.decode_allocate_answer)

    async def write(
        self,
        index: StorageIndex,
        number: int,
        upload_secret: bytes,
        offset: int,
        data: Sequence[Buffer] | AsyncIterator[memoryview],
        length: int,
        total: int | None = None,
    ) -> Sequence[ByteRange]:
        pieces = data if isinstance(data, Sequence) else [bytes(piece) async for piece in data]
        last = offset + length - 1
        answer = await self._call(
            "PATCH",
            calls.share_path(index, number),
            (
                _secret("upload-secret", upload_secret),
                ("Content-Range", f"bytes {offset}-{last}/{'*' if total is None else total}"),
                ("Content-Type", "application/octet-stream"),
            ),
            pieces,
            ok=(200, 201),
            content_type=None,
        )
        return self._decoded(answer, messages.decode_write_answer)

    async def abort(self, index: StorageIndex, number: int, upload_secret: bytes) -> None:
        await self._call(
            "PUT",
            calls.abort_path(index, number),
            (_secret("upload-secret", upload_secret),),
            [],
            silence_s=SELECTION_S,
        )

    async def list_immutable(self, index: StorageIndex) -> frozenset[int]:
        path = calls.list_immutable_path(index)
        answer = await self._call("GET", path, (), None, silence_s=SELECTION_S)
        return self._decoded(answer, messages.decode_share_set)

    async def read_immutable(self, index: StorageIndex, number: int, offset: int, length: int) -> bytes:
        return await self._read(calls.share_path(index, number), offset, length)

    async def read_immutable_into(
        self, index: StorageIndex, number: int, offset: int, out: memoryview
    ) -> int:
        return await self._read_into(calls.share_path(index, number), offset, out)

    async def add_lease(self, index: StorageIndex, lease: LeaseSecrets) -> None:
        await self._call(
            "PUT", calls.lease_path(index), _lease_headers(lease), [], ok=(204,), silence_s=SELECTION_S
        )

    async def advise_corrupt_immutable(self, index: StorageIndex, number: int, reason: str) -> None:
        await self._advise(calls.advise_immutable_path(index, number), reason)

    async def read_test_write(
        self,
        index: StorageIndex,
        write_enabler: bytes,
        lease: LeaseSecrets,
        vectors: Mapping[int, ShareVectors],
        read_vector: Sequence[tuple[int, int]],
    ) -> ReadTestWriteResult:
        answer = await self._call(
            "POST",
            calls.read_test_write_path(index),
            (_secret("write-enabler", write_enabler), *_lease_headers(lease)),
            messages.read_test_write_pieces(vectors, read_vector),
            silence_s=_storing_s(w.offset + len(w.data) for v in vectors.values() for w in v.writes),
            repeatable=False,
        )
        return self._decoded(answer, messages.decode_read_test_write_answer)

    async def list_mutable(self, index: StorageIndex) -> frozenset[int]:
        answer = await self._call("GET", calls.list_mutable_path(index), (), None, silence_s=SELECTION_S)
        return self._decoded(answer, messages.decode_share_set)

    async def read_mutable(self, index: StorageIndex, number: int, offset: int, length: int) -> bytes:
        return await self._read(calls.mutable_share_path(index, number), offset, length)

    async def advise_corrupt_mutable(self, index: StorageIndex, number: int, reason: str) -> None:
        await self._advise(calls.advise_mutable_path(index, number), reason)

    # -- what Holdfast's servers offer beyond the protocol

    async def features(self) -> frozenset[str]:
        """Return the names of the extensions the server offers; asked once."""
        if self._features is None:
            self._features = await self._asking_features.answer()
        return self._features

    @property
    def known_features(self) -> frozenset[str] | None:
        return self._features

    async def _ask_features(self) -> frozenset[str]:
        try:
            answer = await self._call("GET", extensions.VERSION_PATH, (), None, silence_s=VERSION_S)
            return extensions.decode_features(bytes(answer.body))
        except (NoSuchShareError, BadRequestError):
            return frozenset()

    async def read_slot(
        self, index: StorageIndex, ranges: Sequence[tuple[int, int]], numbers: Collection[int] | None = None
    ) -> Mapping[int, Sequence[bytes]]:
        """Return (offset, length) ranges of every share of a slot, or of some, all of one moment."""
        target = extensions.read_slot_target(index, ranges, numbers)
        answer = await self._call("GET", target, (), None)
        return self._decoded(answer, messages.decode_read_test_write_answer).data

    async def read_shares(
        self, index: StorageIndex, ranges: Sequence[tuple[int, int]]
    ) -> Mapping[int, Sequence[bytes]]:
        """Return (offset, length) ranges of every immutable share of an index."""
        answer = await self._call("GET", extensions.read_shares_target(index, ranges), (), None)
        return self._decoded(answer, messages.decode_read_test_write_answer).data

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
        """Test and write one share, which is made while it is sent."""
        spans = [(write.offset, write.length) for write in writes]
        frame = messages.read_test_write_frame(number, tests, spans, read_vector)
        answer = await self._call(
            "POST",
            calls.read_test_write_path(index),
            (_secret("write-enabler", write_enabler), *_lease_headers(lease)),
            _FramedWrites(frame, writes),
            silence_s=_storing_s(offset + length for offset, length in spans),
            repeatable=False,
        )
        return self._decoded(answer, messages.decode_read_test_write_answer)

    async def hold_canary(self, index: StorageIndex, upload_secret: bytes) -> None:
        """Hold a stream open until cancelled (seed-map, S-061). Returns or raises when it breaks."""
        header = (extensions.OWNER_HEADER, extensions.owner_value(upload_secret))
        await self._call("GET", extensions.canary_path(index), (header,), None, silence_s=CANARY_SILENCE_S)

    async def store(
        self,
        index: StorageIndex,
        shares: Mapping[int, bytes],
        upload_secret: bytes,
        lease: LeaseSecrets,
        *,
        only_if_none: bool,
    ) -> Allocation:
        """Store small shares whole; what is ``allocated`` in the answer is complete and durable."""
        numbers = sorted(shares)
        headers = [
            *_lease_headers(lease),
            _secret("upload-secret", upload_secret),
            (extensions.NUMBERS_HEADER, extensions.numbers_value(numbers)),
        ]
        if only_if_none:
            headers.append((extensions.ONLY_IF_NONE_HEADER, "yes"))
        pieces = [shares[number] for number in numbers]
        answer = await self._call("POST", extensions.shares_path(index), headers, pieces)
        return self._decoded(answer, messages.decode_allocate_answer)

    async def store_gathered(self, request: StoreRequest) -> Allocation:
        """Store small shares whole, together with those of other files that are stored at the same time."""
        return await self._small.store(request)

    async def _store_all(self, requests: Sequence[StoreRequest]) -> list[Allocation | StorageRefusalError]:
        answer = await self._call(
            "POST",
            extensions.STORE_ALL_PATH,
            (),
            encode_store_requests(requests),
            content_type="application/octet-stream",
        )
        try:
            return decode_store_answer(bytes(answer.body), len(requests))
        except BadRequestError as error:
            raise ServerError(f"the server's answer is malformed: {error}") from None

    @property
    def idle(self) -> int:
        """Return how many connections are open without a request."""
        return self._connections.idle

    def when_connection_lost(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the server ends a connection that has no request."""
        self._connections.when_lost = callback

    def close_idle(self) -> None:
        """End the connections without a request."""
        self._connections.close_idle()

    def retire(self) -> None:
        """Keep no connection from now on. Requests go on, and can still be made."""
        self._connections.retire()

    def close(self) -> None:
        """End every connection at once."""
        self._connections.close()

    # -- one request

    async def _read(self, path: str, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        count = await self._read_into(path, offset, memoryview(buffer))
        return bytes(buffer) if count == length else bytes(buffer[:count])

    async def _read_into(self, path: str, offset: int, out: memoryview) -> int:
        if not out:
            return 0
        header = ("Range", f"bytes={offset}-{offset + len(out) - 1}")
        answer = await self._call("GET", path, (header,), None, ok=(204, 206), sink=out)
        if answer.head.status == 204:
            return 0
        expected = answer.head.header("content-range") or ""
        if not expected.startswith(f"bytes {offset}-{offset + answer.sunk - 1}/"):
            raise ServerError("the server answered with another range than the one asked for")
        return answer.sunk

    async def _advise(self, path: str, reason: str) -> None:
        await self._call("POST", path, (), [messages.encode_advisory(reason)], silence_s=SELECTION_S)

    async def _call(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        pieces: Sequence[Buffer] | StreamedBody | None,
        *,
        ok: tuple[int, ...] = (200,),
        silence_s: float = TRANSFER_S,
        content_type: str | None = "application/cbor",
        sink: memoryview | None = None,
        repeatable: bool = True,
        urgent: bool = False,
    ) -> Answer:
        """Send a request; return the answer if its status is one of ``ok``."""
        lines = [self._authorization, ("Accept", "application/cbor"), *headers]
        if pieces and content_type is not None:
            lines.append(("Content-Type", content_type))
        try:
            answer = await self._connections.request(
                method,
                path,
                lines,
                pieces,
                silence_s=silence_s,
                body_max=CBOR_ANSWER_MAX,
                sink=sink,
                repeatable=repeatable,
                urgent=urgent,
            )
        except (WrongKeyError, TimeoutError, ConnectionError) as error:
            failure = _failure(error)
            self._on_contact(failure)
            raise failure from None
        self._on_contact(None)
        if answer.head.status in ok:
            return answer
        raise _refusal(answer.head.status)

    def _decoded(self, answer: Answer, decode: Callable[[bytes], T]) -> T:
        media_type = (answer.head.header("content-type") or "").partition(";")[0].strip().lower()
        if media_type != "application/cbor":
            raise ServerError("the server answered with something else than CBOR")
        try:
            return decode(bytes(answer.body))
        except BadRequestError as error:
            raise ServerError(f"the server's answer is malformed: {error}") from None


class _FramedWrites:
    """A request body: data of writes, and what a message has around them."""

    def __init__(self, frame: Sequence[bytes], writes: Sequence[StreamedWrite]) -> None:
        self._frame = frame
        self._writes = writes

    @property
    def length(self) -> int:
        return sum(map(len, self._frame)) + sum(write.length for write in self._writes)

    async def pieces(self) -> AsyncIterator[Buffer]:
        small: list[bytes] = []  # goes with what follows
        for before, write in zip(self._frame, self._writes, strict=False):
            small.append(before)
            async for piece in write.pieces():
                if len(piece) <= TOGETHER_MAX:
                    small.append(bytes(piece))
                else:
                    yield b"".join((*small, piece))
                    small = []
        yield b"".join((*small, self._frame[-1]))


def _storing_s(ends: Iterable[int]) -> float:
    """Return how long a server may need for a mutable share; ``ends``: where in it writes end."""
    return TRANSFER_S + max(ends, default=0) / STORED_BYTES_PER_S_MIN


def _secret(kind: str, secret: bytes) -> tuple[str, str]:
    return ("X-Tahoe-Authorization", calls.secret_header(kind, secret))


def _lease_headers(lease: LeaseSecrets) -> tuple[tuple[str, str], tuple[str, str]]:
    return _secret("lease-renew-secret", lease.renew), _secret("lease-cancel-secret", lease.cancel)


def _failure(error: Exception) -> ServerError:
    if isinstance(error, WrongKeyError):
        return WrongServerKeyError(
            f"presented another TLS key ({error.seen or 'none'}); nothing was sent to it"
        )
    if isinstance(error, TimeoutError):
        return ServerError(f"hung: {error}")
    if isinstance(error, BrokenAnswerError):
        return ServerError(f"broke the protocol: {error}")
    return ServerError(f"cannot be reached: {error}")


def _refusal(status: int) -> ServerError | StorageRefusalError:
    """Return the error of a status. The body is left out: it may repeat secrets (section 4)."""
    refusal = REFUSALS.get(status)
    if refusal is None:
        return ServerError(f"the server failed with status {status}")
    return refusal(f"the server refused with status {status}")
