"""Which announcement counts, for how long, and which are kept when there are too many."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.planning.announcement_merging import Candidate, forgotten, freshness, kept, supersedes

DAY = 86400.0


@dataclass(frozen=True)
class Said:
    sequence: int = 1
    issued: int = 0
    expires: int = int(7 * DAY)
    withdrawn: bool = False


def test_the_highest_number_counts_and_of_equals_the_earlier_received() -> None:
    assert supersedes(Said(sequence=2), Said(sequence=1))
    assert not supersedes(Said(sequence=1), Said(sequence=2))
    assert not supersedes(Said(sequence=1, expires=9), Said(sequence=1))


@given(st.permutations([Said(sequence=n) for n in range(5)]))
def test_the_order_in_which_introducers_answer_does_not_matter(heard: list[Said]) -> None:
    held = heard[0]
    for said in heard[1:]:
        held = said if supersedes(said, held) else held
    assert held.sequence == 4


@pytest.mark.parametrize(
    ("now", "contact", "expected"),
    [
        (0, 0, "fresh"),
        (7 * DAY - 1, 0, "fresh"),
        (7 * DAY, 0, "stale"),
        (100 * DAY, 0, "stale"),
        (7 * DAY, 1, "fresh"),  # reached since, so it lives on
        (100 * DAY, 95 * DAY, "fresh"),
        (100 * DAY, 93 * DAY, "stale"),
    ],
)
def test_an_announcement_is_stale_a_life_after_it_was_issued_or_its_node_reached(
    now: float, contact: float, expected: str
) -> None:
    assert freshness(Said(), now, contact) == expected


def test_a_withdrawal_is_one_however_fresh() -> None:
    assert freshness(Said(withdrawn=True), 0, 0) == "withdrawn"
    assert freshness(Said(withdrawn=True), 100 * DAY, 100 * DAY) == "withdrawn"


def _forgotten(said: Said, now: float, *, heard: float = 0, contact: float = 0) -> bool:
    return forgotten(said, heard, contact, now, 90 * DAY)


def test_a_node_is_forgotten_90_days_after_its_last_sign_of_life() -> None:
    assert not _forgotten(Said(), 90 * DAY)
    assert _forgotten(Said(), 90 * DAY + 1)
    assert not _forgotten(Said(), 94 * DAY, heard=5 * DAY)
    assert not _forgotten(Said(), 180 * DAY, contact=91 * DAY)
    assert _forgotten(Said(), 182 * DAY, contact=91 * DAY)


def test_an_introducer_that_repeats_an_old_announcement_keeps_nobody_alive() -> None:
    assert not _forgotten(Said(), 97 * DAY, heard=97 * DAY)
    assert _forgotten(Said(), 97 * DAY + 1, heard=97 * DAY + 1)


def test_a_withdrawal_outlives_what_it_withdrew() -> None:
    old, withdrawal = Said(), Said(sequence=2, issued=int(DAY), expires=int(8 * DAY), withdrawn=True)
    for day in range(200):
        now = day * DAY
        replayed_is_taken = not _forgotten(old, now, heard=now)
        assert not (replayed_is_taken and _forgotten(withdrawal, now, heard=DAY))
    assert _forgotten(withdrawal, 99 * DAY, heard=DAY)


def test_a_clock_that_went_back_forgets_nobody() -> None:
    assert not _forgotten(Said(issued=int(500 * DAY), expires=int(507 * DAY)), 0, heard=500 * DAY)


# -- too many


def _candidate(
    number: int, *, introducer: str = "i", first_heard: float = 0, contact: float = 0
) -> Candidate:
    return Candidate(("storage", number.to_bytes(32, "big")), introducer, first_heard, contact)


def test_of_unknown_ones_those_that_came_first_are_kept() -> None:
    candidates = [_candidate(n, first_heard=n) for n in (3, 1, 2, 0)]
    assert kept(candidates, announcements_max=2) == [candidates[3], candidates[1]]


def test_a_server_that_answered_is_never_displaced_by_made_up_ones() -> None:
    made_up = [_candidate(n, introducer="hostile") for n in range(20)]
    honest = _candidate(99, introducer="hostile", first_heard=1000, contact=5)
    assert kept([*made_up, honest], announcements_max=10, per_introducer_max=5)[0] == honest


def test_one_introducer_leaves_room_for_the_others() -> None:
    made_up = [_candidate(n, introducer="hostile") for n in range(20)]
    late = [_candidate(n, introducer="honest", first_heard=9) for n in range(50, 55)]
    assert kept([*made_up, *late], announcements_max=10, per_introducer_max=5) == [*made_up[:5], *late]


def test_what_no_introducer_told_counts_against_none() -> None:
    own = [_candidate(n, introducer="") for n in range(6)]
    assert kept(own, announcements_max=10, per_introducer_max=5) == own


@given(
    st.lists(
        st.builds(
            _candidate,
            st.integers(0, 9),
            introducer=st.sampled_from(["", "a", "b"]),
            first_heard=st.integers(0, 3),
            contact=st.integers(0, 3),
        ),
        max_size=30,
    )
)
def test_no_limit_is_ever_exceeded_and_nothing_made_up(candidates: list[Candidate]) -> None:
    result = kept(candidates, announcements_max=7, per_introducer_max=3)
    assert len(result) <= 7
    assert all(sum(c.introducer == name for c in result) <= 3 for name in ("a", "b"))
    assert set(result) <= set(candidates)
    if len(candidates) <= 3:
        assert sorted(map(repr, result)) == sorted(map(repr, candidates))
