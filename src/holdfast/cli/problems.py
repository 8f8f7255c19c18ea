"""How servers that did not do their part are named, to people and to programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.cli.messages import note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from holdfast.grid.results import ServerProblem


def note_problems(problems: Sequence[ServerProblem]) -> None:
    """Name on standard error each server that did not do its part."""
    for problem in problems:
        note(str(problem))


def problems_as_json(problems: Sequence[ServerProblem]) -> list[dict[str, object]]:
    """Return what ``note_problems`` says, for programs."""
    return [
        {
            "server": problem.server_id,
            "nickname": problem.nickname,
            "share": problem.share,
            "what": problem.what,
        }
        for problem in problems
    ]


def problems_from_json(values: Sequence[Mapping[str, Any]]) -> list[ServerProblem]:
    """Return the problems that a node tells of, in the form of ``problems_as_json``."""
    if not values:
        return []
    from holdfast.grid.results import ServerProblem

    return [
        ServerProblem(value["server"], value["nickname"], value["what"], value.get("share"))
        for value in values
    ]
