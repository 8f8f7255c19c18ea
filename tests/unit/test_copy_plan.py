"""What a copy makes where: the matrix of docs/spec/cli.md, section 5.2, row by row."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.planning.copy_plan import (
    CopyRefusedError,
    CopySource,
    CopyTarget,
    CopyTree,
    IntoDirectory,
    ToFile,
    plan_copy,
)

FILE = CopySource("L/g", "g", is_directory=False)
OTHER_FILE = CopySource("L/h", "h", is_directory=False)
DIRECTORY = CopySource("L/dir", "dir", is_directory=True)
ROOT = CopySource("work:", None, is_directory=True)
BARE_FILE = CopySource("URI:LIT:...", None, is_directory=False)

MISSING = CopyTarget("to", "missing")
EXISTING = CopyTarget("to", "directory")
TAKEN = CopyTarget("to", "file")


def slashed(target: CopyTarget) -> CopyTarget:
    return CopyTarget(target.shown, target.state, trailing_slash=True)


@pytest.mark.parametrize(
    ("sources", "target", "plan"),
    [
        ([FILE], MISSING, ToFile()),  # row 6
        ([FILE], TAKEN, ToFile()),
        ([BARE_FILE], MISSING, ToFile()),
        ([FILE], EXISTING, IntoDirectory(False, ("g",))),  # row 10
        ([FILE], slashed(EXISTING), IntoDirectory(False, ("g",))),
        ([DIRECTORY], MISSING, IntoDirectory(True, ("dir",))),  # rows 9 and 11
        ([DIRECTORY], slashed(MISSING), IntoDirectory(True, ("dir",))),
        ([DIRECTORY], EXISTING, IntoDirectory(False, ("dir",))),
        ([DIRECTORY, FILE], MISSING, IntoDirectory(True, ("dir", "g"))),
        ([FILE, OTHER_FILE], MISSING, IntoDirectory(True, ("g", "h"))),  # row 7
        ([ROOT], MISSING, IntoDirectory(True, (None,))),  # row 12
        ([ROOT, FILE], EXISTING, IntoDirectory(False, (None, "g"))),
    ],
)
def test_what_is_made(sources: list[CopySource], target: CopyTarget, plan: object) -> None:
    assert plan_copy(sources, target, recursive=True) == plan


@pytest.mark.parametrize(
    ("sources", "target", "said"),
    [
        ([FILE], slashed(MISSING), "to ends with a slash but does not exist"),  # row 3
        ([FILE], slashed(TAKEN), "to ends with a slash but is a file"),
        ([FILE, OTHER_FILE], TAKEN, "to is a file; several sources"),  # row 4
        ([DIRECTORY, FILE], TAKEN, "to is a file; several sources"),
        ([DIRECTORY], TAKEN, "to is a file; the directory L/dir"),  # row 5
        ([BARE_FILE], EXISTING, "URI:LIT:... has no name"),  # row 8
        ([DIRECTORY, BARE_FILE], MISSING, "URI:LIT:... has no name"),
        ([CopySource("L/g/", "g", False, True)], MISSING, "L/g/ is a file, not a directory"),
    ],
)
def test_what_is_refused(sources: list[CopySource], target: CopyTarget, said: str) -> None:
    with pytest.raises(CopyRefusedError, match=said):
        plan_copy(sources, target, recursive=True)


@pytest.mark.parametrize("target", [MISSING, EXISTING, TAKEN])
@pytest.mark.parametrize("sources", [[DIRECTORY], [ROOT], [FILE, DIRECTORY]])
def test_a_directory_needs_recursive_before_anything_else_is_said(
    sources: list[CopySource], target: CopyTarget
) -> None:
    with pytest.raises(CopyRefusedError, match="--recursive"):
        plan_copy(sources, target, recursive=False)  # row 1
    assert plan_copy([FILE], MISSING, recursive=False) == ToFile()


KINDS = st.sampled_from([FILE, OTHER_FILE, DIRECTORY, ROOT, BARE_FILE])
TARGETS = st.sampled_from([target for one in (MISSING, EXISTING, TAKEN) for target in (one, slashed(one))])


@given(st.lists(KINDS, min_size=1, max_size=4), TARGETS)
def test_no_plan_loses_a_source_or_makes_a_directory_of_a_file(
    sources: list[CopySource], target: CopyTarget
) -> None:
    try:
        plan = plan_copy(sources, target, recursive=True)
    except CopyRefusedError:
        return
    if isinstance(plan, ToFile):
        assert len(sources) == 1
        assert not sources[0].is_directory
        assert target.state != "directory"
    else:
        assert target.state != "file"
        assert plan.create is (target.state == "missing")
        assert len(plan.names) == len(sources)
        assert all(source.is_directory for source in sources if source.name is None)


# -- names in the target


def test_directories_of_one_place_become_one() -> None:
    tree: CopyTree[int] = CopyTree()
    for _ in range(2):
        tree.add_directory(("a",), "a")
        tree.add_directory(("a", "b"), "a/b")
    tree.add_file(("a", "b", "x"), 1, "x")
    tree.add_file(("a", "y"), 2, "y")
    assert tree.directories == [("a",), ("a", "b")]
    assert tree.files == [(("a", "b", "x"), 1), (("a", "y"), 2)]


def test_two_files_of_one_name_in_one_place_are_refused() -> None:  # row 13
    tree: CopyTree[int] = CopyTree()
    tree.add_file(("x",), 1, "L/x")
    with pytest.raises(CopyRefusedError, match="M/x: another file of this name"):
        tree.add_file(("x",), 2, "M/x")


def test_a_file_and_a_directory_of_one_name_are_refused() -> None:
    tree: CopyTree[int] = CopyTree()
    tree.add_file(("x",), 1, "L/x")
    with pytest.raises(CopyRefusedError, match="M/x is a directory"):
        tree.add_directory(("x",), "M/x")
    tree.add_directory(("y",), "M/y")
    with pytest.raises(CopyRefusedError, match="L/y is a file"):
        tree.add_file(("y",), 2, "L/y")


def test_names_that_the_target_takes_for_equal_are_one_name() -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    tree: CopyTree[int] = CopyTree(lambda name: unicodedata.normalize("NFC", name))
    tree.add_directory((composed,), "a")
    tree.add_directory((decomposed,), "b")
    assert tree.directories == [(composed,)]
    tree.add_file((composed, "x"), 1, "a/x")
    with pytest.raises(CopyRefusedError, match="another file"):
        tree.add_file((decomposed, "x"), 2, "b/x")
