"""Old versions shown for new ones are noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.formats.mutable_layout import MutableHeader, MutableOffsets
from holdfast.formats.mutable_segmentation import MutableSegmentation
from holdfast.planning.rollback import RememberedVersion, Verdict, judge, remember
from holdfast.planning.server_map import Place, ServerMap


def version(sequence: int, root: bytes = b"r") -> MutableHeader:
    return MutableHeader(sequence, root * 32, b"", MutableSegmentation.plan("MDMF", 100, 3, 10))


def server_map(*shares: tuple[MutableHeader, str, int]) -> ServerMap:
    found = ServerMap()
    for header, server, number in shares:
        offsets = MutableOffsets.plan(
            header.segmentation, public_key_size=294, signature_size=256, private_key_size=1217
        )
        found.add(Place(server, number), header, offsets)
    return found


def spread(header: MutableHeader, servers: str) -> list[tuple[MutableHeader, str, int]]:
    return [(header, server, number) for number, server in enumerate(servers)]


KNOWN = RememberedVersion.of(version(5))


@pytest.mark.parametrize(
    ("shown", "verdict"),
    [
        (version(4), Verdict.ROLLED_BACK),
        (version(5), Verdict.FINE),
        (version(5, b"q"), Verdict.CONFLICT),
        (version(5, b"s"), Verdict.CONFLICT),
        (version(6), Verdict.FINE),
    ],
)
def test_the_best_version_is_compared_with_memory(shown: MutableHeader, verdict: Verdict) -> None:
    assert judge(KNOWN, server_map(*spread(shown, "abc"))).verdict is verdict
    assert judge(None, server_map(*spread(shown, "abc"))).verdict is Verdict.FINE


def test_nothing_readable_is_no_rollback() -> None:
    assert judge(KNOWN, ServerMap()).verdict is Verdict.NOTHING
    assert judge(KNOWN, server_map(*spread(version(5), "ab"))).verdict is Verdict.NOTHING


def test_fewer_than_k_servers_that_show_old_shares_are_outvoted() -> None:
    liars = [(version(4), "x", 7), (version(4), "y", 8)]
    judgement = judge(KNOWN, server_map(*spread(version(5), "abc"), *liars))
    assert judgement.verdict is Verdict.FINE
    assert (judgement.servers, judgement.outvoted, judgement.settled) == (3, 2, True)


def test_one_server_with_all_shares_settles_nothing() -> None:
    judgement = judge(KNOWN, server_map(*((version(4), "x", number) for number in range(10))))
    assert judgement.verdict is Verdict.ROLLED_BACK
    assert (judgement.servers, judgement.servers_needed, judgement.settled) == (1, 3, False)


def test_one_unfinished_share_of_a_newer_version_is_not_what_counts() -> None:
    found = server_map(*spread(version(5), "abc"), (version(6), "d", 0))
    assert judge(KNOWN, found).verdict is Verdict.FINE


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([b"q", b"r", b"s"])), min_size=1))
def test_memory_only_rises(seen: list[tuple[int, bytes]]) -> None:
    memory: RememberedVersion | None = None
    for sequence, root in seen:
        before, memory = memory, remember(memory, version(sequence, root))
        assert before is None or memory >= before
        assert judge(memory, server_map(*spread(version(sequence, root), "abc"))).verdict in Verdict
    assert memory is not None
    assert (memory.sequence, memory.root_hash) == max((sequence, root * 32) for sequence, root in seen)
