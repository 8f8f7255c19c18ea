"""The lines that ``ls`` shows: a row for each child, columns as wide as they need.

Source: docs/spec/cli.md, section 4.2.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from holdfast.caps import MutableReadCap, MutableWriteCap
from holdfast.caps.slots import ListableCap
from holdfast.drive.known_node import KnownNode
from holdfast.formats.directory_metadata import MAINTAINED, Metadata
from holdfast.interfaces.drive import Node, UnreadableEntry

RECENT_S = 180 * 86400.0  # a link of this age is shown with the time of the day, an older one with its year
_TYPES = {"directory": "d", "file": "-"}
_MARKS = {"directory": "/", "unknown": "?", "unreadable": "?"}


class Columns(NamedTuple):
    """Which columns are shown, beside the names."""

    long: bool = False  # mode, size, time
    classify: bool = False  # a sign behind the name
    uri: bool = False
    readonly_uri: bool = False


class Line(NamedTuple):
    """What a line is about."""

    name: str
    node: Node | UnreadableEntry
    metadata: Metadata
    size: int | None = None  # of a mutable file, if known


def listing_text(lines: Sequence[Line], columns: Columns, now: float) -> str:
    """Return the listing of ``lines``, in their order; ``now`` is the Unix time."""
    rows = [_cells(line, columns, now) for line in lines]
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    # A column of capabilities, or the only one, begins at the left; others end at the right.
    lefts = [
        len(widths) == 1 or any(cell.startswith("URI") for cell in column)
        for column in zip(*rows, strict=True)
    ]
    return "\n".join(
        " ".join(
            f"{cell:<{width}}" if left else f"{cell:>{width}}"
            for cell, width, left in zip(row, widths, lefts, strict=True)
        ).rstrip(" ")
        for row in rows
    )


def _cells(line: Line, columns: Columns, now: float) -> list[str]:
    cells = []
    if columns.long:
        cells += [_mode(line.node), _size(line), _time(line.metadata, now)]
    cells.append(line.name + (_mark(line.node) if columns.classify else ""))
    if columns.uri:
        cells.append(_uri(line.node) or "-")
    if columns.readonly_uri:
        cells.append(_readonly_uri(line.node) or "-")
    return cells


def _mode(node: Node | UnreadableEntry) -> str:
    kind = _TYPES.get(node.kind, "?")
    reads = "r" if _readonly_uri(node) else "-"
    writes = "w" if _may_write(node) else "-"
    return f"{kind}{reads}{writes}{'x' if node.kind == 'directory' else '-'}"


def _size(line: Line) -> str:
    if line.size is not None:
        return str(line.size)
    if not isinstance(line.node, KnownNode):
        return "?"
    cap = line.node.cap
    if isinstance(cap, ListableCap):
        return "-"
    return "?" if isinstance(cap, MutableReadCap | MutableWriteCap) else str(cap.size)


def _time(metadata: Metadata, now: float) -> str:
    maintained = metadata.get(MAINTAINED)
    made = maintained.get("linkcrtime") if isinstance(maintained, dict) else None
    if made is None:
        made = metadata.get("ctime")
    if not isinstance(made, int | float):
        return "-"
    form = "%b %d  %Y" if now - made > RECENT_S else "%b %d %H:%M"
    try:
        return time.strftime(form, time.localtime(made))
    except (OverflowError, ValueError, OSError):
        return "-"


def _mark(node: Node | UnreadableEntry) -> str:
    return "*" if node.kind == "file" and _may_write(node) else _MARKS.get(node.kind, "")


def _uri(node: Node | UnreadableEntry) -> str | None:
    return None if isinstance(node, UnreadableEntry) else node.get_uri()


def _readonly_uri(node: Node | UnreadableEntry) -> str | None:
    return None if isinstance(node, UnreadableEntry) else node.get_immutable_uri()


def _may_write(node: Node | UnreadableEntry) -> bool:
    return _uri(node) is not None and _uri(node) != _readonly_uri(node)
