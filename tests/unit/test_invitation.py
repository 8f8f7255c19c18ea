"""An invitation is one line that survives being typed, and shows its secret to nobody else."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocol.invitation import (
    Invitation,
    Welcome,
    decode_welcome,
    encode_welcome,
    parse_invitation,
    pin_of,
    presented_secret,
    redeem_authorization,
)
from holdfast.protocol.message_items import MalformedMessageError
from holdfast.protocol.nurl import spki_hash

SECRET, PIN = bytes(range(10)), bytes(range(100, 116))
CODE = "aaaqeayeaudaocajmrswmz3infvgw3dnnzxxa4lsom"  # base32 of secret and pin
NURL = f"pb://{spki_hash(b'key')}@host.example:1/swissnum#v=1"

INVITATIONS = st.builds(
    Invitation,
    st.binary(min_size=10, max_size=10),
    st.binary(min_size=16, max_size=16),
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,60}", fullmatch=True) | st.ip_addresses().map(str),
    st.integers(1, 65535),
)
SHORT = st.text("abc\u00e9 -", max_size=64)


@st.composite
def encodings(draw: st.DrawFn) -> tuple[int, int, int]:
    total = draw(st.integers(1, 256))
    return draw(st.integers(1, total)), draw(st.integers(1, total)), total


WELCOMES = st.builds(
    Welcome,
    role=st.sampled_from(["client", "server"]),
    nickname=SHORT,
    introducers=st.lists(st.just(NURL), min_size=1, max_size=3).map(tuple),
    encoding=st.none() | encodings(),
    grid=SHORT,
    vdrive=st.none() | st.just((NURL, "abc234")),
)


@given(INVITATIONS)
def test_an_invitation_is_read_as_it_was_written(invitation: Invitation) -> None:
    assert parse_invitation(invitation.to_text()) == invitation


def test_an_invitation_is_a_place_and_42_characters() -> None:
    assert len(CODE) == 42
    assert Invitation(SECRET, PIN, "grid.example.org", 3456).to_text() == f"grid.example.org:3456/{CODE}"
    assert Invitation(SECRET, PIN, "::1", 3456).to_text() == f"[::1]:3456/{CODE}"


def test_case_and_surrounding_white_space_are_forgiven() -> None:
    invitation = Invitation(SECRET, PIN, "grid.example.org", 3456)
    assert parse_invitation(f"\t {invitation.to_text().upper()} \n") == invitation


GOOD = Invitation(SECRET, PIN, "host", 1).to_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD[:-1],
        GOOD + "a",
        GOOD[:-1] + "b",  # unused bits that are not zero
        GOOD[:-1] + "1",
        GOOD.replace("host:1", "host"),
        GOOD.replace(":1/", ":0/"),
        GOOD.replace(":1/", ":65536/"),
        GOOD.replace("host", ""),
        GOOD.replace("host", "[::g]"),
        GOOD.replace("host", "[1.2.3.4]"),
        GOOD.replace("host", "two words"),
        GOOD.replace("host", "\u212aost"),  # a letter that is ASCII in lower case
        GOOD.replace("host", "h" * 400),
        "https://" + GOOD,
    ],
)
def test_what_is_no_invitation_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_invitation(text)
    assert GOOD[7:40] not in str(caught.value)


@given(st.text(max_size=80))
def test_no_text_does_worse_than_a_value_error(text: str) -> None:
    for candidate in (text, f"{text}:1/{GOOD[7:]}", f"host:{text}/{GOOD[7:]}", f"[{text}]:1/{GOOD[7:]}"):
        with suppress(ValueError):
            parse_invitation(candidate)


def test_the_pin_is_the_beginning_of_the_hash_of_the_tls_key() -> None:
    assert pin_of(spki_hash(b"any key")) == hashlib.sha256(b"any key").digest()[:16]


def test_no_repr_shows_the_secret() -> None:
    assert repr(SECRET) not in repr(parse_invitation(GOOD))
    assert "swissnum" not in repr(Welcome("server", "", (NURL,), None, "", (NURL, "token")))
    assert "token" not in repr(Welcome("server", "", (NURL,), None, "", (NURL, "token")))


@given(st.binary(min_size=10, max_size=10))
def test_the_secret_is_presented_in_the_header(secret: bytes) -> None:
    assert presented_secret(redeem_authorization(secret)) == secret


@pytest.mark.parametrize("value", [None, "", "Holdfast", "Holdfast abc", "Holdfast !", "Basic " + "a" * 16])
def test_another_header_presents_no_secret(value: str | None) -> None:
    assert presented_secret(value) is None


@given(WELCOMES)
def test_welcomes_come_back(welcome: Welcome) -> None:
    assert decode_welcome(encode_welcome(welcome)) == welcome


def _message(**changes: object) -> bytes:
    message = {"role": "client", "nickname": "n", "introducers": [NURL], "encoding": [3, 7, 10], "grid": "g"}
    return cbor2.dumps(message | changes)


@pytest.mark.parametrize(
    "data",
    [
        _message(role="admin"),
        _message(role=1),
        _message(nickname="n" * 65),
        _message(nickname="\x1b[2J"),
        _message(grid="two\nlines"),
        _message(introducers=[]),
        _message(introducers=[NURL] * 17),
        _message(introducers=["https://example.org/"]),
        _message(introducers=[1]),
        _message(introducers=NURL),
        _message(encoding=None),
        _message(encoding=[3, 7]),
        _message(encoding=[0, 1, 1]),
        _message(encoding=[3, 0, 10]),
        _message(encoding=[3, 11, 10]),
        _message(encoding=[11, 7, 10]),
        _message(encoding=[3, 7, 257]),
        _message(encoding=[True, True, True]),
        _message(vdrive=None),
        _message(vdrive=[NURL]),
        _message(vdrive=["https://example.org/", "abc"]),
        _message(vdrive=[NURL, ""]),
        _message(vdrive=[NURL, "a b"]),
        _message(vdrive=[NURL, 'a"\nservice = "x']),
        _message(vdrive=[NURL, "a" * 201]),
        _message(vdrive=[NURL, 7]),
        _message(password="x"),
        cbor2.dumps([]),
        b"",
    ],
)
def test_a_malformed_welcome_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        decode_welcome(data)
    assert "swissnum" not in str(caught.value)


@given(st.data())
def test_a_damaged_welcome_does_no_worse_than_be_refused(data: st.DataObject) -> None:
    damaged = bytearray(_message())
    begin = data.draw(st.integers(0, len(damaged)))
    damaged[begin : begin + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    for candidate in (bytes(damaged), data.draw(st.binary(max_size=60))):
        with suppress(MalformedMessageError):
            decode_welcome(candidate)
