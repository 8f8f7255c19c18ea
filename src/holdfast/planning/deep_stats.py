"""Counts and sizes of all that is below a directory.

Source: docs/spec/directories.md, section 9.3.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from math import isqrt
from typing import cast

from holdfast.caps import DirectoryCap, ImmutableReadCap, LiteralCap, VdriveReadCap, VdriveWriteCap
from holdfast.caps.slots import ChildSlots

API_VERSION = 1
COUNTS = (
    "count-immutable-files",
    "count-mutable-files",
    "count-literal-files",
    "count-files",
    "count-directories",
    "count-unknown",
    "size-immutable-files",
    "size-literal-files",
    "size-directories",
    "largest-directory",
    "largest-directory-children",
    "largest-immutable-file",
)
_HISTOGRAM = "size-files-histogram"
_UPPER_BOUNDS = (0, *(isqrt(10**exponent) for exponent in range(1, 41)))  # 10**(i/2); a size has 20 digits


def size_bucket(size: int) -> tuple[int, int]:
    """Return the least and greatest size of the histogram's bucket for ``size`` bytes, below 10**20."""
    index = bisect_left(_UPPER_BOUNDS, size)
    return (_UPPER_BOUNDS[index - 1] + 1 if index else 0), _UPPER_BOUNDS[index]


class DeepStats:
    """What was found so far. Report each object with ``visited``, each directory with ``entered`` too."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(COUNTS, 0)
        self._histogram: Counter[tuple[int, int]] = Counter()

    @property
    def deep_size(self) -> int:
        """Bytes of immutable files and of directories, without literal files."""
        return self._counts["size-immutable-files"] + self._counts["size-directories"]

    def visited(self, child: ChildSlots) -> None:
        """Count one object. An entry that cannot be read is none."""
        match child.cap:
            case None:
                self._count("count-unknown", 0 if child.fault else 1)
            case DirectoryCap() | VdriveWriteCap() | VdriveReadCap():
                self._count("count-directories")
            case LiteralCap(data):
                self._count_sized("literal", len(data))
            case ImmutableReadCap(size=size):
                self._count_sized("immutable", size)
                self._raise_to("largest-immutable-file", size)
            case _:
                self._count("count-files")
                self._count("count-mutable-files")

    def entered(self, size: int, children: int) -> None:
        """Count the contents of one directory.

        Args:
            size: bytes of its table.
            children: those that can be read.
        """
        self._count("size-directories", size)
        self._raise_to("largest-directory", size)
        self._raise_to("largest-directory-children", children)

    def to_document(self) -> dict[str, object]:
        """Return all of it, as JSON can hold it."""
        histogram = [[*bucket, count] for bucket, count in sorted(self._histogram.items())]
        return {"api-version": API_VERSION, **self._counts, _HISTOGRAM: histogram}

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> DeepStats:
        """Return what ``to_document`` gave, to go on counting."""
        stats = cls()
        for name in COUNTS:
            stats._counts[name] = cast(int, document[name])
        for low, high, count in cast(list[list[int]], document[_HISTOGRAM]):
            stats._histogram[low, high] = count
        return stats

    def _count(self, name: str, amount: int = 1) -> None:
        self._counts[name] += amount

    def _raise_to(self, name: str, value: int) -> None:
        self._counts[name] = max(self._counts[name], value)

    def _count_sized(self, sort: str, size: int) -> None:
        self._count("count-files")
        self._count(f"count-{sort}-files")
        self._count(f"size-{sort}-files", size)
        self._histogram[size_bucket(size)] += 1
