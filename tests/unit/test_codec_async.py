"""The codecs in the form to be awaited."""

from __future__ import annotations

import asyncio
import threading
from unittest.mock import patch

import pytest

from holdfast.crypto.codec import CODECS, UnknownCodecError
from holdfast.grid.codec import ThreadedDecoder, ThreadedEncoder
from holdfast.interfaces.codec import CodecDecoder, CodecEncoder

DATA = bytes(range(30))


def _encoder() -> ThreadedEncoder:
    encoder = ThreadedEncoder("crs")
    encoder.set_params(30, 3, 10)
    return encoder


def _decoder() -> ThreadedDecoder:
    decoder = ThreadedDecoder("crs")
    decoder.set_serialized_params(_encoder().get_serialized_params())
    return decoder


@pytest.mark.seed("S-125")
@pytest.mark.parametrize("name", CODECS)
def test_every_codec_can_be_awaited(name: str) -> None:
    encoder: CodecEncoder = ThreadedEncoder(name)
    decoder: CodecDecoder = ThreadedDecoder(name)
    assert isinstance(encoder, CodecEncoder)
    assert isinstance(decoder, CodecDecoder)
    encoder.set_params(30, 1, 10)
    assert (encoder.get_encoder_type(), encoder.get_block_size()) == (name, 30)


def test_an_unknown_codec_is_refused() -> None:
    for kind in (ThreadedEncoder, ThreadedDecoder):
        with pytest.raises(UnknownCodecError):
            kind("xor")


@pytest.mark.seed("S-131", "S-134", "S-137", "S-147")
async def test_pieces_or_one_buffer_come_back_from_any_needed_shares() -> None:
    blocks, numbers = await _encoder().encode([DATA[:10], DATA[10:20], DATA[20:]])
    assert (blocks, numbers) == await _encoder().encode_proposal(DATA)
    assert numbers == list(range(10))
    pieces = await _decoder().decode([blocks[8], blocks[1], blocks[5]], [8, 1, 5])
    assert b"".join(pieces) == DATA


@pytest.mark.seed("S-123", "S-146")
async def test_set_up_comes_first() -> None:
    with pytest.raises(RuntimeError, match="set_params"):
        await ThreadedEncoder("crs").encode([DATA])
    with pytest.raises(RuntimeError, match="set_params"):
        await ThreadedEncoder("crs").encode_proposal(DATA)
    with pytest.raises(RuntimeError, match="set_serialized_params"):
        await ThreadedDecoder("crs").decode([DATA], [0])


@pytest.mark.seed("S-117", "S-135")
async def test_calls_may_overlap() -> None:
    encoder = _encoder()
    inputs = [bytes([i]) * 30 for i in range(20)]
    together = await asyncio.gather(*(encoder.encode_proposal(data) for data in inputs))
    assert together == [await encoder.encode_proposal(data) for data in inputs]


async def test_arithmetic_runs_outside_the_event_loop() -> None:
    threads = []

    def look(rows: bytes, pieces: object) -> list[bytes]:
        threads.append(threading.current_thread())
        return [bytes(10)] * (len(rows) // 3)

    with patch("holdfast.crypto.codec.products", look):
        await _encoder().encode_proposal(DATA)
        await _decoder().decode([bytes(10)] * 3, [7, 8, 9])
    assert len(threads) == 2
    assert threading.main_thread() not in threads
