"""Which bytes of an upload have been written: a set of disjoint ranges."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from holdfast.interfaces.storage import ByteRange


class ByteRanges:
    """A set of byte positions, kept as ascending ranges that neither overlap nor touch."""

    __slots__ = ("_begins", "_ends")

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[ByteRange]:
        return (ByteRange(begin, end) for begin, end in zip(self._begins, self._ends, strict=True))

    def covers(self, begin: int, end: int) -> bool:
        """Tell whether all of ``[begin, end)`` is in the set."""
        position = bisect_right(self._begins, begin) - 1
        return begin >= end or (position >= 0 and self._ends[position] >= end)

    def add(self, begin: int, end: int) -> None:
        """Put ``[begin, end)`` into the set."""
        if begin >= end:
            return
        first = bisect_left(self._ends, begin)  # the first range that overlaps or touches
        last = bisect_right(self._begins, end)  # one past the last such range
        if first < last:
            begin = min(begin, self._begins[first])
            end = max(end, self._ends[last - 1])
        self._begins[first:last] = [begin]
        self._ends[first:last] = [end]

    def inside(self, begin: int, end: int) -> list[ByteRange]:
        """Return the parts of ``[begin, end)`` that are in the set, ascending."""
        first = bisect_right(self._ends, begin)
        last = bisect_left(self._begins, end)
        return [ByteRange(max(begin, self._begins[i]), min(end, self._ends[i])) for i in range(first, last)]

    def missing(self, begin: int, end: int) -> list[ByteRange]:
        """Return the parts of ``[begin, end)`` that are not in the set, ascending."""
        gaps = []
        position = begin
        for part in self.inside(begin, end):
            if position < part.begin:
                gaps.append(ByteRange(position, part.begin))
            position = part.end
        if position < end:
            gaps.append(ByteRange(position, end))
        return gaps
