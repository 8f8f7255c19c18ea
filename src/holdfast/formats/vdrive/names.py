"""Names of children at a virtual drive server, where they are stricter than in the grid.

Source: docs/spec/vdrive.md, section 3.2.
"""

from __future__ import annotations

from typing import Final

from holdfast.formats.directory_names import BadChildNameError, normalised

NAME_SIZE_MAX: Final = 1000  # bytes of UTF-8


def child_name(name: str) -> str:
    """Return ``name`` as it is stored, in Normalization Form C.

    Raises:
        BadChildNameError: it cannot be that of a child.
    """
    name = normalised(name)
    if name in ("", ".", ".."):
        raise BadChildNameError("the name of a child is not empty, nor one or two dots")
    if "/" in name or "\0" in name:
        raise BadChildNameError("the name of a child holds no slash and no zero character")
    if len(name if name.isascii() else name.encode("utf-8")) > NAME_SIZE_MAX:
        raise BadChildNameError(f"the name of a child has at most {NAME_SIZE_MAX} bytes")
    return name
