"""An announcement is believed only if all of it is right: form, signature, and the proof of each location."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import signatures
from holdfast.crypto.netstring import netstring
from holdfast.formats import deterministic_cbor
from holdfast.formats.cbor import TaggedSet
from holdfast.interfaces.introducer import ANNOUNCEMENT_MAX
from holdfast.protocol.announcement import (
    LIFE_DEFAULT_S,
    LIFE_MAX_S,
    Announcement,
    BadAnnouncementError,
    SignedAnnouncement,
    check_issued,
    check_times,
    key_of_server_id,
    prove_location,
    server_id_of,
    sign_announcement,
    verified_announcement,
)
from holdfast.protocol.nurl import spki_hash

SPECIFICATION = Path(__file__).parents[2] / "docs" / "spec" / "control-and-introducer.md"
VECTOR = dict(
    re.findall(
        r"^(verify key|SPKI of TLS key|node id \(32\)|NURL|proof|ann|signature)  +(\S+)$",
        SPECIFICATION.read_text(encoding="utf-8").partition("## A. Test vector")[2],
        re.MULTILINE,
    )
)
SEED, TLS_SEED = b"\x11" * 32, b"\x22" * 32
TLS_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(TLS_SEED)
VERIFY_KEY = signatures.verify_key_of(SEED)
OTHER_SEED = b"\x33" * 32
ISSUED = 1183774777
TAG = netstring(b"holdfast:introducer:v1:announcement")
SECRET = "abcdefghijklmnopqrstuvwx23"


def _nurl(
    tls_key: PrivateKeyTypes = TLS_KEY, host: str = "storage.example.org", swissnum: str = SECRET
) -> str:
    spki = tls_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"pb://{spki_hash(spki)}@{host}:3456/{swissnum}#v=1"


LOCATION = prove_location(VERIFY_KEY, _nurl(), TLS_KEY)
EXAMPLE = Announcement(
    service="storage",
    verify_key=VERIFY_KEY,
    sequence=7,
    issued=ISSUED,
    expires=ISSUED + LIFE_DEFAULT_S,
    locations=(LOCATION,),
    nickname="alice",
    version=("1.0.0", "1.0.0"),
    properties={},
)
SIGNED = sign_announcement(EXAMPLE, SEED)
Parts = dict[Any, Any]


def _parts() -> Parts:
    """Return what the example says, key by key, to be changed."""
    parts = deterministic_cbor.decode(SIGNED.ann, size_max=ANNOUNCEMENT_MAX)
    assert isinstance(parts, dict)
    return parts


def _signed_anyhow(item: object, seed: bytes = SEED) -> tuple[bytes, bytes]:
    """Sign what ``sign_announcement`` would not."""
    ann = deterministic_cbor.encode(item)
    return ann, signatures.sign(seed, TAG + ann)


def _refusal(item: object) -> str:
    """Return why a well signed announcement that says this is refused."""
    with pytest.raises(BadAnnouncementError) as caught:
        verified_announcement(*_signed_anyhow(item))
    return str(caught.value)


# -- the vector of appendix A


def test_the_vector_of_the_specification_is_reproduced() -> None:
    assert VERIFY_KEY.hex() == VECTOR["verify key"]
    assert _nurl() == VECTOR["NURL"]
    assert LOCATION.nurl == VECTOR["NURL"]
    assert LOCATION.spki.hex() == VECTOR["SPKI of TLS key"]
    assert LOCATION.proof.hex() == VECTOR["proof"]
    assert SIGNED.ann.hex() == VECTOR["ann"]
    assert SIGNED.signature.hex() == VECTOR["signature"]
    assert SIGNED.bytes_pair == (SIGNED.ann, SIGNED.signature)


def test_the_vector_of_the_specification_is_read() -> None:
    read = verified_announcement(bytes.fromhex(VECTOR["ann"]), bytes.fromhex(VECTOR["signature"]))
    assert read.announcement == EXAMPLE
    assert read.announcement.nurls == (VECTOR["NURL"],)
    assert key_of_server_id(read.announcement.server_id) == VERIFY_KEY


CHANGES: dict[str, tuple[int, object]] = {
    "service": (2, "vdrive"),
    "verify key": (3, signatures.verify_key_of(OTHER_SEED)),
    "sequence": (4, 8),
    "issued": (5, ISSUED + 1),
    "expires": (6, ISSUED + LIFE_DEFAULT_S + 1),
    "locations": (7, []),
    "nickname": (8, "alicf"),
    "version": (9, ["1.0.1", "1.0.0"]),
    "oldest version": (9, ["1.0.0", "1.0.1"]),
    "properties": (10, {"accepts": True}),
}


@pytest.mark.parametrize("field", CHANGES)
def test_each_field_altered_breaks_the_signature(field: str) -> None:
    key, value = CHANGES[field]
    ann = deterministic_cbor.encode(_parts() | {key: value})
    with pytest.raises(BadAnnouncementError, match="signature"):
        verified_announcement(ann, SIGNED.signature)


def test_a_withdrawal_cannot_be_made_of_an_announcement() -> None:
    ann = deterministic_cbor.encode(_parts() | {7: [], 11: True})
    with pytest.raises(BadAnnouncementError, match="signature"):
        verified_announcement(ann, SIGNED.signature)


@given(st.integers(0, 8 * len(SIGNED.ann) - 1))
def test_each_bit_altered_is_noticed(bit: int) -> None:
    ann = bytearray(SIGNED.ann)
    ann[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadAnnouncementError):
        verified_announcement(bytes(ann), SIGNED.signature)


@given(st.integers(0, 511))
def test_each_bit_of_the_signature_altered_is_noticed(bit: int) -> None:
    signature = bytearray(SIGNED.signature)
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadAnnouncementError):
        verified_announcement(SIGNED.ann, bytes(signature))


# -- proofs of location


def test_a_proof_is_bound_to_the_node_key() -> None:
    thief = signatures.verify_key_of(OTHER_SEED)
    with pytest.raises(BadAnnouncementError, match="vouched"):
        verified_announcement(*_signed_anyhow(_parts() | {3: thief}, OTHER_SEED))


@pytest.mark.parametrize("other", [_nurl(host="evil.example.org"), _nurl(swissnum="other"), _nurl() + "x"])
def test_a_proof_is_bound_to_the_whole_nurl(other: str) -> None:
    parts = _parts()
    parts[7][0][1] = other
    assert re.search("vouched|not a NURL", _refusal(parts))


def test_nobody_announces_the_server_of_another_under_an_own_tls_key() -> None:
    thief = ec.generate_private_key(ec.SECP256R1())
    message = (
        netstring(b"holdfast:introducer:v1:location") + netstring(VERIFY_KEY) + netstring(_nurl().encode())
    )
    parts = _parts()
    parts[7][0][2] = thief.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    parts[7][0][3] = signatures.sign_with_tls_key(thief, message)
    assert "another TLS key" in _refusal(parts)


def test_locations_of_several_tls_keys_are_refused() -> None:
    other = ed25519.Ed25519PrivateKey.from_private_bytes(OTHER_SEED)
    mixed = (LOCATION, prove_location(VERIFY_KEY, _nurl(other), other))
    with pytest.raises(BadAnnouncementError, match="several TLS keys"):
        sign_announcement(replace(EXAMPLE, locations=mixed), SEED)


def test_a_location_is_proven_for_a_nurl_of_its_own_key_only() -> None:
    other = ed25519.Ed25519PrivateKey.from_private_bytes(OTHER_SEED)
    with pytest.raises(ValueError, match="another TLS key"):
        prove_location(VERIFY_KEY, _nurl(other), TLS_KEY)


def test_the_tls_key_of_our_servers_vouches_too() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    places = tuple(prove_location(VERIFY_KEY, _nurl(key, host), key) for host in ("a.example", "[::1]"))
    signed = sign_announcement(replace(EXAMPLE, locations=places), SEED)
    assert verified_announcement(*signed.bytes_pair).announcement.locations == places


@pytest.mark.seed("S-020")
def test_eight_locations_are_taken_and_a_ninth_makes_the_announcement_invalid() -> None:
    places = tuple(prove_location(VERIFY_KEY, _nurl(host=f"s{i}.example.org"), TLS_KEY) for i in range(9))
    eight = sign_announcement(replace(EXAMPLE, locations=places[:8]), SEED)
    assert len(eight.announcement.nurls) == 8
    with pytest.raises(BadAnnouncementError, match="locations"):
        sign_announcement(replace(EXAMPLE, locations=places), SEED)


@pytest.mark.seed("S-020")
def test_a_nurl_of_1000_characters_is_taken_and_of_1001_makes_the_announcement_invalid() -> None:
    swissnum = "s" * (1000 - len(_nurl(swissnum="")))
    longest = prove_location(VERIFY_KEY, _nurl(swissnum=swissnum), TLS_KEY)
    assert len(longest.nurl) == 1000
    assert sign_announcement(replace(EXAMPLE, locations=(longest,)), SEED).announcement.nurls == (
        longest.nurl,
    )
    parts = _parts()
    parts[7][0][1] = _nurl(swissnum=swissnum + "s")
    assert "NURL" in _refusal(parts)


@pytest.mark.seed("S-020")
def test_duplicate_nurls_collapse() -> None:
    signed = sign_announcement(replace(EXAMPLE, locations=(LOCATION, LOCATION)), SEED)
    assert signed.announcement.nurls == (LOCATION.nurl,)


# -- form


def _without(key: int) -> Parts:
    parts = _parts()
    del parts[key]
    return parts


MALFORMED: dict[str, Callable[[], object]] = {
    "not a map": lambda: [1, 2, 3],
    "an unknown key": lambda: _parts() | {12: 0},
    "a text as key": lambda: _parts() | {"1": 1},
    "format 2": lambda: _parts() | {1: 2},
    "format true": lambda: _parts() | {1: True},
    "service with capitals": lambda: _parts() | {2: "Storage"},
    "service beginning with a digit": lambda: _parts() | {2: "1storage"},
    "service with a line feed": lambda: _parts() | {2: "storage\n"},
    "service of 33 characters": lambda: _parts() | {2: "s" * 33},
    "no service": lambda: _parts() | {2: ""},
    "service as bytes": lambda: _parts() | {2: b"storage"},
    "short key": lambda: _parts() | {3: VERIFY_KEY[:31]},
    "key as text": lambda: _parts() | {3: "v" * 32},
    "negative sequence": lambda: _parts() | {4: -1},
    "sequence of 2**63": lambda: _parts() | {4: 2**63},
    "sequence true": lambda: _parts() | {4: True},
    "issued as text": lambda: _parts() | {5: "now"},
    "expires null": lambda: _parts() | {6: None},
    "expires when issued": lambda: _parts() | {6: ISSUED},
    "expires before issued": lambda: _parts() | {6: ISSUED - 1},
    "life of 30 days and a second": lambda: _parts() | {6: ISSUED + LIFE_MAX_S + 1},
    "locations a map": lambda: _parts() | {7: {}},
    "location a list": lambda: _parts() | {7: [[]]},
    "location with another key": lambda: _parts() | {7: [_parts()[7][0] | {4: 1}]},
    "location without proof": lambda: _parts() | {7: [{1: _nurl(), 2: LOCATION.spki}]},
    "proof of 63 bytes": lambda: _parts() | {7: [_parts()[7][0] | {3: bytes(63)}]},
    "proof of 513 bytes": lambda: _parts() | {7: [_parts()[7][0] | {3: bytes(513)}]},
    "SPKI of 601 bytes": lambda: _parts() | {7: [_parts()[7][0] | {2: bytes(601)}]},
    "SPKI empty": lambda: _parts() | {7: [_parts()[7][0] | {2: b""}]},
    "NURL as bytes": lambda: _parts() | {7: [_parts()[7][0] | {1: _nurl().encode()}]},
    "NURL empty": lambda: _parts() | {7: [_parts()[7][0] | {1: ""}]},
    "NURL a web address": lambda: _parts() | {7: [_parts()[7][0] | {1: "https://example.org/"}]},
    "nickname of 65 characters": lambda: _parts() | {8: "n" * 65},
    "nickname that moves the cursor": lambda: _parts() | {8: "a\x1b[2J"},
    "nickname that turns the text around": lambda: _parts() | {8: "a\u202eb"},
    "one version": lambda: _parts() | {9: ["1.0.0"]},
    "three versions": lambda: _parts() | {9: ["1", "1", "1"]},
    "versions as numbers": lambda: _parts() | {9: [1, 1]},
    "properties a list": lambda: _parts() | {10: []},
    "properties with a number as name": lambda: _parts() | {10: {1: 1}},
    "properties nested too deep": lambda: _parts() | {10: {"a": [[[[[[[[]]]]]]]]}},
    "properties with sets nested too deep": lambda: _parts() | {10: {"a": [[[[[[[TaggedSet([])]]]]]]]}},
    "withdrawn false": lambda: _parts() | {7: [], 11: False},
    "withdrawn 1": lambda: _parts() | {7: [], 11: 1},
    "withdrawn with locations": lambda: _parts() | {11: True},
    "too large": lambda: _parts() | {10: {"a": bytes(ANNOUNCEMENT_MAX)}},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_announcement_is_refused_though_well_signed(name: str) -> None:
    assert "signature" not in _refusal(MALFORMED[name]())


@pytest.mark.parametrize("key", range(1, 11))
def test_no_field_may_be_missing(key: int) -> None:
    assert "keys" in _refusal(_without(key))


def test_a_form_that_is_not_the_deterministic_one_is_refused() -> None:
    loose = SIGNED.ann[:2] + b"\x18\x01" + SIGNED.ann[3:]  # its format in more bytes than need be
    for data in (loose, SIGNED.ann + b"\x00", SIGNED.ann[:-1], b""):
        with pytest.raises(BadAnnouncementError, match="CBOR"):
            verified_announcement(data, signatures.sign(SEED, TAG + data))


def test_an_announcement_fills_16_kib_with_its_signature_and_no_more() -> None:
    def sized(count: int) -> Announcement:
        return replace(EXAMPLE, properties={"filler": bytes(count)})

    spare = ANNOUNCEMENT_MAX - len(deterministic_cbor.encode(sign_announcement(sized(9000), SEED).bytes_pair))
    full = sign_announcement(sized(9000 + spare), SEED)
    assert len(deterministic_cbor.encode(full.bytes_pair)) == ANNOUNCEMENT_MAX
    with pytest.raises(BadAnnouncementError, match="16384"):
        sign_announcement(sized(9000 + spare + 1), SEED)


def test_properties_are_nested_to_eight_levels() -> None:
    deepest: dict[str, object] = {"a": [[[[[[{"b": 1}]]]]]]}
    assert sign_announcement(replace(EXAMPLE, properties=deepest), SEED).announcement.properties == deepest


def test_a_nickname_may_have_64_characters_of_any_alphabet() -> None:
    signed = sign_announcement(replace(EXAMPLE, nickname="\u044f" * 63 + "\U0001f512"), SEED)
    assert len(verified_announcement(*signed.bytes_pair).announcement.nickname) == 64


def test_a_withdrawal_has_no_locations() -> None:
    withdrawal = replace(EXAMPLE, locations=(), withdrawn=True)
    assert verified_announcement(*sign_announcement(withdrawal, SEED).bytes_pair).announcement == withdrawal


def test_signing_with_the_key_of_another_node_is_refused() -> None:
    with pytest.raises(BadAnnouncementError, match="node key"):
        sign_announcement(EXAMPLE, OTHER_SEED)


@pytest.mark.parametrize(
    "announcement",
    [
        replace(EXAMPLE, properties={"a": 1.5}),
        replace(EXAMPLE, sequence=2**64),
        replace(EXAMPLE, service="Storage"),
    ],
)
def test_what_no_reader_takes_is_not_signed(announcement: Announcement) -> None:
    with pytest.raises(BadAnnouncementError):
        sign_announcement(announcement, SEED)


# -- fuzz

PROPERTIES = st.dictionaries(
    st.text(max_size=10),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**64), 2**64 - 1)
        | st.binary(max_size=20)
        | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
SHOWN = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=64)
ANNOUNCEMENTS = st.builds(
    Announcement,
    service=st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True),
    verify_key=st.just(VERIFY_KEY),
    sequence=st.integers(0, 2**63 - 1),
    issued=st.just(ISSUED),
    expires=st.integers(ISSUED + 1, ISSUED + LIFE_MAX_S),
    locations=st.just((LOCATION,)) | st.just(()),
    nickname=SHOWN,
    version=st.tuples(SHOWN, SHOWN),
    properties=PROPERTIES,
)


@given(ANNOUNCEMENTS)
def test_what_was_signed_is_read_as_it_was(announcement: Announcement) -> None:
    signed = sign_announcement(announcement, SEED)
    assert signed == SignedAnnouncement(announcement, signed.ann, signed.signature)
    assert verified_announcement(*signed.bytes_pair) == signed


@given(st.binary(max_size=200), st.binary(max_size=70))
def test_arbitrary_bytes_are_refused_in_one_way(ann: bytes, signature: bytes) -> None:
    with pytest.raises(BadAnnouncementError):
        verified_announcement(ann, signature)
    with pytest.raises(BadAnnouncementError):
        verified_announcement(ann, signatures.sign(SEED, TAG + ann))


@given(st.data())
def test_a_damaged_announcement_signed_anew_does_no_worse_than_be_refused(data: st.DataObject) -> None:
    ann = bytearray(SIGNED.ann)
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(ann)))
        ann[begin : begin + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        read = verified_announcement(bytes(ann), signatures.sign(SEED, TAG + bytes(ann)))
    except BadAnnouncementError as error:
        assert SECRET not in str(error)
    else:
        assert sign_announcement(read.announcement, SEED) == read


@given(
    st.integers(1, 11), st.none() | st.integers() | st.binary(max_size=40) | st.text(max_size=40) | PROPERTIES
)
def test_a_field_of_any_kind_does_no_worse_than_be_refused(key: int, value: object) -> None:
    if isinstance(value, int) and not -(2**64) <= value < 2**64:
        value = 0
    try:
        verified_announcement(*_signed_anyhow(_parts() | {key: value}))
    except BadAnnouncementError as error:
        assert SECRET not in str(error)


# -- times, ids, secrets


def test_an_introducer_takes_what_is_neither_expired_nor_issued_in_the_future() -> None:
    for now in (ISSUED - 3600, ISSUED, EXAMPLE.expires - 0.5):
        check_times(EXAMPLE, now)
    with pytest.raises(BadAnnouncementError, match="future"):
        check_times(EXAMPLE, ISSUED - 3601)
    with pytest.raises(BadAnnouncementError, match="expired"):
        check_times(EXAMPLE, EXAMPLE.expires)


def test_a_client_keeps_what_is_expired_but_nothing_from_the_future() -> None:
    check_issued(EXAMPLE, EXAMPLE.expires + 1)
    with pytest.raises(BadAnnouncementError, match="future"):
        check_issued(EXAMPLE, ISSUED - 3601)


@given(st.binary(min_size=32, max_size=32))
def test_a_server_id_and_its_key_stand_for_each_other(key: bytes) -> None:
    assert key_of_server_id(server_id_of(key)) == key


@given(st.text(max_size=60))
def test_no_text_but_a_server_id_stands_for_a_key(text: str) -> None:
    for candidate in (text, "v0-" + text):
        with pytest.raises(ValueError):
            key_of_server_id(candidate)


def test_no_repr_shows_a_nurl() -> None:
    assert SECRET not in repr(SIGNED)
    assert SECRET not in repr(EXAMPLE)
    assert SECRET not in repr(LOCATION)
