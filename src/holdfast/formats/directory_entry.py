"""One entry of a directory: a name, what leads to the child, and metadata of the link.

An entry keeps the bytes it was read with, since untouched entries are written back as they
are. What they say of the child is worked out when first asked for: it takes hashing,
deciphering and parsing, and most entries of a large directory are only carried along.

Source: docs/spec/directories.md, sections 2 to 4.
"""

from __future__ import annotations

import hashlib
import re

from holdfast.caps.parsing import IMMUTABLE_PREFIX, READ_ONLY_PREFIX
from holdfast.caps.slots import ChildFaultError, ChildSlots, child_slots, stored_in_read_only_slot
from holdfast.crypto.netstring import netstring
from holdfast.errors import BadFileError
from holdfast.formats.directory_metadata import (
    BadMetadataError,
    Metadata,
    metadata_to_bytes,
    parse_metadata,
)
from holdfast.formats.directory_names import normalised
from holdfast.formats.directory_write_caps import decrypted_write_cap, encrypted_write_cap

WRITE_KEY_SIZE = 16  # bytes
VERSION_SIZE = 16

# Zeros in front of a length are tolerated; more digits than any real length has are not.
_NETSTRING_HEAD = re.compile(rb"0*([0-9]{1,20}):")
_PREFIXES = (READ_ONLY_PREFIX, IMMUTABLE_PREFIX)


class BadDirectoryError(BadFileError):
    """The bytes are not a directory: they were written wrongly, or are something else."""


class Holding:
    """How a directory is held: may it change at all, and with which key may one read the children's
    write capabilities."""

    __slots__ = ("_absent", "immutable", "write_key")

    def __init__(self, write_key: bytes | None, immutable: bool) -> None:
        """``write_key``: 16 bytes; None if the directory is immutable or held read-only."""
        if write_key is not None and (immutable or len(write_key) != WRITE_KEY_SIZE):
            raise ValueError("a write key has 16 bytes, and an immutable directory has none")
        self.write_key = write_key
        self.immutable = immutable
        self._absent: bytes | None = None

    def sealed(self, write_cap: bytes | None) -> bytes:
        """Return the field for a child's write capability, or for one that has none."""
        if self.write_key is None:
            return b""
        if write_cap:
            return encrypted_write_cap(write_cap, self.write_key)
        if self._absent is None:  # the same for all such children
            self._absent = encrypted_write_cap(b"", self.write_key)
        return self._absent

    def child(self, rw_field: bytes, ro_field: bytes) -> ChildSlots:
        """Return the child that two fields describe to whoever holds the directory so.

        A write capability in the field for readers is a fault: it would be theirs, too.
        """
        ro = ro_field.rstrip(b" ")
        if self.immutable:
            return child_slots(None, ro, deep_immutable=True)
        rw = b"" if self.write_key is None else decrypted_write_cap(rw_field, self.write_key).rstrip(b" ")
        if ro and not ro.startswith(_PREFIXES):
            ro = READ_ONLY_PREFIX + ro
        return child_slots(rw, ro)


class DirectoryEntry:
    """One entry; it never changes.

    Attributes:
        name: in Normalization Form C, whatever form the bytes have.
        raw: its bytes, without the netstring around them.
    """

    __slots__ = ("_child", "_holding", "_metadata", "_ro_field", "_rw_field", "name", "raw")

    def __init__(
        self,
        name: str,
        raw: bytes,
        holding: Holding,
        *,
        rw_field: bytes,
        ro_field: bytes,
        metadata: Metadata,
        child: ChildSlots | None = None,
    ) -> None:
        self.name = name
        self.raw = raw
        self._holding = holding
        self._rw_field = rw_field
        self._ro_field = ro_field
        self._metadata = metadata
        self._child = child

    @property
    def child(self) -> ChildSlots:
        """What the entry links to. With a fault the entry cannot be read: its bytes are kept, no more."""
        if self._child is None:
            self._child = self._holding.child(self._rw_field, self._ro_field)
        return self._child

    @property
    def readable(self) -> bool:
        return self.child.fault is None

    @property
    def reason(self) -> str | None:
        """Why the entry cannot be read, as a sentence for people; None if it can."""
        fault = self.child.fault
        return None if fault is None else str(ChildFaultError(fault))

    @property
    def metadata(self) -> Metadata:
        """Empty if the entry cannot be read."""
        return self._metadata if self.readable else {}

    @property
    def version(self) -> bytes:
        """16 bytes that are others whenever the entry is set to something else."""
        return hashlib.sha256(self.raw).digest()[:VERSION_SIZE]

    @property
    def stored_size(self) -> int:
        """Bytes that it takes in its directory."""
        return len(netstring(self.raw))


def packed_entry(name: str, child: ChildSlots, metadata: Metadata, holding: Holding) -> DirectoryEntry:
    """Return a new entry.

    Raises:
        ChildFaultError: the child has a fault, or must not be in such a directory.
        BadChildNameError, BadMetadataError: what they say.
    """
    name = normalised(name)
    if child.fault is not None:
        raise ChildFaultError(child.fault)
    if holding.immutable and not child.allowed_in_immutable_directory:
        raise ChildFaultError("must-be-deep-immutable")
    rw_field = holding.sealed(child.rw)
    ro_field = stored_in_read_only_slot(child.ro or b"", holding.immutable)
    if child.cap is None:  # nobody has looked yet at what an unknown child gives to readers
        fault = holding.child(rw_field, ro_field).fault
        if fault is not None:
            raise ChildFaultError(fault)
    parts = (name.encode("utf-8"), ro_field, rw_field, metadata_to_bytes(metadata))
    raw = b"".join(map(netstring, parts))
    return DirectoryEntry(
        name, raw, holding, rw_field=rw_field, ro_field=ro_field, metadata=metadata, child=child
    )


def unpacked_entry(raw: bytes, holding: Holding) -> DirectoryEntry:
    """Return the entry that consists of these bytes; what is behind its four parts does not matter.

    Raises:
        BadDirectoryError: they are none, so that the whole directory is none.
    """
    name_part, ro_field, rw_field, metadata_part = _four_parts(raw)
    if holding.immutable and rw_field:
        raise BadDirectoryError("an immutable directory holds a write capability")
    try:
        name = normalised(name_part.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadDirectoryError("the name of a child is not UTF-8") from None
    child = None
    try:
        metadata = parse_metadata(metadata_part)
    except BadMetadataError as error:
        child = holding.child(rw_field, ro_field)
        if child.fault is None:
            raise BadDirectoryError(str(error)) from None
        metadata = {}
    return DirectoryEntry(
        name, raw, holding, rw_field=rw_field, ro_field=ro_field, metadata=metadata, child=child
    )


def netstring_at(data: bytes, offset: int) -> tuple[bytes, int]:
    """Return the value of the netstring at ``offset``, and the offset behind it.

    Raises:
        BadDirectoryError: there is none.
    """
    head = _NETSTRING_HEAD.match(data, offset)
    if head is None:
        raise BadDirectoryError("an entry has no length")
    start = head.end()
    end = start + int(head[1])
    if data[end : end + 1] != b",":
        raise BadDirectoryError("an entry is cut off, or longer than it says")
    return data[start:end], end + 1


def _four_parts(raw: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    name, offset = netstring_at(raw, 0)
    ro_field, offset = netstring_at(raw, offset)
    rw_field, offset = netstring_at(raw, offset)
    metadata, _ = netstring_at(raw, offset)
    return name, ro_field, rw_field, metadata
