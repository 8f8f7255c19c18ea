"""The two slots of a directory entry make the child that the reference makes; unknown children survive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.caps import ErroneousCap, LiteralCap, parse_cap
from holdfast.caps.slots import ChildSlots, child_slots, stored_in_read_only_slot
from holdfast.interfaces.types import MAX_CAP

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "capabilities.json").read_text())

TEXTS = [
    vector[slot].encode()
    for vector in VECTORS["child_slots"]
    for slot in ("rw", "ro")
    if vector[slot] is not None
]
PREFIXES = st.sampled_from([b"", b"ro.", b"imm.", b"ro.ro.", b"ro.imm.", b"imm.ro."])
SLOTS = st.one_of(
    st.none(), st.builds(bytes.__add__, PREFIXES, st.binary(max_size=20)), st.sampled_from(TEXTS)
)


def encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


@pytest.mark.parametrize("vector", VECTORS["child_slots"], ids=lambda v: f"{v['rw']} {v['ro']}"[:40])
def test_slots_make_the_child_that_the_reference_makes(vector: dict[str, Any]) -> None:
    child = child_slots(vector["rw"], vector["ro"], vector["deep_immutable"])

    assert (child.cap is None) == vector["unknown"]
    assert child.fault == vector["error"]
    assert child.rw == encoded(vector["result_rw"])
    assert child.ro == encoded(vector["result_ro"])
    assert child.allowed_in_immutable_directory == vector["allowed_in_immutable_directory"]
    if "alleged_immutable" in vector:
        assert child.alleged_immutable == vector["alleged_immutable"]


@pytest.mark.parametrize(
    "vector", VECTORS["strip_for_ro_slot"], ids=lambda v: f"{v['ro']} {v['deep_immutable']}"
)
def test_what_is_stored_for_readers_has_no_prefix_that_its_place_implies(vector: dict[str, Any]) -> None:
    stored = stored_in_read_only_slot(vector["ro"].encode(), vector["deep_immutable"])

    assert stored == vector["stored"].encode()


@given(SLOTS, SLOTS, st.booleans())
def test_any_slots_make_a_child_and_text_or_bytes_make_no_difference(
    rw: bytes | None, ro: bytes | None, deep_immutable: bool
) -> None:
    child = child_slots(rw, ro, deep_immutable)

    if child.fault is not None:
        assert child.rw is child.ro is child.cap is None
    if deep_immutable:
        assert child.rw is None
        assert child.fault is not None or child.alleged_immutable
    if all(slot is None or slot.isascii() for slot in (rw, ro)):
        assert child == child_slots(rw and rw.decode(), ro and ro.decode(), deep_immutable)


@given(SLOTS, SLOTS, st.booleans())
def test_a_child_stays_the_same_when_it_is_read_again(
    rw: bytes | None, ro: bytes | None, deep_immutable: bool
) -> None:
    child = child_slots(rw, ro, deep_immutable)
    # The reference accepts a write capability in the read-only slot beside an unknown one, and puts ro. in
    # front of it. That is an error when it is read again, so nobody gets to write.
    odd = child.cap is None and getattr(parse_cap(ro or b""), "writable", False)
    if child.fault is None and not odd:
        assert child_slots(child.rw, child.ro, deep_immutable) == child


@given(SLOTS, SLOTS, st.booleans())
def test_a_child_survives_being_stored(rw: bytes | None, ro: bytes | None, deep_immutable: bool) -> None:
    child = child_slots(rw, ro, deep_immutable)
    if child.fault is not None or child.ro is None or (child.cap is not None and not deep_immutable):
        return
    stored = stored_in_read_only_slot(child.ro, deep_immutable)
    # A prefix behind a prefix, or one with nothing behind it, is nothing that anybody writes.
    if stored and not stored.startswith((b"ro.", b"imm.")):
        assert child_slots(child.rw, stored, deep_immutable) == child


@given(st.binary(min_size=1, max_size=30).filter(lambda raw: not raw.startswith((b"ro.", b"imm.", b"URI:"))))
def test_an_unknown_pair_is_kept_byte_for_byte(raw: bytes) -> None:
    child = child_slots(raw, raw)

    assert (child.rw, child.ro) == (raw, b"ro." + raw)
    assert child.ro is not None
    assert stored_in_read_only_slot(child.ro, deep_immutable=False) == raw


def test_an_empty_slot_is_an_absent_one() -> None:
    assert child_slots(b"", "") == child_slots(None, None) == ChildSlots()


def test_the_read_only_capability_is_derived_and_not_taken_from_the_other_slot() -> None:
    write_cap = next(v for v in VECTORS["valid"] if v["kind"] == "SSK")

    child = child_slots(write_cap["cap"], "URI:LIT:mfrgg")

    assert child.ro == write_cap["readonly"].encode()


def test_a_stated_prefix_keeps_write_authority_out() -> None:
    write_cap = next(v for v in VECTORS["valid"] if v["kind"] == "DIR2")["cap"]

    assert child_slots(None, write_cap).rw is not None
    assert child_slots(None, "ro." + write_cap).fault == "must-be-readonly"


@pytest.mark.seed("S-006")
def test_a_capability_that_is_too_long_makes_no_child() -> None:
    assert child_slots(None, "future:".ljust(MAX_CAP, "x")).fault is None
    assert child_slots(None, "future:".ljust(MAX_CAP + 1, "x")).fault == "malformed"


def test_capabilities_of_a_child_are_not_shown() -> None:
    assert "secret" not in repr(child_slots("future:secret", "future:secret"))
    assert "abc" not in repr(child_slots(None, LiteralCap(b"abc").to_text()))


def test_a_fault_names_the_reading_slot() -> None:
    assert isinstance(parse_cap("URI:CHK:broken"), ErroneousCap)
    assert child_slots("future:w", "URI:CHK:broken").fault == "malformed"
