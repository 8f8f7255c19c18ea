"""Entries are sealed for their place, opened with their checks, and vouched for by their digests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.caps import VdriveReadCap, VdriveWriteCap
from holdfast.caps.slots import ChildFaultError, ChildSlots, child_slots
from holdfast.caps.vdrive import VdrivePlace
from holdfast.crypto import kernel
from holdfast.crypto.sealed_boxes import BoxCipher, SealedBoxError
from holdfast.crypto.vdrive_keys import WriteKeys, slot_of
from holdfast.formats.directory_metadata import BadMetadataError
from holdfast.formats.directory_names import BadChildNameError
from holdfast.formats.vdrive.edge_metadata import metadata_from_cbor, metadata_to_cbor
from holdfast.formats.vdrive.entry import (
    NameEntry,
    SealedEntry,
    body_digest,
    digest_of,
    digests_of,
    entry_digest,
)
from holdfast.formats.vdrive.head import head_hash, next_head, sign_head
from holdfast.formats.vdrive.names import child_name
from holdfast.formats.vdrive.open_entry import BadEntryError, EntryOpener
from holdfast.formats.vdrive.operations import Add, Delete, encode_operations, operations_digest
from holdfast.formats.vdrive.sealing import EntrySealer
from holdfast.formats.vdrive.tree import root_of

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vdrive.json").read_text())
APPENDIX = VECTORS["appendix"]
KEYS = WriteKeys(bytes.fromhex(APPENDIX["W"]))
PLACE = VdrivePlace(
    bytes.fromhex(APPENDIX["sid"]), "abcdefghijklmnopqrstuvwx23", ("vdrive.example.org:8443",)
)
CHILD = VdriveWriteCap(PLACE, b"\x07" * 32)
SEALER = EntrySealer(KEYS)
READER, WRITER = EntryOpener(KEYS.read), EntryOpener(KEYS.read, KEYS)
READ_BOX = BoxCipher(KEYS.read.seal_key, KEYS.read.index)
WRITE_BOX = BoxCipher(KEYS.seal_key, KEYS.read.index)
CHK = "URI:CHK:aaaaaaaaaaaaaaaaaaaaaaaaaa:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbba:3:10:28733"
SSK = "URI:SSK:aaaaaaaaaaaaaaaaaaaaaaaaaa:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
MDMF = SSK.replace("SSK", "MDMF")
NAMES = st.text(min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and not set(name) & set("/\0") and name.isprintable()
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=10)
)
METADATA = st.dictionaries(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    st.recursive(SCALARS | st.binary(max_size=16), lambda inner: st.lists(inner, max_size=3), max_leaves=5),
    max_size=4,
)


def nonces(*numbers: int) -> bytes:
    return b"".join(bytes([number]) * 16 for number in numbers)


def by_hand(
    read: bytes, write: bytes | None = None, metadata: bytes = b"\xa0", name: str = "x"
) -> SealedEntry:
    """Return an entry as a writer could make it who keeps no rules."""
    slot = slot_of(KEYS.read.name_key, name)
    return SealedEntry(
        slot,
        1,
        READ_BOX.seal(slot, "n", bytes(16), name.encode()),
        b"" if write is None else WRITE_BOX.seal(slot, "w", bytes(16), write),
        READ_BOX.seal(slot, "r", bytes(16), read),
        READ_BOX.seal(slot, "m", bytes(16), metadata),
    )


def test_commits_are_those_of_the_specification() -> None:
    # The capability in A.4 has unused bits that are not zero, so its boxes are made by hand.
    slot = slot_of(KEYS.read.name_key, "na\u00efve.txt")
    metadata = metadata_to_cbor({"ctime": 0x468EF839, "mtime": 0x468EF839})
    assert metadata.hex() == APPENDIX["m plaintext"]
    entry = SealedEntry(
        slot,
        1,
        READ_BOX.seal(slot, "n", nonces(1), "na\u00efve.txt".encode()),
        b"",
        READ_BOX.seal(slot, "r", nonces(3), APPENDIX["r plaintext"].encode()),
        READ_BOX.seal(slot, "m", nonces(4), metadata),
    )
    assert (entry.name.hex(), entry.metadata.hex()) == (APPENDIX["n"], APPENDIX["m"])
    assert hashlib.sha256(entry.read).hexdigest() == APPENDIX["SHA-256 of r"]
    assert body_digest(*entry[3:]).hex() == APPENDIX["body"]
    assert digest_of(entry).hex() == APPENDIX["entry (version 1)"]
    operations = encode_operations([Add(slot, *entry[2:])])
    assert hashlib.sha256(operations).hexdigest() == APPENDIX["SHA-256 of ops 1"]
    assert operations_digest(operations).hex() == APPENDIX["ops digest 1"]

    added = SEALER.seal("README", child_slots(CHILD.to_text(), None), {}, nonces(11, 12, 13, 14), 2)
    assert CHILD.index.hex() == APPENDIX["child index"]
    assert hashlib.sha256(added.write).hexdigest() == APPENDIX["SHA-256 of w"]
    assert digest_of(added).hex() == APPENDIX["entry (version 2)"]
    operations = encode_operations([Delete(slot, 1), Add(added.slot, *added[2:])])
    assert operations_digest(operations).hex() == APPENDIX["ops digest 2"]
    head = next_head(
        bytes.fromhex(APPENDIX["head 1"]),
        root=root_of([(added.slot, digest_of(added))]),
        count=1,
        operations=operations,
        time=1183774900,
        nonce=nonces(10),
    )
    signed = sign_head(KEYS, head)
    assert (head.root.hex(), signed.signature.hex()) == (APPENDIX["root 2"], APPENDIX["signature 2"])
    assert head_hash(signed.head).hex() == APPENDIX["hash 2"]
    both = sorted((item.slot, digest_of(item)) for item in (entry, added))
    assert root_of(both).hex() == APPENDIX["root if not deleted"]


@given(NAMES, METADATA, st.binary(min_size=64, max_size=64))
def test_what_was_sealed_opens(name: str, metadata: dict[str, object], random: bytes) -> None:
    child = child_slots(CHILD.to_text(), None)
    entry = SEALER.seal(name, child, metadata, random, 7)
    for opener, expected in ((WRITER, child), (READER, child.read_only)):
        opened = opener.open(entry)
        assert (opened.name, opened.version, opened.slot) == (child_name(name), 7, entry.slot)
        assert (opened.child, opened.metadata, opened.fault) == (expected, metadata, None)


@pytest.mark.seed("S-072", "S-073")
def test_only_writers_open_what_lets_write() -> None:
    entry = SEALER.seal("x", child_slots(CHILD.to_text(), None), {}, bytes(64), 1)
    with pytest.raises(SealedBoxError):
        READ_BOX.open(entry.slot, "w", entry.write)
    read = READ_BOX.open(entry.slot, "r", entry.read)
    assert read.decode() == CHILD.read_only.to_text()
    opened = READER.open(entry)
    assert opened.child.cap is not None
    assert not opened.child.cap.writable
    assert SEALER.seal("x", child_slots(CHILD.read_only.to_text(), None), {}, bytes(64), 1).write == b""


@pytest.mark.seed("S-074", "S-075")
def test_whoever_reads_a_directory_only_reads_what_is_below_it() -> None:
    grandchild = VdriveWriteCap(PLACE, b"\x08" * 32)
    entry = SEALER.seal("child", child_slots(CHILD.to_text(), None), {}, bytes(64), 1)
    below = EntrySealer(CHILD.keys).seal("x", child_slots(grandchild.to_text(), None), {}, bytes(64), 1)
    assert WRITE_BOX.open(entry.slot, "w", entry.write).decode() == CHILD.to_text()
    assert READ_BOX.open(entry.slot, "r", entry.read).decode() == CHILD.read_only.to_text()
    child = READER.open(entry).child.cap
    assert child == CHILD.read_only
    assert isinstance(child, VdriveReadCap)
    assert EntryOpener(child.keys).open(below).child == child_slots(None, grandchild.read_only.to_text())
    held_read_only = SEALER.seal("child", child_slots(CHILD.read_only.to_text(), None), {}, bytes(64), 2)
    assert held_read_only.write == b""
    assert WRITER.open(held_read_only).child.cap == CHILD.read_only


@pytest.mark.seed("S-076")
@pytest.mark.parametrize("text", [CHK, "URI:LIT:krugkidfnzsc4", SSK, MDMF, SSK.replace("SSK", "DIR2")])
def test_children_of_every_kind_are_kept_and_weakened_for_readers(text: str) -> None:
    child = child_slots(text, None)
    entry = SEALER.seal("x", child, {}, bytes(64), 1)
    assert (entry.write == b"") == (child.rw is None)
    assert WRITER.open(entry).child == child
    assert READER.open(entry).child == child.read_only


@pytest.mark.parametrize(
    "child",
    [
        child_slots("future:rw", "ro.future:ro"),
        child_slots(None, "ro.future:ro"),
        child_slots(None, "imm.future:ro"),
        child_slots(None, CHK.replace("CHK", "CHK-Verifier")),
        child_slots("future:\u00fc", "ro.future:\u00fc"),
        ChildSlots(),
    ],
)
def test_unknown_children_are_kept(child: ChildSlots) -> None:
    assert WRITER.open(SEALER.seal("x", child, {}, bytes(64), 1)).child == child


@pytest.mark.seed("S-079")
def test_a_name_under_another_slot_is_refused() -> None:
    slot = slot_of(KEYS.read.name_key, "x")
    entry = by_hand(CHK.encode())
    wrong = entry._replace(name=READ_BOX.seal(slot, "n", bytes(16), b"y"))
    for opener in (READER, WRITER):
        with pytest.raises(BadEntryError):
            opener.open(wrong)
        with pytest.raises(SealedBoxError):
            opener.open(entry._replace(slot=bytes(32)))


@pytest.mark.parametrize("name", [".", "..", "a/b", "a\0", "x" * 1001, "e\u0301"])
def test_a_name_that_cannot_be_is_refused_when_opened(name: str) -> None:
    raw = name.encode()
    slot = slot_of(KEYS.read.name_key, name)
    entry = by_hand(CHK.encode())._replace(slot=slot, name=READ_BOX.seal(slot, "n", bytes(16), raw))
    with pytest.raises(BadEntryError):
        READER.open(entry)


FAULTS = [
    by_hand(SSK.encode()),  # readers could write
    by_hand(b"ro." + SSK.encode()),
    by_hand(CHILD.to_text().encode()),
    by_hand(b"URI:CHK:nonsense"),
    by_hand(CHK.encode(), metadata=b"\xa1"),
    by_hand(CHK.encode(), metadata=b"\x80"),
    by_hand(CHK.encode(), metadata=b"\xb8\x00"),
    by_hand(CHK.encode())._replace(read=b""),
    by_hand(CHK.encode())._replace(metadata=b""),
    by_hand(b"imm.future:ro", b"future:rw"),
]
MISMATCHES = [
    by_hand(CHK.encode(), SSK.encode()),  # readers would see something else than writers
    by_hand(child_slots(MDMF, None).ro or b"", SSK.encode()),
    by_hand(b"ro.future:ro", SSK.encode()),
    by_hand(b"", SSK.encode()),
    by_hand(child_slots(SSK, None).ro or b"", b"URI:SSK:nonsense"),
    by_hand(CHK.encode())._replace(write=bytes(33)),
]


@pytest.mark.parametrize("entry", FAULTS)
def test_an_entry_that_makes_no_sense_has_a_name_and_a_fault(entry: SealedEntry) -> None:
    for opener in (READER, WRITER) if entry.write == b"" else (WRITER,):
        opened = opener.open(entry)
        assert opened.name == "x"
        assert opened.fault
        assert (opened.child.fault, opened.child.cap, opened.metadata) == ("malformed", None, {})
        with pytest.raises(ChildFaultError):
            SEALER.seal("y", opened.child, {}, bytes(64), 1)


@pytest.mark.parametrize("entry", MISMATCHES)
def test_writers_notice_capabilities_that_do_not_belong_together(entry: SealedEntry) -> None:
    assert WRITER.open(entry).fault is not None


def test_every_flipped_bit_of_an_entry_is_noticed() -> None:
    entry = SEALER.seal("x", child_slots(CHILD.to_text(), None), {"a": 1}, bytes(64), 1)
    digest = digest_of(entry)
    for field in ("name", "write", "read", "metadata"):
        box = getattr(entry, field)
        for bit in range(0, 8 * len(box), 5):
            flipped = bytearray(box)
            flipped[bit >> 3] ^= 1 << (bit & 7)
            altered = entry._replace(**{field: bytes(flipped)})
            assert digest_of(altered) != digest
            try:
                assert WRITER.open(altered).fault is not None
            except SealedBoxError:
                assert field == "name"


def test_an_entry_moved_to_another_directory_does_not_open() -> None:
    entry = SEALER.seal("x", child_slots(CHK, None), {}, bytes(64), 1)
    other = WriteKeys(b"\x01" * 32)
    with pytest.raises(SealedBoxError):
        EntryOpener(other.read, other).open(entry)


def test_uniform_entries_do_not_show_what_can_be_written() -> None:
    file, directory = (
        SEALER.seal(name, child_slots(text, None), {}, bytes(64), 1, uniform=True)
        for name, text in (("a", CHK), ("b", CHILD.to_text()))
    )
    assert [len(box) for box in file[2:]] == [len(box) for box in directory[2:]]
    for opener in (READER, WRITER):
        assert opener.open(file).child == child_slots(CHK, None)


def test_a_listing_of_names_opens_names_only() -> None:
    entry = SEALER.seal("x", child_slots(CHK, None), {"a": 1}, bytes(64), 3)
    opened = READER.open(NameEntry(entry.slot, entry.version, entry.name, body_digest(*entry[3:])))
    assert (opened.name, opened.version) == ("x", 3)
    assert (opened.child, opened.metadata, opened.fault) == (ChildSlots(), {}, None)


@pytest.mark.parametrize("implementation", kernel.available())
def test_digests_are_the_same_one_by_one_together_and_from_names(implementation: str) -> None:
    before = kernel.implementation()
    kernel.force(implementation)
    try:
        entries = [
            SEALER.seal(f"name {number}", child_slots(CHK, None), {"n": number}, bytes(64), number + 1)
            for number in range(20)
        ]
        names = [NameEntry(e.slot, e.version, e.name, body_digest(*e[3:])) for e in entries]
        expected = [entry_digest(name.version, name.name, name.body) for name in names]
        assert digests_of(entries) == digests_of(names) == expected
        assert digests_of([*entries, *names]) == expected * 2
        assert [digest_of(entry) for entry in entries] == expected
        assert digests_of([]) == []
    finally:
        kernel.force(before)


@given(NAMES)
def test_names_are_normalised_once(name: str) -> None:
    assert child_name(child_name(name)) == child_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "a/b", "\0", "a\0b", "\ud800", "x" * 1001, "\u00e9" * 501]
)
def test_names_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(BadChildNameError):
        child_name(name)
    with pytest.raises(BadChildNameError):
        SEALER.seal(name, child_slots(CHK, None), {}, bytes(64), 1)


@pytest.mark.parametrize(
    "name", ["...", " ", "x" * 1000, "\u00e9" * 500, "e\u0301" * 500, "\U0001f600" * 250]
)
def test_names_up_to_a_thousand_bytes_are_stored(name: str) -> None:
    entry = SEALER.seal(name, child_slots(CHK, None), {}, bytes(64), 1)
    assert READER.open(entry).name == child_name(name)


@given(METADATA)
def test_metadata_survives(metadata: dict[str, object]) -> None:
    assert metadata_from_cbor(metadata_to_cbor(metadata)) == metadata


@pytest.mark.parametrize(
    "metadata",
    [{1: 2}, {"a": {1}}, {"a": 2**64}, {"a": "x" * 7900}, {"a": "\ud800"}, {"a": object()}],
    ids=["a number as name", "a set", "a large number", "too much", "no text", "an object"],
)
def test_metadata_that_cannot_be_stored_is_refused(metadata: dict[str, object]) -> None:
    with pytest.raises(BadMetadataError):
        metadata_to_cbor(metadata)


def test_metadata_up_to_its_limit_fits_its_box() -> None:
    metadata = {"a": "x" * 7894}
    assert len(metadata_to_cbor(metadata)) == 7900
    entry = SEALER.seal("x", child_slots(CHK, None), metadata, bytes(64), 1)
    assert READER.open(entry).metadata == metadata
    with pytest.raises(BadMetadataError):
        metadata_to_cbor({"a": "x" * 7895})
