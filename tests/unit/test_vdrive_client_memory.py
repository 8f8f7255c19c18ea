"""What a client of virtual drive servers keeps on disk: heads, the journal of its commits, evidence."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.formats import cbor
from holdfast.formats.vdrive.head import SignedHead
from holdfast.grid.vdrive import journal as journal_module
from holdfast.grid.vdrive.evidence import EvidenceKeeper
from holdfast.grid.vdrive.journal import JournalHead
from holdfast.grid.vdrive.memory import VdriveMemory
from holdfast.grid.vdrive.memory_database import MemoryDatabase, VdriveMemoryError

INDEX, OTHER = bytes(32), b"o" * 32
SIGNED = SignedHead(b"head", bytes(64))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vdrive-memory.sqlite"


@pytest.fixture
def memory(path: Path) -> Iterator[VdriveMemory]:
    memory = VdriveMemory(path)
    yield memory
    memory.close()


async def test_heads_survive_the_program_and_only_their_owner_can_read_them(path: Path) -> None:
    memory = VdriveMemory(path)
    await memory.remember(INDEX, 3, b"h" * 32, SIGNED)
    memory.close()
    known = VdriveMemory(path).known(INDEX)
    assert known is not None and (known.version, known.head_hash, known.signed) == (3, b"h" * 32, SIGNED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_memory_never_goes_back_by_itself(memory: VdriveMemory) -> None:
    await memory.remember(INDEX, 3, b"h" * 32, SIGNED)
    await memory.remember(INDEX, 2, b"g" * 32, SIGNED)
    await memory.remember(INDEX, 3, b"i" * 32, SIGNED)
    known = memory.known(INDEX)
    assert known is not None and (known.version, known.head_hash) == (3, b"h" * 32)
    await memory.replace(INDEX, 2, b"g" * 32, SIGNED)
    known = memory.known(INDEX)
    assert known is not None and known.version == 2


async def test_a_chain_that_was_not_walked_is_remembered_as_such_until_a_writer_walks_it(
    memory: VdriveMemory,
) -> None:
    await memory.remember(INDEX, 1, b"a" * 32, SIGNED)
    await memory.remember(INDEX, 90, b"b" * 32, SIGNED, chain_verified=False, base=(1, b"a" * 32))
    await memory.remember(INDEX, 91, b"c" * 32, SIGNED)
    known = memory.known(INDEX)
    assert known is not None and not known.chain_verified and known.base == (1, b"a" * 32)
    await memory.caught_up(INDEX, chain_verified=True)
    known = memory.known(INDEX)
    assert known is not None and known.chain_verified and known.base is None


async def test_memory_of_programs_without_a_node_lasts_as_long_as_they_do() -> None:
    memory = VdriveMemory()
    await memory.remember(INDEX, 3, b"h" * 32, SIGNED)
    assert memory.known(INDEX) is not None
    await memory.forget(INDEX)
    assert memory.known(INDEX) is None
    memory.close()


async def test_two_programs_use_one_memory_at_a_time(path: Path, memory: VdriveMemory) -> None:
    other = VdriveMemory(path)
    for version in range(1, 40, 2):
        await asyncio.gather(
            memory.remember(INDEX, version, bytes([version]) * 32, SIGNED),
            other.remember(INDEX, version + 1, bytes([version + 1]) * 32, SIGNED),
        )
    known = memory.known(INDEX)
    assert known is not None and known.version == 40 and known == other.known(INDEX)
    other.close()


async def test_memory_waits_for_a_program_that_is_writing_without_holding_up_the_others(
    path: Path, memory: VdriveMemory
) -> None:
    await memory.remember(INDEX, 1, b"a" * 32, SIGNED)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(memory.remember(INDEX, 2, b"b" * 32, SIGNED))
    await asyncio.sleep(0.05)
    known = memory.known(INDEX)
    assert not waiting.done() and known is not None and known.version == 1
    blocker.execute("COMMIT")
    await waiting
    known = memory.known(INDEX)
    assert known is not None and known.version == 2
    blocker.close()


async def test_a_damaged_memory_is_put_aside_and_begun_anew(path: Path) -> None:
    path.write_bytes(b"this is no database, but a file of some length" * 100)
    memory = VdriveMemory(path)
    assert memory.known(INDEX) is None
    await memory.remember(INDEX, 3, b"h" * 32, SIGNED)
    assert memory.known(INDEX) is not None
    assert Path(f"{path}.damaged").exists()
    memory.close()


async def test_heads_that_cannot_be_written_are_remembered_until_the_end(tmp_path: Path) -> None:
    memory = VdriveMemory(tmp_path / "missing" / "memory.sqlite")
    await memory.remember(INDEX, 3, b"h" * 32, SIGNED)
    known = memory.known(INDEX)
    assert known is not None and known.version == 3
    with pytest.raises(VdriveMemoryError):
        await memory.journal.begin(bytes(32), b"request", [])
    memory.close()


# -- the journal


def head(version: int, index: bytes = INDEX) -> JournalHead:
    return JournalHead(index, version, bytes([version % 256]) * 32, b"e" * 32)


async def test_the_journal_gives_commits_back_as_they_were_sent(memory: VdriveMemory) -> None:
    journal = memory.journal
    first = await journal.begin(b"s" * 32, b"one", [head(1), head(7, OTHER)])
    second = await journal.begin(b"s" * 32, b"two", [head(2)])
    await journal.applied(first)
    (unanswered,) = journal.unanswered(INDEX)
    assert (unanswered.number, unanswered.request, unanswered.heads) == (second, b"two", (head(2),))
    assert [commit.request for commit in journal.following(INDEX, 0)] == [b"one", b"two"]
    assert [commit.request for commit in journal.following(INDEX, 1)] == [b"two"]
    assert journal.following(OTHER, 0)[0].heads == (head(1), head(7, OTHER))
    assert journal.hashes_of(INDEX, 1) == {head(1).head_hash}
    assert journal.hashes_of(INDEX, 2) == set(), "nobody knows whether it was made"
    await journal.refused(second)
    assert journal.unanswered(INDEX) == []
    assert "e" * 32 not in repr(unanswered) and "two" not in repr(unanswered)


async def test_the_journal_forgets_what_is_both_old_and_far_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_TRIM_EVERY", 1)
    clock = Clock()
    memory = VdriveMemory(path, clock=clock)
    journal = memory.journal
    await journal.applied(await journal.begin(bytes(32), b"old", [head(1)]))
    await memory.remember(INDEX, 1500, b"h" * 32, SIGNED)
    await journal.applied(await journal.begin(bytes(32), b"behind", [head(2)]))
    assert len(journal.following(INDEX, 0)) == 2, "it is not old"
    clock.now += 31 * 86400
    await journal.begin(bytes(32), b"new", [head(1501)])
    assert [commit.request for commit in journal.following(INDEX, 0)] == [b"new"]
    memory.close()


async def test_the_journal_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_TRIM_EVERY", 1)
    monkeypatch.setattr(journal_module, "KEPT_BYTES", 10_000)
    memory = VdriveMemory(path)
    open_one = await memory.journal.begin(bytes(32), bytes(1000), [head(1)])
    for version in range(2, 30):
        await memory.journal.applied(await memory.journal.begin(bytes(32), bytes(1000), [head(version)]))
    kept = memory.journal.following(INDEX, 0)
    assert len(kept) <= 11
    assert kept[0].number == open_one, "what was never answered is kept"
    assert kept[-1].heads == (head(29),)
    memory.close()


async def test_the_number_of_a_commit_that_was_refused_is_never_given_to_another(
    path: Path, memory: VdriveMemory
) -> None:
    """Another program of the same client may be about to note what became of the refused one."""
    other = VdriveMemory(path)
    refused = await memory.journal.begin(bytes(32), b"refused", [head(1)])
    (seen,) = other.journal.unanswered(INDEX)
    await memory.journal.refused(refused)
    made = await memory.journal.begin(bytes(32), b"made", [head(1)])
    await other.journal.refused(seen.number)
    await memory.journal.applied(made)
    assert [(one.request, one.applied) for one in memory.journal.following(INDEX, 0)] == [(b"made", True)]
    other.close()


async def test_the_journal_of_programs_that_run_shortly_is_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_TRIM_EVERY", 5)
    monkeypatch.setattr(journal_module, "KEPT_BYTES", 10_000)
    for version in range(1, 30):
        memory = VdriveMemory(path)
        await memory.journal.applied(await memory.journal.begin(bytes(32), bytes(1000), [head(version)]))
        memory.close()
    assert len(VdriveMemory(path).journal.following(INDEX, 0)) <= 15


async def test_many_writes_are_tidied_beside_the_event_loop(path: Path) -> None:
    database = MemoryDatabase(path)
    for number in range(1200):
        await database.write(
            lambda connection, number=number: connection.execute(
                "INSERT INTO commits (sid, request, size, sent, applied) VALUES (?, ?, 1, 1, 1)",
                (bytes(32), b"%d" % number),
            )
        )
    assert database.read(lambda c: c.execute("SELECT count(*) FROM commits").fetchone()) == (1200,)
    database.close()


# -- evidence


def test_evidence_is_kept_in_files_of_its_own(tmp_path: Path) -> None:
    keeper = EvidenceKeeper(tmp_path / "evidence")
    first = keeper.keep(INDEX, "fork", {"found": [b"head", b"signature"]})
    second = keeper.keep(INDEX, "fork", {"found": [b"another", b"signature"]})
    assert first is not None and second is not None and first != second
    assert keeper.keep(INDEX, "fork", {"found": [b"head", b"signature"]}) == first, "kept once"
    found = cbor.decode(first.read_bytes())
    assert isinstance(found, dict)
    assert found["what"] == "fork" and found["parts"] == {"found": [b"head", b"signature"]}
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_evidence_that_cannot_be_kept_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert EvidenceKeeper(tmp_path / "file").keep(INDEX, "fork", {}) is None
    assert EvidenceKeeper(None).keep(INDEX, "fork", {}) is None
