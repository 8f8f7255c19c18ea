"""Entries opened by those who have the keys, and what is checked then.

A listing opens names, and the rest of an entry when somebody asks for it: most readers of
a large directory look for a few children.

Source: docs/spec/vdrive.md, sections 5.1 to 5.4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from holdfast.caps.parsing import IMMUTABLE_PREFIX, READ_ONLY_PREFIX, parse_cap
from holdfast.caps.slots import ChildFaultError, ChildSlots, child_slots
from holdfast.caps.unknown import ErroneousCap, UnknownCap
from holdfast.crypto.sealed_boxes import BoxCipher, SealedBoxError
from holdfast.crypto.vdrive_keys import ReadKeys, WriteKeys, log_name, slot_of_bytes
from holdfast.errors import BadCapabilityError, IntegrityError
from holdfast.formats.directory_metadata import BadMetadataError, Metadata
from holdfast.formats.directory_names import BadChildNameError
from holdfast.formats.vdrive.edge_metadata import metadata_from_cbor
from holdfast.formats.vdrive.entry import NameEntry, SealedEntry
from holdfast.formats.vdrive.names import child_name

_PREFIXES = (READ_ONLY_PREFIX, IMMUTABLE_PREFIX)


class BadEntryError(IntegrityError):
    """An entry has a name that cannot be there."""


class EntryContents(NamedTuple):
    """What an entry leads to.

    Attributes:
        fault: why that cannot be told, as a sentence; then the child is unreadable, and there is no metadata.
    """

    child: ChildSlots
    metadata: Metadata
    fault: str | None = None


class OpenEntry:
    """One child, by its name. Boxes other than that of the name are opened when one of ``child``,
    ``metadata`` and ``fault`` is asked for, and none of the three raises.

    Attributes:
        version: of the directory, when the entry was written last.
        slot: of the name, 32 bytes.
    """

    __slots__ = ("_contents", "_open", "name", "slot", "version")

    def __init__(self, name: str, version: int, slot: bytes, contents: Callable[[], EntryContents]) -> None:
        """``contents`` is called once, if at all."""
        self.name = name
        self.version = version
        self.slot = slot
        self._open = contents
        self._contents: EntryContents | None = None

    @property
    def contents(self) -> EntryContents:
        if self._contents is None:
            self._contents = self._open()
        return self._contents

    @property
    def child(self) -> ChildSlots:
        """What the name leads to. In a listing of names it has no capabilities."""
        return self.contents.child

    @property
    def metadata(self) -> Metadata:
        return self.contents.metadata

    @property
    def fault(self) -> str | None:
        """Why the child cannot be told, as a sentence for people; None if it can."""
        return self.contents.fault

    def __repr__(self) -> str:
        return f"<OpenEntry {log_name(self.slot)} of version {self.version}>"


class EntryOpener:
    """Opens entries of one directory."""

    def __init__(self, read: ReadKeys, write: WriteKeys | None = None) -> None:
        """``write``: None for those who only read."""
        self._index = read.index
        self._name_key = read.name_key
        self._reader = BoxCipher(read.seal_key, read.index)
        self._writer = None if write is None else BoxCipher(write.seal_key, read.index)

    def open(self, entry: SealedEntry | NameEntry) -> OpenEntry:
        """Return ``entry`` with its name.

        Raises:
            SealedBoxError: the box of the name does not open.
            BadEntryError: the name is impossible, or belongs to another slot.
        """
        slot = entry.slot
        raw = self._reader.open(slot, "n", entry.name)
        if slot_of_bytes(self._name_key, raw) != slot:
            raise self._bad_name(slot)
        try:
            name = raw.decode("utf-8")
            if child_name(name) != name:
                raise self._bad_name(slot)
        except (UnicodeDecodeError, BadChildNameError):
            raise self._bad_name(slot) from None
        if isinstance(entry, SealedEntry):
            return OpenEntry(name, entry.version, slot, partial(self._contents, entry))
        return OpenEntry(name, entry.version, slot, _names_only)

    def _contents(self, entry: SealedEntry) -> EntryContents:
        try:
            writer = self._writer.open(entry.slot, "w", entry.write) if self._writer and entry.write else b""
            reader = self._reader.open(entry.slot, "r", entry.read)
            metadata = metadata_from_cbor(self._reader.open(entry.slot, "m", entry.metadata))
            return EntryContents(_child(writer, reader), metadata)
        except (SealedBoxError, BadMetadataError, BadCapabilityError) as error:
            return EntryContents(ChildSlots(fault="malformed"), {}, str(error))

    def _bad_name(self, slot: bytes) -> BadEntryError:
        where = f"directory {log_name(self._index)}, entry {log_name(slot)}"
        return BadEntryError(f"{where}: the name is not one that can be here")


def _names_only() -> EntryContents:
    return EntryContents(ChildSlots(), {})


def _child(writer: bytes, reader: bytes) -> ChildSlots:
    """Return the child that the opened boxes describe.

    Raises:
        BadCapabilityError: writers would see something else than readers, or readers could write.
    """
    if reader and not reader.startswith(_PREFIXES):
        reader = READ_ONLY_PREFIX + reader  # what stands here only reads, whatever it turns out to be
    child = child_slots(writer, reader)
    if child.fault is not None:
        raise ChildFaultError(child.fault)
    if writer and not _belong_together(writer, reader):
        raise BadCapabilityError("the capabilities for writers and for readers do not belong together")
    return child


def _belong_together(writer: bytes, reader: bytes) -> bool:
    """Tell whether one is the read-only form of the other. Of unknown ones nobody knows."""
    strong, weak = parse_cap(writer), parse_cap(reader)
    if isinstance(strong, UnknownCap | ErroneousCap):
        return isinstance(strong, UnknownCap)
    if isinstance(weak, UnknownCap | ErroneousCap):
        return False
    return strong.read_only == weak
