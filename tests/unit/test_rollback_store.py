"""What is remembered of the versions of mutable files."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.grid.mutable import rollback_store
from holdfast.grid.mutable.rollback_store import FileRollbackStore, MemoryRollbackStore, RollbackStore
from holdfast.planning.rollback import RememberedVersion

FIRST = RememberedVersion(1, b"a" * 32)
LAST = RememberedVersion(2**64 - 1, b"b" * 32)


def index(number: int) -> bytes:
    return number.to_bytes(16, "big")


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RollbackStore:
    if request.param == "memory":
        return MemoryRollbackStore(files_max=5)
    return FileRollbackStore(tmp_path / "versions.sqlite", files_max=5)


def test_the_last_version_is_remembered(store: RollbackStore) -> None:
    assert store.get(index(1)) is None
    store.put(index(1), FIRST)
    store.put(index(2), FIRST)
    store.put(index(1), LAST)
    assert (store.get(index(1)), store.get(index(2))) == (LAST, FIRST)
    store.forget(index(1))
    assert store.get(index(1)) is None
    store.close()


def test_it_is_bounded(store: RollbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollback_store, "_SPARE", 1)
    for number in range(20):
        store.put(index(number), FIRST)
    assert [n for n in range(20) if store.get(index(n)) is not None] == list(range(15, 20))
    store.close()


def test_a_file_outlives_its_user_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "versions.sqlite"
    store, beside = FileRollbackStore(path), FileRollbackStore(path)
    assert not path.exists()
    store.put(index(1), LAST)
    assert beside.get(index(1)) == LAST
    store.close()
    beside.close()
    again = FileRollbackStore(path)
    assert again.get(index(1)) == LAST
    assert {p.stat().st_mode & 0o077 for p in tmp_path.iterdir()} == {0}
    again.close()


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "versions.sqlite"
    path.write_bytes(b"nonsense" * 1000)
    store = FileRollbackStore(path)
    assert store.get(index(1)) is None
    store.put(index(1), FIRST)
    assert store.get(index(1)) == FIRST
    store.close()


def test_what_cannot_be_kept_is_no_error(tmp_path: Path) -> None:
    store = FileRollbackStore(tmp_path / "nowhere" / "versions.sqlite")
    store.put(index(1), FIRST)
    store.forget(index(1))
    assert store.get(index(1)) is None
    store.close()
