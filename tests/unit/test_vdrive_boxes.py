"""Boxes open in their place, with their key, unaltered, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.sealed_boxes import (
    BOX_FIELDS,
    BOX_SIZE_MAX,
    OVERHEAD,
    BoxCipher,
    BoxField,
    BoxShapeError,
    BoxTooLargeError,
    SealedBoxError,
    check_shape,
)
from holdfast.crypto.vdrive_keys import WriteKeys, slot_of

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vdrive.json").read_text())
KEYS = WriteKeys(bytes.fromhex(VECTORS["keys"]["write_key_hex"]))
INDEX = KEYS.read.index
READER = BoxCipher(KEYS.read.seal_key, INDEX)
WRITER = BoxCipher(KEYS.seal_key, INDEX)
SLOT = bytes.fromhex(VECTORS["box_slot_hex"])
NONCE = bytes(range(16))
FIELDS = st.sampled_from(BOX_FIELDS)
UNITS = {"n": 64, "w": 256, "r": 256, "m": 64}


def test_boxes_are_those_of_the_reference() -> None:
    for vector in VECTORS["boxes"]:
        cipher = WRITER if vector["field"] == "w" else READER
        box, plaintext = bytes.fromhex(vector["box_hex"]), bytes.fromhex(vector["plaintext_hex"])
        assert cipher.seal(SLOT, vector["field"], box[1:17], plaintext) == box
        assert cipher.open(SLOT, vector["field"], box) == plaintext


def test_boxes_are_those_of_the_specification() -> None:
    appendix = VECTORS["appendix"]
    keys = WriteKeys(bytes.fromhex(appendix["W"]))
    slot = slot_of(keys.read.name_key, "na\u00efve.txt")
    cipher = BoxCipher(keys.read.seal_key, keys.read.index)
    assert cipher.seal(slot, "n", b"\x01" * 16, "na\u00efve.txt".encode()).hex() == appendix["n"]
    assert cipher.open(slot, "m", bytes.fromhex(appendix["m"])).hex() == appendix["m plaintext"]
    assert len(cipher.seal(slot, "r", b"\x03" * 16, appendix["r plaintext"].encode())) == int(
        appendix["r length"]
    )


@given(FIELDS, st.binary(max_size=1000), st.binary(min_size=16, max_size=16))
def test_what_was_sealed_opens_and_its_length_is_hidden(
    field: BoxField, plaintext: bytes, nonce: bytes
) -> None:
    box = READER.seal(SLOT, field, nonce, plaintext)
    assert READER.open(SLOT, field, box) == plaintext
    assert (len(box) - OVERHEAD) % UNITS[field] == 0
    assert 0 < len(box) - OVERHEAD - len(plaintext) <= UNITS[field]


@pytest.mark.parametrize("field", BOX_FIELDS)
def test_every_flipped_bit_is_noticed(field: BoxField) -> None:
    box = READER.seal(SLOT, field, NONCE, b"what nobody may alter")
    for bit in range(8 * len(box)):
        flipped = bytearray(box)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(SealedBoxError):
            READER.open(SLOT, field, bytes(flipped))


@given(FIELDS, st.integers(0, 400))
def test_a_box_that_is_cut_or_longer_does_not_open(field: BoxField, size: int) -> None:
    box = READER.seal(SLOT, field, NONCE, b"text")
    cut = (box + bytes(400))[:size]
    if cut != box:
        with pytest.raises(SealedBoxError):
            READER.open(SLOT, field, cut)


@given(FIELDS, FIELDS, st.binary(min_size=32, max_size=32))
def test_a_box_does_not_open_in_another_place(field: BoxField, other: BoxField, slot: bytes) -> None:
    box = READER.seal(SLOT, field, NONCE, b"text")
    elsewhere = BoxCipher(KEYS.read.seal_key, bytes(32))
    attempts = [(READER, slot, field), (READER, SLOT, other), (elsewhere, SLOT, field), (WRITER, SLOT, field)]
    for cipher, where, as_field in attempts:
        if (cipher, where, as_field) == (READER, SLOT, field):
            continue
        with pytest.raises(SealedBoxError):
            cipher.open(where, as_field, box)


@pytest.mark.parametrize("padded", [bytes(64), b"\x80" + bytes(127), b"x" * 64, b"x" * 63 + b"\x01"])
def test_wrong_padding_under_the_right_key_is_refused(padded: bytes) -> None:
    sealed = READER._siv.encrypt(padded, [READER._place + SLOT + b"n", NONCE])
    with pytest.raises(SealedBoxError):
        READER.open(SLOT, "n", b"\x01" + NONCE + sealed)


def test_an_error_names_the_place_and_no_more() -> None:
    with pytest.raises(SealedBoxError) as caught:
        READER.open(SLOT, "n", WRITER.seal(SLOT, "n", NONCE, b"secret name"))
    assert "secret name" not in str(caught.value)
    assert "box n" in str(caught.value)


@pytest.mark.seed("S-017")
@pytest.mark.parametrize("field", BOX_FIELDS)
def test_a_box_is_empty_for_writing_only_and_otherwise_within_its_sizes(field: BoxField) -> None:
    for size in range(1, OVERHEAD):
        with pytest.raises(BoxShapeError):
            check_shape(field, bytes(size))
    if field == "w":
        assert check_shape(field, b"") == b""
    else:
        with pytest.raises(BoxShapeError):
            check_shape(field, b"")
    for size in (OVERHEAD, BOX_SIZE_MAX[field]):  # what is in it is nobody's business
        assert check_shape(field, bytes(size)) == bytes(size)
    with pytest.raises(BoxTooLargeError):
        check_shape(field, bytes(BOX_SIZE_MAX[field] + 1))


def test_what_is_too_long_for_its_box_is_not_sealed() -> None:
    for field, most in (("n", 1023), ("w", 1023), ("r", 1023), ("m", 8063)):
        assert READER.seal(SLOT, field, NONCE, bytes(most))
        with pytest.raises(BoxTooLargeError):
            READER.seal(SLOT, field, NONCE, bytes(most + 1))
    with pytest.raises(ValueError, match="nonce"):
        READER.seal(SLOT, "n", b"short", b"")
    with pytest.raises(ValueError, match="sealing key"):
        BoxCipher(bytes(32), INDEX)
