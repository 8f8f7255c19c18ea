"""How check says how a file is, and what a repair did."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.cli.check_report import (
    deed,
    findings,
    repair_as_json,
    result_as_json,
    shares_made,
    status_of,
    verdict,
)
from holdfast.cli.exit_codes import ExitCode
from holdfast.grid.mutable.checking import MutableCheckResult
from holdfast.grid.mutable.repairing import MutableRepairResult
from holdfast.grid.results import CheckResult, ServerProblem

WELL = MutableCheckResult(
    healthy=True,
    recoverable=True,
    shares={0: ("a",), 1: ("b",), 2: ("c",)},
    shares_needed=2,
    shares_total=3,
    happiness=3,
    servers_asked=4,
    servers_known=5,
    sequence=7,
    size=1200,
    recoverable_versions=1,
)
LACKING = replace(WELL, healthy=False, needs_repair=True, shares={0: ("a",), 1: ("b",)})
LOST = replace(
    LACKING, recoverable=False, shares={0: ("a",)}, recoverable_versions=0, unrecoverable_versions=1
)
NOTHING = replace(LOST, shares={}, sequence=None, size=0, unrecoverable_versions=0)
CORRUPT = (ServerProblem("a", "amber", "sent a corrupt block", 2),)
IMMUTABLE = CheckResult(True, True, WELL.shares, 2, 3, 3, (), (), 4, 5)


def test_an_immutable_file_has_no_versions() -> None:
    assert verdict(IMMUTABLE) == "healthy: 3 of 3 shares, any 2 suffice; happiness 3; 4 of 5 servers answered"
    assert findings(IMMUTABLE) == []
    assert "sequence" not in result_as_json(IMMUTABLE)


def test_a_mutable_file_is_spoken_of_by_its_version() -> None:
    assert verdict(WELL) == (
        "healthy: version 7, 1.2 kB; 3 of 3 shares, any 2 suffice; happiness 3; 4 of 5 servers answered"
    )
    assert findings(WELL) == []


@pytest.mark.parametrize(
    ("result", "status", "begins"),
    [
        (WELL, ExitCode.DONE, "healthy: version 7"),
        (LACKING, ExitCode.UNHEALTHY, "unhealthy, can be read: version 7, 1.2 kB; 2 of 3 shares"),
        (LOST, ExitCode.UNRECOVERABLE, "cannot be read now: version 7, 1.2 kB; 1 of 3 shares"),
        (NOTHING, ExitCode.UNRECOVERABLE, "cannot be read now: no good share was found; 4 of 5 servers"),
        (replace(WELL, rolled_back=True), ExitCode.UNRECOVERABLE, "cannot be read now: version 7"),
    ],
)
def test_the_words_and_the_status_agree(result: CheckResult, status: ExitCode, begins: str) -> None:
    assert status_of(result) is status
    assert verdict(result).startswith(begins)
    assert result_as_json(result)["healthy"] is (status is ExitCode.DONE)


def test_corrupt_shares_are_counted_even_if_no_good_one_is_left() -> None:
    assert verdict(replace(WELL, corrupt=CORRUPT)).endswith("; 1 share corrupt")
    assert verdict(replace(NOTHING, corrupt=CORRUPT)).endswith("; 4 of 5 servers answered; 1 share corrupt")


@pytest.mark.parametrize(
    ("best", "recoverable", "unrecoverable", "said"),
    [
        (LACKING, 1, 1, "1 that cannot be read; 3 shares of theirs"),
        (LACKING, 3, 0, "2 that can be read; 3 shares of theirs"),
        (LACKING, 2, 2, "1 that can be read, 2 that cannot be read; 3 shares of theirs"),
        (LOST, 0, 2, "1 that cannot be read; 3 shares of theirs"),
    ],
)
def test_the_version_that_is_shown_is_no_other_version(
    best: MutableCheckResult, recoverable: int, unrecoverable: int, said: str
) -> None:
    result = replace(
        best, recoverable_versions=recoverable, unrecoverable_versions=unrecoverable, wrong_shares=3
    )
    assert findings(result)[0] == f"other versions were found, too: {said}"


def test_repair_is_advised_where_it_can_help() -> None:
    assert findings(LACKING) == ["needs repair"]
    assert findings(LOST) == findings(replace(NOTHING, needs_repair=True)) == []
    assert findings(replace(WELL, needs_merge=True, rolled_back=True)) == [
        "two versions were written at the same time, and neither is newer",
        "this version is older than one that was read or written here before",
    ]


@pytest.mark.parametrize(
    ("repair", "said"),
    [
        (MutableRepairResult(False, True, True, WELL, WELL), "nothing was to be done"),
        (MutableRepairResult(False, False, False, LOST, LOST), "not possible, as no version can be read"),
        (MutableRepairResult(True, True, True, LACKING, WELL), "1 share made again, in the same version"),
        (
            MutableRepairResult(True, True, False, LACKING, replace(WELL, sequence=8)),
            "the contents were written anew, as version 8",
        ),
        (
            MutableRepairResult(True, False, True, LOST, LACKING),
            "1 share made again, in the same version; that did not mend all",
        ),
    ],
)
def test_what_a_repair_did_is_said_in_a_line(repair: MutableRepairResult, said: str) -> None:
    assert deed(repair) == f"repair: {said}"


def test_shares_that_were_there_were_not_made() -> None:
    before = replace(LACKING, shares={0: ("a", "b"), 1: ("b",)})
    after = replace(WELL, shares={0: ("a", "b"), 1: ("b", "c"), 2: ("d",)})
    assert shares_made(MutableRepairResult(True, True, True, before, after)) == 2


def test_programs_get_what_was_before_a_repair() -> None:
    value = repair_as_json(MutableRepairResult(True, True, True, LACKING, WELL))
    assert value is not None
    assert value["before"] == result_as_json(LACKING)
    assert (value["attempted"], value["successful"], value["kept_version"]) == (True, True, True)
    assert repair_as_json(None) is None
