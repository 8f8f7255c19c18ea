"""Part of a directory's tree, which proves what the whole says of some entries.

Source: docs/spec/vdrive.md, section 6.3.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Union

PAGE: Final = True
"""In a page of a listing: a subtree that is to be computed from the entries of the page."""


class OpenedLeaf(NamedTuple):
    """An entry: its slot and digest, 32 bytes each."""

    slot: bytes
    digest: bytes


class OpenedNode(NamedTuple):
    """An inner node: what is below its bits 0 and 1."""

    zero: Witness
    one: Witness


Witness = Union[None, bytes, OpenedLeaf, OpenedNode, Literal[True]]  # noqa: UP007  (it refers to itself)
"""An empty subtree, one that is not opened (its value, 33 bytes), a leaf, an inner node, or ``PAGE``."""
