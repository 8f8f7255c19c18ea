"""How one version of a mutable file is cut: the sizes of segments, blocks and records.

A record is what a share holds of a segment: in MDMF a salt and a block, in SDMF the block alone.

Source: docs/spec/mutable.md, sections 3.1, 3.3 and 6.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.crypto.hashing import HASH_SIZE
from holdfast.crypto.merkle import padded_leaf_count

MutableFormat = Literal["SDMF", "MDMF"]

SALT_SIZE = 16  # bytes
SHARES_MAX = 255  # a count is stored in one byte
SEGMENT_SIZE = 131072  # bytes, of MDMF, rounded up to a multiple of shares_needed
SIZE_END = 2**64  # sizes are stored in eight bytes


@dataclass(frozen=True, slots=True)
class MutableSegmentation:
    """All sizes of one version, in bytes. The tail is the last segment; an empty file has no segments.

    Raises:
        ValueError: not 1 <= shares_needed <= shares_total <= 255, a size outside 64 bits, or a segment size
            that the format cannot have.
    """

    format: MutableFormat
    size: int
    shares_needed: int
    shares_total: int
    segment_size: int

    def __post_init__(self) -> None:
        _check_counts(self.shares_needed, self.shares_total)
        if not 0 <= self.size < SIZE_END or not 0 <= self.segment_size < SIZE_END:
            raise ValueError("a size is stored in 64 bits")
        if self.segment_size % self.shares_needed:
            raise ValueError("the segment size is a multiple of shares_needed")
        if self.format == "SDMF":
            if self.segment_size != _next_multiple(self.size, self.shares_needed):
                raise ValueError("an SDMF file is one segment")
        elif self.segment_size == 0:
            raise ValueError("the segment size of an MDMF file is positive")

    @classmethod
    def plan(
        cls, file_format: MutableFormat, size: int, shares_needed: int, shares_total: int
    ) -> MutableSegmentation:
        """Return the sizes a writer uses; other clients rely on exactly these."""
        _check_counts(shares_needed, shares_total)
        unrounded = size if file_format == "SDMF" else SEGMENT_SIZE
        return cls(file_format, size, shares_needed, shares_total, _next_multiple(unrounded, shares_needed))

    @property
    def segment_count(self) -> int:
        return -(-self.size // self.segment_size) if self.size else 0

    @property
    def salt_size(self) -> int:
        """Bytes of salt in front of each block."""
        return SALT_SIZE if self.format == "MDMF" else 0

    @property
    def block_size(self) -> int:
        """Bytes of a block of a full segment."""
        return self.segment_size // self.shares_needed

    @property
    def tail_size(self) -> int:
        """Real bytes of the last segment; 0 if there is none."""
        return self.size - max(self.segment_count - 1, 0) * self.segment_size

    @property
    def tail_block_size(self) -> int:
        return -(-self.tail_size // self.shares_needed)

    @property
    def data_size(self) -> int:
        """Bytes of all records in one share."""
        count = self.segment_count
        return self.record_offset(count - 1) + self.salt_size + self.tail_block_size if count else 0

    @property
    def leaf_count(self) -> int:
        """Leaves of a block hash tree, without padding; an empty file has a tree, too."""
        return max(self.segment_count, 1)

    @property
    def block_tree_size(self) -> int:
        """Bytes of a block hash tree in a share."""
        return HASH_SIZE * (2 * padded_leaf_count(self.leaf_count) - 1)

    def segment_length(self, segment: int) -> int:
        """Return the real bytes of a segment, without padding."""
        return self.tail_size if self._is_tail(segment) else self.segment_size

    def block_length(self, segment: int) -> int:
        """Return the bytes of one share's block of a segment."""
        return self.tail_block_size if self._is_tail(segment) else self.block_size

    def record_length(self, segment: int) -> int:
        """Return the bytes of one share's record of a segment."""
        return self.salt_size + self.block_length(segment)

    def record_offset(self, segment: int) -> int:
        """Return where the record of a segment begins within the share data."""
        return segment * (self.salt_size + self.block_size)

    def records_length(self, segments: range) -> int:
        """Return the bytes of the records of successive segments in one share."""
        if not segments:
            return 0
        last = segments[-1]
        return self.record_offset(last) + self.record_length(last) - self.record_offset(segments[0])

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
        if not 0 <= segment < self.segment_count:
            raise ValueError(f"there is no segment {segment}")
        return segment == self.segment_count - 1


def _check_counts(shares_needed: int, shares_total: int) -> None:
    if not 1 <= shares_needed <= shares_total <= SHARES_MAX:
        raise ValueError(f"1 <= shares_needed <= shares_total <= {SHARES_MAX}")


def _next_multiple(size: int, factor: int) -> int:
    return -(-size // factor) * factor
