"""Places where a node is reached, as people write them: ``HOST`` or ``HOST:PORT``."""

from __future__ import annotations

import re

WILDCARD_HOSTS = ("", "0.0.0.0", "::")  # noqa: S104  (compared with, not listened on)

_LOCATION = re.compile(
    r"(?:(?P<host>[^\s/@#:\[\]]+)|\[(?P<inner>[^\s/@#\[\]]+)\])(?::(?P<port>[0-9]{1,5}))?", re.ASCII
)


def split_location(text: str) -> tuple[str, int | None]:
    """Return host and port of ``HOST`` or ``HOST:PORT``; an IPv6 address stands in brackets.

    Raises:
        ValueError: it is neither.
    """
    match = _LOCATION.fullmatch(text)
    if match is None or not 1 <= int(match["port"] or 1) <= 65535:
        raise ValueError(f"not HOST or HOST:PORT: {text!r}")
    return match["host"] or match["inner"], int(match["port"]) if match["port"] else None
