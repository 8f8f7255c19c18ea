"""Names of children: they are normalised whenever they are written, read or looked up.

The format itself takes any text, even the empty one, dots and slashes.

Source: docs/spec/directories.md, sections 2.1 and 3.
"""

from __future__ import annotations

import unicodedata

from holdfast.errors import InputError


class BadChildNameError(InputError, ValueError):
    """The name cannot be that of a child."""


def normalised(name: str) -> str:
    """Return ``name`` in Normalization Form C.

    Raises:
        BadChildNameError: it is no text that UTF-8 can express (half a surrogate pair).
    """
    if name.isascii():
        return name
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise BadChildNameError("the name of a child is not proper Unicode") from None
    return unicodedata.normalize("NFC", name)
