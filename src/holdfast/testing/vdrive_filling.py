"""Makes directories with very many entries, quickly, straight in the database; and a writer that knows
nothing of a directory but what the server proves to it.

Source: docs/spec/vdrive.md, sections 6 and 11.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, insert, select, update

from holdfast.formats.vdrive.entry import SealedEntry, digests_of
from holdfast.formats.vdrive.head import SignedHead, head_hash, next_head, parse_head, sign_head
from holdfast.formats.vdrive.operations import Add, Delete, Operation, Replace, encode_operations
from holdfast.formats.vdrive.witness import Witness, apply, value
from holdfast.interfaces.vdrive import Context, Section
from holdfast.servers.vdrive.accounts import DIRECTORY_SIZE, entry_size
from holdfast.servers.vdrive.tables import directories, entries, heads
from holdfast.servers.vdrive.tree_rows import NewRow, recomputed, store_rows
from holdfast.testing.vdrive_writer import DirectoryWriter

BATCH = 10_000
NAME_BOX, READ_BOX, METADATA_BOX = 97, 289, 97  # bytes, of usual entries
OPERATIONS = b"\x80"  # said to have led to the filled state


def fill(connection: Connection, writer: DirectoryWriter, count: int, now: int) -> None:
    """Put so many entries, whose boxes nobody can open, into an empty directory, as its version 1.

    What the writer knows afterwards is the head alone.
    """
    dir_id = connection.execute(
        select(directories.c.id).where(directories.c.idx == writer.index)
    ).scalar_one()
    size = DIRECTORY_SIZE
    for made in _made(count):
        digests = digests_of(made)
        rows = [
            {
                "dir_id": dir_id,
                "slot": entry.slot,
                "v_from": entry.version,
                "n": entry.name,
                "w": entry.write,
                "r": entry.read,
                "m": entry.metadata,
                "digest": digest,
            }
            for entry, digest in zip(made, digests, strict=True)
        ]
        connection.execute(insert(entries), rows)
        size += sum(entry_size(entry[2:]) for entry in made)

    def store(found: list[NewRow]) -> None:
        store_rows(connection, dir_id, 1, found)

    root = recomputed(connection, dir_id, store)
    head = _next(writer, root.value, root.total, OPERATIONS, now)
    row = {"dir_id": dir_id, "version": 1, "head": head.head, "sig": head.signature, "committed_at": now}
    connection.execute(insert(heads), row)
    values = {
        "version": 1,
        "head_hash": head_hash(head.head),
        "root": root.value,
        "entry_count": root.total,
        "byte_count": size,
    }
    connection.execute(update(directories).where(directories.c.id == dir_id).values(values))


class WitnessWriter:
    """Signs changes of a directory from contexts, as clients do. It works for directories of any size."""

    def __init__(self, writer: DirectoryWriter) -> None:
        self.writer = writer

    def section(self, context: Context, operations: Sequence[Operation], now: int) -> Section:
        """Return what follows the state that ``context`` shows for the slots of ``operations``."""
        head = parse_head(context.head.head)
        written = [
            SealedEntry(one.slot, head.version + 1, *one[-4:])
            for one in operations
            if isinstance(one, Add | Replace)
        ]
        puts = zip([entry.slot for entry in written], digests_of(written), strict=True)
        deletes = [one.slot for one in operations if isinstance(one, Delete)]
        tree: Witness = apply(context.tree, puts, deletes)
        count = head.count + sum(isinstance(one, Add) for one in operations) - len(deletes)
        encoded = encode_operations(operations)
        self.writer.head, self.writer.version = context.head, head.version
        return Section(self.writer.index, encoded, _next(self.writer, value(tree), count, encoded, now))


def an_entry() -> Add:
    """Return an operation that adds an entry which nobody can open."""
    return Add(os.urandom(32), _box(NAME_BOX), b"", _box(READ_BOX), _box(METADATA_BOX))


def _next(writer: DirectoryWriter, root: bytes, count: int, operations: bytes, now: int) -> SignedHead:
    head = next_head(
        writer.head.head, root=root, count=count, operations=operations, time=now, nonce=os.urandom(16)
    )
    writer.head, writer.version = sign_head(writer.keys, head), head.version
    return writer.head


def _made(count: int) -> Iterator[list[SealedEntry]]:
    """Yield entries in ascending order of slots, for then they are inserted fast."""
    step = (1 << 256) // max(count, 1)
    for start in range(0, count, BATCH):
        yield [
            SealedEntry(
                (number * step + int.from_bytes(os.urandom(32), "big") % step).to_bytes(32, "big"),
                1,
                _box(NAME_BOX),
                b"",
                _box(READ_BOX),
                _box(METADATA_BOX),
            )
            for number in range(start, min(start + BATCH, count))
        ]


def _box(size: int) -> bytes:
    return b"\x01" + os.urandom(size - 1)
