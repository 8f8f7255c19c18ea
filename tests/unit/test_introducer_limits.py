"""How often something may be done at an introducer, and how many may do it at once."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.servers.limits import Places, TokenBuckets, address_key


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_after_the_burst_there_is_one_every_so_often() -> None:
    clock = Clock()
    buckets = TokenBuckets(10, 3, clock)

    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 10]
    clock.now += 4
    assert buckets.take("a") == 6
    assert buckets.wait_s("a") == 6
    clock.now += 6
    assert buckets.wait_s("a") == 0
    assert [buckets.take("a"), buckets.take("a")] == [0, 10]


def test_each_key_has_its_own_bucket() -> None:
    buckets = TokenBuckets(10, 1, Clock())
    assert [buckets.take("a"), buckets.take("b"), buckets.take("a")] == [0, 0, 10]


def test_asking_takes_nothing() -> None:
    buckets = TokenBuckets(10, 1, Clock())
    assert [buckets.wait_s("a") for _ in range(5)] == [0] * 5
    assert len(buckets) == 0


def test_rest_fills_a_bucket_up_to_the_burst_and_no_further() -> None:
    clock = Clock()
    buckets = TokenBuckets(1, 2, clock)
    buckets.take("a")
    clock.now += 1e6
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 1]


def test_a_clock_set_back_takes_nothing_away() -> None:
    clock = Clock()
    buckets = TokenBuckets(1, 2, clock)
    buckets.take("a")
    clock.now -= 1e6
    assert buckets.take("a") == 0
    assert buckets.take("a") == 1
    clock.now += 1
    assert buckets.take("a") == 0


def test_the_table_is_bounded_and_forgets_who_was_not_heard_of_longest() -> None:
    buckets = TokenBuckets(10, 1, Clock(), table_max=3)
    for key in ("a", "b", "c"):
        buckets.take(key)
    buckets.take("a")
    buckets.take("d")

    assert len(buckets) == 3
    assert buckets.wait_s("b") == 0
    assert buckets.wait_s("a") > 0


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60))
def test_no_pattern_of_requests_gets_more_than_the_rate(pauses: list[float]) -> None:
    clock = Clock()
    buckets = TokenBuckets(2, 5, clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        taken += buckets.take("a") == 0
    assert taken <= 5 + sum(pauses) / 2 + 1e-6


def test_places_are_limited_in_all_and_per_key() -> None:
    places = Places(3, 2)
    first, second = places.take("a"), places.take("a")
    assert first is not None
    assert second is not None
    assert places.take("a") is None
    other = places.take("b")
    assert other is not None
    assert places.take("c") is None

    first.leave()
    first.leave()
    assert places.taken == 2
    assert places.take("a") is not None


def test_without_a_key_only_the_places_in_all_count() -> None:
    places = Places(3, 1)
    taken = [places.take(None) for _ in range(4)]
    assert [place is not None for place in taken] == [True, True, True, False]


def test_a_forgotten_place_is_free_again() -> None:
    places = Places(1, 1)
    place = places.take("a")
    assert places.take("b") is None
    del place
    gc.collect()
    assert places.taken == 0


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", None),
        ("127.1.2.3", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("", None),
    ],
)
def test_addresses_of_one_network_are_counted_together(address: str, key: str | None) -> None:
    assert address_key(address, limit_loopback=False) == key
    assert address_key(address, limit_loopback=True) is not None
