"""The head of a directory: what a writer signs at each change. Each head names the one before it.

Source: docs/spec/vdrive.md, section 6.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from holdfast.crypto.netstring import netstring
from holdfast.crypto.vdrive_keys import WriteKeys, log_name, signature_holds, tag, tagged
from holdfast.errors import IntegrityError
from holdfast.formats import deterministic_cbor
from holdfast.formats.cbor import MalformedCborError
from holdfast.formats.vdrive.operations import EMPTY_OPERATIONS, operations_digest
from holdfast.formats.vdrive.tree import EMPTY, INNER_KIND, LEAF_KIND, NODE_SIZE

HEAD_SIZE_MAX: Final = 512  # bytes
HASH_SIZE: Final = 32
NONCE_SIZE: Final = 16
NO_HEAD: Final = bytes(HASH_SIZE)  # the previous one of version 0

_FORMAT = 1
_SIZES = {2: HASH_SIZE, 4: HASH_SIZE, 5: NODE_SIZE, 7: HASH_SIZE, 9: NONCE_SIZE}
_NUMBERS = frozenset({1, 3, 6, 8, 10, 11})
_REQUIRED = frozenset(range(1, 10))
_NUMBER_END = 2**63


class BadHeadError(IntegrityError):
    """The bytes are no head, or not one that a writer of this directory signed."""


class SignedHead(NamedTuple):
    """A head as it travels.

    Attributes:
        head: deterministic CBOR, at most 512 bytes.
        signature: Ed25519, 64 bytes.
    """

    head: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """One state of a directory.

    Attributes:
        index: of the directory, 32 bytes.
        previous: hash of the head before, 32 bytes; zeros in version 0.
        root: value of the tree over all entries, 33 bytes.
        count: of the entries.
        operations_digest: of what led here from the head before, 32 bytes.
        time: the writer's clock, Unix seconds; 0 in version 0.
        nonce: 16 bytes that make every head another; zeros in version 0.
        heartbeat: seconds after which there will be another head; None if that is not said.
        disown_base: whatever anyone remembers above this version is lost; None if that is not said.
    """

    index: bytes
    version: int
    previous: bytes
    root: bytes
    count: int
    operations_digest: bytes
    time: int
    nonce: bytes
    heartbeat: int | None = None
    disown_base: int | None = None

    def to_bytes(self) -> bytes:
        """Return the form that is hashed and signed."""
        fields: dict[int, object] = {
            1: _FORMAT,
            2: self.index,
            3: self.version,
            4: self.previous,
            5: self.root,
            6: self.count,
            7: self.operations_digest,
            8: self.time,
            9: self.nonce,
        }
        if self.heartbeat is not None:
            fields[10] = self.heartbeat
        if self.disown_base is not None:
            fields[11] = self.disown_base
        return deterministic_cbor.encode(fields)


def parse_head(data: bytes) -> Head:
    """Return the head that ``data`` is, whoever may have made it.

    Raises:
        BadHeadError: it is none.
    """
    try:
        fields = deterministic_cbor.decode(data, size_max=HEAD_SIZE_MAX)
    except MalformedCborError as error:
        raise BadHeadError(f"a head is malformed: {error}") from None
    if not isinstance(fields, dict) or not _REQUIRED <= fields.keys() <= _REQUIRED | _NUMBERS:
        raise BadHeadError("a head is malformed: it has other fields")
    if _number(fields, 1) != _FORMAT:
        raise BadHeadError("a head has a format of another version of Holdfast")
    head = Head(
        **{name: _bytes(fields, key) for name, key in _BYTES_FIELDS.items()},
        version=_number(fields, 3),
        count=_number(fields, 6),
        time=_number(fields, 8),
        heartbeat=_number(fields, 10) if 10 in fields else None,
        disown_base=_number(fields, 11) if 11 in fields else None,
    )
    _check(head)
    return head


def head_hash(data: bytes) -> bytes:
    """Return the hash, 32 bytes, by which the next head names this one."""
    return tagged("head", data)


def first_head(keys: WriteKeys) -> SignedHead:
    """Return the head of the empty directory, which these keys give and nothing else."""
    return sign_head(keys, _first(keys.read.index))


def next_head(
    previous: bytes,
    *,
    root: bytes,
    count: int,
    operations: bytes,
    time: int,
    nonce: bytes,
    heartbeat: int | None = None,
    disown_base: int | None = None,
) -> Head:
    """Return the head that follows ``previous``.

    Args:
        previous: a head in its signed form.
        time: Unix seconds; the head has no earlier time than the one before, whatever the clock says.
        heartbeat, disown_base: as in ``Head``.
    """
    before = parse_head(previous)
    return Head(
        before.index,
        before.version + 1,
        head_hash(previous),
        root,
        count,
        operations_digest(operations),
        max(time, before.time),
        nonce,
        heartbeat,
        disown_base,
    )


def sign_head(keys: WriteKeys, head: Head) -> SignedHead:
    """Sign ``head``.

    Raises:
        ValueError: no reader would take it.
    """
    data = head.to_bytes()
    try:
        parse_head(data)
    except BadHeadError as error:
        raise ValueError(str(error)) from None
    return SignedHead(data, keys.sign(_statement(data)))


def verified_head(signed: SignedHead, verify_key: bytes, index: bytes) -> Head:
    """Return the head, if a writer of this directory signed it.

    Raises:
        BadHeadError: it is malformed, another directory's, or the signature is wrong.
    """
    if not signature_holds(verify_key, _statement(signed.head), signed.signature):
        raise BadHeadError(f"directory {log_name(index)}: the signature of a head is wrong")
    head = parse_head(signed.head)
    if head.index != index:
        raise BadHeadError(f"directory {log_name(index)}: a head is that of another directory")
    return head


_BYTES_FIELDS = {"index": 2, "previous": 4, "root": 5, "operations_digest": 7, "nonce": 9}


def _statement(data: bytes) -> bytes:
    return netstring(tag("head-signature")) + data


def _first(index: bytes) -> Head:
    return Head(index, 0, NO_HEAD, EMPTY, 0, operations_digest(EMPTY_OPERATIONS), 0, bytes(NONCE_SIZE))


def _check(head: Head) -> None:
    """Refuse what contradicts itself."""
    if head.version == 0 and head != _first(head.index):
        raise BadHeadError("a head of version 0 is not that of an empty directory")
    fits = {0: head.root == EMPTY, 1: head.root.startswith(LEAF_KIND)}
    if not fits.get(head.count, head.root.startswith(INNER_KIND)):
        raise BadHeadError("the root of a head is not that of so many entries")
    if head.disown_base is not None and head.disown_base >= head.version:
        raise BadHeadError("a head disowns what comes after it")


def _bytes(fields: dict[object, object], key: int) -> bytes:
    value = fields[key]
    if not isinstance(value, bytes) or len(value) != _SIZES[key]:
        raise BadHeadError(f"a head is malformed: field {key}")
    return value


def _number(fields: dict[object, object], key: int) -> int:
    value = fields[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _NUMBER_END:
        raise BadHeadError(f"a head is malformed: field {key}")
    return value
