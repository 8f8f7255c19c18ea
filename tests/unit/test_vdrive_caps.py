"""Capabilities of virtual drive directories: one text each; they weaken and never widen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.caps import (
    ErroneousCap,
    UnknownCap,
    VdriveReadCap,
    VdriveRefreshCap,
    VdriveVerifyCap,
    VdriveWriteCap,
    parse_cap,
)
from holdfast.caps.expecting import (
    ObsoleteCapabilityError,
    directory_cap,
    expect_vdrive_directory,
    file_cap,
)
from holdfast.caps.refresh import parse_refresh_cap, refresh_cap
from holdfast.caps.slots import child_slots
from holdfast.caps.vdrive import VdrivePlace
from holdfast.crypto import base32
from holdfast.errors import BadCapabilityError, WrongCapabilityTypeError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vdrive.json").read_text())
APPENDIX = VECTORS["appendix"]
TEXTS = [APPENDIX[name] for name in ("write", "read", "verify")]
LABELS = ("URI:DIR:", "URI:DIR-RO:", "URI:DIR-Verifier:")
KEYS = st.binary(min_size=32, max_size=32)
HINTS = st.one_of(
    st.from_regex(r"\A[a-z0-9]{1,20}(\.[a-z0-9]{1,5})?\Z").map("{}:1".format),
    st.ip_addresses(v=4).map("{}:443".format),
    st.ip_addresses(v=6).map("[{}]:65535".format),
    st.from_regex(r"\Ator:[a-z2-7]{56}\.onion:80\Z"),
)
PLACES = st.builds(
    VdrivePlace, KEYS, st.from_regex(r"\A[a-z2-7]{16,64}\Z"), st.lists(HINTS, max_size=4).map(tuple)
)
WRITE_CAPS = st.builds(VdriveWriteCap, PLACES, KEYS)


def known(text: str) -> VdriveWriteCap | VdriveReadCap | VdriveVerifyCap:
    cap = parse_cap(text)
    assert isinstance(cap, VdriveWriteCap | VdriveReadCap | VdriveVerifyCap)
    return cap


def test_capabilities_are_those_of_the_specification() -> None:
    write = known(APPENDIX["write"])
    assert write.place.sid.hex() == APPENDIX["sid"]
    assert write.place.swissnum == "abcdefghijklmnopqrstuvwx23"
    assert write.place.hints == ("vdrive.example.org:8443",)
    assert isinstance(write, VdriveWriteCap)
    assert write.write_key.hex() == APPENDIX["W"]
    assert write.to_text() == APPENDIX["write"]
    assert write.read_only == known(APPENDIX["read"])
    assert write.read_only.to_text() == APPENDIX["read"]
    assert write.verify_cap.to_text() == write.read_only.verify_cap.to_text() == APPENDIX["verify"]
    assert write.index == write.read_only.index == write.verify_cap.index == bytes.fromhex(APPENDIX["index"])
    for cap in (write, write.read_only, write.verify_cap):
        refresh = refresh_cap(cap)
        assert refresh is not None
        assert refresh.to_text() == APPENDIX["refresh"]
        assert parse_refresh_cap(f" {APPENDIX['refresh']}\n") == refresh


def test_capabilities_are_those_of_the_reference() -> None:
    for vector in VECTORS["capabilities"]:
        write = known(vector["write"])
        assert ",".join(write.place.hints) == vector["hints"]
        assert write.to_text() == vector["write"]
        assert write.read_only.to_text() == vector["read"]
        assert write.verify_cap.to_text() == vector["verify"]
        assert isinstance(write, VdriveWriteCap)
        assert write.refresh_cap.to_text() == vector["refresh"]


@given(WRITE_CAPS)
def test_each_capability_has_one_text(write: VdriveWriteCap) -> None:
    for cap in (write, write.read_only, write.verify_cap):
        assert parse_cap(cap.to_text()) == cap
        assert cap.usable
    assert parse_refresh_cap(write.refresh_cap.to_text()) == write.refresh_cap


@given(WRITE_CAPS)
def test_attenuation_ends_and_never_widens(write: VdriveWriteCap) -> None:
    assume(write.write_key != write.place.sid)
    read, verify = write.read_only, write.verify_cap
    assert (write.writable, read.writable, verify.writable) == (True, False, False)
    assert (write.mutable, read.mutable, verify.mutable) == (True, True, False)
    assert read.read_only is read
    assert verify.read_only is verify.verify_cap is verify
    assert (write.kind, read.kind, verify.kind) == ("DIR", "DIR-RO", "DIR-Verifier")
    assert write.place == read.place == verify.place == write.refresh_cap.place
    weaker = (read.to_text(), verify.to_text(), write.refresh_cap.to_text())
    assert all(base32.encode(write.write_key) not in text for text in weaker)
    assert all(base32.encode(read.read_key) not in text for text in weaker[1:])


def test_no_secret_shows_in_the_text_of_an_object() -> None:
    write = known(APPENDIX["write"])
    for shown in (repr(write), repr(write.read_only)):
        assert "abcdefghijklmnopqrstuvwx23" not in shown
        assert "write_key" not in shown
        assert "read_key" not in shown


def malformed() -> list[str]:
    found = []
    for text in TEXTS:
        fields = text.split(":")
        found += [
            text + ":",
            text + "\n",
            text + " ",
            text[:-1],
            text + "a",
            ":".join(fields[:-1]),
            ":".join([*fields, fields[-1]]),
            text[:-1] + "b" if text[-1] != "b" else text[:-1] + "c",  # unused bits
            text.replace(fields[-1], fields[-1].upper()),
            text.replace(fields[-1], fields[-1] + "===="),
            text.replace(fields[2], fields[2].upper()),
            text.replace(fields[2], base32.encode(bytes(31))),
            text.replace(fields[3], "abc"),
            text.replace(fields[3], "a" * 65),
            text.replace(fields[3], "A" * 16),
            text.replace(fields[3], "1" * 16),
        ]
        for hints in (
            "a",
            "a:",
            "a:0",
            "a:01",
            "a:65536",
            "A.example:1",
            ",a:1",
            "a:1,",
            "a:1,,b:1",
            "a:1 ,b:1",
            "[::1]",
            "[0::1]:1",
            "[::G]:1",
            "::1:1",
            "tor:a.b:1",
            "a b:1",
            ".a:1",
            "\u00e9:1",
            ",".join(["host.example:8443"] * 23),
        ):
            found.append(text.replace(fields[4], base32.encode(hints.encode())))
    return found


@pytest.mark.parametrize("text", malformed())
def test_a_text_that_only_has_the_label_is_unknown(text: str) -> None:
    assert parse_cap(text) == UnknownCap(text.encode())
    assert parse_cap("ro." + text) == UnknownCap(b"ro." + text.encode())
    assert parse_cap(text, deep_immutable=True) == UnknownCap(text.encode())


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("rest", ["", "pb://abc@host:1/vdrive:key", "::::", "a:b:c:d"])
def test_addresses_of_2007_are_unknown_and_refused_by_name(label: str, rest: str) -> None:
    text = label + rest
    assert parse_cap(text) == UnknownCap(text.encode())
    for expecting in (directory_cap, expect_vdrive_directory, file_cap):
        with pytest.raises(ObsoleteCapabilityError, match="2007") as caught:
            expecting(text)
        assert rest == "" or rest not in str(caught.value)


@given(st.sampled_from(LABELS), st.binary(max_size=300))
def test_nothing_raises_for_a_bad_text(label: str, rest: bytes) -> None:
    assert isinstance(parse_cap(label.encode() + rest), UnknownCap)


@given(WRITE_CAPS, st.sampled_from(["write", "read", "verify"]), st.data())
def test_a_changed_character_gives_another_capability_or_none(
    write: VdriveWriteCap, which: str, draw: st.DataObject
) -> None:
    cap = {"write": write, "read": write.read_only, "verify": write.verify_cap}[which]
    text = cap.to_text()
    at = draw.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + draw.draw(st.characters(codec="ascii").filter(text[at].__ne__)) + text[at + 1 :]
    assert parse_cap(changed) != cap


def test_prefixes_and_immutable_places_are_checked() -> None:
    write, read, verify = TEXTS
    assert parse_cap("ro." + write) == ErroneousCap(b"ro." + write.encode(), "must-be-readonly")
    assert parse_cap("imm." + write) == ErroneousCap(b"imm." + write.encode(), "must-be-deep-immutable")
    assert parse_cap("imm." + read) == ErroneousCap(b"imm." + read.encode(), "must-be-deep-immutable")
    assert parse_cap("ro." + read) == known(read)
    for text in (write, read):
        assert parse_cap(text, deep_immutable=True) == ErroneousCap(text.encode(), "must-be-deep-immutable")
    for prefix in ("", "ro.", "imm."):
        assert parse_cap(prefix + verify, deep_immutable=True) == known(verify)


def test_as_children_they_are_directories_with_both_capabilities() -> None:
    write, read, verify = (text.encode() for text in TEXTS)
    child = child_slots(write, None)
    assert (child.kind, child.rw, child.ro) == ("directory", write, read)
    assert child == child_slots(write, read)
    assert child.read_only == child_slots(None, read)
    assert (child.read_only.kind, child.read_only.rw, child.read_only.ro) == ("directory", None, read)
    assert not child.alleged_immutable
    assert not child.allowed_in_immutable_directory
    for rw, ro in ((write, None), (None, read), (None, b"ro." + write)):
        assert child_slots(rw, ro, deep_immutable=True).fault is not None
    assert child_slots(None, b"ro." + write).fault == "must-be-readonly"
    assert child_slots(None, verify).kind == "unknown"


def test_a_refresh_capability_is_no_child_and_nothing_else_passes_for_one() -> None:
    refresh = APPENDIX["refresh"]
    assert parse_cap(refresh) == UnknownCap(refresh.encode())
    assert child_slots(refresh, None).fault == "unknown-rw"
    assert isinstance(parse_refresh_cap(refresh), VdriveRefreshCap)
    for text in (*TEXTS, refresh[:-1], refresh.upper(), refresh + ":", refresh.replace("DIR-", "CHK-")):
        with pytest.raises(BadCapabilityError):
            parse_refresh_cap(text)


def test_what_is_expected_is_checked() -> None:
    for text in TEXTS:
        assert directory_cap(f" {text}\n") == expect_vdrive_directory(text) == known(text)
        with pytest.raises(WrongCapabilityTypeError, match="directory"):
            file_cap(text)
    with pytest.raises(WrongCapabilityTypeError):
        expect_vdrive_directory("URI:LIT:krugkidfnzsc4")
    with pytest.raises(WrongCapabilityTypeError):
        expect_vdrive_directory("URI:DIR2-LIT:krugkidfnzsc4")
    with pytest.raises(BadCapabilityError):
        expect_vdrive_directory("https://example.org")


def test_texts_are_short_with_a_short_hint() -> None:
    assert [len(APPENDIX[name]) for name in ("write", "read", "verify", "refresh")] == [178, 234, 187, 186]
    place = VdrivePlace(bytes(32), "a" * 26, ("h" * 43 + ":8443",))
    assert len(VdriveWriteCap(place, bytes(32)).read_only.to_text()) <= 300


@pytest.mark.parametrize(
    "wrong",
    [
        {"sid": bytes(31)},
        {"swissnum": "short"},
        {"swissnum": "A" * 20},
        {"hints": ("host",)},
        {"hints": ("",)},
    ],
)
def test_a_place_that_could_not_be_read_again_is_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"virtual drive server|location"):
        replace(VdrivePlace(bytes(32), "a" * 16, ()), **wrong)
