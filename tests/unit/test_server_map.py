"""What a survey's record says of versions and shares."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.formats.mutable_layout import MutableHeader, MutableOffsets, Section
from holdfast.formats.mutable_segmentation import MutableSegmentation
from holdfast.planning.server_map import Place, ServerMap
from holdfast.planning.version_health import repair_hindrance, version_health


def version(sequence: int, root: bytes = b"r", needed: int = 2, total: int = 4) -> MutableHeader:
    return MutableHeader(sequence, root * 32, b"", MutableSegmentation.plan("MDMF", 100, needed, total))


def offsets(header: MutableHeader) -> MutableOffsets:
    return MutableOffsets.plan(
        header.segmentation, public_key_size=294, signature_size=256, private_key_size=1217
    )


def server_map(*shares: tuple[MutableHeader, str, int]) -> ServerMap:
    found = ServerMap()
    for header, server, number in shares:
        found.record_answer(server, [*(p.number for p in found.shares if p.server == server), number])
        found.add(Place(server, number), header, offsets(header))
    return found


OLD, NEW = version(1), version(2)


def test_a_version_with_enough_distinct_shares_is_recoverable() -> None:
    found = server_map((OLD, "a", 0), (OLD, "b", 1), (NEW, "c", 2), (NEW, "d", 2))
    assert found.versions() == [NEW, OLD]
    assert found.recoverable() == [OLD]
    assert found.unrecoverable() == found.unrecoverable_newer() == [NEW]
    assert found.best == OLD
    assert found.highest_sequence == 2
    assert found.holders(NEW) == {2: ["c", "d"]}


def test_of_one_sequence_number_the_higher_root_hash_is_better() -> None:
    other = version(2, b"s")
    found = server_map((NEW, "a", 0), (NEW, "b", 1), (other, "c", 0), (other, "d", 1))
    assert found.best == other
    assert found.needs_merge
    assert not server_map((NEW, "a", 0), (NEW, "b", 1), (other, "c", 0)).needs_merge


def test_offsets_are_no_part_of_a_version() -> None:
    """They are unsigned: one server that alters them must not make a version of its own."""
    found = server_map((NEW, "a", 0))
    altered = replace(offsets(NEW), public_key=Section(1700, 1990))
    found.add(Place("b", 1), NEW, altered)
    assert found.recoverable() == found.versions() == [NEW]
    assert found.shares[Place("b", 1)].offsets == altered


def test_unrecoverable_older_versions_are_no_matter() -> None:
    found = server_map((OLD, "c", 0), (NEW, "a", 0), (NEW, "b", 1))
    assert found.unrecoverable() == [OLD]
    assert not found.unrecoverable_newer()


def test_without_a_recoverable_version_all_are_unrecoverable_newer() -> None:
    found = server_map((OLD, "c", 0), (NEW, "a", 0))
    assert found.unrecoverable_newer() == [NEW, OLD]
    assert found.best is None
    assert ServerMap().best is None
    assert ServerMap().highest_sequence == 0


def test_a_bad_share_is_remembered_and_not_added_again() -> None:
    found = server_map((NEW, "a", 0), (NEW, "b", 1))
    found.mark_bad(Place("a", 0), b"first bytes")
    assert found.best is None
    assert not found.add(Place("a", 0), NEW, offsets(NEW))
    assert found.bad == {Place("a", 0): b"first bytes"}
    assert found.servers() == {"a", "b"}
    found.record_written(Place("a", 0), NEW, offsets(NEW))
    assert found.best == NEW
    assert not found.bad


def test_the_number_of_a_signed_share_counts_even_if_the_share_is_bad() -> None:
    found = server_map((NEW, "a", 0))
    found.mark_bad(Place("a", 0), b"")
    assert found.highest_sequence == 2
    found.add(Place("a", 0), version(7), offsets(version(7)))
    assert found.highest_sequence == 7
    found.forget(Place("a", 0))
    assert found.highest_sequence == 7


def test_a_later_answer_replaces_what_a_server_had() -> None:
    found = server_map((OLD, "a", 0), (OLD, "a", 1), (OLD, "b", 0))
    found.mark_bad(Place("a", 2), b"")
    found.record_answer("a", [1])
    assert list(found.shares) == [Place("a", 1), Place("b", 0)]
    assert not found.bad
    found.record_failure("a")
    assert (set(found.answered), set(found.failed)) == ({"b"}, {"a"})
    assert Place("a", 1) in found.shares
    found.record_answer("a", [1])
    assert (set(found.answered), set(found.failed)) == ({"a", "b"}, set())


def test_a_copy_changes_on_its_own() -> None:
    found = server_map((OLD, "a", 0))
    copy = found.copy()
    copy.mark_bad(Place("a", 0), b"")
    copy.record_failure("a")
    assert Place("a", 0) in found.shares
    assert found.answered == {"a"}
    assert copy.highest_sequence == 1


SHARES = st.lists(
    st.tuples(
        st.sampled_from([version(s, r, k) for s in (1, 2, 3) for r in (b"r", b"s") for k in (1, 2)]),
        st.sampled_from("abcdef"),
        st.integers(0, 3),
    ),
    max_size=24,
)


@given(SHARES)
def test_every_version_is_either_recoverable_or_not(
    shares: list[tuple[MutableHeader, str, int]],
) -> None:
    found = server_map(*shares)
    recoverable, unrecoverable = found.recoverable(), found.unrecoverable()
    assert sorted([*recoverable, *unrecoverable], key=lambda v: v.rank) == found.versions()[::-1]
    for header in recoverable:
        assert len(found.holders(header)) >= header.shares_needed
        assert found.best is not None
        assert found.best.rank >= header.rank
    health = version_health(found)
    assert not (health.healthy and health.needs_repair)
    assert health.recoverable == bool(recoverable)
    assert health.good_shares <= 4
    assert health.hosts <= 6


# -- health


def test_one_version_with_all_shares_is_healthy() -> None:
    health = version_health(server_map(*((NEW, s, i) for i, s in enumerate("abcd"))))
    assert health.healthy
    assert not health.needs_repair
    assert (health.good_shares, health.hosts, health.wrong_shares, health.happiness) == (4, 4, 0, 4)
    assert health.version == NEW


def test_a_missing_share_needs_repair() -> None:
    health = version_health(server_map(*((NEW, s, i) for i, s in enumerate("abc"))))
    assert (health.healthy, health.recoverable, health.needs_repair) == (False, True, True)


def test_copies_are_no_distinct_shares() -> None:
    health = version_health(server_map((NEW, "a", 0), (NEW, "b", 0), (NEW, "c", 1), (NEW, "d", 2)))
    assert (health.good_shares, health.hosts, health.healthy) == (3, 4, False)


@pytest.mark.parametrize("shares", [1, 2])
def test_a_share_of_another_version_is_wrong(shares: int) -> None:
    others = [(OLD, "e", i) for i in range(shares)]
    health = version_health(server_map(*((NEW, s, i) for i, s in enumerate("abcd")), *others))
    assert not health.healthy
    assert health.needs_repair
    assert health.wrong_shares == shares
    assert (health.recoverable_versions, health.unrecoverable_versions) == ((1, 1) if shares == 1 else (2, 0))
    assert health.happiness == 5  # shares of two versions are different shares


def test_a_bad_share_needs_repair_and_counts_as_missing() -> None:
    found = server_map(*((NEW, s, i) for i, s in enumerate("abcd")), (NEW, "e", 3))
    found.mark_bad(Place("e", 3), b"")
    health = version_health(found)
    assert health.needs_repair
    assert health.bad_shares == 1
    found.mark_bad(Place("d", 3), b"")
    health = version_health(found)
    assert (health.good_shares, health.healthy, health.bad_shares) == (3, False, 2)


def test_nothing_found() -> None:
    health = version_health(ServerMap())
    assert (health.version, health.good_shares, health.healthy, health.recoverable) == (None, 0, False, False)
    assert health.needs_repair


def test_repair_is_refused_where_it_would_discard_something() -> None:
    right = [(OLD, "a", 0), (OLD, "b", 1)]
    assert repair_hindrance(server_map(*right)) is None
    newer = repair_hindrance(server_map(*right, (NEW, "c", 0)))
    assert newer is not None
    assert "version 2" in newer
    merge = repair_hindrance(server_map(*right, (version(1, b"s"), "c", 0), (version(1, b"s"), "d", 1)))
    assert merge is not None
    assert "two writers" in merge
    assert repair_hindrance(server_map(*right, (version(1, b"q"), "c", 0))) is None
