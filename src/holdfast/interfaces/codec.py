"""Erasure codecs, as those who await them see them.

Source: docs/spec/seed-map.md, sections J and K. Methods keep the names of the founding interfaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from holdfast.interfaces.types import Buffer


@runtime_checkable
class CodecEncoder(Protocol):
    """Turns data into blocks, of which any ``required_shares`` give the data back.

    ``set_params`` comes first: before it, every other method raises RuntimeError. After it, calls of
    ``encode`` are independent of each other and may overlap.
    """

    def set_params(self, data_size: int, required_shares: int, max_shares: int) -> None:
        """Prepare for calls of ``data_size`` bytes each.

        Raises:
            ValueError: not 1 <= required_shares <= max_shares <= 256, or data_size is not a positive multiple
                of required_shares.
        """
        ...

    def get_encoder_type(self) -> str:
        """Return the codec's name: at most 8 lower-case letters."""
        ...

    def get_serialized_params(self) -> str:
        """Return what ``CodecDecoder.set_serialized_params`` takes: at most 48 hex digits and hyphens."""
        ...

    def get_block_size(self) -> int:
        """Return the bytes of each block."""
        ...

    async def encode(
        self, pieces: Sequence[Buffer], desired_share_ids: Sequence[int] | None = None
    ) -> tuple[list[bytes], list[int]]:
        """Return blocks and their numbers, of ``required_shares`` successive slices of the data, padded."""
        ...

    async def encode_proposal(
        self, data: Buffer, desired_share_ids: Sequence[int] | None = None
    ) -> tuple[list[bytes], list[int]]:
        """Return the same, of the data in one buffer."""
        ...


@runtime_checkable
class CodecDecoder(Protocol):
    """Turns blocks back into data. ``set_serialized_params`` comes first."""

    def set_serialized_params(self, params: str) -> None:
        """Raises ValueError for anything that no encoder gives."""
        ...

    def get_needed_shares(self) -> int:
        """Return how many shares ``decode`` takes."""
        ...

    async def decode(self, some_shares: Sequence[Buffer], their_shareids: Sequence[int]) -> list[Buffer]:
        """Return the pieces in order, of exactly the needed number of verified shares.

        A piece that was among the shares may be returned as it is.
        """
        ...
