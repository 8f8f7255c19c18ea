"""What all nodes have in common whose capability is known: their texts, and that two nodes with
the same capability are the same node.

Source: docs/spec/seed-map.md, S-090 to S-100.
"""

from __future__ import annotations

from functools import cached_property

from holdfast.caps.refresh import refresh_cap
from holdfast.caps.slots import ChildSlots, NodeCap
from holdfast.crypto import base32

INDEX_SHOWN = 8  # characters of a storage index


class KnownNode:
    """A file or directory.

    Attributes:
        cap: the strongest capability held.
    """

    def __init__(self, cap: NodeCap) -> None:
        self._cap = cap

    @property
    def cap(self) -> NodeCap:
        return self._cap

    @cached_property
    def slots(self) -> ChildSlots:
        """What a directory stores to link to this node."""
        text = self._cap.to_text().encode("ascii")
        if not self._cap.writable:
            return ChildSlots(None, text, self._cap)
        return ChildSlots(text, self._cap.read_only.to_text().encode("ascii"), self._cap)

    def is_mutable(self) -> bool:
        """True if it can be changed through this node."""
        return self._cap.writable

    def is_readonly(self) -> bool:
        """True if this node only reads."""
        return not self._cap.writable

    def get_uri(self) -> str:
        """Return the capability: whoever has it can do all that can be done through this node."""
        return self._cap.to_text()

    def get_immutable_uri(self) -> str:
        """Return the capability to give to those who shall read and not write."""
        return self._cap.read_only.to_text()

    def get_verify_uri(self) -> str | None:
        """Return what checking and repairing takes; None for what is in its capability."""
        verify_cap = self._cap.verify_cap
        return None if verify_cap is None else verify_cap.to_text()

    def get_refresh_capability(self) -> str | None:
        """Return what renewing leases takes, and that allows nothing else; None if there are no leases."""
        refresh = refresh_cap(self._cap)
        return None if refresh is None else refresh.to_text()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KnownNode) and self._cap == other._cap

    def __hash__(self) -> int:
        return hash(self._cap)

    def __repr__(self) -> str:
        index = self._cap.storage_index
        shown = "" if index is None else " " + base32.encode(index)[:INDEX_SHOWN]
        return f"<{type(self).__name__} {self._cap.kind}{shown}>"
