"""Places where a node is reached, as people write them: ``HOST`` or ``HOST:PORT``."""

from __future__ import annotations

WILDCARD_HOSTS = ("", "0.0.0.0", "::")  # noqa: S104  (compared with, not listened on)


def split_location(text: str) -> tuple[str, int | None]:
    """Return host and port of ``HOST`` or ``HOST:PORT``; an IPv6 address stands in brackets.

    Raises:
        ValueError: it is neither.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    elif not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"not HOST or HOST:PORT: {text!r}")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or any(c in host for c in " /@#") or (":" in host and not bracketed):
        raise ValueError(f"not HOST or HOST:PORT: {text!r}")
    return host.strip("[]"), int(port) if port else None
