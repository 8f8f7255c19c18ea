"""Reading several ranges of mutable shares with as few requests as the server allows.

Source: docs/spec/storage-protocol.md, sections 9.2, 9.3 and 18.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from holdfast.errors import ServerError
from holdfast.grid.known_server import ServerClient
from holdfast.grid.structured import first_error
from holdfast.interfaces.storage_errors import NoSuchShareError, TooLargeError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol.storage_extensions import READ_RANGES_MAX, READ_SLOT

T = TypeVar("T")
Range = tuple[int, int]
"""Offset and length in a share."""

AT_ONCE_MAX = 4 << 20  # bytes asked for in one request
FETCH_TIMEOUT_S = 40.0  # for whatever is read of one share


async def read_slot(
    service: ServerClient, index: StorageIndex, ranges: Sequence[Range]
) -> Mapping[int, Sequence[bytes]]:
    """Return the ranges of every share of a slot, cut off at its end; no shares for no slot.

    From a server without the extension each share is of its own moment.

    Raises:
        ServerError, StorageRefusalError: the server did not do its part.
    """
    if READ_SLOT in await service.features():
        try:
            return _checked(await service.read_slot(index, ranges), ranges)
        except TooLargeError:
            pass
    numbers = sorted(await service.list_mutable(index))
    parts = await _all([_parts_if_there(service, index, number, ranges) for number in numbers])
    return {number: part for number, part in zip(numbers, parts, strict=True) if part is not None}


async def read_share(
    service: ServerClient, index: StorageIndex, number: int, ranges: Sequence[Range]
) -> Sequence[bytes]:
    """Return the ranges of one share, cut off at its end.

    Raises:
        NoSuchShareError: it is not there.
        ServerError, StorageRefusalError: the server did not do its part.
    """
    small = len(ranges) <= READ_RANGES_MAX and sum(length for _, length in ranges) <= AT_ONCE_MAX
    if small and len(ranges) > 1 and READ_SLOT in await service.features():
        data = _checked(await service.read_slot(index, ranges, [number]), ranges)
        if number not in data:
            raise NoSuchShareError("the share is not there")
        return data[number]
    return await _parts(service, index, number, ranges)


async def _parts_if_there(
    service: ServerClient, index: StorageIndex, number: int, ranges: Sequence[Range]
) -> Sequence[bytes] | None:
    try:
        return await _parts(service, index, number, ranges)
    except NoSuchShareError:
        return None  # deleted since it was listed


async def _parts(
    service: ServerClient, index: StorageIndex, number: int, ranges: Sequence[Range]
) -> Sequence[bytes]:
    return await _all([service.read_mutable(index, number, offset, length) for offset, length in ranges])


async def _all(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once; the first error ends the others."""
    with first_error():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]


def _checked(data: Mapping[int, Sequence[bytes]], ranges: Sequence[Range]) -> Mapping[int, Sequence[bytes]]:
    lengths = [length for _, length in ranges]
    for parts in data.values():
        if len(parts) != len(ranges) or any(len(p) > n for p, n in zip(parts, lengths, strict=True)):
            raise ServerError("the server answered with other ranges than were asked for")
    return data
