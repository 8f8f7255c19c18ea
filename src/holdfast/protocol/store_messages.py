"""The request that stores small shares of several files at once, and its answer, as bytes.

Fixed fields without names: each file costs a server as little as its shares do.

Source: docs/spec/storage-protocol.md, section 18.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from holdfast.interfaces.storage import Allocation, LeaseSecrets, StoreRequest
from holdfast.interfaces.storage_errors import REFUSALS, BadRequestError, StorageRefusalError
from holdfast.interfaces.types import StorageIndex

STORE_ALL_BODY_MAX = 1 << 20  # bytes
STORE_ALL_REQUESTS_MAX = 256
SHARE_SIZE_MAX = 60 * 1024  # bytes

_REQUEST = struct.Struct(">16s32s32sBHL")  # index, both lease secrets, only if none, shares, bytes of each
_ANSWER = struct.Struct(">HHH")  # status, number of shares that were there, and of those stored now
_DONE = 200


def request_size(request: StoreRequest) -> int:
    """Return the bytes that a request has in a body."""
    return _REQUEST.size + sum(len(share) + 1 for share in request.shares.values())


def encode_store_requests(requests: Sequence[StoreRequest]) -> list[bytes]:
    """Return the body, in pieces."""
    pieces: list[bytes] = []
    for request in requests:
        numbers = sorted(request.shares)
        head = _REQUEST.pack(
            request.index,
            request.lease.renew,
            request.lease.cancel,
            request.only_if_none,
            len(numbers),
            len(request.shares[numbers[0]]),
        )
        pieces += (head, bytes(numbers), *(request.shares[number] for number in numbers))
    return pieces


def decode_store_requests(body: bytes) -> list[StoreRequest]:
    """Return the requests of a body.

    Raises:
        BadRequestError: it is malformed.
    """
    requests = list(_requests(body))
    if not 1 <= len(requests) <= STORE_ALL_REQUESTS_MAX:
        raise BadRequestError("no file, or too many")
    return requests


def _requests(body: bytes) -> Iterator[StoreRequest]:
    position = 0
    while position < len(body):
        if position + _REQUEST.size > len(body):
            raise BadRequestError("a request is cut off")
        index, renew, cancel, only_if_none, count, size = _REQUEST.unpack_from(body, position)
        begin = position + _REQUEST.size
        numbers = body[begin : begin + count]
        begin += count
        position = begin + count * size
        if not count or not 1 <= size <= SHARE_SIZE_MAX or position > len(body) or only_if_none > 1:
            raise BadRequestError("a request is cut off, or has no shares of a small length")
        if any(numbers[i] >= numbers[i + 1] for i in range(count - 1)):
            raise BadRequestError("share numbers must ascend")
        shares = {n: body[begin + i * size : begin + (i + 1) * size] for i, n in enumerate(numbers)}
        yield StoreRequest(StorageIndex(index), shares, LeaseSecrets(renew, cancel), bool(only_if_none))


def encode_store_answer(outcomes: Sequence[Allocation | StorageRefusalError]) -> bytes:
    """Return the answer: one outcome for each request, in their order."""
    pieces: list[bytes] = []
    for outcome in outcomes:
        if isinstance(outcome, Allocation):
            have, stored = sorted(outcome.already_have), sorted(outcome.allocated)
            pieces += (_ANSWER.pack(_DONE, len(have), len(stored)), bytes(have), bytes(stored))
        else:
            pieces.append(_ANSWER.pack(outcome.status, 0, 0))
    return b"".join(pieces)


def decode_store_answer(data: bytes, count: int) -> list[Allocation | StorageRefusalError]:
    """Return the outcomes of ``count`` requests.

    Raises:
        BadRequestError: it is malformed.
    """
    outcomes: list[Allocation | StorageRefusalError] = []
    position = 0
    for _ in range(count):
        if position + _ANSWER.size > len(data):
            raise BadRequestError("an outcome is missing")
        status, have, stored = _ANSWER.unpack_from(data, position)
        middle = position + _ANSWER.size + have
        numbers = data[position + _ANSWER.size : middle + stored]
        position = middle + stored
        if status == _DONE:
            outcomes.append(Allocation(frozenset(numbers[:have]), frozenset(numbers[have:])))
        elif status in REFUSALS and not numbers:
            outcomes.append(REFUSALS[status](f"the server refused with status {status}"))
        else:
            raise BadRequestError("an outcome of no known kind")
    if position != len(data):
        raise BadRequestError("bytes follow the outcomes")
    return outcomes
