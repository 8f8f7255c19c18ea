"""Servers from the files of a Tahoe-LAFS node: its ``servers.yaml``, or the cache of one of its introducers.

An entry is taken as it stands there, so that nothing it says is lost; those without an address that Holdfast
can use are left out, with a sentence each.

Source: docs/spec/grid.md, sections 2, 3.4, 4 and 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from holdfast.protocol.server_record import SERVER_ID_MAX, ServerRecord, records_from_tahoe

Entries = Mapping[str, object]
"""What stands below ``storage`` in a ``servers.yaml``: server id to entry."""


@dataclass(slots=True)
class Merged:
    """What came of an import. Entries hold secrets; the rest are ids and sentences for people.

    Attributes:
        remarks: on entries that were taken.
        left_out: a sentence for each that was not.
    """

    entries: dict[str, object] = field(repr=False)
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def merge(ours: Entries, file: object) -> Merged:
    """Add to ``ours`` the usable servers of a parsed file; a known server gets its new entry.

    Except where the server seed would change: what was stored with the known one could never be changed.

    Raises:
        ValueError: the file is neither a list of servers nor a cache of an introducer.
    """
    merged = Merged(dict(ours))
    seen: set[object] = set()
    for number, (server_id, entry) in enumerate(_entries(file), 1):
        name = f"server {_shown(server_id, number)}"
        records, problems = _read(server_id, entry)
        if not records:
            merged.left_out += _reasons(name, entry, problems)
        elif server_id in seen:
            merged.left_out.append(f"{name}: it is there twice; the first entry counts")
        else:
            seen.add(server_id)
            _take(merged, name, records[0], entry, problems)
    return merged


def _take(merged: Merged, name: str, record: ServerRecord, entry: object, remarks: list[str]) -> None:
    known = record.server_id in merged.entries
    before = _read(record.server_id, merged.entries[record.server_id])[0] if known else []
    if before and before[0].server_seed != record.server_seed:
        merged.left_out.append(
            f"{name}: its server seed is not the one of its entry here, which stays as it is"
        )
        return
    merged.remarks += remarks
    if before == [record]:
        merged.unchanged.append(record.server_id)
        return
    (merged.changed if known else merged.added).append(record.server_id)
    merged.entries[record.server_id] = entry


def _reasons(name: str, entry: object, problems: list[str]) -> list[str]:
    if _only_foolscap(entry):
        return [f"{name}: it offers only Foolscap, which Holdfast does not speak"]
    # One entry was looked at; where it has no name that can be shown, it is "number 1" of one.
    return [problem.replace("server number 1:", f"{name}:", 1) for problem in problems]


def _read(server_id: object, entry: object) -> tuple[list[ServerRecord], list[str]]:
    return records_from_tahoe({"storage": {server_id: entry}})


def _entries(file: object) -> Iterable[tuple[object, object]]:
    """Yield server ids and entries, as they stand below ``storage``."""
    if isinstance(file, Mapping):
        storage = file.get("storage")
        if not isinstance(storage, Mapping):
            raise ValueError("it has no map of servers under 'storage'")
        yield from storage.items()
        return
    if not isinstance(file, list):
        raise ValueError("it is neither a servers.yaml nor the cache of an introducer")
    for number, item in enumerate(file, 1):
        if not isinstance(item, Mapping) or not isinstance(item.get("key_s"), str) or "ann" not in item:
            raise ValueError(f"item {number} is not an announcement of an introducer's cache")
        yield item["key_s"], {"ann": item["ann"]}


def _shown(server_id: object, number: int) -> str:
    """Return how to speak of an entry; an address in place of an id could hold a secret."""
    fit = isinstance(server_id, str) and 0 < len(server_id) <= SERVER_ID_MAX and server_id.isprintable()
    return str(server_id) if fit and "://" not in str(server_id) else f"number {number}"


def _only_foolscap(entry: object) -> bool:
    announcement = entry.get("ann") if isinstance(entry, Mapping) else None
    return (
        isinstance(announcement, Mapping)
        and not announcement.get("anonymous-storage-NURLs")
        and isinstance(announcement.get("anonymous-storage-FURL"), str)
    )
