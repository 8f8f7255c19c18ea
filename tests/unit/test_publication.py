"""Where shares of a new version go, under which conditions, and what the answers mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import BadFileError, NoServersError, NotEnoughServersError, UncoordinatedWriteError
from holdfast.formats.mutable_layout import MutableHeader, MutableOffsets
from holdfast.formats.mutable_segmentation import MutableFormat, MutableSegmentation
from holdfast.interfaces import storage
from holdfast.interfaces.storage import ReadTestWriteResult, ShareVectors
from holdfast.planning.publication import (
    ATTEMPTS_MAX,
    Goal,
    Publication,
    next_sequence,
    plan_goal,
    retry_delay_s,
    unchanged_test,
)
from holdfast.planning.server_map import Place, ServerMap

SERVERS = list("abcdefghij")


def version(
    sequence: int, root: bytes = b"r", total: int = 4, file_format: MutableFormat = "SDMF"
) -> MutableHeader:
    salt = root * 16 if file_format == "SDMF" else b""
    plan = MutableSegmentation.plan(file_format, 100, 2, total)
    return MutableHeader(sequence, root * 32, salt, plan)


def offsets(header: MutableHeader) -> MutableOffsets:
    return MutableOffsets.plan(
        header.segmentation, public_key_size=294, signature_size=256, private_key_size=1217
    )


def server_map(*shares: tuple[MutableHeader, str, int]) -> ServerMap:
    found = ServerMap()
    for header, server, number in shares:
        found.add(Place(server, number), header, offsets(header))
    return found


def placed(goal: Goal) -> list[tuple[str, int]]:
    return [(place.server, place.number) for place in goal.writes]


class Slots:
    """Servers as far as a publication sees them: conditional writes, atomic on each server."""

    def __init__(self) -> None:
        self.shares: dict[Place, bytes] = {}

    def carry_out(
        self, server: str, vectors: Mapping[int, ShareVectors], read_vector: Sequence[tuple[int, int]]
    ) -> ReadTestWriteResult:
        held = {place.number: data for place, data in self.shares.items() if place.server == server}
        read = {n: [data[offset : offset + size] for offset, size in read_vector] for n, data in held.items()}
        success = all(
            held.get(number, b"")[test.offset : test.offset + test.size] == test.specimen
            for number, share in vectors.items()
            for test in share.tests
        )
        if success:
            for number, share in vectors.items():
                place = Place(server, number)
                if share.new_length == 0:
                    self.shares.pop(place, None)
                    continue
                data = bytearray(self.shares.get(place, b""))
                for write in share.writes:
                    data[write.offset : write.offset + len(write.data)] = write.data
                self.shares[place] = bytes(data)
        return ReadTestWriteResult(success, read)

    def map(self, *headers: MutableHeader) -> ServerMap:
        found = ServerMap()
        for place, data in self.shares.items():
            for header in headers:
                if data.startswith(header.signed_prefix):
                    found.add(place, header, offsets(header))
        return found

    def publish(self, found: ServerMap, header: MutableHeader, servers: Sequence[str]) -> Publication:
        publication = Publication(
            found, plan_goal(found, servers, header.shares_total), header, offsets(header)
        )
        for server in publication.goal.servers():
            self.send(publication, server, header)
        return publication

    def send(self, publication: Publication, server: str, header: MutableHeader) -> None:
        vectors = publication.vectors(server, lambda number: [(0, header.signed_prefix)])
        answer = self.carry_out(server, vectors, publication.read_vector)
        publication.record_answer(server, list(vectors), answer)


# -- the goal


def test_a_new_file_is_dealt_out_in_permuted_order() -> None:
    goal = plan_goal(ServerMap(), SERVERS, 4)
    assert placed(goal) == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert placed(plan_goal(ServerMap(), ["a", "b", "c"], 5))[3:] == [("a", 3), ("b", 4)]
    assert goal.servers() == ["a", "b", "c", "d"]
    assert goal.numbers("b") == [1]


def test_known_and_bad_shares_stay_where_they_are() -> None:
    found = server_map((version(1), "j", 0), (version(2), "j", 1), (version(1), "i", 0))
    found.mark_bad(Place("h", 2), b"bad")
    goal = plan_goal(found, SERVERS, 4)
    assert placed(goal) == [("i", 0), ("j", 0), ("j", 1), ("h", 2), ("a", 3)]


def test_homeless_shares_go_to_the_least_loaded_that_accept() -> None:
    found = server_map((version(1), "a", 0))
    assert placed(plan_goal(found, ["a", "b", "c"], 4, accepting={"a", "c"}))[1:] == [
        ("c", 1),
        ("a", 2),
        ("c", 3),
    ]


def test_without_a_server_there_is_no_goal() -> None:
    with pytest.raises(NoServersError):
        plan_goal(ServerMap(), [], 4)
    with pytest.raises(NoServersError):
        plan_goal(ServerMap(), SERVERS, 4, accepting=())
    complete = server_map(*((version(1), "a", number) for number in range(4)))
    assert placed(plan_goal(complete, SERVERS, 4, accepting=())) == [("a", n) for n in range(4)]


def test_shares_beyond_a_smaller_total_are_deleted() -> None:
    found = server_map(*((version(1), s, i) for i, s in enumerate("abcd")))
    found.mark_bad(Place("e", 4), b"bad")
    goal = plan_goal(found, SERVERS, 2)
    assert placed(goal) == [("a", 0), ("b", 1)]
    assert goal.deletions == (Place("c", 2), Place("d", 3), Place("e", 4))
    assert goal.deleted("c") == [2]
    assert goal.servers() == list("abcde")


PLACES = st.builds(Place, st.sampled_from(SERVERS), st.integers(0, 12))


@given(
    st.dictionaries(PLACES, st.sampled_from([version(1, total=13), version(2, total=13)]), max_size=30),
    st.sets(PLACES, max_size=5),
    st.integers(1, 13),
    st.permutations(SERVERS),
    st.sets(st.sampled_from(SERVERS), min_size=1),
)
def test_the_goal_places_every_share_and_moves_none(
    shares: dict[Place, MutableHeader], bad: set[Place], total: int, servers: list[str], accepting: set[str]
) -> None:
    found = server_map(*((header, place.server, place.number) for place, header in shares.items()))
    for place in bad:
        found.mark_bad(place, b"bad")
    goal = plan_goal(found, servers, total, accepting)
    known = {*found.shares, *found.bad}
    assert {place.number for place in goal.writes} == set(range(total))
    assert len(set(goal.writes)) == len(goal.writes)
    assert {place for place in known if place.number < total} <= set(goal.writes)
    assert {place for place in known if place.number >= total} == set(goal.deletions)
    new = [place for place in goal.writes if place not in known]
    assert {place.server for place in new} <= accepting
    numbers = Counter(place.number for place in new)
    assert not numbers or max(numbers.values()) == 1
    assert not numbers.keys() & {place.number for place in known}
    loads = Counter(place.server for place in new)
    assert not loads or max(loads.values()) <= -(-len(new) // len(accepting))


# -- tests and sequence numbers


@pytest.mark.parametrize(("file_format", "size"), [("SDMF", 57), ("MDMF", 41)])
def test_a_known_share_is_expected_to_be_what_it_was(file_format: MutableFormat, size: int) -> None:
    """Whatever its version: the test of an old share names the old version."""
    found = server_map((version(1, file_format=file_format), "a", 0), (version(2), "b", 1))
    assert unchanged_test(found, Place("a", 0)) == storage.TestVector(
        0, size, version(1, file_format=file_format).checkstring
    )


def test_a_bad_share_is_expected_to_be_as_it_was_found() -> None:
    found = ServerMap()
    found.mark_bad(Place("a", 0), b"x" * 75)
    found.mark_bad(Place("a", 1), b"")
    assert unchanged_test(found, Place("a", 0)) == storage.TestVector(0, 75, b"x" * 75)
    assert unchanged_test(found, Place("a", 1)) == storage.TestVector(0, 1, b"")


def test_an_unknown_share_is_expected_not_to_be_there() -> None:
    assert unchanged_test(ServerMap(), Place("a", 0)) == storage.TestVector(0, 1, b"")


def test_the_next_number_follows_the_highest_that_was_signed() -> None:
    assert next_sequence(ServerMap()) == 1
    found = server_map((version(3), "a", 0), (version(3), "b", 1), (version(7), "c", 0))
    assert found.best == version(3)
    assert next_sequence(found) == 8
    found.mark_bad(Place("c", 0), b"")
    assert next_sequence(found) == 8
    with pytest.raises(BadFileError, match="used up"):
        next_sequence(server_map((version(2**64 - 1), "a", 0)))


@pytest.mark.seed("S-189")
def test_a_certain_version_is_written_only_after_the_one_before() -> None:
    found = server_map((version(3), "a", 0), (version(3), "b", 1))
    assert next_sequence(found, 4) == 4
    assert next_sequence(ServerMap(), 1) == 1
    for wanted in (3, 5):
        with pytest.raises(UncoordinatedWriteError, match="version 3 is the newest") as caught:
            next_sequence(found, wanted)
        assert caught.value.sequence_found == 3
    found.add(Place("c", 2), version(4), offsets(version(4)))
    for wanted in (4, 5):
        with pytest.raises(UncoordinatedWriteError) as caught:
            next_sequence(found, wanted)
        assert caught.value.sequence_found == 4


def test_waits_grow_and_differ_and_end() -> None:
    delays = [retry_delay_s(collision, 0.5) or 0.0 for collision in range(1, ATTEMPTS_MAX)]
    assert delays[:8] == pytest.approx([0.05, 0.075, 0.1125, 0.16875, 0.253125, 0.3796875, 0.5, 0.5])
    assert 25 < sum(delays) < 35
    assert retry_delay_s(ATTEMPTS_MAX, 0.5) is None
    assert retry_delay_s(1, 0.0) == pytest.approx(0.025)
    assert retry_delay_s(1, 1.0) == pytest.approx(0.075)


# -- publishing


def test_a_new_file_and_its_successors_are_stored() -> None:
    slots = Slots()
    for sequence in (1, 2, 3):
        found = slots.map(version(sequence - 1))
        publication = slots.publish(found, version(sequence), SERVERS[:3])
        outcome = publication.outcome()
        outcome.check()
        assert outcome.numbers == {0, 1, 2, 3}
        assert set(slots.shares.values()) == {version(sequence).signed_prefix}
        assert len(slots.shares) == 4
        assert found.best == version(sequence)


@pytest.mark.parametrize("file_format", ["SDMF", "MDMF"])
def test_a_share_somebody_else_wrote_is_a_surprise(file_format: MutableFormat) -> None:
    slots, first = Slots(), version(1, file_format=file_format)
    mine, theirs = version(2, b"m", file_format=file_format), version(3, b"t", file_format=file_format)
    slots.publish(ServerMap(), first, SERVERS)
    found = slots.map(first)
    slots.publish(slots.map(first), theirs, SERVERS)
    publication = slots.publish(found, mine, SERVERS)
    outcome = publication.outcome()
    assert not outcome.placed
    with pytest.raises(UncoordinatedWriteError, match="version 2 was written") as caught:
        outcome.check()
    assert caught.value.sequence_found == 3
    assert set(slots.shares.values()) == {theirs.signed_prefix}


def test_a_share_nobody_knew_of_is_a_surprise_though_all_was_written() -> None:
    slots = Slots()
    slots.shares[Place("a", 9)] = version(1).signed_prefix
    outcome = slots.publish(ServerMap(), version(1, b"m"), SERVERS).outcome()
    assert outcome.numbers == {0, 1, 2, 3}
    assert [surprise.place for surprise in outcome.surprises] == [Place("a", 9)]
    with pytest.raises(UncoordinatedWriteError):
        outcome.check()


def test_another_share_of_the_version_being_written_is_harmless() -> None:
    """Compared with the new checkstring in SDMF, too; an old one there is a surprise."""
    mine = version(2, b"m")
    slots = Slots()
    slots.shares[Place("a", 9)] = mine.signed_prefix
    slots.publish(ServerMap(), mine, SERVERS).outcome().check()
    slots = Slots()
    found = server_map((version(1), "b", 1))
    slots.shares[Place("b", 1)] = slots.shares[Place("a", 9)] = version(1).signed_prefix
    assert slots.publish(found, mine, SERVERS).outcome().surprises


def test_a_request_that_arrived_twice_is_no_surprise() -> None:
    """The first answer was lost; the repetition finds what it was about to write."""
    slots, header, found = Slots(), version(1), ServerMap()
    publication = Publication(found, plan_goal(found, SERVERS[:2], 4), header, offsets(header))
    vectors = publication.vectors("a", lambda number: [(0, header.signed_prefix)])
    slots.carry_out("a", vectors, publication.read_vector)
    slots.send(publication, "a", header)
    slots.send(publication, "b", header)
    publication.outcome().check()
    assert publication.outcome().numbers == {0, 1, 2, 3}


def test_one_request_per_share_sees_the_shares_of_the_others() -> None:
    slots, header, found = Slots(), version(1), ServerMap()
    publication = Publication(found, plan_goal(found, ["a"], 4), header, offsets(header))
    vectors = publication.vectors("a", lambda number: [(0, header.signed_prefix)])
    for number, share in vectors.items():
        answer = slots.carry_out("a", {number: share}, publication.read_vector)
        publication.record_answer("a", [number], answer)
    publication.outcome().check()
    assert publication.outcome().numbers == {0, 1, 2, 3}


def test_only_the_changed_share_of_a_refused_request_is_a_surprise() -> None:
    slots = Slots()
    slots.publish(ServerMap(), version(1), ["a"])
    found = slots.map(version(1))
    slots.shares[Place("a", 2)] = version(5).signed_prefix
    outcome = slots.publish(found, version(2), ["a"]).outcome()
    assert [surprise.place.number for surprise in outcome.surprises] == [2]
    assert {place.number for place in outcome.failed} == {0, 1, 3}
    assert not outcome.placed


def test_a_refusal_that_nothing_explains_is_a_surprise() -> None:
    header, found = version(2), server_map((version(1), "a", 0))
    publication = Publication(found, Goal((Place("a", 0), Place("b", 1))), header, offsets(header))
    publication.record_answer("a", [0], ReadTestWriteResult(False, {0: [version(1).checkstring]}))
    publication.record_answer("b", [1], ReadTestWriteResult(False, {}))
    assert len(publication.outcome().surprises) == 2
    assert publication.outcome().surprises[1].sequence is None
    with pytest.raises(UncoordinatedWriteError) as caught:
        publication.outcome().check()
    assert caught.value.sequence_found == 1


@pytest.mark.parametrize(("lost", "good"), [(0, True), (2, True), (3, False), (4, False)])
def test_k_distinct_shares_are_enough(lost: int, good: bool) -> None:
    slots, header, found = Slots(), version(1), ServerMap()
    publication = Publication(found, plan_goal(found, SERVERS, 4), header, offsets(header))
    for server in SERVERS[:lost]:
        publication.record_failure(server, publication.goal.numbers(server))
    for server in SERVERS[lost:4]:
        slots.send(publication, server, header)
    outcome = publication.outcome()
    assert len(outcome.failed) == lost
    if good:
        outcome.check()
    else:
        with pytest.raises(NotEnoughServersError) as caught:
            outcome.check()
        assert (caught.value.placed, caught.value.needed) == (4 - lost, 2)


def test_copies_of_one_share_do_not_make_a_version() -> None:
    slots = Slots()
    found = server_map(*((version(1), server, 0) for server in "abc"))
    for server in "abc":
        slots.shares[Place(server, 0)] = version(1).signed_prefix
    header = version(2)
    publication = Publication(found, plan_goal(found, SERVERS, 4), header, offsets(header))
    for server in "abc":
        slots.send(publication, server, header)
    assert publication.outcome().numbers == {0}
    with pytest.raises(NotEnoughServersError):
        publication.outcome().check()


def test_what_a_failed_request_named_is_forgotten() -> None:
    found = server_map((version(1), "a", 0), (version(1), "b", 1))
    publication = Publication(found, plan_goal(found, SERVERS, 4), version(2), offsets(version(2)))
    publication.record_failure("a", [0])
    assert Place("a", 0) not in found.shares
    assert Place("b", 1) in found.shares


def test_surplus_shares_are_gone_afterwards() -> None:
    """An overwrite with a smaller total, where the reference fails before it writes."""
    slots, small = Slots(), version(2, total=2)
    slots.publish(ServerMap(), version(1), SERVERS)
    found = slots.map(version(1))
    slots.publish(found, small, SERVERS).outcome().check()
    assert slots.shares == {Place("a", 0): small.signed_prefix, Place("b", 1): small.signed_prefix}
    assert found.versions() == [small]


def test_a_surplus_share_that_changed_is_left_and_a_surprise() -> None:
    slots, small = Slots(), version(2, total=2)
    slots.publish(ServerMap(), version(1), SERVERS)
    found = slots.map(version(1))
    slots.shares[Place("d", 3)] = version(4).signed_prefix
    assert [s.place for s in slots.publish(found, small, SERVERS).outcome().surprises] == [Place("d", 3)]
    assert Place("d", 3) in slots.shares


@given(st.data())
def test_of_two_writers_at_once_one_at_least_notices(data: st.DataObject) -> None:
    """Each server takes the requests in any order; together they never both think they were alone."""
    slots, servers = Slots(), SERVERS[:4]
    slots.publish(ServerMap(), version(1), servers)
    headers = [version(2, b"m"), version(2, b"n")]
    publications = []
    for header in headers:
        found = slots.map(version(1))
        publications.append(
            Publication(found, plan_goal(found, servers, header.shares_total), header, offsets(header))
        )
    for server in servers:
        for writer in data.draw(st.permutations([0, 1])):
            slots.send(publications[writer], server, headers[writer])
    surprised = [bool(publication.outcome().surprises) for publication in publications]
    assert any(surprised)
    stored = Counter(slots.shares.values())
    for header, publication, was_surprised in zip(headers, publications, surprised, strict=True):
        assert stored[header.signed_prefix] == len(publication.outcome().placed)
        assert was_surprised or stored[header.signed_prefix] == 4
