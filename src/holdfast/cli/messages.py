"""What commands say to people and to programs: results on standard output, everything
else on standard error, secrets on neither by accident.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress

from holdfast.errors import HoldfastError


def note(sentence: str) -> None:
    """Say something on standard error, in one line."""
    from holdfast.node.redaction import redacted

    line = redacted(printable(sentence))
    with suppress(OSError, ValueError):
        sys.stderr.write(f"holdfast: {line}\n")
        sys.stderr.flush()


def printable(text: str) -> str:
    """Return ``text`` in one line, without what would steer a terminal: servers choose their names."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def print_json(value: object, *, to_stderr: bool = False) -> None:
    """Print a result for programs: one JSON value on a line."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.write(json.dumps(value) + "\n")
    stream.flush()


def sentence_for(error: BaseException) -> str:
    """Return one sentence that says what happened, to what, and what to do."""
    if isinstance(error, HoldfastError):
        return str(error) or type(error).__name__
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or error}"
    return f"this is a defect of Holdfast ({type(error).__name__}); HOLDFAST_DEBUG=1 shows where"


def plural(count: int, word: str) -> str:
    """Return the count and the word, in the plural where it belongs."""
    return f"{count} {word}" + ("" if count == 1 else "s")


def size_text(size: float) -> str:
    """Return bytes for people, in powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
