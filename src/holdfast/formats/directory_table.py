"""A directory as it is stored: its entries, from bytes and back.

Nothing of another client is lost: an entry that is not touched is written back byte for
byte, and so is one that cannot be read here, until something else takes its name.

Source: docs/spec/directories.md, sections 2, 3 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from holdfast.caps.slots import ChildSlots
from holdfast.crypto.netstring import netstring
from holdfast.errors import NotCapableError
from holdfast.formats.directory_entry import (
    DirectoryEntry,
    Holding,
    netstring_at,
    packed_entry,
    unpacked_entry,
)
from holdfast.formats.directory_metadata import Metadata
from holdfast.formats.directory_names import normalised


class DirectoryTable:
    """The entries of one directory, by name. Every name given is normalised first.

    An entry that cannot be read is one of them, unless another entry has its name.
    """

    def __init__(self, holding: Holding, entries: Iterable[DirectoryEntry] = ()) -> None:
        """Begin with these entries, each of another name."""
        self._holding = holding
        self._entries = {entry.name: entry for entry in entries}
        self._unreadable: dict[str, list[DirectoryEntry]] = {}  # beside the entry of that name
        self._original: bytes | None = None  # what it was read from, until it is changed

    @property
    def immutable(self) -> bool:
        """True if nobody can change the directory."""
        return self._holding.immutable

    @property
    def writable(self) -> bool:
        """True if it is held with the right to change it."""
        return self._holding.write_key is not None

    @property
    def size(self) -> int:
        """Bytes of the directory as it is stored."""
        if self._original is not None:
            return len(self._original)
        return sum(entry.stored_size for entry in self._in_order())

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[DirectoryEntry]:
        """Yield the entries in the order of their names, by code points."""
        return iter([self._entries[name] for name in sorted(self._entries)])

    def __contains__(self, name: str) -> bool:
        return normalised(name) in self._entries

    def get(self, name: str) -> DirectoryEntry | None:
        """Return the entry of this name; None if there is none."""
        return self._entries.get(normalised(name))

    def copy(self) -> DirectoryTable:
        """Return a table that can be changed by itself; they share the entries."""
        copy = type(self)(self._holding)
        copy._entries = self._entries.copy()
        copy._unreadable = self._unreadable.copy()
        copy._original = self._original
        return copy

    def set(self, name: str, child: ChildSlots, metadata: Metadata) -> DirectoryEntry:
        """Make an entry in place of all that have this name, and return it.

        ``metadata`` is stored as it is; ``updated_metadata`` makes it from what was there.

        Raises:
            NotCapableError: the directory is immutable, or held read-only.
            ChildFaultError: the child has a fault, or would give readers more than reading.
            BadChildNameError, BadMetadataError: what they say.
        """
        self._check_writable()
        entry = packed_entry(name, child, metadata, self._holding)
        self._unreadable.pop(entry.name, None)
        self._entries[entry.name] = entry
        self._original = None
        return entry

    def delete(self, name: str) -> DirectoryEntry | None:
        """Remove all entries of this name; return the one that counted, None if there was none.

        Raises:
            NotCapableError: the directory is immutable, or held read-only.
        """
        self._check_writable()
        entry = self._entries.pop(normalised(name), None)
        if entry is not None:
            self._unreadable.pop(entry.name, None)
            self._original = None
        return entry

    def to_bytes(self) -> bytes:
        """Return the directory as it is to be stored; if nothing was changed, as it was read."""
        if self._original is None:
            self._original = b"".join(netstring(entry.raw) for entry in self._in_order())
        return self._original

    def _in_order(self) -> Iterator[DirectoryEntry]:
        for entry in self:
            yield from self._unreadable.get(entry.name, ())
            yield entry

    def _check_writable(self) -> None:
        if not self.writable:
            raise NotCapableError("this directory cannot be changed with the capability it is held by")

    def _read(self, entry: DirectoryEntry) -> None:
        """Take up the next entry of the bytes. Of several with one name the last readable one counts."""
        former = self._entries.get(entry.name)
        if former is None or not former.readable or entry.readable:
            self._entries[entry.name] = entry
            aside = former
        else:
            aside = entry
        if aside is not None and not aside.readable:
            self._unreadable.setdefault(entry.name, []).append(aside)


def unpack_directory(data: bytes, write_key: bytes | None, immutable: bool) -> DirectoryTable:
    """Return the entries in the contents of a directory's file.

    Args:
        write_key: of the directory, 16 bytes; None if it is immutable or held read-only.

    Raises:
        BadDirectoryError: the contents are no directory.
    """
    table = DirectoryTable(Holding(write_key, immutable))
    offset = 0
    while offset < len(data):
        raw, offset = netstring_at(data, offset)
        table._read(unpacked_entry(raw, table._holding))
    table._original = data
    return table


def pack_directory(
    entries: Iterable[tuple[str, ChildSlots, Metadata]], write_key: bytes | None, immutable: bool
) -> bytes:
    """Return the contents for a new directory's file. Metadata is stored as given, without time stamps.

    Args:
        entries: of two names that are equal once normalised, the later one counts.
        write_key: of the directory, 16 bytes; None if it is immutable.

    Raises:
        ChildFaultError: a child has a fault, or must not be in such a directory.
        BadChildNameError, BadMetadataError: what they say.
    """
    if (write_key is None) != immutable:
        raise ValueError("a mutable directory is packed with its write key")
    holding = Holding(write_key, immutable)
    packed = {entry.name: entry.raw for entry in (packed_entry(*entry, holding) for entry in entries)}
    return b"".join(netstring(packed[name]) for name in sorted(packed))
