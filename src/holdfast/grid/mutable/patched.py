"""A plaintext of which a part is replaced.

Source: docs/spec/mutable.md, section 14.
"""

from __future__ import annotations

from holdfast.grid.sources import Plaintext


class PatchedPlaintext:
    """Another plaintext, with ``data`` at ``offset``. Closing it leaves the other one open."""

    def __init__(self, old: Plaintext, offset: int, data: bytes) -> None:
        self._old = old
        self._offset = offset
        self._data = data
        self.size = max(old.size, offset + len(data))
        self.mark = old.mark

    def read_into(self, offset: int, out: memoryview) -> None:
        if offset < self._old.size:
            self._old.read_into(offset, out[: self._old.size - offset])
        begin, end = max(offset, self._offset), min(offset + len(out), self._offset + len(self._data))
        if begin < end:
            out[begin - offset : end - offset] = self._data[begin - self._offset : end - self._offset]

    def check_unchanged(self) -> None:
        self._old.check_unchanged()

    async def close(self) -> None:
        pass
