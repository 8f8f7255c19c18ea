"""Directories are packed and read as the reference does, save where it would lose or leak something."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.caps import DirectoryCap, ImmutableReadCap, LiteralCap, MutableReadCap, MutableWriteCap
from holdfast.caps.slots import ChildFaultError, ChildSlots, child_slots
from holdfast.crypto import directory_hashes
from holdfast.crypto.netstring import netstring
from holdfast.errors import NotCapableError
from holdfast.formats.directory_entry import BadDirectoryError, DirectoryEntry
from holdfast.formats.directory_metadata import BadMetadataError
from holdfast.formats.directory_names import BadChildNameError, normalised
from holdfast.formats.directory_table import DirectoryTable, pack_directory, unpack_directory
from holdfast.formats.directory_write_caps import decrypted_write_cap, encrypted_write_cap

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "directories.json").read_text())
FAULTS = {
    "BadURIError": "malformed",
    "MustBeReadonlyError": "must-be-readonly",
    "MustBeDeepImmutableError": "must-be-deep-immutable",
    "MustNotBeUnknownRWError": "unknown-rw",
    None: None,
}
KEY = bytes(range(16))
CAPS = VECTORS["example_caps"]
LITERAL = child_slots(CAPS["lit"], None)
FILE = child_slots(CAPS["chk"], None)
WRITABLE = child_slots(CAPS["ssk_write"], None)


def label(vector: dict[str, Any]) -> str:
    return f"{vector['label']} {vector.get('mode', '')}".strip()


def key_of(vector: dict[str, Any]) -> bytes | None:
    return None if vector["writekey"] is None else bytes.fromhex(vector["writekey"])


def listed(table: DirectoryTable) -> list[dict[str, Any]]:
    return [
        {
            "name": entry.name,
            "kind": entry.child.kind,
            "rw_cap": None if entry.child.rw is None else entry.child.rw.decode(),
            "ro_cap": None if entry.child.ro is None else entry.child.ro.decode(),
            "metadata": entry.metadata,
        }
        for entry in table
        if entry.readable
    ]


def given_child(vector: dict[str, Any]) -> ChildSlots:
    return child_slots(vector.get("rw_cap"), vector["ro_cap"])


def packed(vector: dict[str, Any]) -> bytes:
    entries = [(child["name"], given_child(child), child["metadata"]) for child in vector["children"]]
    return pack_directory(entries, key_of(vector), vector["immutable"])


@pytest.mark.parametrize("vector", VECTORS["rw_cap_encryption"], ids=lambda vector: vector["rw_cap"][:20])
def test_write_caps_are_kept_from_readers_as_the_reference_does(vector: dict[str, Any]) -> None:
    cap, field, key = vector["rw_cap"].encode(), bytes.fromhex(vector["field"]), key_of(vector)
    assert key is not None
    salt = directory_hashes.child_salt(cap)

    assert salt.hex() == vector["salt"]
    assert directory_hashes.child_key(salt, key).hex() == vector["key"]
    assert encrypted_write_cap(cap, key) == field
    assert decrypted_write_cap(field, key) == cap


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_field_deciphers_to_something(field: bytes, cap: bytes) -> None:
    assert len(decrypted_write_cap(field, KEY)) == max(0, len(field) - 48)
    assert decrypted_write_cap(encrypted_write_cap(cap, KEY), KEY) == cap


@pytest.mark.parametrize("vector", VECTORS["normalisation"], ids=lambda vector: ascii(vector["input"]))
def test_names_are_normalised_as_the_reference_does(vector: dict[str, Any]) -> None:
    name = normalised(vector["input"])

    assert name == vector["output"] == normalised(name)
    assert name.encode() == bytes.fromhex(vector["output_utf8"])


def test_a_name_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(BadChildNameError):
        normalised("\ud800")


@pytest.mark.parametrize("vector", VECTORS["packing"], ids=label)
def test_directories_are_packed_as_the_reference_does(vector: dict[str, Any]) -> None:
    if "error" in vector:
        with pytest.raises(ChildFaultError) as caught:
            packed(vector)
        assert caught.value.fault == FAULTS[vector["error"]]
        return
    data = base64.b64decode(vector["packed"])
    assert packed(vector) == data

    if vector["immutable"]:
        assert listed(unpack_directory(data, None, True)) == vector["listing"]["children"]
    else:
        assert listed(unpack_directory(data, key_of(vector), False)) == vector["listing_write"]["children"]
        assert listed(unpack_directory(data, None, False)) == vector["listing_read"]["children"]


@pytest.mark.parametrize("vector", VECTORS["immutable_directories"], ids=label)
def test_immutable_directories_are_packed_as_the_reference_does(vector: dict[str, Any]) -> None:
    data = packed({**vector, "writekey": None, "immutable": True})

    assert data == base64.b64decode(vector["packed"])


@pytest.mark.parametrize("vector", VECTORS["unpacking"], ids=label)
def test_directories_are_read_as_the_reference_does(vector: dict[str, Any]) -> None:
    data, immutable = base64.b64decode(vector["packed"]), vector["mode"] == "immutable"
    if "error" in vector["result"]:
        with pytest.raises(BadDirectoryError):
            unpack_directory(data, key_of(vector), immutable)
        return
    table = unpack_directory(data, key_of(vector), immutable)

    if vector["label"] == "write cap in the ro slot":  # the reference lets readers write through it
        assert listed(table) == []
        assert [entry.child.fault for entry in table] == ["must-be-readonly"]
    else:
        assert listed(table) == vector["result"]["children"]
    assert table.to_bytes() == data


@pytest.mark.parametrize("vector", VECTORS["whole_directories"], ids=lambda vector: vector["format"])
def test_contents_of_whole_directories_are_read(vector: dict[str, Any]) -> None:
    data = base64.b64decode(vector["contents"])
    cap = child_slots(vector["write_cap"], None).cap
    assert isinstance(cap, DirectoryCap)
    assert isinstance(cap.file_cap, MutableWriteCap)

    writers = unpack_directory(data, cap.file_cap.write_key, False)

    assert listed(writers) == vector["listing_write"]
    assert listed(unpack_directory(data, None, False)) == vector["listing_read"]
    again = [(entry.name, entry.child, entry.metadata) for entry in writers]
    assert pack_directory(again, cap.file_cap.write_key, False) == data


CREATED = VECTORS["create_from_cap"]["rows"]


@pytest.mark.parametrize("row", CREATED, ids=lambda row: f"{row[0]} {row[1]} {row[2]}"[:50])
def test_slots_make_the_children_that_the_reference_makes(row: list[Any]) -> None:
    rw, ro, deep_immutable, kind, result_rw, result_ro, error, allowed = row
    child = child_slots(rw, ro, deep_immutable)

    assert child.kind == kind
    assert (child.rw, child.ro) == tuple(cap and cap.encode() for cap in (result_rw, result_ro))
    assert child.fault == FAULTS[error]
    assert child.allowed_in_immutable_directory == allowed


# -- what the reference gets wrong


VERIFY_CAP = child_slots(CAPS["chk"], None).cap


def test_a_verify_cap_of_a_file_is_carried_along_and_does_no_harm() -> None:
    assert isinstance(VERIFY_CAP, ImmutableReadCap)
    text = VERIFY_CAP.verify_cap.to_text()
    child = child_slots(None, text, deep_immutable=True)

    assert (child.kind, child.ro) == ("unknown", b"imm." + text.encode())
    data = pack_directory([("v", child, {}), ("x", LITERAL, {})], None, True)
    assert [entry.child.kind for entry in unpack_directory(data, None, True)] == ["unknown", "file"]


def test_nothing_that_allows_writing_is_stored_for_readers() -> None:
    leak = child_slots("future:x", CAPS["ssk_write"])  # the reference makes a child of it
    assert leak.fault is None

    with pytest.raises(ChildFaultError, match="allows writing"):
        pack_directory([("x", leak, {})], KEY, False)


def unreadable(name: str, ro: bytes = b"URI:CHK:foo", metadata: bytes = b"?") -> bytes:
    return b"".join(map(netstring, (name.encode(), ro, b"", metadata)))


def readable(name: str, child: ChildSlots = LITERAL) -> bytes:
    assert child.ro is not None
    return b"".join(map(netstring, (name.encode(), child.ro, b"", b"{}")))


def table_of(*raws: bytes, write_key: bytes | None = KEY) -> DirectoryTable:
    return unpack_directory(b"".join(map(netstring, raws)), write_key, False)


def raws(table: DirectoryTable) -> list[bytes]:
    """Return the entries in the bytes of a table."""
    found, data = [], table.to_bytes()
    while data:
        head, _, rest = data.partition(b":")
        found.append(rest[: int(head)])
        data = rest[int(head) + 1 :]
    return found


def test_an_entry_that_cannot_be_read_is_seen_and_kept() -> None:
    table = table_of(unreadable("b"), readable("c"))
    table.set("a", FILE, {})

    assert [(entry.name, entry.child.fault) for entry in table] == [
        ("a", None),
        ("b", "malformed"),
        ("c", None),
    ]
    assert raws(table)[1:] == [unreadable("b"), readable("c")]
    for metadata in (b"?", b'{"a": 1}'):
        assert [dict(entry.metadata) for entry in table_of(unreadable("b", metadata=metadata))] == [{}]


@pytest.mark.parametrize("change", [lambda table: table.delete("b"), lambda table: table.set("b", FILE, {})])
def test_an_entry_that_cannot_be_read_goes_when_its_name_is_set_or_deleted(
    change: Callable[[DirectoryTable], object],
) -> None:
    table = table_of(unreadable("b", b"URI:CHK:bar"), readable("b"), unreadable("b"), readable("c"))
    change(table)

    assert not any(raw == unreadable("b") or raw == unreadable("b", b"URI:CHK:bar") for raw in raws(table))
    assert raws(table)[-1] == readable("c")


def test_of_equal_names_the_last_readable_one_counts_and_the_unreadable_ones_are_kept() -> None:
    table = table_of(readable("x"), unreadable("x"), readable("x", FILE), unreadable("x", b"URI:CHK:bar"))
    assert [entry.child for entry in table] == [FILE]

    table.set("y", LITERAL, {})

    assert raws(table)[:3] == [unreadable("x"), unreadable("x", b"URI:CHK:bar"), readable("x", FILE)]
    again = unpack_directory(table.to_bytes(), KEY, False)
    assert [entry.child for entry in again] == [FILE, LITERAL]


def test_zeros_in_front_of_a_length_are_tolerated() -> None:
    entry = b"01:x,00016:URI:LIT:nbswy3dp,0:,2:{},"

    for zeros in (b"00", b"0" * 30):
        assert listed(unpack_directory(zeros + b"36:" + entry + b",", KEY, False))[0]["name"] == "x"


@pytest.mark.parametrize(
    "data",
    ["1", ":", "-1:,", "+1:a,", " 1:a,", "1 :a,", "2:a,", "9" * 20 + ":,", "9" * 5000 + ":,", "١:a,"],
    ids=lambda data: data[:5],
)
def test_other_lengths_are_not(data: str) -> None:
    with pytest.raises(BadDirectoryError):
        unpack_directory(data.encode(), KEY, False)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_metadata_beyond_reason_is_an_ordinary_error(text: str) -> None:
    raw = b"".join(map(netstring, (b"x", CAPS["lit"].encode(), b"", text.encode())))

    with pytest.raises(BadDirectoryError):
        unpack_directory(netstring(raw), KEY, False)


def test_only_who_may_write_changes_a_table() -> None:
    for table in (unpack_directory(b"", None, False), unpack_directory(b"", None, True)):
        assert not table.writable
        with pytest.raises(NotCapableError):
            table.set("x", LITERAL, {})
        with pytest.raises(NotCapableError):
            table.delete("x")
    assert unpack_directory(b"", KEY, False).writable


@pytest.mark.parametrize(("key", "immutable"), [(KEY, True), (KEY[:15], False)])
def test_keys_that_make_no_sense_are_refused(key: bytes, immutable: bool) -> None:
    with pytest.raises(ValueError, match="key"):
        unpack_directory(b"", key, immutable)
    with pytest.raises(ValueError, match="key"):
        pack_directory([], key, immutable)
    with pytest.raises(ValueError, match="key"):
        pack_directory([], None, False)


def test_metadata_that_is_not_json_is_refused() -> None:
    unfit: list[Any] = [{"a": b""}, {"a": object()}, {1: 2}, {"a": 10**5000}]
    for metadata in unfit:
        with pytest.raises(BadMetadataError):
            pack_directory([("x", LITERAL, metadata)], KEY, False)


def test_capabilities_are_deciphered_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack_directory([(str(number), WRITABLE, {}) for number in range(50)], KEY, False)
    calls: list[bytes] = []

    def counted(salt: bytes, write_key: bytes) -> bytes:
        calls.append(salt)
        return directory_hashes.child_key(salt, write_key)

    monkeypatch.setattr("holdfast.formats.directory_write_caps.child_key", counted)

    table = unpack_directory(data, KEY, False)
    table.delete("7")
    table.set("8", FILE, {})
    table.to_bytes()
    assert len(calls) == 1  # the field of a child without write capability

    entry = table.get("9")
    assert entry is not None
    assert entry.child == entry.child == WRITABLE
    assert len(calls) == 2


# -- laws


NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.sampled_from(["é", "e\u0301"])
)
KEYS, HASHES = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)
FORMATS = st.sampled_from(["SSK", "MDMF"])
FIXED_CAPS = st.one_of(
    st.builds(LiteralCap, st.binary(max_size=9)),
    st.builds(ImmutableReadCap, KEYS, HASHES, st.just(3), st.just(10), st.integers(1, 2**64)),
)
CHANGING_CAPS = st.one_of(
    st.builds(MutableReadCap, FORMATS, KEYS, HASHES), st.builds(MutableWriteCap, FORMATS, KEYS, HASHES)
)
FUTURE = st.text("abc:", min_size=1, max_size=9).map(lambda text: f"future:{text}")
FIXED = st.one_of(
    FIXED_CAPS.map(lambda cap: child_slots(cap.to_text(), None)),
    FIXED_CAPS.map(lambda cap: child_slots(DirectoryCap(cap).to_text(), None)),
    FUTURE.map(lambda text: child_slots(None, "imm." + text)),
    st.just(ChildSlots()),
)
CHANGING = st.one_of(
    CHANGING_CAPS.map(lambda cap: child_slots(cap.to_text(), None)),
    CHANGING_CAPS.map(lambda cap: child_slots(DirectoryCap(cap).to_text(), None)),
    FUTURE.map(lambda text: child_slots(None, text)),
    st.builds(child_slots, FUTURE, FUTURE),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda values: st.one_of(
        st.lists(values, max_size=3), st.dictionaries(st.text(max_size=5), values, max_size=3)
    ),
    max_leaves=6,
)
METADATA = st.dictionaries(st.text(max_size=5), JSON, max_size=3)


def entries_of(children: st.SearchStrategy[ChildSlots]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.tuples(NAMES, children, METADATA), max_size=8)


def shown(entry: DirectoryEntry) -> tuple[ChildSlots, Any]:
    return entry.child, entry.metadata


@given(entries_of(st.one_of(FIXED, CHANGING)))
def test_what_is_packed_is_read_back(entries: list[tuple[str, ChildSlots, Any]]) -> None:
    data = pack_directory(entries, KEY, False)
    expected = {normalised(name): (child, metadata) for name, child, metadata in entries}

    assert {entry.name: shown(entry) for entry in unpack_directory(data, KEY, False)} == expected
    for entry in unpack_directory(data, None, False):
        child, metadata = expected[entry.name]
        assert shown(entry) == (child.read_only, metadata)
        assert entry.child.rw is None


@given(entries_of(FIXED))
def test_what_is_packed_for_ever_is_read_back(entries: list[tuple[str, ChildSlots, Any]]) -> None:
    data = pack_directory(entries, None, True)

    assert {entry.name: shown(entry) for entry in unpack_directory(data, None, True)} == {
        normalised(name): (child, metadata) for name, child, metadata in entries
    }


FIELD = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([b"{}", b"[", b"x", b"URI:LIT:nbswy3dp", b"ro.URI:CHK:x", b"e\xcc\x81"]),
)
RAW_ENTRY = st.lists(FIELD, min_size=3, max_size=5).map(lambda fields: b"".join(map(netstring, fields)))
NEARLY = st.lists(RAW_ENTRY, max_size=5).map(lambda entries: b"".join(map(netstring, entries)))
DAMAGED = st.builds(
    lambda data, at, byte: data[: at % (len(data) + 1)] + byte + data[at % (len(data) + 1) + 1 :],
    NEARLY,
    st.integers(0, 10**6),
    st.binary(max_size=2),
)


@given(
    st.one_of(st.binary(max_size=60), NEARLY, DAMAGED),
    st.sampled_from([(KEY, False), (None, False), (None, True)]),
)
def test_any_bytes_are_a_directory_or_a_known_error(data: bytes, held: tuple[bytes | None, bool]) -> None:
    try:
        table = unpack_directory(data, *held)
    except BadDirectoryError:
        return
    assert table.to_bytes() == data
    assert [entry.name for entry in table] == sorted(entry.name for entry in table)
    for entry in table:
        assert isinstance(entry.metadata, dict)
        assert netstring(entry.raw) in data


GOOD_RAW = st.builds(
    lambda name, child, layout, tail: (
        name,
        b"".join(map(netstring, (name.encode(), child.ro or b"", b"", layout))) + tail,
    ),
    NAMES,
    FIXED,
    st.sampled_from([b"{}", b'{ "a":1 }', b'{"a": Infinity}']),
    st.sampled_from([b"", b"TAIL"]),
)
BAD_RAW = NAMES.map(lambda name: (name, unreadable(name)))
OPERATIONS = st.lists(
    st.one_of(st.tuples(NAMES, st.none(), st.none()), st.tuples(NAMES, FIXED, METADATA)), max_size=12
)


def read(table: DirectoryTable) -> dict[str, tuple[ChildSlots, Any]]:
    return {entry.name: shown(entry) for entry in table}


@given(st.lists(st.one_of(GOOD_RAW, BAD_RAW), max_size=8), OPERATIONS)
def test_a_table_is_a_dictionary_and_leaves_alone_what_is_not_touched(
    start: list[tuple[str, bytes]], operations: list[tuple[str, ChildSlots | None, Any]]
) -> None:
    table = table_of(*(raw for _, raw in start))
    model = read(table)
    untouched = {entry.name: entry.raw for entry in table}
    for name, child, metadata in operations:
        before = normalised(name) in table
        untouched.pop(normalised(name), None)
        if child is None:
            assert (table.delete(name) is not None) == before
            model.pop(normalised(name), None)
        else:
            table.set(name, child, metadata)
            model[normalised(name)] = (child, metadata)
        assert read(table) == model

    again = unpack_directory(table.to_bytes(), KEY, False)
    assert read(again) == model
    assert {entry.name: entry.raw for entry in again if entry.name in untouched} == untouched
    touched = {normalised(name) for name, _, _ in operations}
    for name, raw in start:
        if raw == unreadable(name):
            assert (raw in raws(table)) == (normalised(name) not in touched)


@given(st.lists(st.one_of(GOOD_RAW, BAD_RAW), max_size=8), st.lists(NAMES, max_size=3))
def test_a_copy_is_changed_by_itself(start: list[tuple[str, bytes]], names: list[str]) -> None:
    table = table_of(*(raw for _, raw in start))
    before = table.to_bytes()
    copy = table.copy()
    for name in names:
        copy.set(name, FILE, {})
        copy.delete(start[0][0] if start else name)

    assert table.to_bytes() == before == b"".join(netstring(raw) for _, raw in start)


def test_what_a_copy_drops_stays_in_the_table() -> None:
    table = table_of(unreadable("b"), readable("b"))
    copy = table.copy()
    copy.set("b", FILE, {})
    table.set("a", FILE, {})

    assert raws(table)[1:] == [unreadable("b"), readable("b")]
