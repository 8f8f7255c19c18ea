"""The erasure codecs in a form to be awaited: the arithmetic runs in a worker thread.

Source: docs/spec/seed-map.md, sections J and K.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from holdfast.crypto.codec import Decoder, Encoder, get_decoder_by_name, get_encoder_by_name
from holdfast.interfaces.types import Buffer


class ThreadedEncoder:
    """Implements ``interfaces.codec.CodecEncoder``."""

    def __init__(self, name: str) -> None:
        """Raises UnknownCodecError."""
        self._codec: Encoder = get_encoder_by_name(name)
        self.set_params = self._codec.set_params
        self.get_encoder_type = self._codec.get_encoder_type
        self.get_serialized_params = self._codec.get_serialized_params
        self.get_block_size = self._codec.get_block_size

    async def encode(
        self, pieces: Sequence[Buffer], desired_share_ids: Sequence[int] | None = None
    ) -> tuple[list[bytes], list[int]]:
        return await asyncio.to_thread(self._codec.encode_now, pieces, desired_share_ids)

    async def encode_proposal(
        self, data: Buffer, desired_share_ids: Sequence[int] | None = None
    ) -> tuple[list[bytes], list[int]]:
        return await asyncio.to_thread(self._codec.encode_proposal_now, data, desired_share_ids)


class ThreadedDecoder:
    """Implements ``interfaces.codec.CodecDecoder``."""

    def __init__(self, name: str) -> None:
        """Raises UnknownCodecError."""
        self._codec: Decoder = get_decoder_by_name(name)
        self.set_serialized_params = self._codec.set_serialized_params
        self.get_needed_shares = self._codec.get_needed_shares

    async def decode(self, some_shares: Sequence[Buffer], their_shareids: Sequence[int]) -> list[Buffer]:
        return await asyncio.to_thread(self._codec.decode_now, some_shares, their_shareids)
