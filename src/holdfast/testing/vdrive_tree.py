"""The tree of a directory in memory, as a server has it in its tables.

Source: docs/spec/vdrive.md, sections 6.2 and 11.3.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from holdfast.formats.vdrive.opening import Subtree
from holdfast.formats.vdrive.tree import EMPTY, SLOT_SIZE, Leaf, inner_value, root_of


class MemoryTree:
    """A ``NodeSource`` over some entries: digests by slot.

    Attributes:
        leaves_asked: how many entries were looked up.
        queries: how often anything was looked up.
    """

    def __init__(self, entries: Mapping[bytes, bytes], kept_above: int = 64) -> None:
        """``kept_above``: subtrees with more entries are kept, but none with fewer than two."""
        self._leaves = sorted(entries.items())
        self._slots = [slot for slot, _ in self._leaves]
        self._kept_above = max(kept_above, 1)
        self._kept: dict[Subtree, bytes] = {}
        self._keep(Subtree(0, bytes(SLOT_SIZE)))
        self.leaves_asked = self.queries = 0

    @property
    def root(self) -> bytes:
        return root_of(self._leaves)

    def kept(self, depth: int, prefixes: Sequence[bytes]) -> Mapping[bytes, bytes]:
        self.queries += 1
        return {
            prefix: self._kept[Subtree(depth, prefix)]
            for prefix in prefixes
            if Subtree(depth, prefix) in self._kept
        }

    def leaves(self, subtrees: Sequence[Subtree]) -> Sequence[Sequence[Leaf]]:
        self.queries += 1
        assert not self._kept.keys() & set(subtrees)
        found = [self._leaves_of(subtree) for subtree in subtrees]
        self.leaves_asked += sum(map(len, found))
        return found

    def _keep(self, subtree: Subtree) -> bytes:
        leaves = self._leaves_of(subtree)
        if len(leaves) <= self._kept_above:
            return root_of(leaves, subtree.depth) if leaves else EMPTY
        found = inner_value(self._keep(subtree.half(0)), self._keep(subtree.half(1)))
        self._kept[subtree] = found
        return found

    def _leaves_of(self, subtree: Subtree) -> list[Leaf]:
        begin, end = bisect_left(self._slots, subtree.prefix), bisect_right(self._slots, subtree.last)
        return self._leaves[begin:end]
