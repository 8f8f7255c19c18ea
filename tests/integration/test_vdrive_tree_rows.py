"""The rows of trees: whatever was changed, they are those of a tree computed anew, at every version."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, insert, select, update

from holdfast.formats.vdrive.entry import SealedEntry, digest_of
from holdfast.formats.vdrive.opening import witness_of
from holdfast.formats.vdrive.page import check_page, page_witness
from holdfast.formats.vdrive.tree import root_of
from holdfast.formats.vdrive.witness import lookup, value
from holdfast.servers.vdrive import accounts, tables
from holdfast.servers.vdrive.migrating import migrate
from holdfast.servers.vdrive.node_rows import NOTHING, SMALL_MAX, Node, pack, unpack
from holdfast.servers.vdrive.stored_tree import StoredTree
from holdfast.servers.vdrive.tree_rows import NewRow, TreeChange, recomputed

DIR_ID = 1
NAMES = b"\x00\x01\x80\xff"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path: Path = tmp_path_factory.mktemp("rows") / "rows.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = MEMORY")
        connection.exec_driver_sql("PRAGMA synchronous = OFF")
    migrate(engine)
    yield engine
    engine.dispose()


def prepare(connection: Connection) -> None:
    """Make the one directory that the tests use."""
    account = {f"{kind}_{what}": 0 for kind in ("max", "used") for what in ("dirs", "entries", "bytes")}
    row = {"id": accounts.COMMON_ACCOUNT, "label": "", "disabled": False, "created_at": 0, **account}
    connection.execute(insert(tables.accounts).values(row))
    names = dict.fromkeys(("idx", "rid", "vk", "rc", "we_hash", "head_hash"), bytes(32))
    numbers = dict.fromkeys(("version", "entry_count", "byte_count", "state", "created_at", "modified_at"), 0)
    other = {"id": DIR_ID, "account_id": accounts.COMMON_ACCOUNT, "root": NOTHING.value, "pinned": False}
    connection.execute(insert(tables.directories).values({**names, **numbers, **other}))


class Directory:
    """A directory whose entries are changed version by version; it remembers what was there at each."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.version = 0
        self.states: list[dict[bytes, bytes]] = [{}]
        self.roots = [NOTHING]

    def change(self, puts: set[bytes], deletes: set[bytes]) -> None:
        """Put entries, whether or not they are there, and delete others that are."""
        self.version += 1
        before = self.states[-1]
        made = [SealedEntry(slot, self.version, b"", b"", b"", b"") for slot in sorted(puts)]
        digests = {entry.slot: digest_of(entry) for entry in made}
        slots = puts | deletes
        change = TreeChange(StoredTree(self.connection, DIR_ID, self.roots[-1]), slots)
        found = {slot: child.digest for slot in slots if (child := change.child(slot)) is not None}
        assert found == {slot: before[slot] for slot in slots if slot in before}
        self.roots.append(change.apply(digests, deletes))
        change.store(self.version)
        columns = tables.entries.c
        for slot in slots & before.keys():
            live = update(tables.entries).where(columns.slot == slot, columns.v_to.is_(None))
            self.connection.execute(live.values(v_to=self.version))
        rows = [
            {"dir_id": DIR_ID, "slot": slot, "v_from": self.version, "digest": digest}
            | dict.fromkeys("nwrm", b"")
            for slot, digest in digests.items()
        ]
        if rows:
            self.connection.execute(insert(tables.entries), rows)
        after = {slot: digest for slot, digest in before.items() if slot not in deletes}
        self.states.append(after | digests)

    def check(self) -> None:
        """Compare with trees computed anew."""
        for state, root in zip(self.states, self.roots, strict=True):
            assert root == (root_of(sorted(state.items())), len(state))
        rows: list[NewRow] = []
        assert recomputed(self.connection, DIR_ID, rows.extend) == self.roots[-1]
        columns = tables.nodes.c
        live = select(columns.prefix, columns.subtrees).where(columns.v_to.is_(None))
        assert {row.prefix: row.subtrees for row in self.connection.execute(live)} == {
            row.prefix: pack(row.parts) for row in rows
        }

    def check_witnesses(self, choice: random.Random) -> None:
        """Prove entries and pages of every version."""
        for version, (state, root) in enumerate(zip(self.states, self.roots, strict=True)):
            at = None if version == self.version else version
            tree = StoredTree(self.connection, DIR_ID, root, at)
            slots = {choice.randbytes(32), *choice.sample(sorted(state), min(3, len(state)))}
            witness = witness_of(tree, slots)
            assert value(witness) == root.value
            assert {slot: lookup(witness, slot) for slot in slots} == {
                slot: state.get(slot) for slot in slots
            }
            leaves = sorted(state.items())
            begin, end = sorted((choice.randint(0, len(leaves)), choice.randint(0, len(leaves))))
            after = leaves[begin - 1][0] if begin else None
            next_ = leaves[end - 1][0] if begin < end < len(leaves) else None
            page = leaves[begin:end] if next_ else leaves[begin:]
            tree = StoredTree(self.connection, DIR_ID, root, at)
            witness = page_witness(tree, after, next_)
            check_page(witness, page, after=after, next_=next_, root=root.value)


def slot_of(beginning: bytes, number: int) -> bytes:
    """Return a slot. Many begin alike, so that trees are deeper than slots of names make them."""
    return beginning + random.Random(number).randbytes(32 - len(beginning))


beginnings = st.lists(st.sampled_from(NAMES), max_size=3).map(bytes)
groups = st.tuples(beginnings, st.integers(0, 200), st.integers(0, 150))
changes = st.lists(st.tuples(st.booleans(), groups), min_size=1, max_size=3)


@given(commits=st.lists(changes, min_size=1, max_size=6), choice=st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_rows_are_those_of_a_tree_computed_anew(
    engine: Engine, commits: list[list[tuple[bool, tuple[bytes, int, int]]]], choice: random.Random
) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        prepare(connection)
        directory = Directory(connection)
        for commit in commits:
            puts: set[bytes] = set()
            deletes: set[bytes] = set()
            for put, (beginning, first, count) in commit:
                slots = {slot_of(beginning, number) for number in range(first, first + count)}
                if put:
                    puts |= slots
                else:
                    deletes |= slots & directory.states[-1].keys()
            directory.change(puts - deletes, deletes)
        directory.check()
        directory.check_witnesses(choice)
        transaction.rollback()


def test_rows_come_and_go_at_the_border(engine: Engine) -> None:
    slots = [slot_of(b"\xab\xcd", number) for number in range(SMALL_MAX + 1)]
    count = select(tables.nodes.c.prefix).where(tables.nodes.c.v_to.is_(None))
    with engine.connect() as connection, connection.begin() as transaction:
        prepare(connection)
        directory = Directory(connection)
        directory.change(set(slots[:SMALL_MAX]), set())
        assert not connection.execute(count).all()
        directory.change({slots[-1]}, set())
        assert [row.prefix for row in connection.execute(count)] == ["", "a", "ab", "abc", "abcd"]
        directory.change({slots[0]}, {slots[1]})
        assert not connection.execute(count).all()
        directory.check()
        directory.check_witnesses(random.Random(1))
        transaction.rollback()


def test_a_row_is_read_as_it_was_written() -> None:
    parts = [Node(bytes([number % 3]) + bytes(32), number * 2**27) for number in range(16)]
    assert unpack(pack(parts)) == parts
