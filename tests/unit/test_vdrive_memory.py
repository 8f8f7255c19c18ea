"""What was seen of a directory binds what is shown of it later: every outcome there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.vdrive_keys import WriteKeys
from holdfast.formats.vdrive.head import (
    BadHeadError,
    Head,
    SignedHead,
    first_head,
    head_hash,
    next_head,
    parse_head,
)
from holdfast.formats.vdrive.tree import EMPTY
from holdfast.planning.vdrive_memory import (
    BrokenChainError,
    HeadCheck,
    Remembered,
    Verdict,
    is_stale,
    settled,
)

KEYS = WriteKeys(b"\x05" * 32)
START = 1_000_000  # time of version 1


class Chain:
    """Heads by version; signatures do not matter here."""

    def __init__(self, heads: Sequence[SignedHead] = ()) -> None:
        self.heads = list(heads) or [first_head(KEYS)]

    def grown(self, to: int, *, nonce: int = 0, late: int = 0, disown: int | None = None) -> Chain:
        """Return a chain that goes on to version ``to``; a word of disowning is in the first new head."""
        chain = Chain(self.heads)
        for version in range(len(self.heads), to + 1):
            head = next_head(
                chain.heads[-1].head,
                root=EMPTY,
                count=0,
                operations=b"\x80",
                time=START + version + late,
                nonce=bytes([nonce]) * 16,
                disown_base=disown if version == len(self.heads) else None,
            )
            chain.heads.append(SignedHead(head.to_bytes(), bytes(64)))
        return chain

    def cut(self, version: int) -> Chain:
        return Chain(self.heads[: version + 1])

    @property
    def newest(self) -> Head:
        return parse_head(self.heads[-1].head)

    def hash_of(self, version: int) -> bytes:
        return head_hash(self.heads[version].head)

    def remembered(self, version: int = -1) -> Remembered:
        head = parse_head(self.heads[version].head)
        return Remembered.of(head, self.hash_of(version))

    def bound(self, version: int) -> Remembered:
        return Remembered(version, self.hash_of(version)[:16], None)


def outcome(
    shown: Chain, remembered: Remembered | None, *, walk_max: int | None = None, oldest: int = 0
) -> tuple[Verdict | None, bool, int]:
    """Return the verdict, whether it rests on a chain, and the number of heads that were fetched."""
    check = HeadCheck(shown.newest, shown.hash_of(-1), remembered, walk_max=walk_max)
    fetched = 0
    while (wanted := check.wanted) is not None:
        first, last = wanted
        assert 0 <= first <= last < shown.newest.version
        assert last - first < 1000
        if last < oldest:
            check.pruned()
            break
        heads = shown.heads[max(first, oldest) : last + 1]
        fetched += len(heads)
        check.show(heads)
    return check.verdict, check.chain_verified, fetched


MAIN = Chain().grown(30)


def test_without_memory_a_head_is_fine() -> None:
    assert outcome(MAIN, None) == (Verdict.FINE, True, 0)


def test_the_same_head_is_fine() -> None:
    assert outcome(MAIN, MAIN.remembered()) == (Verdict.FINE, True, 0)
    assert outcome(Chain(), Chain().remembered()) == (Verdict.FINE, True, 0)


@pytest.mark.parametrize(("version", "fetched"), [(29, 0), (28, 1), (10, 19), (0, 29)])
def test_a_newer_head_is_fine_if_it_leads_back(version: int, fetched: int) -> None:
    assert outcome(MAIN, MAIN.remembered(version)) == (Verdict.FINE, True, fetched)


@pytest.mark.parametrize("version", [0, 10, 29])
def test_an_older_head_is_a_rollback(version: int) -> None:
    assert outcome(MAIN.cut(version), MAIN.remembered())[0] == Verdict.ROLLED_BACK


@pytest.mark.parametrize("forked_at", [1, 15, 29])
@pytest.mark.parametrize("shown_to", [30, 31, 60])
def test_another_history_of_no_lower_version_is_a_fork(forked_at: int, shown_to: int) -> None:
    fork = MAIN.cut(forked_at).grown(shown_to, nonce=1)
    assert outcome(fork, MAIN.remembered())[0] == Verdict.FORKED
    assert outcome(fork, MAIN.remembered(forked_at))[0] == Verdict.FINE
    assert outcome(fork, MAIN.remembered(forked_at + 1))[0] == Verdict.FORKED


def test_readers_may_skip_a_long_walk_and_writers_may_not() -> None:
    remembered = MAIN.remembered(10)
    assert outcome(MAIN, remembered, walk_max=20) == (Verdict.FINE, True, 19)
    assert outcome(MAIN, remembered, walk_max=19) == (Verdict.FINE, False, 0)
    fork = MAIN.cut(5).grown(30, nonce=1)
    assert outcome(fork, remembered, walk_max=19) == (Verdict.FINE, False, 0)
    assert outcome(fork, remembered)[0] == Verdict.FORKED
    assert outcome(MAIN.cut(5), remembered, walk_max=0)[0] == Verdict.ROLLED_BACK


def test_pruned_history_leaves_a_newer_head_unproven_and_excuses_no_older_one() -> None:
    assert outcome(MAIN, MAIN.remembered(10), oldest=20) == (Verdict.FINE, False, 10)
    assert outcome(MAIN, MAIN.remembered(10), oldest=11) == (Verdict.FINE, True, 19)
    lost = Chain().grown(20)
    healed = lost.cut(10).grown(15, nonce=1, late=100, disown=10)
    assert outcome(healed, lost.remembered(), oldest=0)[0] == Verdict.DISOWNED
    assert outcome(healed, lost.remembered(), oldest=12)[0] == Verdict.ROLLED_BACK
    assert outcome(healed.grown(20, late=100), lost.remembered(), oldest=12)[0] == Verdict.FORKED


@pytest.mark.parametrize("healed_to", [11, 12, 19, 20, 21, 40])
def test_disowned_history_is_given_up(healed_to: int) -> None:
    lost = Chain().grown(20)
    healed = lost.cut(10).grown(11, nonce=1, late=100, disown=10).grown(healed_to, late=100)
    assert outcome(healed, lost.remembered())[0] == Verdict.DISOWNED
    assert outcome(healed, lost.remembered(11))[0] == Verdict.DISOWNED
    assert outcome(healed, lost.remembered(10))[0] == Verdict.FINE
    assert outcome(healed, lost.remembered(9))[0] == Verdict.FINE


def test_only_what_is_above_the_base_is_given_up() -> None:
    lost = Chain().grown(20)
    fork = lost.cut(8).grown(15, nonce=1).grown(25, nonce=1, late=100, disown=15)
    assert outcome(fork, lost.remembered(20))[0] == Verdict.DISOWNED
    assert outcome(fork, lost.remembered(16))[0] == Verdict.DISOWNED
    assert outcome(fork, lost.remembered(15))[0] == Verdict.FORKED
    assert outcome(fork, lost.remembered(9))[0] == Verdict.FORKED


def test_an_old_word_of_disowning_excuses_no_later_rollback_or_fork() -> None:
    once_healed = Chain().grown(5).grown(30, disown=5)
    assert outcome(once_healed.cut(20), once_healed.remembered())[0] == Verdict.ROLLED_BACK
    assert outcome(once_healed.cut(20).grown(40, nonce=1), once_healed.remembered())[0] == Verdict.FORKED
    assert outcome(once_healed.cut(6), once_healed.remembered(7))[0] == Verdict.ROLLED_BACK
    again = once_healed.cut(20).grown(25, nonce=1, late=100, disown=20)
    assert outcome(again, once_healed.remembered())[0] == Verdict.DISOWNED


def test_a_word_of_disowning_in_the_time_of_what_is_remembered_does_not_count() -> None:
    lost = Chain().grown(20)
    at_once = lost.cut(10).grown(11, nonce=1, late=9, disown=10)
    assert parse_head(at_once.heads[11].head).time == lost.newest.time
    assert outcome(at_once, lost.remembered())[0] == Verdict.ROLLED_BACK
    assert (
        outcome(lost.cut(10).grown(11, nonce=1, late=10, disown=10), lost.remembered())[0] == Verdict.DISOWNED
    )


@pytest.mark.parametrize("version", [0, 1, 15, 30])
def test_what_a_parent_tells_is_a_lower_bound(version: int) -> None:
    bound = MAIN.bound(version)
    assert outcome(MAIN, bound)[0] == Verdict.FINE
    if version:
        assert outcome(MAIN.cut(version - 1), bound)[0] == Verdict.ROLLED_BACK
        assert outcome(MAIN.cut(version - 1).grown(version, nonce=1), bound)[0] == Verdict.FORKED
        assert outcome(MAIN.cut(version - 1).grown(40, nonce=1), bound)[0] == Verdict.FORKED


def test_what_a_parent_tells_is_given_up_for_a_higher_version_only() -> None:
    lost = Chain().grown(20)
    healed = lost.cut(10).grown(40, nonce=1, late=100, disown=10)
    assert outcome(healed, lost.bound(20))[0] == Verdict.FORKED
    late = lost.cut(10).grown(24, nonce=1).grown(40, nonce=1, late=100, disown=10)
    assert outcome(late, lost.bound(20))[0] == Verdict.DISOWNED


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
def test_the_verdict_is_fine_exactly_if_one_history_continues_the_other(
    forked_at: int, remembered: int, shown: int
) -> None:
    fork = MAIN.cut(forked_at).grown(max(shown, forked_at), nonce=1).cut(shown)
    verdict, chain_verified, _ = outcome(fork, MAIN.remembered(remembered))
    assert chain_verified
    if shown < remembered:
        assert verdict == Verdict.ROLLED_BACK
    else:
        assert (verdict == Verdict.FINE) == (remembered <= min(forked_at, shown))


def test_the_search_for_a_word_of_disowning_ends_where_none_can_be_newer() -> None:
    long = Chain().grown(3000)
    assert outcome(long.cut(2999), long.remembered()) == (Verdict.ROLLED_BACK, True, 0)
    fork = long.cut(2990).grown(3005, nonce=1)
    assert outcome(fork, long.remembered()) == (Verdict.FORKED, True, 4 + 1000)  # a page of them


def test_long_histories_are_walked_in_pages() -> None:
    long = Chain().grown(2500)
    assert outcome(long, long.remembered(3)) == (Verdict.FINE, True, 2496)


def test_heads_that_lead_elsewhere_are_refused() -> None:
    fork = MAIN.cut(5).grown(30, nonce=1)
    for heads in ([], fork.heads[11:30], MAIN.heads[11:29], MAIN.heads[12:31], MAIN.heads[11:30][::-1]):
        check = HeadCheck(MAIN.newest, MAIN.hash_of(-1), MAIN.remembered(10))
        assert check.wanted == (11, 29)
        with pytest.raises(BrokenChainError):
            check.show(heads)
        assert check.verdict is None
    check = HeadCheck(MAIN.newest, MAIN.hash_of(-1), MAIN.remembered(10))
    with pytest.raises(BadHeadError):
        check.show([SignedHead(b"", b"")])
    with pytest.raises(BrokenChainError):
        HeadCheck(MAIN.newest, MAIN.hash_of(-1), None).show(MAIN.heads[:30])


def test_a_walk_tells_which_heads_it_passed() -> None:
    check = HeadCheck(MAIN.newest, MAIN.hash_of(-1), MAIN.remembered(10))
    check.show(MAIN.heads[20:30])
    assert check.wanted == (11, 19)
    check.show(MAIN.heads[11:20])
    assert check.verdict == Verdict.FINE
    assert dict(check.hashes) == {version: MAIN.hash_of(version) for version in range(10, 31)}


def test_answers_that_overtook_one_another_have_to_fit() -> None:
    old, middle, new = (MAIN.remembered(version) for version in (10, 20, 30))
    fork = MAIN.cut(15).grown(30, nonce=1)
    passed = {version: MAIN.hash_of(version) for version in range(10, 31)}
    assert settled(old, None, {}) == (Verdict.FINE, old)
    assert settled(new, middle, passed) == (Verdict.FINE, new)
    assert settled(middle, new, passed) == (Verdict.FINE, new)
    assert settled(new, new, {}) == (Verdict.FINE, new)
    assert settled(middle, new, {}) == (Verdict.FINE, new)  # nothing is known of what lies between
    assert settled(fork.remembered(20), new, passed) == (Verdict.FORKED, new)
    assert settled(fork.remembered(30), new, passed) == (Verdict.FORKED, new)
    assert settled(fork.remembered(30), middle, {20: fork.hash_of(20)}) == (Verdict.FORKED, middle)


def test_a_directory_is_stale_after_two_missed_heartbeats() -> None:
    head = replace(MAIN.newest, heartbeat=1000)
    assert not is_stale(head, head.time + 2 * 1000 + 3600)
    assert is_stale(head, head.time + 2 * 1000 + 3600.5)
    assert not is_stale(MAIN.newest, 1e12)
