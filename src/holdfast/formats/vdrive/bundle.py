"""Bundles: one directory at one version, as a stream that can be proven without any key.

A bundle is a sequence of CBOR items: a header, the entries in the order of slots, and an
end that counts them. Neither side holds more of it than it was just given.

Source: docs/spec/vdrive.md, section 14.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from holdfast.crypto.sealed_boxes import BOX_FIELDS, BoxShapeError, check_shape
from holdfast.crypto.vdrive_keys import KEY_SIZE, SIGNATURE_SIZE, index_of, log_name, refresh_id
from holdfast.errors import IntegrityError
from holdfast.formats import deterministic_cbor
from holdfast.formats.cbor import CborCutOffError, MalformedCborError, decode_first
from holdfast.formats.vdrive.entry import SealedEntry, digests_of
from holdfast.formats.vdrive.growing_root import GrowingRoot
from holdfast.formats.vdrive.head import BadHeadError, Head, SignedHead, head_hash, parse_head, verified_head
from holdfast.formats.vdrive.tree import SLOT_SIZE

TAIL_MAX: Final = 1000  # heads before the newest one

_NAME = "holdfast-vdrive-bundle"
_VERSION = 1
_END = "end"
_KEYS = frozenset(range(1, 10))
_HEADER_SIZE_MAX = 1 << 20  # bytes
_ENTRY_SIZE_MAX = 1 << 14
_NUMBER_END = 2**63


class BadBundleError(IntegrityError):
    """The bytes are no bundle, or it does not hold what its head says."""


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """What a bundle says of its directory.

    Attributes:
        tail: the last heads before ``head``, oldest first, at most 1000.
        time: when the bundle was made, Unix seconds.
    """

    index: bytes
    refresh_id: bytes
    verify_key: bytes
    commitment: bytes
    head: SignedHead
    tail: tuple[SignedHead, ...]
    time: int


def encode_header(header: BundleHeader) -> bytes:
    """Return the beginning of a bundle."""
    return deterministic_cbor.encode(
        {
            1: _NAME,
            2: _VERSION,
            3: header.index,
            4: header.refresh_id,
            5: header.verify_key,
            6: header.commitment,
            7: header.head,
            8: header.tail,
            9: header.time,
        }
    )


def encode_entry(entry: SealedEntry) -> bytes:
    """Return an entry as it is in a bundle."""
    return deterministic_cbor.encode(entry)


def encode_end(count: int) -> bytes:
    """Return the end of a bundle with ``count`` entries."""
    return deterministic_cbor.encode({1: _END, 2: count})


class _Stage(Enum):
    HEADER = auto()
    ENTRIES = auto()
    ENDED = auto()


class BundleReader:
    """Reads a bundle and proves it as it comes. Only after ``finish`` is it known to be complete.

    Attributes:
        header: once it was read; by then its keys, its signature and its chain of heads are proven.
        head: the newest head, at the same time.
    """

    def __init__(self, index: bytes) -> None:
        """``index``: of the directory that is expected."""
        self.header: BundleHeader | None = None
        self.head: Head | None = None
        self._index = index
        self._stage = _Stage.HEADER
        self._rest = b""
        self._last_slot = b""
        self._root = GrowingRoot()

    def feed(self, data: bytes) -> list[SealedEntry]:
        """Return the entries that became complete with ``data``, the next bytes of the bundle.

        Give it some kilobytes at once: a header of half a megabyte is read again with each piece of it.

        Raises:
            BadBundleError: this is no bundle of the directory, or not one that a writer vouches for.
        """
        buffer = self._rest + data
        entries: list[SealedEntry] = []
        offset = 0
        while offset < len(buffer):
            if self._stage is _Stage.ENDED:
                raise self._error("bytes follow its end")
            try:
                item, end = decode_first(buffer, offset)
            except CborCutOffError:
                break
            except MalformedCborError as error:
                raise self._error(f"it is malformed: {error}") from None
            if deterministic_cbor.encode(item) != buffer[offset:end]:
                raise self._error("it is not in deterministic encoding")
            self._take(item, entries)
            offset = end
        self._rest = buffer[offset:]
        if len(self._rest) > (_HEADER_SIZE_MAX if self._stage is _Stage.HEADER else _ENTRY_SIZE_MAX):
            raise self._error("an item in it is too long")
        self._root.add([entry.slot for entry in entries], digests_of(entries))
        if self._stage is _Stage.ENDED:
            self._check_content()
        return entries

    def finish(self) -> None:
        """Take note that no bytes follow.

        Raises:
            BadBundleError: the bundle is cut off.
        """
        if self._stage is not _Stage.ENDED:
            raise self._error("it is cut off")

    def _take(self, item: object, entries: list[SealedEntry]) -> None:
        if self._stage is _Stage.HEADER:
            self.header = self._header(item)
            self.head = self._verified(self.header)
            self._stage = _Stage.ENTRIES
        elif isinstance(item, dict):
            if item != {1: _END, 2: self._root.count + len(entries)}:
                raise self._error("its end does not fit")
            self._stage = _Stage.ENDED
        else:
            entries.append(self._entry(item))

    def _header(self, item: object) -> BundleHeader:
        if not isinstance(item, dict) or item.keys() != _KEYS or item[1] != _NAME:
            raise self._error("it does not begin as one")
        if item[2] is True or item[2] != _VERSION:
            raise self._error("it was made by another version of Holdfast")
        index, refresh, verify_key, commitment = (self._key(item[key]) for key in (3, 4, 5, 6))
        tail, time = item[8], item[9]
        if not isinstance(tail, list) or len(tail) > TAIL_MAX or not _is_number(time):
            raise self._error("its header is malformed")
        heads = tuple(map(self._signed, tail))
        return BundleHeader(index, refresh, verify_key, commitment, self._signed(item[7]), heads, time)

    def _key(self, item: object) -> bytes:
        if not isinstance(item, bytes) or len(item) != KEY_SIZE:
            raise self._error("a key in it has a wrong length")
        return item

    def _signed(self, item: object) -> SignedHead:
        match item:
            case [bytes(head), bytes(signature)] if len(signature) == SIGNATURE_SIZE:
                return SignedHead(head, signature)
        raise self._error("a head in it is malformed")

    def _verified(self, header: BundleHeader) -> Head:
        """Return the newest head, if all in the header fits together."""
        if header.index != self._index or header.index != index_of(header.commitment, header.verify_key):
            raise self._error("it is one of another directory")
        if header.refresh_id != refresh_id(header.index):
            raise self._error("it names another refresh id")
        try:
            head = verified_head(header.head, header.verify_key, header.index)
            befores = [parse_head(signed.head) for signed in header.tail]
        except BadHeadError as error:
            raise self._error(str(error)) from None
        follower = head
        for signed, before in zip(reversed(header.tail), reversed(befores), strict=True):
            linked = head_hash(signed.head) == follower.previous
            if not linked or before.version != follower.version - 1 or before.index != head.index:
                raise self._error("its heads do not follow one another")
            follower = before
        return head

    def _entry(self, item: object) -> SealedEntry:
        match item:
            case [bytes(slot), int(version), bytes(n), bytes(w), bytes(r), bytes(m)]:
                entry = SealedEntry(slot, version, n, w, r, m)
            case _:
                raise self._error("an entry in it is malformed")
        if len(slot) != SLOT_SIZE or slot <= self._last_slot:
            raise self._error("its entries are not in the order of slots")
        assert self.head is not None
        if not (_is_number(version) and 1 <= version <= self.head.version):
            raise self._error("an entry in it has an impossible version")
        try:
            for field, box in zip(BOX_FIELDS, (n, w, r, m), strict=True):
                check_shape(field, box)
        except BoxShapeError as error:
            raise self._error(str(error)) from None
        self._last_slot = slot
        return entry

    def _check_content(self) -> None:
        assert self.head is not None
        if (self._root.count, self._root.value()) != (self.head.count, self.head.root):
            raise self._error("its entries are not those that its head vouches for")

    def _error(self, reason: str) -> BadBundleError:
        return BadBundleError(f"bundle of directory {log_name(self._index)}: {reason}")


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _NUMBER_END
