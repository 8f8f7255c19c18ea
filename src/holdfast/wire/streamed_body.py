"""A request body that is made while it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class StreamedBody(Protocol):
    """Made anew each time its pieces are asked for."""

    @property
    def length(self) -> int:
        """Bytes of all pieces together."""
        ...

    def pieces(self) -> AsyncIterator[bytes | bytearray | memoryview]:
        """Give the pieces in order. Each may change once the next is asked for."""
        ...
