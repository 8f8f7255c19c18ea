"""A picture in text of which server holds which shares.

            0 1 2 3 4 5 6 7 8 9
amber       ■ · · · · · · · · ·
basil       · · · ■ · · · · · ·   down: connection refused
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

COLUMNS_MAX = 32  # shares; more are listed by number
HELD, NOT_HELD = "■", "·"


@dataclass(frozen=True, slots=True)
class PictureRow:
    """A server of the picture, and what is to be said of it."""

    server_id: str
    name: str
    remark: str = ""


def share_picture(shares: Mapping[int, Sequence[str]], rows: Sequence[PictureRow], shares_total: int) -> str:
    """Return the picture.

    Args:
        shares: share number to the ids of the servers that hold it.
        rows: the servers, in the order to show them; holders that are not among them are added.
    """
    known = {row.server_id for row in rows}
    others = sorted({holder for holders in shares.values() for holder in holders} - known)
    rows = [*rows, *(PictureRow(holder, holder[:11]) for holder in others)]
    width = max((len(row.name) for row in rows), default=0)
    wide = shares_total <= COLUMNS_MAX
    cell = len(str(max(shares_total - 1, 0)))
    lines = []
    if wide:
        numbers = " ".join(f"{number:>{cell}}" for number in range(shares_total))
        lines.append(f"{'':{width}}  {numbers}".rstrip())
    for row in rows:
        held = {number for number, holders in shares.items() if row.server_id in holders}
        drawn = _cells(held, shares_total, cell) if wide else _ranges(held)
        lines.append(f"{row.name:{width}}  {drawn}   {row.remark}".rstrip())
    return "\n".join(lines)


def _cells(held: set[int], shares_total: int, cell: int) -> str:
    return " ".join(f"{HELD if number in held else NOT_HELD:>{cell}}" for number in range(shares_total))


def _ranges(numbers: set[int]) -> str:
    """Return ``{0, 1, 2, 7}`` as ``0-2, 7``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in parts) or NOT_HELD
