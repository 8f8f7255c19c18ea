"""Writes that travel to a server before it is decided whether they are made: their last byte is held back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

from holdfast.errors import ServerError
from holdfast.formats.mutable_share import Write
from holdfast.interfaces.storage import StreamedWrite
from holdfast.interfaces.types import Buffer


class WithdrawnError(ServerError):
    """What was held back is not to be sent at all."""


async def until_decided(held: asyncio.Future[bool]) -> None:
    """Return once what is held back may be sent.

    Raises:
        WithdrawnError: it may not.
    """
    await asyncio.wait([held])
    if not held.result():
        raise WithdrawnError("withdrawn")


def held_back(writes: Sequence[Write], held: asyncio.Future[bool]) -> list[StreamedWrite]:
    """Return writes the last byte of which comes once ``held`` says so; if it says no, they break off."""
    *others, (offset, data) = writes
    streamed = [StreamedWrite(start, len(piece), partial(_pieces, piece)) for start, piece in others]
    return [*streamed, StreamedWrite(offset, len(data), partial(_pieces_but_the_last, data, held))]


async def _pieces(data: Buffer) -> AsyncIterator[Buffer]:
    yield data


async def _pieces_but_the_last(data: Buffer, held: asyncio.Future[bool]) -> AsyncIterator[Buffer]:
    view = memoryview(data)
    yield view[:-1]
    await until_decided(held)
    yield view[-1:]
