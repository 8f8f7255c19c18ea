"""Lengths of time as people write them: ``45s``, ``30m``, ``12h``, ``90d``, ``2w``."""

from __future__ import annotations

import re

_DURATION = re.compile(r"([0-9]{1,9})\s*([smhdw])", re.ASCII | re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_duration(text: str) -> int:
    """Return the number of seconds that ``text`` names: digits and one of s, m, h, d, w; either case.

    Raises:
        ValueError: it names no length of time.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a length of time: {text!r}")
    return int(match[1]) * _SECONDS[match[2].lower()]


def duration_text(seconds: float) -> str:
    """Return a length of time for people, in the largest unit that fits: "40 s", "3 min", "5 h", "2 d"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"
