"""How names that others have chosen are shown: as they are if every sign of them can be seen, else between
double quotes with escapes, so that they neither steer a terminal nor pass for something else.

Source: docs/spec/cli.md, section 2.4.
"""

from __future__ import annotations

_ESCAPED = '"$`\\'


def shown_name(name: str) -> str:
    """Return ``name`` in one line."""
    if all(map(_plain, name)):
        return name
    return '"' + "".join(map(_escaped, name)) + '"'


def _plain(sign: str) -> bool:
    return sign.isprintable() and sign != "'"


def _escaped(sign: str) -> str:
    if sign in _ESCAPED:
        return "\\" + sign
    if sign.isprintable():
        return sign
    number = ord(sign)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
