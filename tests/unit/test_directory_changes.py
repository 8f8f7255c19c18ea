"""Links are made, moved and removed as the reference does, as a whole or not at all, and more than once."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.caps.slots import ChildFaultError, ChildSlots, child_slots
from holdfast.crypto.netstring import netstring
from holdfast.errors import ConflictError, HoldfastError, InputError, NotCapableError
from holdfast.formats.directory_names import BadChildNameError
from holdfast.formats.directory_table import DirectoryTable, pack_directory, unpack_directory
from holdfast.interfaces.drive import (
    ChildAlreadyPresentError,
    ChildOfWrongTypeError,
    NoSuchChildError,
    NotADirectoryNodeError,
    NotMutableError,
    NotWriteableError,
    Replace,
    UnreadableChildError,
    VersionMismatchError,
)
from holdfast.planning.directory_changes import (
    Link,
    delete_entry,
    existing_entry,
    moved_link,
    readable_entry,
    rename_entry,
    set_entries,
    set_metadata,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "directories.json").read_text())
ERRORS: dict[str, type[Exception]] = {
    "ExistingChildError": ChildAlreadyPresentError,
    "NoSuchChildError": NoSuchChildError,
    "ChildOfWrongTypeError": ChildOfWrongTypeError,
}
REPLACE: dict[str, Replace] = {"true": True, "false": False, "only-files": "only-files"}
KEY = bytes(range(16))
CAPS = VECTORS["example_caps"]
LITERAL, FILE = child_slots(CAPS["lit"], None), child_slots(CAPS["chk"], None)
WRITABLE, DIRECTORY = child_slots(CAPS["ssk_write"], None), child_slots(CAPS["dir_write"], None)
UNKNOWN = child_slots("future:w", "future:r")
UNREADABLE = b"".join(map(netstring, (b"bad", b"URI:CHK:foo", b"", b'{"ctime": 2.0}')))


def holding(**children: ChildSlots) -> DirectoryTable:
    entries = [(name, child, {"tahoe": {"linkcrtime": 1.0}}) for name, child in children.items()]
    return unpack_directory(pack_directory(entries, KEY, False), KEY, False)


def with_unreadable() -> DirectoryTable:
    return unpack_directory(netstring(UNREADABLE), KEY, False)


def again(table: DirectoryTable) -> DirectoryTable:
    return unpack_directory(table.to_bytes(), KEY, False)


def children(table: DirectoryTable) -> dict[str, ChildSlots]:
    return {entry.name: entry.child for entry in table}


def changed(table: DirectoryTable, operation: dict[str, Any], now: float) -> DirectoryTable:
    arguments = {key: value for key, value in operation.items() if key not in ("op", "name", "metadata")}
    match operation["op"]:
        case "set":
            links = [
                Link(entry["name"], child_slots(entry["rw_cap"], entry["ro_cap"]), entry["metadata"])
                for entry in operation["entries"]
            ]
            return set_entries(table, links, now, replace=REPLACE[operation["overwrite"]])
        case "delete":
            return delete_entry(table, operation["name"], **arguments)[0]
    return set_metadata(table, operation["name"], operation["metadata"], now)


@pytest.mark.parametrize("vector", VECTORS["rewriting"], ids=lambda vector: vector["label"])
def test_tables_are_changed_as_the_reference_does(vector: dict[str, Any]) -> None:
    start = base64.b64decode(vector["start"])
    table = unpack_directory(start, bytes.fromhex(vector["writekey"]), False)
    if "error" in vector:
        with pytest.raises(ERRORS[vector["error"]]):
            changed(table, vector["operation"], vector["now"])
    elif vector["result"] == "unchanged":
        assert changed(table, vector["operation"], vector["now"]) is table
    else:
        result = changed(table, vector["operation"], vector["now"]).to_bytes()
        for entry in table:
            if not entry.readable:  # the reference drops it
                assert result.count(netstring(entry.raw)) == 1
                result = result.replace(netstring(entry.raw), b"")
        assert result == base64.b64decode(vector["result"])
    assert table.to_bytes() == start


TAKEN = [
    (FILE, True, False),
    (FILE, False, True),
    (FILE, "only-files", False),
    (DIRECTORY, True, False),
    (DIRECTORY, False, True),
    (DIRECTORY, "only-files", True),
    (UNKNOWN, True, False),
    (UNKNOWN, False, True),
    (UNKNOWN, "only-files", False),
]


@pytest.mark.parametrize(("child", "replace", "refused"), TAKEN)
def test_a_taken_name_is_replaced_if_the_rule_allows_it(
    child: ChildSlots, replace: Replace, refused: bool
) -> None:
    table = holding(x=child)
    if refused:
        with pytest.raises(ChildAlreadyPresentError, match="'x'"):
            set_entries(table, [Link("x", LITERAL)], 5.0, replace=replace)
    else:
        assert children(set_entries(table, [Link("x", LITERAL)], 5.0, replace=replace)) == {"x": LITERAL}
    assert children(table) == {"x": child}


def test_an_entry_that_cannot_be_read_is_not_replaced_unasked() -> None:
    table = with_unreadable()

    with pytest.raises(ChildAlreadyPresentError):
        set_entries(table, [Link("bad", FILE)], 5.0)
    result = set_entries(table, [Link("bad", FILE)], 5.0, replace="only-files")
    assert existing_entry(result, "bad").metadata == {"tahoe": {"linkcrtime": 5.0, "linkmotime": 5.0}}


def test_an_entry_that_cannot_be_read_can_be_deleted_but_not_changed_or_moved() -> None:
    table = with_unreadable()

    assert children(delete_entry(table, "bad", must_be_file=True)[0]) == {}
    assert existing_entry(table, "bad").raw == UNREADABLE
    attempts: list[Callable[[], object]] = [
        lambda: readable_entry(table, "bad"),
        lambda: set_metadata(table, "bad", {}, 5.0),
        lambda: moved_link(table, "bad"),
        lambda: rename_entry(table, "bad", "good", 5.0),
    ]
    for attempt in attempts:
        with pytest.raises(UnreadableChildError, match="malformed"):
            attempt()


def test_a_link_may_expect_what_it_replaces() -> None:
    table = holding(x=FILE, d=DIRECTORY)
    version = existing_entry(table, "x").version

    result = set_entries(table, [Link("x", LITERAL, expect=version)], 5.0)
    assert children(result)["x"] == LITERAL
    assert existing_entry(result, "x").version != version
    assert children(set_entries(table, [Link("y", LITERAL, expect="absent")], 5.0))["y"] == LITERAL
    for wrong in (
        Link("x", LITERAL, expect="absent"),
        *(Link(name, LITERAL, expect=version) for name in "dy"),
    ):
        with pytest.raises(VersionMismatchError, match=wrong.name):
            set_entries(table, [wrong], 5.0, replace=True)


def test_all_links_are_made_or_none() -> None:
    table = holding(x=FILE)
    faulty = child_slots("future:w", None)

    for bad, error in [(Link("x", LITERAL), ChildAlreadyPresentError), (Link("n", faulty), ChildFaultError)]:
        with pytest.raises(error):
            set_entries(table, [Link("y", LITERAL), bad], 5.0)
    assert children(table) == {"x": FILE}


def test_two_names_that_are_one_are_set_one_after_the_other() -> None:
    links = [Link("\u00e9", FILE, {"first": 1}), Link("e\u0301", LITERAL)]

    with pytest.raises(ChildAlreadyPresentError):
        set_entries(holding(), links, 5.0)
    result = set_entries(holding(), links, 5.0, replace=True)
    assert children(result) == {"\u00e9": LITERAL}
    assert existing_entry(result, "e\u0301").metadata["first"] == 1


def test_absent_metadata_keeps_no_write() -> None:
    table = set_entries(holding(), [Link("x", WRITABLE, {"no-write": True})], 1.0)
    assert children(again(table)) == {"x": WRITABLE.read_only}

    replaced = set_entries(table, [Link("x", DIRECTORY)], 2.0, replace=True)
    assert children(again(replaced)) == {"x": DIRECTORY.read_only}
    cleared = set_metadata(replaced, "x", {}, 3.0)
    assert children(again(cleared)) == {"x": DIRECTORY.read_only}


@given(
    st.lists(
        st.builds(
            Link,
            st.sampled_from(["x", "y", "e\u0301", "\u00e9"]),
            st.sampled_from([FILE, LITERAL, WRITABLE, UNKNOWN]),
            st.sampled_from([None, {}, {"no-write": True}, {"a": 1}]),
        ),
        max_size=4,
        unique_by=lambda link: link.name.replace("e\u0301", "\u00e9"),
    ),
    st.sampled_from([True, False, "only-files"]),
)
def test_links_of_an_earlier_attempt_are_no_obstacle(links: list[Link], replace: Replace) -> None:
    start = holding(z=FILE)
    done = again(set_entries(start, links, 5.0, replace=replace))

    assert set_entries(done, links, 5.0, replace=replace, first_attempt=False) is done
    if links and replace is False:
        with pytest.raises(ChildAlreadyPresentError):
            set_entries(done, links, 5.0, replace=replace)
        with pytest.raises(ChildAlreadyPresentError):
            set_entries(done, links, 6.0, replace=replace, first_attempt=False)  # those of somebody else


def test_an_expectation_that_an_earlier_attempt_met_is_met() -> None:
    table = holding(x=FILE)
    link = Link("x", LITERAL, expect=existing_entry(table, "x").version)
    done = again(set_entries(table, [link], 5.0))

    assert set_entries(done, [link], 5.0, first_attempt=False) is done


def test_what_an_earlier_attempt_deleted_need_not_be_there() -> None:
    table, removed = delete_entry(holding(x=FILE), "x")
    assert removed is not None
    assert removed.child == FILE

    assert delete_entry(table, "x", first_attempt=False) == (table, None)
    with pytest.raises(NoSuchChildError):
        delete_entry(table, "x")


def test_a_moved_link_takes_the_users_metadata_along() -> None:
    table = set_entries(holding(), [Link("x", WRITABLE, {"a": 1})], 1.0)

    assert moved_link(table, "x").name == "x"
    target = set_entries(holding(), [moved_link(table, "x", "y")], 9.0)
    assert existing_entry(target, "y").metadata == {"a": 1, "tahoe": {"linkcrtime": 9.0, "linkmotime": 9.0}}
    assert children(again(target)) == {"y": WRITABLE}


def test_a_rename_is_one_change_that_can_be_repeated() -> None:
    table = holding(x=WRITABLE, y=FILE)

    done = again(rename_entry(table, "x", "z", 5.0))
    assert children(done) == {"y": FILE, "z": WRITABLE}
    assert rename_entry(done, "x", "z", 5.0, first_attempt=False) is done
    with pytest.raises(NoSuchChildError):
        rename_entry(done, "x", "z", 5.0)
    with pytest.raises(NoSuchChildError):
        rename_entry(done, "x", "z", 6.0, first_attempt=False)
    with pytest.raises(ChildAlreadyPresentError):
        rename_entry(table, "x", "y", 5.0)
    assert children(rename_entry(table, "x", "y", 5.0, replace=True)) == {"y": WRITABLE}


def test_a_rename_to_the_same_name_is_none() -> None:
    table = holding()

    assert rename_entry(table, "e\u0301", "\u00e9", 5.0) is table


CHANGES: list[Callable[[DirectoryTable], object]] = [
    lambda table: set_entries(table, [], 1.0),
    lambda table: set_metadata(table, "x", {}, 1.0),
    lambda table: delete_entry(table, "x", must_exist=False),
    lambda table: rename_entry(table, "x", "x", 1.0),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_only_reads_changes_nothing(change: Callable[[DirectoryTable], object]) -> None:
    with pytest.raises(NotWriteableError):
        change(unpack_directory(b"", None, False))
    with pytest.raises(NotMutableError) as caught:
        change(unpack_directory(b"", None, True))
    assert not isinstance(caught.value, NotWriteableError)
    assert isinstance(caught.value, NotCapableError)


@pytest.mark.seed("S-207")
def test_who_expects_an_index_error_gets_one() -> None:
    table = holding(x=FILE)
    with pytest.raises(IndexError):
        existing_entry(table, "missing")
    with pytest.raises(KeyError):
        existing_entry(table, "missing")
    with pytest.raises(IndexError):
        set_entries(table, [Link("x", LITERAL)], 1.0)
    assert issubclass(NotADirectoryNodeError, IndexError)
    for error, base in [(NoSuchChildError("x"), InputError), (ChildAlreadyPresentError("x"), ConflictError)]:
        assert isinstance(error, base)
        assert isinstance(error, HoldfastError)


def test_a_missing_child_is_named_plainly() -> None:
    error = NoSuchChildError("a b", depth=2)

    assert str(error) == "there is no 'a b' here"
    for copied in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (copied.name, copied.depth) == ("a b", 2)


def test_a_name_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(BadChildNameError):
        set_entries(holding(), [Link("\ud800", FILE)], 1.0)
