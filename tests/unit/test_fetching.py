"""A download asks for enough distinct shares, and replaces what is bad, slow or gone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.planning.fetching import Fetch, FetchPlan


def plan_of(*holdings: tuple[str, int], needed: int) -> FetchPlan:
    plan = FetchPlan(needed)
    for preference, (server, number) in enumerate(holdings):
        plan.add_candidate(server, number, preference)
    plan.begin(0)
    return plan


def test_as_many_shares_are_asked_for_as_are_needed_and_no_more() -> None:
    plan = plan_of(("a", 0), ("b", 1), ("c", 2), needed=2)

    assert plan.next_fetches(0) == [Fetch("a", 0), Fetch("b", 1)]
    assert plan.next_fetches(0) == []


def test_primary_shares_come_first_since_they_need_no_decoding() -> None:
    plan = plan_of(("a", 7), ("b", 1), ("c", 0), needed=2)

    assert plan.next_fetches(0) == [Fetch("b", 1), Fetch("c", 0)]


def test_two_copies_of_one_share_count_once() -> None:
    plan = plan_of(("a", 0), ("b", 0), ("c", 5), needed=2)

    assert plan.next_fetches(0) == [Fetch("a", 0), Fetch("c", 5)]


def test_a_server_of_its_own_is_preferred_for_each_share() -> None:
    plan = plan_of(("a", 0), ("a", 1), ("b", 1), needed=2)

    assert plan.next_fetches(0) == [Fetch("a", 0), Fetch("b", 1)]


def test_one_server_serves_several_shares_if_nobody_else_has_them() -> None:
    plan = plan_of(("a", 0), ("a", 1), needed=2)

    assert plan.next_fetches(0) == [Fetch("a", 0), Fetch("a", 1)]


def test_a_corrupt_block_is_replaced_and_its_share_may_serve_other_segments() -> None:
    plan = plan_of(("a", 0), ("b", 1), ("c", 2), needed=2)
    plan.next_fetches(0)

    plan.record_bad(0, Fetch("a", 0), whole_share=False)

    assert plan.next_fetches(0) == [Fetch("c", 2)]
    plan.begin(1)
    assert Fetch("a", 0) in plan.next_fetches(1)


def test_a_corrupt_share_is_given_up_for_good() -> None:
    plan = plan_of(("a", 0), ("b", 1), ("c", 2), needed=2)
    plan.next_fetches(0)

    plan.record_bad(0, Fetch("a", 0), whole_share=True)
    plan.add_candidate("a", 0)

    plan.begin(1)
    assert plan.next_fetches(1) == [Fetch("b", 1), Fetch("c", 2)]
    assert plan.found() == {1, 2}


def test_a_good_copy_of_a_corrupt_share_is_used() -> None:
    plan = plan_of(("a", 0), ("b", 0), needed=1)
    plan.next_fetches(0)

    plan.record_bad(0, Fetch("a", 0), whole_share=True)

    assert plan.next_fetches(0) == [Fetch("b", 0)]


def test_a_slow_share_is_replaced_while_it_goes_on_and_may_still_win() -> None:
    plan = plan_of(("a", 0), ("b", 1), ("c", 2), needed=2)
    plan.next_fetches(0)

    plan.record_slow(0, Fetch("a", 0))

    assert plan.next_fetches(0) == [Fetch("c", 2)]
    plan.record_good(0, Fetch("a", 0))
    plan.record_good(0, Fetch("b", 1))
    assert plan.enough(0)
    assert plan.next_fetches(0) == []


def test_another_copy_of_a_slow_share_is_asked_for_when_there_is_nothing_better() -> None:
    plan = plan_of(("a", 0), ("b", 1), ("c", 0), needed=2)
    plan.next_fetches(0)

    plan.record_slow(0, Fetch("a", 0))

    assert plan.next_fetches(0) == [Fetch("c", 0)]


def test_a_slow_server_comes_last_in_later_batches() -> None:
    plan = plan_of(("a", 0), ("b", 1), ("c", 2), needed=2)
    plan.next_fetches(0)
    plan.record_slow(0, Fetch("a", 0))

    plan.begin(1)

    assert plan.next_fetches(1) == [Fetch("b", 1), Fetch("c", 2)]


def test_nothing_more_is_asked_of_a_lost_server_and_nothing_is_waited_for() -> None:
    plan = plan_of(("a", 0), ("b", 1), ("a", 2), ("c", 3), needed=2)
    plan.next_fetches(0)

    plan.server_lost("a")
    plan.add_candidate("a", 4)

    assert plan.next_fetches(0) == [Fetch("c", 3)]
    assert plan.found() == {1, 3}


def test_a_share_given_up_in_one_batch_is_replaced_in_the_others_at_once() -> None:
    plan = plan_of(("a", 0), ("b", 1), ("c", 2), needed=2)
    plan.begin(1)
    plan.next_fetches(0)
    plan.next_fetches(1)

    plan.record_bad(0, Fetch("a", 0), whole_share=True)

    assert plan.next_fetches(1) == [Fetch("c", 2)]


def test_shares_found_later_are_used() -> None:
    plan = plan_of(("a", 0), needed=2)
    assert plan.next_fetches(0) == [Fetch("a", 0)]

    plan.add_candidate("b", 9)

    assert plan.next_fetches(0) == [Fetch("b", 9)]


def test_a_proven_share_goes_before_one_that_was_never_tried() -> None:
    plan = plan_of(("a", 3), ("b", 4), ("c", 5), needed=2)
    plan.next_fetches(0)
    plan.record_bad(0, Fetch("a", 3), whole_share=False)
    plan.next_fetches(0)
    plan.record_good(0, Fetch("b", 4))
    plan.record_good(0, Fetch("c", 5))

    plan.begin(1)

    assert plan.next_fetches(1) == [Fetch("b", 4), Fetch("c", 5)]


def test_another_number_replaces_a_slow_share_before_a_copy_of_it_does() -> None:
    plan = plan_of(("a", 0), ("b", 0), ("c", 9), needed=1)
    plan.next_fetches(0)

    plan.record_slow(0, Fetch("a", 0))

    assert plan.next_fetches(0) == [Fetch("c", 9)]


def test_each_share_comes_from_a_server_of_its_own_even_if_another_has_to_give_way() -> None:
    plan = plan_of(("a", 0), ("b", 0), ("a", 1), needed=2)

    assert set(plan.next_fetches(0)) == {Fetch("b", 0), Fetch("a", 1)}


def test_what_servers_must_give_twice_is_spread_evenly() -> None:
    plan = plan_of(*((server, number) for server in "ab" for number in range(4)), needed=4)

    assert sorted(fetch.server for fetch in plan.next_fetches(0)) == ["a", "a", "b", "b"]


def test_a_share_with_several_corrupt_blocks_comes_last_in_later_batches() -> None:
    plan = plan_of(("a", 0), ("b", 1), ("c", 2), needed=2)
    for batch in (0, 1):
        plan.begin(batch)
        plan.next_fetches(batch)
        plan.record_bad(batch, Fetch("a", 0), whole_share=False)

    plan.begin(2)

    assert plan.next_fetches(2) == [Fetch("b", 1), Fetch("c", 2)]


def test_a_second_share_of_a_prompt_server_comes_before_one_of_a_slow_server() -> None:
    plan = plan_of(("a", 0), ("b", 1), ("b", 2), needed=2)
    plan.next_fetches(0)
    plan.record_slow(0, Fetch("a", 0))

    plan.begin(1)

    assert set(plan.next_fetches(1)) == {Fetch("b", 1), Fetch("b", 2)}


def test_a_slow_server_is_asked_if_there_is_no_other() -> None:
    plan = plan_of(("a", 0), ("b", 1), needed=2)
    plan.next_fetches(0)
    plan.record_slow(0, Fetch("a", 0))

    plan.begin(1)

    assert set(plan.next_fetches(1)) == {Fetch("a", 0), Fetch("b", 1)}


def test_later_batches_stay_with_the_copy_that_was_good() -> None:
    plan = plan_of(("b", 0), needed=1)
    plan.next_fetches(0)
    plan.record_good(0, Fetch("b", 0))
    plan.add_candidate("a", 0)

    plan.begin(1)

    assert plan.next_fetches(1) == [Fetch("b", 0)]


def test_a_number_that_arrived_twice_counts_once() -> None:
    plan = plan_of(("a", 0), ("b", 0), ("c", 1), needed=2)
    plan.next_fetches(0)

    plan.record_good(0, Fetch("a", 0))
    plan.record_good(0, Fetch("b", 0))

    assert plan.good(0) == [Fetch("a", 0)]
    assert not plan.enough(0)


def test_a_batch_is_hopeless_until_enough_is_known_of() -> None:
    plan = plan_of(("a", 0), ("b", 0), needed=2)
    assert plan.hopeless(0)

    plan.add_candidate("c", 1)

    assert not plan.hopeless(0)


SERVERS = "abcde"
HOLDINGS = st.lists(
    st.tuples(st.sampled_from(SERVERS), st.integers(0, 7)), min_size=1, max_size=20, unique=True
)


class Simulation:
    """Carries a plan out against a world decided by ``dice``, and watches its promises."""

    def __init__(self, holdings: list[tuple[str, int]], needed: int, seed: int) -> None:
        self.plan = plan_of(*holdings, needed=needed)
        self.plan.begin(1)
        self.needed = needed
        self.dice = random.Random(seed)
        self.asked: list[tuple[int, Fetch]] = []
        self.running: dict[int, dict[Fetch, bool]] = {0: {}, 1: {}}  # True: slow
        self.good: dict[int, set[int]] = {0: set(), 1: set()}
        self.refused: set[Fetch] = set()
        self.lost: set[str] = set()

    def step(self) -> bool:
        """Ask, and let one thing happen; False once nothing is under way."""
        for batch, running in self.running.items():
            fetches = self.plan.next_fetches(batch)
            for fetch in fetches:
                assert (batch, fetch) not in self.asked, "nothing is asked for twice in a batch"
                assert not self.hopeless(fetch)
                assert fetch.number not in self.good[batch], "what is there is not asked for again"
                running[fetch] = False
            self.asked += [(batch, fetch) for fetch in fetches]
            awaited = [f.number for f, slow in running.items() if not slow and not self.hopeless(f)]
            assert len(set(awaited)) == len(awaited), "one prompt fetch per number"
            assert not fetches or len(self.good[batch].union(awaited)) <= self.needed
        under_way = [(b, f) for b, running in self.running.items() for f in running]
        if not under_way:
            return False
        self.happen(*self.dice.choice(under_way))
        return True

    def hopeless(self, fetch: Fetch) -> bool:
        return fetch in self.refused or fetch.server in self.lost

    def happen(self, batch: int, fetch: Fetch) -> None:
        event = self.dice.choice(["good", "good", "block", "share", "slow", "lost"])
        if event == "slow" and not self.running[batch][fetch]:
            self.running[batch][fetch] = True
            self.plan.record_slow(batch, fetch)
            return
        del self.running[batch][fetch]
        if event == "good" and not self.hopeless(fetch):
            self.good[batch].add(fetch.number)
            self.plan.record_good(batch, fetch)
            return
        self.plan.record_bad(batch, fetch, whole_share=event in ("share", "lost"))
        if event in ("share", "lost"):
            self.refused.add(fetch)
        if event == "lost":
            self.lost.add(fetch.server)
            self.plan.server_lost(fetch.server)

    def run(self) -> list[tuple[int, Fetch]]:
        while self.step():
            pass
        return self.asked


@given(HOLDINGS, st.integers(1, 5), st.integers())
def test_whatever_happens_the_promises_hold(holdings: list[tuple[str, int]], needed: int, seed: int) -> None:
    simulation = Simulation(holdings, needed, seed)

    simulation.run()

    for batch in (0, 1):
        enough = len(simulation.good[batch]) >= needed
        assert simulation.plan.enough(batch) == enough
        assert simulation.plan.hopeless(batch) == (not enough)
        if not enough:
            untried = {
                Fetch(*holding) for holding in holdings if (batch, Fetch(*holding)) not in simulation.asked
            }
            assert all(
                simulation.hopeless(fetch) or fetch.number in simulation.good[batch] for fetch in untried
            ), "a batch ends early only if there is nothing left to try"


@given(HOLDINGS, st.integers(1, 6))
def test_as_many_servers_as_possible_are_used(holdings: list[tuple[str, int]], needed: int) -> None:
    fetches = plan_of(*holdings, needed=needed).next_fetches(0)

    numbers = sorted({number for _, number in holdings})
    assert len(fetches) == min(needed, len(numbers))

    def most_servers(left: list[int], used: frozenset[str]) -> int:
        if not left:
            return len(used)
        ways = [used, *(used | {server} for server, number in holdings if number == left[0])]
        return max(most_servers(left[1:], way) for way in dict.fromkeys(ways))

    assert len({fetch.server for fetch in fetches}) == min(needed, most_servers(numbers, frozenset()))


@given(HOLDINGS, st.integers(1, 5), st.integers())
def test_the_same_reports_give_the_same_fetches(
    holdings: list[tuple[str, int]], needed: int, seed: int
) -> None:
    assert Simulation(holdings, needed, seed).run() == Simulation(holdings, needed, seed).run()


def test_a_batch_that_was_never_begun_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        FetchPlan(1).next_fetches("never")
