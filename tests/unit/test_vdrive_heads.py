"""Heads have one form, bind all of a directory's state, and are accepted from its writers only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.vdrive_keys import WriteKeys
from holdfast.formats import deterministic_cbor
from holdfast.formats.vdrive.head import (
    BadHeadError,
    Head,
    SignedHead,
    first_head,
    head_hash,
    next_head,
    parse_head,
    sign_head,
    verified_head,
)
from holdfast.formats.vdrive.tree import EMPTY

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vdrive.json").read_text())
APPENDIX = VECTORS["appendix"]
KEYS = WriteKeys(bytes.fromhex(APPENDIX["W"]))
INDEX = KEYS.read.index
SIGNED = SignedHead(bytes.fromhex(APPENDIX["head 1"]), bytes.fromhex(APPENDIX["signature 1"]))
HEAD = parse_head(SIGNED.head)
NUMBERS = st.integers(0, 2**63 - 1)


def test_the_first_head_follows_from_the_keys() -> None:
    first = first_head(KEYS)
    assert (first.head.hex(), first.signature.hex()) == (APPENDIX["head 0"], APPENDIX["signature 0"])
    assert head_hash(first.head).hex() == APPENDIX["hash 0"]
    assert verified_head(first, KEYS.verify_key, INDEX).root == EMPTY


def test_the_next_head_is_that_of_the_specification() -> None:
    assert verified_head(SIGNED, KEYS.verify_key, INDEX) == HEAD
    assert sign_head(KEYS, HEAD) == SIGNED
    assert head_hash(SIGNED.head).hex() == APPENDIX["hash 1"]
    follower = next_head(
        first_head(KEYS).head,
        root=HEAD.root,
        count=1,
        operations=b"",
        time=HEAD.time,
        nonce=HEAD.nonce,
    )
    assert replace(follower, operations_digest=HEAD.operations_digest) == HEAD


def test_heads_are_those_of_the_reference() -> None:
    keys = WriteKeys(bytes.fromhex(VECTORS["bundle"]["write_key_hex"]))
    before = None
    for head_hex, signature_hex in VECTORS["bundle"]["heads_hex"]:
        signed = SignedHead(bytes.fromhex(head_hex), bytes.fromhex(signature_hex))
        head = verified_head(signed, keys.verify_key, keys.read.index)
        assert sign_head(keys, head) == signed
        if before is not None:
            assert head.previous == head_hash(before)
        before = signed.head
    assert head.heartbeat == 86400


def test_every_flipped_bit_is_noticed() -> None:
    for part in (0, 1):
        for bit in range(8 * len(SIGNED[part])):
            flipped = bytearray(SIGNED[part])
            flipped[bit >> 3] ^= 1 << (bit & 7)
            altered = SIGNED._replace(**{SignedHead._fields[part]: bytes(flipped)})
            with pytest.raises(BadHeadError):
                verified_head(altered, KEYS.verify_key, INDEX)


def test_a_head_of_another_directory_or_writer_is_refused() -> None:
    other = WriteKeys(bytes(32))
    with pytest.raises(BadHeadError):
        verified_head(first_head(other), KEYS.verify_key, INDEX)
    with pytest.raises(BadHeadError, match="another directory"):
        verified_head(sign_head(KEYS, replace(HEAD, index=bytes(32))), KEYS.verify_key, INDEX)
    with pytest.raises(BadHeadError):
        verified_head(SIGNED._replace(signature=b""), KEYS.verify_key, INDEX)


@given(
    st.builds(
        Head,
        st.binary(min_size=32, max_size=32),
        st.integers(1, 2**63 - 1),
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=32, max_size=32).map(b"\x02".__add__),
        st.integers(2, 2**63 - 1),
        st.binary(min_size=32, max_size=32),
        NUMBERS,
        st.binary(min_size=16, max_size=16),
        st.none() | NUMBERS,
        st.none() | st.just(0),
    )
)
def test_a_head_survives(head: Head) -> None:
    assert parse_head(head.to_bytes()) == head
    assert len(head.to_bytes()) <= 512


@pytest.mark.parametrize(
    "change",
    [
        {1: 2},
        {1: True},
        {2: bytes(31)},
        {3: -1},
        {3: 2**63},
        {3: True},
        {3: 0},
        {4: bytes(33)},
        {5: EMPTY},
        {5: b"\x02" + bytes(32)},
        {5: b"\x03" + bytes(32)},
        {5: b"\x01" + bytes(31)},
        {6: 0},
        {6: 2},
        {6: "1"},
        {7: None},
        {8: -1},
        {9: bytes(15)},
        {10: None},
        {10: -1},
        {11: 1},
        {11: 2},
        {12: 0},
        {"1": 1},
    ],
    ids=str,
)
def test_a_head_that_is_malformed_or_contradicts_itself_is_refused(change: dict[int | str, object]) -> None:
    fields = deterministic_cbor.decode(SIGNED.head, size_max=512)
    assert isinstance(fields, dict)
    with pytest.raises(BadHeadError):
        parse_head(deterministic_cbor.encode(fields | change))


@pytest.mark.parametrize("key", range(1, 10))
def test_a_head_lacks_nothing(key: int) -> None:
    fields = deterministic_cbor.decode(SIGNED.head, size_max=512)
    assert isinstance(fields, dict)
    del fields[key]
    with pytest.raises(BadHeadError):
        parse_head(deterministic_cbor.encode(fields))


@given(st.binary(max_size=300))
def test_bytes_that_are_no_head_are_refused(data: bytes) -> None:
    with pytest.raises(BadHeadError):
        parse_head(data)


def test_another_encoding_of_the_same_head_is_refused() -> None:
    for longer in (b"\xb8\x09" + SIGNED.head[1:], b"\xbf" + SIGNED.head[1:] + b"\xff", SIGNED.head + b"\x00"):
        with pytest.raises(BadHeadError):
            parse_head(longer)


def test_time_never_goes_back_along_a_chain() -> None:
    follower = next_head(
        SIGNED.head, root=HEAD.root, count=1, operations=b"\x80", time=HEAD.time - 500, nonce=bytes(16)
    )
    assert (follower.version, follower.time, follower.previous) == (2, HEAD.time, head_hash(SIGNED.head))


def test_a_writer_signs_no_head_that_readers_would_refuse() -> None:
    for wrong in (replace(HEAD, count=0), replace(HEAD, disown_base=1), replace(HEAD, nonce=b"")):
        with pytest.raises(ValueError, match="head"):
            sign_head(KEYS, wrong)
