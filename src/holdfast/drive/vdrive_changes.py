"""Between entries of virtual drive directories and small tables, on which changes are decided as for
directories of the grid; and from what became of a table back to changes of entries.

Some metadata is of no concern to users, and kept from their sight: ``hv``, the version of a
child directory that a writer saw last, below which nothing shown as that child is believed;
and ``hu``, true if the entries of a child directory shall look alike.

Source: docs/spec/vdrive.md, sections 5.3, 7.5 and 9.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.caps.parsing import IMMUTABLE_PREFIX, READ_ONLY_PREFIX
from holdfast.caps.slots import ChildFaultError, ChildSlots, child_slots
from holdfast.caps.vdrive import VdriveReadCap, VdriveWriteCap
from holdfast.crypto.vdrive_keys import log_name
from holdfast.formats.directory_entry import WRITE_KEY_SIZE, DirectoryEntry, Holding
from holdfast.formats.directory_metadata import Metadata
from holdfast.formats.directory_table import DirectoryTable
from holdfast.formats.vdrive.edge_metadata import metadata_to_cbor
from holdfast.formats.vdrive.head import first_head, head_hash
from holdfast.formats.vdrive.names import child_name
from holdfast.formats.vdrive.open_entry import EntryContents, OpenEntry
from holdfast.grid.vdrive.guard import BOUND_PREFIX_SIZE, VersionBound
from holdfast.grid.vdrive.listing import UnreadableName
from holdfast.grid.vdrive.views import DeleteEntry, EntryChange, PutEntry

SEEN = "hv"  # metadata: what a writer saw last of the child
UNIFORM = "hu"  # metadata: whether the child's entries are uniform
NAMELESS = "?/"  # in front of what is shown in place of a name that cannot be told; no name has a slash
HIDDEN = frozenset((SEEN, UNIFORM))
VERSION_SIZE = 8  # bytes

Hidden = Mapping[bytes, Metadata]
"""Hidden metadata of links to virtual drive directories, by their indices."""

_WRITABLE = Holding(bytes(WRITE_KEY_SIZE), immutable=False)  # no entry is ever packed with this key
_READ_ONLY = Holding(None, immutable=False)
_PREFIXES = (READ_ONLY_PREFIX, IMMUTABLE_PREFIX)


class VdriveEntry(DirectoryEntry):
    """An entry of a virtual drive directory, as it is stored. What it leads to is opened when asked for.

    Attributes:
        opened: the entry itself.
    """

    __slots__ = ("opened",)

    def __init__(self, opened: OpenEntry, holding: Holding) -> None:
        raw = opened.version.to_bytes(VERSION_SIZE, "big") + opened.slot
        super().__init__(opened.name, raw, holding, rw_field=b"", ro_field=b"", metadata={})
        self.opened = opened

    @property
    def child(self) -> ChildSlots:
        return self.opened.child

    @property
    def reason(self) -> str | None:
        return self.opened.fault

    @property
    def metadata(self) -> Metadata:
        return _users_part(self.opened.metadata)

    @property
    def version(self) -> bytes:
        """Eight bytes: the version of the directory that the entry was written in."""
        return self.opened.version.to_bytes(VERSION_SIZE, "big")

    @property
    def stored_size(self) -> int:
        """Bytes of its name and its capabilities; sealed and padded they are some more."""
        child = self.opened.child
        return len(self.name.encode("utf-8")) + len(child.rw or b"") + len(child.ro or b"")


class VdriveTable(DirectoryTable):
    """Entries of a virtual drive directory: all of them, or those that a change concerns."""

    def set(self, name: str, child: ChildSlots, metadata: Metadata) -> DirectoryEntry:
        """Make an entry, to be stored later.

        Raises: as ``DirectoryTable.set``; BadMetadataError also if the metadata is too long.
        """
        self._check_writable()
        name = child_name(name)
        _check_child(child)
        metadata_to_cbor(metadata)
        entry = DirectoryEntry(
            name, b"", self._holding, rw_field=b"", ro_field=b"", metadata=metadata, child=child
        )
        self._entries[name] = entry
        self._original = None
        return entry


def table_of(entries: Iterable[OpenEntry], *, writable: bool) -> VdriveTable:
    """Return a table of these entries."""
    holding = _WRITABLE if writable else _READ_ONLY
    return VdriveTable(holding, (VdriveEntry(entry, holding) for entry in entries))


def changes_between(
    before: DirectoryTable, after: DirectoryTable, hidden: Hidden | None = None, *, uniform: bool
) -> list[EntryChange]:
    """Return what makes ``after`` of ``before``.

    Args:
        hidden: what is to be stored with links to virtual drive directories; None: what is in ``before``.
        uniform: see ``VdriveContents``.
    """
    if after is before:
        return []
    hidden = hidden_in(before) if hidden is None else hidden
    changes: list[EntryChange] = [DeleteEntry(entry.name) for entry in before if entry.name not in after]
    changes += [_put(entry, hidden, uniform) for entry in after if not isinstance(entry, VdriveEntry)]
    return changes


def hidden_in(*tables: DirectoryTable) -> dict[bytes, Metadata]:
    """Return what links in these tables say in secret of the directories they lead to."""
    found: dict[bytes, Metadata] = {}
    for table in tables:
        for entry in table:
            index = _index_of(entry.child)
            if index is not None and isinstance(entry, VdriveEntry):
                kept = {key: value for key, value in entry.opened.metadata.items() if key in HIDDEN}
                if kept:
                    found[index] = kept
    return found


def hidden_when_new(cap: VdriveWriteCap, *, uniform: bool) -> Hidden:
    """Return what the link to a directory says in secret when both are new."""
    seen = seen_at(0, head_hash(first_head(cap.keys).head))
    return {cap.index: {**seen, UNIFORM: True} if uniform else seen}


def seen_at(version: int, hash_of_head: bytes) -> Metadata:
    """Return what a link says in secret of a directory that was seen at this version."""
    return {SEEN: [version, hash_of_head[:BOUND_PREFIX_SIZE]]}


def bound_of(entry: DirectoryEntry) -> VersionBound | None:
    """Return what a link says of the virtual drive directory that it leads to."""
    if isinstance(entry, VdriveEntry) and _index_of(entry.child) is not None:
        match entry.opened.metadata.get(SEEN):
            case [int(version), bytes(prefix)] if version >= 0 and len(prefix) == BOUND_PREFIX_SIZE:
                return VersionBound(version, prefix)
    return None


def is_uniform(entry: DirectoryEntry) -> bool:
    """Tell whether a link says that the entries of its directory are uniform."""
    return isinstance(entry, VdriveEntry) and entry.opened.metadata.get(UNIFORM) is True


def nameless_entry(found: UnreadableName) -> OpenEntry:
    """Return what is listed for an entry whose name cannot be told. It can be seen, and nothing else."""
    contents = EntryContents(ChildSlots(fault="malformed"), {}, found.reason)
    return OpenEntry(NAMELESS + log_name(found.slot), found.version, found.slot, lambda: contents)


def _put(entry: DirectoryEntry, hidden: Hidden, uniform: bool) -> PutEntry:
    index = _index_of(entry.child)
    secret = {} if index is None else hidden.get(index, {})
    return PutEntry(entry.name, entry.child, {**_users_part(entry.metadata), **secret}, uniform)


def _users_part(metadata: Metadata) -> Metadata:
    if HIDDEN.isdisjoint(metadata):
        return metadata
    return {key: value for key, value in metadata.items() if key not in HIDDEN}


def _index_of(child: ChildSlots) -> bytes | None:
    cap = child.cap
    return cap.index if isinstance(cap, VdriveWriteCap | VdriveReadCap) else None


def _check_child(child: ChildSlots) -> None:
    """Raise ChildFaultError if readers could not read the child, or could write."""
    if child.fault is not None:
        raise ChildFaultError(child.fault)
    if child.cap is None:  # nobody has looked yet at what an unknown child gives to readers
        reader = child.ro or b""
        fault = child_slots(None, reader if reader.startswith(_PREFIXES) else READ_ONLY_PREFIX + reader).fault
        if fault is not None:
            raise ChildFaultError(fault)
