"""Errors cross the control interface unchanged."""

from __future__ import annotations

import json

import pytest

from holdfast import errors
from holdfast.errors import HoldfastError
from holdfast.node.control import errors as control_errors
from holdfast.node.control.errors import error_as_json, error_from_json, status_of

SPECIAL = {
    errors.UnhappyError: errors.UnhappyError(
        "oh", servers=1, happiness=2, shares_needed=3, happiness_wanted=4
    ),
    errors.NotEnoughSharesError: errors.NotEnoughSharesError("oh", found=1, needed=3),
    errors.NotEnoughServersError: errors.NotEnoughServersError("oh", placed=1, needed=3),
    errors.RolledBackError: errors.RolledBackError("oh", sequence_found=4, sequence_remembered=5),
    errors.UncoordinatedWriteError: errors.UncoordinatedWriteError("oh", sequence_found=6),
    errors.NoSharesError: errors.NoSharesError("oh", found=0, needed=3),
}
KINDS = sorted(
    {
        kind
        for module in (errors, control_errors)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, HoldfastError)
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_arrives_as_it_was(kind: type[HoldfastError]) -> None:
    error = SPECIAL.get(kind) or kind("oh")
    arrived = error_from_json(json.loads(json.dumps(error_as_json(error))))
    assert type(arrived) is kind
    assert str(arrived) == "oh"
    assert vars(arrived) == vars(error)
    assert 400 <= status_of(error) < 600


def test_an_error_of_another_module_arrives_as_its_base() -> None:
    class InnerError(errors.ServerError):
        pass

    assert type(error_from_json(error_as_json(InnerError("oh")))) is errors.ServerError


@pytest.mark.parametrize(
    "value", [None, [], "x", {}, {"error": "SystemExit"}, {"error": 7}, {"error": "annotations"}]
)
def test_what_is_no_error_of_ours_is_told_by_its_status(value: object) -> None:
    assert type(error_from_json(value, 404)) is errors.InputError
    assert type(error_from_json(value, 502)) is errors.UnavailableError


def test_details_that_make_no_sense_do_no_harm() -> None:
    details: list[object] = [None, [], {"found": "x"}, {"servers": None}]
    for detail in details:
        for code in ("NotEnoughSharesError", "UnhappyError"):
            assert isinstance(error_from_json({"error": code, "detail": detail}), errors.UnavailableError)
