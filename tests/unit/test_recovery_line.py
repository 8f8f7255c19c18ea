"""The recovery line: whatever it holds comes back, and whoever mistypes it is told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.caps.vdrive import VdrivePlace, VdriveWriteCap
from holdfast.node.redaction import redacted
from holdfast.protocol.recovery_line import BadRecoveryLineError, RecoveryLine, parse_recovery_line

PLACE = VdrivePlace(bytes(range(32)), "abcdefghijklmnopqrstuvwx23", ("vdrive.example.org:8443",))
CAP = VdriveWriteCap(PLACE, b"w" * 32).to_text()
NURL = f"pb://{'Q' * 43}@192.0.2.1:1/{'a' * 32}#v=1"
LINE = RecoveryLine((NURL,), CAP)
TEXT = LINE.to_text()


def test_it_is_one_line_of_characters_that_are_not_mistaken() -> None:
    assert re.fullmatch(r"hfr1(-[0-9a-hjkmnp-tv-z]{1,5})+", TEXT)
    assert parse_recovery_line(TEXT) == LINE
    assert CAP.rpartition(":")[2] not in TEXT


@given(st.integers(1, 32), st.binary(min_size=32, max_size=32))
def test_whatever_it_holds_comes_back(introducers: int, key: bytes) -> None:
    line = RecoveryLine((NURL,) * introducers, VdriveWriteCap(PLACE, key).to_text())
    assert parse_recovery_line(line.to_text()) == line


@pytest.mark.parametrize(
    "typed",
    [
        TEXT.upper(),
        f"  {TEXT}\n",
        TEXT.replace("-", " ").replace("hfr1 ", "hfr1-"),
        TEXT.replace("1", "l").replace("hfrl", "hfr1"),
        TEXT.replace("0", "O"),
    ],
)
def test_what_people_make_of_it_is_taken(typed: str) -> None:
    assert parse_recovery_line(typed) == LINE


@given(st.integers(5, len(TEXT) - 1), st.sampled_from("0123456789abcdefghjkmnpqrstvwxyz"))
def test_a_wrong_character_is_noticed(place: int, character: str) -> None:
    typed = TEXT[:place] + character + TEXT[place + 1 :]
    if typed.replace("-", "") == TEXT.replace("-", ""):
        return
    with pytest.raises(BadRecoveryLineError):
        parse_recovery_line(typed)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "begins with hfr1-"),
        (CAP, "begins with"),
        (TEXT[:-20], "incomplete"),
        (TEXT[:60] + TEXT[66:], "incomplete"),
        (TEXT.replace("hfr1", "hfr2"), "another version"),
        (TEXT + "u", "none of those"),
        ("hfr1-", "incomplete"),
        ("hfr1-" + "a" * 9000, "too long"),
        (RecoveryLine((), CAP).to_text(), "no introducer"),
        (RecoveryLine((NURL,), "URI:LIT:ba").to_text(), "leads nowhere"),
        (RecoveryLine(("pb://nonsense",), CAP).to_text(), "leads nowhere"),
    ],
)
def test_what_is_none_is_refused_with_a_reason_and_without_secrets(typed: str, said: str) -> None:
    with pytest.raises(BadRecoveryLineError, match=said) as refused:
        parse_recovery_line(typed)
    assert TEXT[5:16] not in str(refused.value)


@given(st.text(max_size=80))
def test_any_text_is_taken_or_refused(text: str) -> None:
    for typed in (text, f"hfr1-{text}"):
        with pytest.raises(BadRecoveryLineError):
            parse_recovery_line(typed)


def test_it_shows_in_no_log() -> None:
    assert redacted(f"got {TEXT}, and went on") == "got <hidden>, and went on"
    assert "pb://" not in repr(LINE)
    assert "URI" not in repr(LINE)
