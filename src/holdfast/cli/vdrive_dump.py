"""``holdfast vdrive dump``: the fields of a directory, as far as a capability opens them.

Source: docs/spec/vdrive.md, sections 6 and 14.4; docs/spec/seed-map.md, X-16.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import click

from holdfast.caps.vdrive import VdriveVerifyCap
from holdfast.cli import event_loop
from holdfast.cli.check_targets import target_of
from holdfast.cli.drive_places import OpenDrive, open_drive
from holdfast.cli.messages import print_json
from holdfast.cli.options import node_option
from holdfast.cli.path_arguments import GridPath
from holdfast.cli.vdrive_places import given_place, vdrive_directory
from holdfast.crypto import base32
from holdfast.errors import BadCapabilityError
from holdfast.formats.vdrive.bundle import BundleReader
from holdfast.formats.vdrive.entry import SealedEntry, digest_of
from holdfast.formats.vdrive.head import Head, head_hash


@click.command()
@click.argument("place", metavar="CAP|ALIAS:PATH")
@node_option
def dump(place: str, node: Path | None) -> None:
    """Print what a directory consists of, proven, in lines of JSON: its keys and head, then each entry.

    A capability that only verifies shows slots and sizes; one that reads, names and capabilities as well.
    """
    event_loop.run(_dump(given_place(place), node))


async def _dump(place: GridPath, node: Path | None) -> None:
    async with open_drive(node) as opened:
        cap = _verify_cap_in(place)
        opener = None
        if cap is None:
            held = (await vdrive_directory(opened, place)).contents.cap
            cap, opener = held.verify_cap, opened.client.vdrive_client.directory(held).opener
        async for item in _bundle(opened, cap):
            if not isinstance(item, SealedEntry):
                print_json(item)
                continue
            described = sealed_as_json(item)
            if opener is not None:
                entry = opener.open(item)
                described["name"], described["fault"] = entry.name, entry.fault
                for key, text in (("rw", entry.child.rw), ("ro", entry.child.ro)):
                    described[key] = None if text is None else text.decode("ascii", "replace")
                described["metadata"] = {k: repr(v) for k, v in entry.metadata.items()}
            print_json(described)


def _verify_cap_in(place: GridPath) -> VdriveVerifyCap | None:
    if place.cap is None or place.names:
        return None
    try:
        cap = target_of(place.cap)
    except BadCapabilityError:
        return None
    return cap if isinstance(cap, VdriveVerifyCap) else None


async def _bundle(opened: OpenDrive, cap: VdriveVerifyCap) -> AsyncIterator[dict[str, object] | SealedEntry]:
    reader = BundleReader(cap.index)
    told = False
    async for piece in opened.client.vdrive_servers.server(cap.place).export(cap.index):
        entries = reader.feed(piece)
        if reader.header is not None and reader.head is not None and not told:
            told = True
            yield {
                "index": base32.encode(cap.index),
                "refresh_id": base32.encode(reader.header.refresh_id),
                "verify_key": base32.encode(reader.header.verify_key),
                "commitment": base32.encode(reader.header.commitment),
                **head_as_json(reader.head, head_hash(reader.header.head.head)),
            }
        for entry in entries:
            yield entry
    reader.finish()


def head_as_json(head: Head, hash_: bytes) -> dict[str, object]:
    """Return the fields of a head."""
    return {
        "version": head.version,
        "head": base32.encode(hash_),
        "previous": base32.encode(head.previous),
        "root": head.root.hex(),
        "entries": head.count,
        "time": head.time,
        "heartbeat": head.heartbeat,
        "disown_base": head.disown_base,
    }


def sealed_as_json(entry: SealedEntry) -> dict[str, object]:
    """Return what can be seen of an entry without any key."""
    slot, version, *boxes = entry
    sizes = dict(zip("nwrm", map(len, boxes), strict=True))
    return {
        "slot": base32.encode(slot),
        "version": version,
        "sizes": sizes,
        "digest": base32.encode(digest_of(entry)),
    }
