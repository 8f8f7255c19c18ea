"""How a file is cut: the sizes of segments, blocks and the tail.

Source: docs/spec/immutable.md, sections 2 and 4; docs/spec/seed-map.md, S-010.
"""

from __future__ import annotations

from dataclasses import dataclass

SHARES_MAX = 256
TREE_NODES_MAX = 2**20  # a writer keeps every hash tree within this


@dataclass(frozen=True, slots=True)
class Segmentation:
    """All sizes of one encoded file, in bytes. The tail is the last segment, be it full or the only one.

    Raises:
        ValueError: not 1 <= shares_needed <= shares_total <= 256, an empty file, or a segment size that is
            not a positive multiple of shares_needed.
    """

    size: int
    shares_needed: int
    shares_total: int
    segment_size: int

    def __post_init__(self) -> None:
        if not 1 <= self.shares_needed <= self.shares_total <= SHARES_MAX:
            raise ValueError("1 <= shares_needed <= shares_total <= 256")
        if self.size < 1:
            raise ValueError("an encoded file has at least one byte")
        if self.segment_size < 1 or self.segment_size % self.shares_needed:
            raise ValueError("the segment size is a positive multiple of shares_needed")

    @classmethod
    def plan(cls, size: int, shares_needed: int, shares_total: int, max_segment_size: int) -> Segmentation:
        """Return the sizes a writer uses.

        ``max_segment_size`` is doubled as often as needed to keep the hash trees within ``TREE_NODES_MAX``.
        """
        if max_segment_size < 1:
            raise ValueError("the maximum segment size is at least 1")
        if not 1 <= shares_needed <= shares_total <= SHARES_MAX:
            raise ValueError("1 <= shares_needed <= shares_total <= 256")
        while True:
            segment_size = _next_multiple(min(max_segment_size, size), shares_needed)
            plan = cls(size, shares_needed, shares_total, segment_size)
            if plan.segment_count <= TREE_NODES_MAX // 2:
                return plan
            max_segment_size *= 2

    @property
    def segment_count(self) -> int:
        return -(-self.size // self.segment_size)

    @property
    def block_size(self) -> int:
        return self.segment_size // self.shares_needed

    @property
    def tail_size(self) -> int:
        return self.size % self.segment_size or self.segment_size

    @property
    def tail_padded_size(self) -> int:
        return _next_multiple(self.tail_size, self.shares_needed)

    @property
    def tail_block_size(self) -> int:
        return self.tail_padded_size // self.shares_needed

    @property
    def data_size(self) -> int:
        """Bytes of blocks in one share."""
        return -(-self.size // self.shares_needed)

    def segment_length(self, segment: int) -> int:
        """Return the real bytes of a segment, without padding."""
        return self.tail_size if self._is_tail(segment) else self.segment_size

    def block_length(self, segment: int) -> int:
        """Return the bytes of one share's block of a segment."""
        return self.tail_block_size if self._is_tail(segment) else self.block_size

    def block_offset(self, segment: int) -> int:
        """Return where the block of a segment begins within the block data of a share."""
        return segment * self.block_size

    def segments_of(self, offset: int, length: int) -> range:
        """Return the segments that hold bytes ``[offset, offset + length)``, as far as the file goes.

        Raises:
            ValueError: the offset or the length is negative.
        """
        if offset < 0 or length < 0:
            raise ValueError("a range of a file has no negative offset or length")
        end = min(offset + length, self.size)
        if offset >= end:
            return range(0)
        return range(offset // self.segment_size, (end - 1) // self.segment_size + 1)

    def _is_tail(self, segment: int) -> bool:
        return segment == self.segment_count - 1


def _next_multiple(size: int, factor: int) -> int:
    return -(-size // factor) * factor
