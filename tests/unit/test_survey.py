"""Which servers a survey asks, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.formats.mutable_layout import MutableHeader, MutableOffsets
from holdfast.formats.mutable_segmentation import MutableSegmentation
from holdfast.planning.rollback import RememberedVersion, Verdict, judge
from holdfast.planning.server_map import Place, ServerMap
from holdfast.planning.survey import QUERIES_MAX, Survey, SurveyMode


def version(sequence: int, needed: int = 3, total: int = 10) -> MutableHeader:
    return MutableHeader(sequence, b"r" * 32, b"", MutableSegmentation.plan("MDMF", 100, needed, total))


def offsets(header: MutableHeader) -> MutableOffsets:
    return MutableOffsets.plan(
        header.segmentation, public_key_size=294, signature_size=256, private_key_size=1217
    )


SERVERS = [f"s{i:02}" for i in range(30)]
Holdings = Mapping[str, Mapping[int, MutableHeader]]
FIRST_TEN: Holdings = {SERVERS[i]: {i: version(1)} for i in range(10)}


def run(
    survey: Survey,
    server_map: ServerMap,
    holdings: Holdings,
    *,
    fails: Callable[[str], bool] = lambda server: False,
    bad: Callable[[str], bool] = lambda server: False,
    pick: Callable[[list[str]], str] = lambda waiting: waiting[0],
    key_at: str | None = None,
) -> list[str]:
    """Carry out a survey, one answer at a time; return the servers asked, in order."""
    asked: list[str] = []
    while True:
        asked += survey.next_queries()
        waiting = [server for server in asked if server in survey.in_flight]
        if survey.finished or not waiting:
            return asked
        server = pick(waiting)
        if fails(server):
            server_map.record_failure(server)
            survey.record_failure(server)
            continue
        shares = holdings.get(server, {})
        server_map.record_answer(server, list(shares))
        for number, header in shares.items():
            if bad(server):
                server_map.mark_bad(Place(server, number), b"bad")
            else:
                server_map.add(Place(server, number), header, offsets(header))
        if server == key_at:
            survey.private_key_found()
        survey.record_answer(server)


def survey_of(mode: SurveyMode, server_map: ServerMap, **options: int) -> Survey:
    wanted = bool(options.pop("private_key_wanted", False))
    remembered = options.pop("sequence_remembered", 0)
    return Survey(mode, SERVERS, server_map, 3, 10, private_key_wanted=wanted, sequence_remembered=remembered)


@pytest.mark.parametrize(
    ("mode", "most"),
    [
        (SurveyMode.READ, 6),
        (SurveyMode.ANYTHING, 10),
        (SurveyMode.WRITE, 13),
        (SurveyMode.CHECK, 30),
        (SurveyMode.REPAIR, 30),
    ],
)
def test_a_healthy_file_costs_so_many_queries(mode: SurveyMode, most: int) -> None:
    found = ServerMap()
    survey = survey_of(mode, found)
    asked = run(survey, found, FIRST_TEN, key_at="s00")
    assert survey.finished
    assert 6 <= len(asked) <= most
    assert asked == SERVERS[: len(asked)]
    if mode is not SurveyMode.READ and mode is not SurveyMode.ANYTHING:
        assert len(asked) == survey.asked == most


def test_the_first_queries_go_out_together() -> None:
    counts = {mode: len(survey_of(mode, ServerMap()).next_queries()) for mode in SurveyMode}
    assert counts == {
        SurveyMode.CHECK: 30,
        SurveyMode.REPAIR: 30,
        SurveyMode.WRITE: 13,
        SurveyMode.READ: 6,
        SurveyMode.ANYTHING: 6,
    }


@pytest.mark.parametrize("mode", SurveyMode)
def test_if_nothing_can_be_read_all_are_asked(mode: SurveyMode) -> None:
    found = ServerMap()
    survey = survey_of(mode, found)
    assert set(run(survey, found, {"s29": {0: version(1)}})) == set(SERVERS)
    assert survey.finished


def test_later_queries_are_few_at_a_time() -> None:
    found = ServerMap()
    survey = survey_of(SurveyMode.READ, found)
    for server in survey.next_queries():
        survey.record_answer(server)
    assert survey.next_queries() == SERVERS[6 : 6 + QUERIES_MAX]
    survey.record_answer("s08")
    assert survey.next_queries() == ["s11"]


def test_a_newer_version_that_cannot_be_read_makes_a_reader_go_on() -> None:
    holdings = {**FIRST_TEN, "s00": {0: version(2)}, "s20": {1: version(2)}, "s22": {2: version(2)}}
    found = ServerMap()
    survey = survey_of(SurveyMode.READ, found)
    asked = run(survey, found, holdings)
    assert found.best == version(2)
    assert len(asked) < 30


def test_a_reader_who_remembers_a_newer_version_goes_on() -> None:
    holdings = {**FIRST_TEN, **{f"s{20 + i}": {i: version(2)} for i in range(3)}}
    found = ServerMap()
    run(survey_of(SurveyMode.READ, found), found, holdings)
    assert found.best == version(1)
    found = ServerMap()
    run(survey_of(SurveyMode.READ, found, sequence_remembered=2), found, holdings)
    assert found.best == version(2)


def test_servers_in_the_map_are_asked_first_and_must_answer() -> None:
    found = ServerMap()
    found.add(Place("s25", 0), version(1), offsets(version(1)))
    survey = survey_of(SurveyMode.WRITE, found)
    first = survey.next_queries()
    assert first == ["s25", *SERVERS[:12]]
    for server in first[1:]:
        found.record_answer(server, [])
        survey.record_answer(server)
    assert not survey.next_queries()
    assert not survey.finished


def test_a_writer_stops_behind_the_last_share() -> None:
    """The boundary: three servers in a row without shares, after one with shares."""
    holdings = {**FIRST_TEN, "s11": {10 - 1: version(1)}, "s15": {0: version(1)}}
    found = ServerMap()
    asked = run(survey_of(SurveyMode.WRITE, found), found, holdings)
    # s12, s13, s14 are empty: s15 is beyond the boundary.
    assert "s14" in asked
    assert Place("s11", 9) in found.shares


def test_servers_that_fail_or_lie_are_no_part_of_the_boundary() -> None:
    found = ServerMap()
    asked = run(
        survey_of(SurveyMode.WRITE, found), found, FIRST_TEN, fails=lambda server: server in {"s10", "s11"}
    )
    assert "s14" in asked
    found = ServerMap()
    holdings = {**FIRST_TEN, "s10": {9: version(1)}}
    asked = run(survey_of(SurveyMode.WRITE, found), found, holdings, bad=lambda server: server == "s10")
    assert "s13" in asked


def test_a_writer_waits_for_servers_before_the_boundary() -> None:
    found = ServerMap()
    survey = survey_of(SurveyMode.WRITE, found)
    asked = survey.next_queries()
    for server in asked[:5] + asked[6:]:
        shares = FIRST_TEN.get(server, {})
        found.record_answer(server, list(shares))
        for number, header in shares.items():
            found.add(Place(server, number), header, offsets(header))
        survey.record_answer(server)
    assert not survey.finished
    assert not survey.next_queries()  # as many are in flight as have not answered
    survey.record_failure("s05")
    assert survey.finished


def test_a_writer_looks_for_the_private_key() -> None:
    found = ServerMap()
    survey = survey_of(SurveyMode.WRITE, found, private_key_wanted=1)
    assert survey.private_key_wanted
    assert len(run(survey, found, FIRST_TEN)) == 30
    found = ServerMap()
    survey = survey_of(SurveyMode.WRITE, found, private_key_wanted=1)
    assert len(run(survey, found, FIRST_TEN, key_at="s03")) == 13
    assert not survey.private_key_wanted


def test_whoever_may_only_read_does_not_look_for_the_private_key() -> None:
    """The reference asks every server for what it can never get."""
    found = ServerMap()
    assert len(run(survey_of(SurveyMode.WRITE, found), found, FIRST_TEN)) == 13
    for mode in (SurveyMode.READ, SurveyMode.CHECK, SurveyMode.ANYTHING):
        assert not survey_of(mode, ServerMap(), private_key_wanted=1).private_key_wanted


@pytest.mark.parametrize("mode", SurveyMode)
def test_without_servers_it_is_over_at_once(mode: SurveyMode) -> None:
    survey = Survey(mode, [], ServerMap(), 3, 10)
    assert survey.finished
    assert not survey.next_queries()


@given(st.data())
def test_it_ends_for_every_order_and_kind_of_answers_and_asks_nobody_twice(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 10))
    needed = data.draw(st.integers(1, total))
    servers = SERVERS[: data.draw(st.integers(0, 30))]
    versions = [version(sequence, needed, total) for sequence in (1, 2, 3)]
    shares = st.dictionaries(st.integers(0, total - 1), st.sampled_from(versions), max_size=3)
    holdings = data.draw(st.dictionaries(st.sampled_from(SERVERS), shares, max_size=30))
    failing = data.draw(st.sets(st.sampled_from(SERVERS)))
    lying = data.draw(st.sets(st.sampled_from(SERVERS), max_size=5))
    found = ServerMap()
    for server in data.draw(st.lists(st.sampled_from(SERVERS), max_size=3)):
        found.add(Place(server, 0), versions[0], offsets(versions[0]))
    mode = data.draw(st.sampled_from(list(SurveyMode)))
    survey = Survey(
        mode,
        servers,
        found,
        needed,
        total,
        private_key_wanted=data.draw(st.booleans()),
        sequence_remembered=data.draw(st.integers(0, 4)),
    )
    asked = run(
        survey,
        found,
        holdings,
        fails=failing.__contains__,
        bad=lying.__contains__,
        pick=lambda waiting: data.draw(st.sampled_from(waiting)),
        key_at=data.draw(st.sampled_from([None, *SERVERS])),
    )
    assert survey.finished
    assert len(set(asked)) == len(asked) == survey.asked
    assert set(asked) <= set(servers)
    assert not survey.next_queries()
    if mode.asks_all or found.best is None:
        assert set(asked) == set(servers)


@given(st.data())
def test_fewer_liars_than_shares_needed_are_outvoted(data: st.DataObject) -> None:
    """Servers that show an old share each; as long as enough honest ones answer, the new version is read."""
    liars = data.draw(st.sets(st.integers(0, 9), max_size=2))
    holdings = {SERVERS[i]: {i: version(1 if i in liars else 2)} for i in range(10)}
    found = ServerMap()
    run(survey_of(SurveyMode.READ, found), found, holdings)
    assert found.best == version(2)
    judgement = judge(RememberedVersion.of(version(2)), found)
    assert judgement.verdict is Verdict.FINE
    assert judgement.settled
    assert judgement.outvoted == len(found.holders(version(1)))
