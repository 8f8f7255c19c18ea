"""The root of a tree whose entries come one after the other, in the order of slots, and are not kept.

Source: docs/spec/vdrive.md, section 6.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.formats.vdrive.tree import DEPTH_MAX, EMPTY, LEAF_KIND, bit, inner_value, leaf_values


class GrowingRoot:
    """Computes a root with memory for one path.

    Attributes:
        count: of the entries so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._slot = b""  # the last one
        self._value = EMPTY  # of the subtree that it is in, as far as that is complete
        self._depth = DEPTH_MAX  # of that subtree
        self._left: list[tuple[int, bytes]] = []  # depth of a node, value of its half with bit 0

    def add(self, slots: Sequence[bytes], digests: Sequence[bytes]) -> None:
        """Add entries, each by its slot and its digest.

        Raises:
            ValueError: slots do not ascend.
        """
        for slot, value in zip(slots, leaf_values(list(zip(slots, digests, strict=True))), strict=True):
            if self.count:
                if slot <= self._slot:
                    raise ValueError("slots do not ascend")
                fork = _common_bits(self._slot, slot)
                self._close(fork + 1)
                self._left.append((fork, self._value))
            self.count += 1
            self._slot, self._value, self._depth = slot, value, DEPTH_MAX

    def value(self) -> bytes:
        """Return the root, 33 bytes. Nothing can be added afterwards."""
        self._close(0)
        return self._value

    def _close(self, depth: int) -> None:
        """Complete the subtree of the last slot that begins at ``depth``."""
        while self._left and self._left[-1][0] >= depth:
            fork, left = self._left.pop()
            self._lift(fork + 1)
            self._value, self._depth = inner_value(left, self._value), fork
        self._lift(depth)

    def _lift(self, depth: int) -> None:
        """Raise the value to ``depth``, beside empty halves. A lone leaf has the same value everywhere."""
        if self._value.startswith(LEAF_KIND) or not self.count:
            return
        for above in range(self._depth - 1, depth - 1, -1):
            halves = (EMPTY, self._value) if bit(self._slot, above) else (self._value, EMPTY)
            self._value = inner_value(*halves)
        self._depth = depth


def _common_bits(a: bytes, b: bytes) -> int:
    return DEPTH_MAX - (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_length()
