"""A file that is whole, or not there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.errors import InputError
from holdfast.node.control.errors import AlreadyThereError
from holdfast.node.control.whole_file import WholeFile, open_whole_file


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_it_appears_when_it_is_finished(tmp_path: Path, directory: int) -> None:
    file = WholeFile(directory, "name")
    assert file.write(b"abc") == 3
    assert "name" not in os.listdir(tmp_path)
    file.write(memoryview(b"def"))
    file.finish(overwrite=False, mode=0o640)
    assert os.listdir(tmp_path) == ["name"]
    assert (tmp_path / "name").read_bytes() == b"abcdef"
    assert stat.S_IMODE((tmp_path / "name").stat().st_mode) == 0o640


def test_a_name_that_is_taken_meanwhile_is_not_replaced(tmp_path: Path, directory: int) -> None:
    file = WholeFile(directory, "name")
    file.write(b"abc")
    (tmp_path / "name").write_bytes(b"precious")
    with pytest.raises(AlreadyThereError):
        file.finish(overwrite=False)
    assert os.listdir(tmp_path) == ["name"]
    assert (tmp_path / "name").read_bytes() == b"precious"


def test_a_link_that_appears_meanwhile_is_replaced_not_followed(tmp_path: Path, directory: int) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    file = WholeFile(directory, "name")
    file.write(b"abc")
    (tmp_path / "name").symlink_to(tmp_path / "elsewhere")
    file.finish(overwrite=True)
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"
    assert not (tmp_path / "name").is_symlink()


def test_nothing_stays_when_it_is_abandoned(tmp_path: Path, directory: int) -> None:
    file = WholeFile(directory, "name")
    file.write(b"abc")
    file.abandon()
    file.abandon()
    assert os.listdir(tmp_path) == []


def test_an_error_in_the_block_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "name"
    path.write_bytes(b"old")
    path.chmod(0o604)
    with pytest.raises(ZeroDivisionError), open_whole_file(str(path), overwrite=True) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    with open_whole_file(str(path), overwrite=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert os.listdir(tmp_path) == ["name"]


def test_what_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "name"):
        with pytest.raises(InputError), open_whole_file(str(path), overwrite=True):
            pass
