"""How servers that did not do their part are named, to people and to programs."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.cli.messages import note
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
