"""Capabilities are read and written as the reference does, weaken but never widen, and hide secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.caps import (
    DirectoryCap,
    DirectoryVerifyCap,
    ErroneousCap,
    ImmutableReadCap,
    ImmutableVerifyCap,
    LiteralCap,
    MutableReadCap,
    MutableVerifyCap,
    MutableWriteCap,
    UnknownCap,
    parse_cap,
)
from holdfast.caps.expecting import directory_cap, file_cap
from holdfast.caps.parsing import Cap
from holdfast.caps.refresh import RefreshCap, parse_refresh_cap, refresh_cap
from holdfast.crypto import base32
from holdfast.errors import BadCapabilityError, WrongCapabilityTypeError
from holdfast.interfaces.types import MAX_CAP, NOMINAL_CAP

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "capabilities.json").read_text())
T = TypeVar("T")

KEYS = st.binary(min_size=16, max_size=16)
HASHES = st.binary(min_size=32, max_size=32)
NUMBERS = st.integers(0, 10**20 - 1)
FORMATS = st.sampled_from(["SSK", "MDMF"])
FILE_CAPS = st.one_of(
    st.builds(LiteralCap, st.binary(max_size=100)),
    st.builds(ImmutableReadCap, KEYS, HASHES, NUMBERS, NUMBERS, NUMBERS),
    st.builds(MutableReadCap, FORMATS, KEYS, HASHES),
    st.builds(MutableWriteCap, FORMATS, KEYS, HASHES),
)
VERIFY_CAPS = st.one_of(
    st.builds(ImmutableVerifyCap, KEYS, HASHES, NUMBERS, NUMBERS, NUMBERS),
    st.builds(MutableVerifyCap, FORMATS, KEYS, HASHES),
)
CAPS = st.one_of(
    FILE_CAPS, VERIFY_CAPS, st.builds(DirectoryCap, FILE_CAPS), st.builds(DirectoryVerifyCap, VERIFY_CAPS)
)


def known(text: str) -> Cap:
    cap = parse_cap(text)
    assert not isinstance(cap, UnknownCap | ErroneousCap)
    return cap


# -- the vectors


@pytest.mark.parametrize("vector", VECTORS["valid"] + VECTORS["valid_not_canonical"], ids=lambda v: v["kind"])
def test_a_capability_means_what_the_reference_says(vector: dict[str, Any]) -> None:
    cap = known(vector["cap"])

    assert cap.to_text() == vector["canonical"]
    assert cap.kind == vector["kind"]
    assert cap.mutable == vector["is_mutable"]
    assert cap.writable != vector["is_readonly"]
    assert cap.read_only.to_text() == vector["readonly"]
    assert (cap.verify_cap and cap.verify_cap.to_text()) == vector["verify"]
    assert cap.usable == vector.get("usable", True)


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda v: v["kind"])
def test_the_fields_of_a_capability_are_what_the_reference_reads(vector: dict[str, Any]) -> None:
    cap, fields = known(vector["cap"]), vector["fields"]
    file = cap.file_cap if isinstance(cap, DirectoryCap | DirectoryVerifyCap) else cap
    names = {
        "data_hex": "data",
        "key_hex": "key",
        "ueb_hash_hex": "ueb_hash",
        "needed_shares": "shares_needed",
        "total_shares": "shares_total",
        "size": "size",
        "fingerprint_hex": "fingerprint",
        "writekey_hex": "write_key",
        "readkey_hex": "read_key",
        "storage_index_hex": "storage_index",
    }

    for field, expected in fields.items():
        if field == "storage_index_b32":
            assert (cap.storage_index and base32.encode(cap.storage_index)) == expected
            continue
        holder = file.read_only if field == "readkey_hex" else file
        value = getattr(holder, names[field])
        assert (value.hex() if isinstance(value, bytes) else value) == expected


@pytest.mark.parametrize("vector", VECTORS["malformed"], ids=lambda v: v["why"])
def test_a_malformed_capability_is_refused(vector: dict[str, Any]) -> None:
    assert parse_cap(vector["cap"]) == ErroneousCap(vector["cap"].encode(), "malformed")


@pytest.mark.parametrize("vector", VECTORS["unknown"], ids=lambda v: v["cap"][:30])
def test_a_capability_of_an_unknown_kind_is_kept_as_it_is(vector: dict[str, Any]) -> None:
    assert parse_cap(vector["cap"]) == UnknownCap(vector["cap"].encode())


@pytest.mark.parametrize("vector", VECTORS["trailing_newline"], ids=lambda v: v["cap"][:20])
def test_one_newline_at_the_end_is_dropped(vector: dict[str, Any]) -> None:
    assert known(vector["cap"]).to_text() == vector["canonical"]


@pytest.mark.parametrize(
    "vector", VECTORS["in_context"], ids=lambda v: f"{v['cap'][:25]} {v['deep_immutable']}"
)
def test_a_capability_may_grant_no_more_than_its_place_and_prefix_allow(vector: dict[str, Any]) -> None:
    cap = parse_cap(vector["cap"], deep_immutable=vector["deep_immutable"])

    if vector["error"] is not None:
        assert cap == ErroneousCap(vector["cap"].encode(), vector["error"])
    elif vector["kind"] is None:
        assert cap == UnknownCap(vector["cap"].encode())
    else:
        assert not isinstance(cap, UnknownCap | ErroneousCap)
        assert cap.kind == vector["kind"]


# -- laws


@given(CAPS)
def test_what_is_written_is_read_back(cap: Cap) -> None:
    assert parse_cap(cap.to_text()) == cap
    assert parse_cap(cap.to_text().encode()) == cap


@given(CAPS)
def test_weakening_never_widens(cap: Cap) -> None:
    weaker = cap.read_only
    assert not weaker.writable
    assert weaker.read_only == weaker
    assert weaker.storage_index == cap.storage_index
    if cap.verify_cap is None:
        assert cap.storage_index is None
    else:
        assert cap.verify_cap == weaker.verify_cap == cap.verify_cap.verify_cap == cap.verify_cap.read_only
        assert cap.verify_cap.storage_index == cap.storage_index


@given(FILE_CAPS)
def test_weakening_a_directory_is_weakening_its_file(cap: Any) -> None:
    directory = DirectoryCap(cap)

    assert directory.read_only == DirectoryCap(cap.read_only)
    assert directory.verify_cap == (None if cap.verify_cap is None else DirectoryVerifyCap(cap.verify_cap))


@given(CAPS)
def test_a_prefix_that_is_true_leaves_no_trace_and_one_that_is_not_is_an_error(cap: Cap) -> None:
    read_only, immutable = parse_cap("ro." + cap.to_text()), parse_cap("imm." + cap.to_text())

    if cap.writable:
        assert isinstance(read_only, ErroneousCap)
        assert read_only.fault == "must-be-readonly"
    else:
        assert read_only == cap
    if cap.mutable:
        assert isinstance(immutable, ErroneousCap)
        assert immutable.fault == "must-be-deep-immutable"
    else:
        assert immutable == cap


ALMOST_CAPS = st.builds(
    lambda text, at, cut, junk: text[: at % len(text)] + junk + text[at % len(text) + cut :],
    CAPS.map(lambda cap: cap.to_text().encode()),
    st.integers(0, 300),
    st.integers(0, 3),
    st.binary(max_size=3),
)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200), ALMOST_CAPS), st.booleans())
def test_no_text_makes_parsing_fail_and_none_is_lost(text: str | bytes, deep_immutable: bool) -> None:
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text

    match parse_cap(text, deep_immutable):
        case UnknownCap(kept) | ErroneousCap(kept, _):
            assert kept == raw
        case cap:
            assert parse_cap(cap.to_text(), deep_immutable) == cap


@given(ALMOST_CAPS)
def test_only_what_is_known_to_be_ignored_is_ignored(text: bytes) -> None:
    cap = parse_cap(text)
    assume(not isinstance(cap, UnknownCap | ErroneousCap))
    assert not isinstance(cap, UnknownCap | ErroneousCap)
    canonical = cap.to_text().encode()

    if text.removesuffix(b"\n") != canonical:
        without_prefix = re.sub(rb"^(ro|imm)\.", b"", text)
        without_zeros = re.sub(rb":0+([0-9])", rb":\1", without_prefix)
        assert without_zeros.startswith(canonical)
        rest = without_zeros.removeprefix(canonical)
        assert rest in (b"", b"\n") or rest.startswith(b":") or cap.kind.endswith("CHK-Verifier")


# -- limits


WORST_CASES = {
    "CHK": ImmutableReadCap(bytes(16), bytes(32), 256, 256, 10**20 - 1),
    "CHK-Verifier": ImmutableVerifyCap(bytes(16), bytes(32), 256, 256, 10**20 - 1),
    "LIT": LiteralCap(bytes(55)),  # longer files go into shares
    "SSK": MutableWriteCap("SSK", bytes(16), bytes(32)),
    "MDMF-Verifier": MutableVerifyCap("MDMF", bytes(16), bytes(32)),
    "DIR2-MDMF-Verifier": DirectoryVerifyCap(MutableVerifyCap("MDMF", bytes(16), bytes(32))),
    "DIR2-CHK-Verifier": DirectoryVerifyCap(ImmutableVerifyCap(bytes(16), bytes(32), 256, 256, 10**20 - 1)),
}


@pytest.mark.seed("S-006")
@pytest.mark.parametrize("kind", WORST_CASES)
def test_the_longest_capability_of_each_kind_stays_within_the_founding_limit(kind: str) -> None:
    assert WORST_CASES[kind].kind == kind
    assert len(WORST_CASES[kind].to_text()) <= NOMINAL_CAP


@pytest.mark.seed("S-006")
@pytest.mark.parametrize("prefix", ["URI:MDMF:" + "a" * 26 + ":" + "a" * 52 + ":", "future:"])
def test_a_thousand_characters_are_taken_and_one_more_is_refused(prefix: str) -> None:
    assert not isinstance(parse_cap(prefix.ljust(MAX_CAP, "x")), ErroneousCap)
    too_long = prefix.ljust(MAX_CAP + 1, "x")
    assert parse_cap(too_long) == ErroneousCap(too_long.encode(), "malformed")


def test_a_prefix_does_not_count_towards_the_length_so_that_a_directory_can_add_it() -> None:
    assert isinstance(parse_cap("ro." + "future:".ljust(MAX_CAP, "x")), UnknownCap)


@pytest.mark.parametrize("kind", ["CHK", "CHK-Verifier"])
def test_a_number_of_absurd_length_is_malformed(kind: str) -> None:
    text = f"URI:{kind}:{'a' * 26}:{'a' * 52}:3:10:"

    assert not isinstance(parse_cap(text + "9" * 20), ErroneousCap)
    assert isinstance(parse_cap(text + "9" * 21), ErroneousCap)


# -- people


@pytest.mark.seed("S-097")
@given(CAPS)
def test_a_capability_goes_through_mail_urls_and_shells_unquoted(cap: Cap) -> None:
    text = cap.to_text()

    assert re.fullmatch(r"[A-Za-z0-9:._~-]+", text)
    if isinstance(cap, DirectoryCap | DirectoryVerifyCap):
        assert directory_cap(f" \t{text}\r\n") == cap
    else:
        assert file_cap(f" \t{text}\r\n") == cap


@given(CAPS)
def test_nothing_that_allows_reading_or_writing_is_shown(cap: Cap) -> None:
    file: Any = cap.file_cap if isinstance(cap, DirectoryCap | DirectoryVerifyCap) else cap
    for name in ("data", "key", "read_key", "write_key"):
        secret = getattr(file, name, None)
        if secret:
            assert repr(secret) not in repr(cap) or len(secret) < 8
            assert name not in repr(cap)


def test_unknown_and_erroneous_capabilities_are_not_shown() -> None:
    assert "secret" not in repr(parse_cap("future:secret"))
    assert "secret" not in repr(parse_cap("URI:CHK:secret"))


@pytest.mark.seed("S-014")
@given(st.one_of(st.builds(DirectoryCap, FILE_CAPS), st.builds(DirectoryVerifyCap, VERIFY_CAPS)))
def test_a_directory_is_refused_where_a_file_is_needed(cap: DirectoryCap | DirectoryVerifyCap) -> None:
    with pytest.raises(WrongCapabilityTypeError):
        file_cap(cap.to_text())


@pytest.mark.seed("S-015")
@given(st.one_of(FILE_CAPS, VERIFY_CAPS))
def test_a_file_is_refused_where_a_directory_is_needed(cap: Any) -> None:
    with pytest.raises(WrongCapabilityTypeError):
        directory_cap(cap.to_text())


@pytest.mark.parametrize("parse", [file_cap, directory_cap])
@pytest.mark.parametrize(
    "text", ["future:secret", "URI:CHK:secret", "ro.URI:SSK:secret", "imm.URI:DIR2-RO:secret"]
)
def test_what_is_wrong_is_said_without_repeating_the_text(parse: Callable[[str], Cap], text: str) -> None:
    with pytest.raises(BadCapabilityError) as raised:
        parse(text)

    assert "secret" not in str(raised.value)


# -- refresh capabilities


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda v: v["kind"])
def test_a_refresh_capability_is_the_storage_index_and_no_more(vector: dict[str, Any]) -> None:
    refresh = refresh_cap(known(vector["cap"]))

    if "LIT" in vector["kind"]:
        assert refresh is None
    else:
        assert refresh is not None
        family = "CHK" if "CHK" in vector["kind"] else "SSK"
        index = vector["fields"]["storage_index_b32"]
        assert refresh.to_text() == f"URI:{family}-Refresh:{index}"
        assert parse_refresh_cap(refresh.to_text()) == refresh


def test_a_refresh_capability_is_none_that_can_be_read_or_stored_as_a_known_child() -> None:
    text = RefreshCap("CHK", bytes(16)).to_text()

    assert parse_cap(text) == UnknownCap(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "URI:CHK-Refresh:",
        "URI:CHK-Refresh:" + "a" * 25,
        "URI:CHK-Refresh:" + "a" * 25 + "b",  # unused bits that are not zero
        "URI:CHK-Refresh:" + "a" * 27,
        "URI:MDMF-Refresh:" + "a" * 26,
        "URI:CHK:" + "a" * 26,
    ],
)
def test_a_broken_refresh_capability_is_refused(text: str) -> None:
    with pytest.raises(BadCapabilityError):
        parse_refresh_cap(text)
