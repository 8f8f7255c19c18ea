"""What a commit does to the entries of one directory: one operation for each slot, in the order of slots.

Source: docs/spec/vdrive.md, sections 3.2 and 6.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from holdfast.crypto.sealed_boxes import BOX_FIELDS, BoxShapeError, BoxTooLargeError, check_shape
from holdfast.crypto.vdrive_keys import tagged
from holdfast.formats import deterministic_cbor
from holdfast.formats.cbor import MalformedCborError
from holdfast.formats.vdrive.tree import SLOT_SIZE

OPERATIONS_MAX: Final = 1000  # in one directory and one commit
OPERATIONS_SIZE_MAX: Final = 8 << 20  # bytes
EMPTY_OPERATIONS: Final = b"\x80"

_ADD, _REPLACE, _DELETE = 1, 2, 3
_VERSION_END = 2**63


class MalformedOperationsError(ValueError):
    """The bytes are no list of operations, or not in its only form."""


class OperationsTooLargeError(MalformedOperationsError):
    """A box exceeds its limit, or there are too many operations."""


class Add(NamedTuple):
    """Put an entry where there is none. ``name`` and the following are boxes."""

    slot: bytes
    name: bytes
    write: bytes
    read: bytes
    metadata: bytes


class Replace(NamedTuple):
    """Put an entry in the place of one that was written at version ``old``."""

    slot: bytes
    old: int
    name: bytes
    write: bytes
    read: bytes
    metadata: bytes


class Delete(NamedTuple):
    """Remove an entry that was written at version ``old``."""

    slot: bytes
    old: int


Operation: TypeAlias = Add | Replace | Delete


def encode_operations(operations: Iterable[Operation]) -> bytes:
    """Return operations, given in any order, as they are hashed and sent.

    Raises:
        OperationsTooLargeError: some limit is exceeded.
        MalformedOperationsError: two are of one slot, or a part of one is no such thing.
    """
    ordered = sorted(operations, key=lambda operation: operation.slot)
    _check(ordered)
    data = deterministic_cbor.encode([_item(operation) for operation in ordered])
    _check_size(data)
    return data


def parse_operations(data: bytes) -> tuple[Operation, ...]:
    """Return the operations in ``data``.

    Raises:
        OperationsTooLargeError: some limit is exceeded.
        MalformedOperationsError: it is no such list, or not sorted, or not deterministic.
    """
    _check_size(data)
    try:
        items = deterministic_cbor.decode(data, size_max=OPERATIONS_SIZE_MAX)
    except MalformedCborError as error:
        raise MalformedOperationsError(f"operations are malformed: {error}") from None
    if not isinstance(items, list):
        raise MalformedOperationsError("operations are not a list")
    operations = [_operation(item) for item in items]
    _check(operations)
    return tuple(operations)


def operations_digest(data: bytes) -> bytes:
    """Return the digest, 32 bytes, that a head holds of the operations that led to it."""
    return tagged("ops", data)


def _item(operation: Operation) -> tuple[object, ...]:
    match operation:
        case Add():
            return (_ADD, operation.slot, None, *operation[1:])
        case Replace():
            return (_REPLACE, *operation)
        case Delete():
            return (_DELETE, *operation)


def _operation(item: object) -> Operation:
    match item:
        case [True, *_]:  # which equals 1
            raise MalformedOperationsError("an operation is of no known form")
        case [1, bytes(slot), None, bytes(name), bytes(write), bytes(read), bytes(metadata)]:
            return Add(slot, name, write, read, metadata)
        case [2, bytes(slot), int(old), bytes(name), bytes(write), bytes(read), bytes(metadata)]:
            return Replace(slot, old, name, write, read, metadata)
        case [3, bytes(slot), int(old)]:
            return Delete(slot, old)
        case _:
            raise MalformedOperationsError("an operation is of no known form")


def _check_size(data: bytes) -> None:
    if len(data) > OPERATIONS_SIZE_MAX:
        raise OperationsTooLargeError(f"operations have at most {OPERATIONS_SIZE_MAX} bytes")


def _check(operations: list[Operation]) -> None:
    if len(operations) > OPERATIONS_MAX:
        raise OperationsTooLargeError(f"a commit has at most {OPERATIONS_MAX} operations in a directory")
    previous = b""
    for operation in operations:
        if len(operation.slot) != SLOT_SIZE:
            raise MalformedOperationsError("a slot has 32 bytes")
        if operation.slot <= previous:
            raise MalformedOperationsError("operations are not sorted by slot, or two are of one slot")
        previous = operation.slot
        if not isinstance(operation, Add) and not _is_version(operation.old):
            raise MalformedOperationsError("an entry cannot have this version")
        if not isinstance(operation, Delete):
            _check_boxes(operation)


def _check_boxes(operation: Add | Replace) -> None:
    try:
        for field, box in zip(BOX_FIELDS, operation[-4:], strict=True):
            check_shape(field, box)
    except BoxTooLargeError as error:
        raise OperationsTooLargeError(str(error)) from None
    except BoxShapeError as error:
        raise MalformedOperationsError(str(error)) from None


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < _VERSION_END
