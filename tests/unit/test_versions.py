"""Which versions talk to which, and who is told to upgrade (N-01)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

import holdfast
from holdfast.protocol.versions import OLDEST_SUPPORTED, compatible

ASCENDING = [
    "0.1.0.dev1",
    "0.1.0a1",
    "0.1.0a2",
    "0.1.0b1",
    "0.1.0rc1",
    "0.1.0",
    "0.1.0.post1",
    "0.1.1",
    "0.2",
    "0.10.0",
    "1.0",
    "1.0.1",
    "1!0.1",
]
UNPARSABLE = ["", "unknown", "1.0-", "1..0", "v", "1.0 or so", "9" * 5000, "1." * 40, "\x1b[2J", "1.0\x00"]


@pytest.mark.seed("S-024")
@pytest.mark.parametrize(("older", "newer"), list(pairwise(ASCENDING)))
def test_versions_are_ordered_as_pep_440_says(older: str, newer: str) -> None:
    assert compatible((newer, newer), (newer, older)) is None
    assert compatible((newer, newer), (older, older)) is not None


@pytest.mark.seed("S-024")
def test_our_own_versions_parse_and_the_oldest_is_not_above_ours() -> None:
    assert Version(OLDEST_SUPPORTED) <= Version(holdfast.__version__)
    assert (
        compatible((holdfast.__version__, OLDEST_SUPPORTED), (holdfast.__version__, OLDEST_SUPPORTED)) is None
    )


@pytest.mark.seed("S-024")
@pytest.mark.parametrize("text", UNPARSABLE)
def test_unparsable_versions_are_incompatible_and_not_repeated(text: str) -> None:
    for pair in ((text, "1.0"), ("1.0", text)):
        theirs = compatible(("1.0", "1.0"), pair)
        mine = compatible(pair, ("1.0", "1.0"))
        assert theirs is not None
        assert "the peer" in theirs
        assert mine is not None
        assert "this node" in mine
        assert "\x1b" not in theirs + mine


@pytest.mark.seed("S-025")
@pytest.mark.parametrize(
    ("mine", "theirs", "who"),
    [
        (("2.0", "1.0"), ("2.0", "1.0"), ""),
        (("2.0", "1.0"), ("1.0", "0.5"), ""),  # the oldest that is supported
        (("2.0", "1.0"), ("3.0", "2.0"), ""),
        (("2.0", "1.0"), ("0.9", "0.5"), "the peer must upgrade: it runs 0.9, and this node needs 1.0"),
        (("2.0", "1.0"), ("3.0", "2.1"), "this node must upgrade: it runs 2.0, and the peer needs 2.1"),
        (("2.0", "1.0"), ("1.0rc1", "0.5"), "the peer must upgrade: it runs 1.0rc1, and this node needs 1.0"),
        (("1.0", "1.0"), ("1.0+local", "1.0"), ""),
    ],
)
def test_two_sides_talk_if_neither_is_too_old_for_the_other(
    mine: tuple[str, str], theirs: tuple[str, str], who: str
) -> None:
    assert (compatible(mine, theirs) or "") == who


def test_both_sides_may_have_to_upgrade() -> None:
    reason = compatible(("1.0", "1.5"), ("1.0", "1.5"))
    assert reason is not None
    assert "the peer must upgrade" in reason
    assert "this node must upgrade" in reason


@pytest.mark.seed("S-025")
@given(*[st.sampled_from(ASCENDING)] * 4)
def test_both_sides_come_to_the_same_conclusion(a: str, a_oldest: str, b: str, b_oldest: str) -> None:
    there, back = compatible((a, a_oldest), (b, b_oldest)), compatible((b, b_oldest), (a, a_oldest))
    assert (there is None) == (back is None)
    assert (there is None) == (Version(a) >= Version(b_oldest) and Version(b) >= Version(a_oldest))


@given(st.text(max_size=80))
def test_no_text_raises(text: str) -> None:
    compatible((text, text), ("1.0", "1.0"))
    compatible(("1.0", "1.0"), (text, text))
