"""Which versions of Holdfast understand one another.

Each side says its own version and the oldest it can talk to. Differences within that range
are told by feature flags, never by comparing versions.

Source: docs/spec/control-and-introducer.md, section 4.3; PEP 440.
"""

from __future__ import annotations

from packaging.version import Version

OLDEST_SUPPORTED = "0.1.0"
"""The oldest version this one can talk to."""

VERSION_MAX = 64  # characters


def compatible(mine: tuple[str, str], theirs: tuple[str, str]) -> str | None:
    """Return None if two sides can talk, else a sentence that says which of them must upgrade.

    Each side is its version and the oldest it can talk to. Versions that cannot be parsed are incompatible.
    """
    try:
        my_version, my_oldest = map(_parsed, mine)
    except ValueError:
        return "the version of this node is not one of PEP 440, so nobody can tell what it understands"
    try:
        their_version, their_oldest = map(_parsed, theirs)
    except ValueError:
        return "the version of the peer is not one of PEP 440, so nobody can tell what it understands"
    reasons: list[str] = []
    if their_version < my_oldest:
        reasons.append(f"the peer must upgrade: it runs {their_version}, and this node needs {my_oldest}")
    if my_version < their_oldest:
        reasons.append(f"this node must upgrade: it runs {my_version}, and the peer needs {their_oldest}")
    return "; ".join(reasons) or None


def _parsed(text: str) -> Version:
    """Raises ValueError."""
    if len(text) > VERSION_MAX:
        raise ValueError("too long for a version")
    return Version(text)
