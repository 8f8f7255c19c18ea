"""Fetches the heads that lie between two versions, as the check of a chain wants them.

Source: docs/spec/vdrive.md, sections 7.2 and 8.7.
"""

from __future__ import annotations

import asyncio

from holdfast.formats.vdrive.head import Head, SignedHead, parse_head
from holdfast.grid.vdrive.patience import LookingServer
from holdfast.grid.vdrive.views import VerifiedHead
from holdfast.interfaces.vdrive_errors import HistoryPrunedError, ServerMisbehavedError
from holdfast.planning.vdrive_memory import HeadCheck, Remembered

_AT_ONCE_MAX = 16  # heads that are checked without a thread


async def checked(
    server: LookingServer, shown: VerifiedHead, remembered: Remembered, walk_max: int | None = None
) -> HeadCheck:
    """Return the check of a head against what is remembered, with its verdict.

    Args:
        walk_max: as in ``HeadCheck``.

    Raises:
        BrokenChainError, BadHeadError, ServerMisbehavedError: the server shows other heads than it has to.
    """
    check = HeadCheck(shown.head, shown.head_hash, remembered, walk_max=walk_max)
    while (wanted := check.wanted) is not None:
        try:
            heads = await fetch_heads(server, shown.head.index, *wanted)
        except HistoryPrunedError:
            check.pruned()
            return check
        if len(heads) <= _AT_ONCE_MAX:
            check.show(heads)
        else:
            await asyncio.to_thread(check.show, heads)
    return check


async def fetch_heads(server: LookingServer, index: bytes, first: int, last: int) -> list[SignedHead]:
    """Return heads of versions ``first`` to ``last``; without the oldest, if the server has not kept them.

    Raises:
        HistoryPrunedError: it has kept none of them.
        ServerMisbehavedError: it shows less than it was asked for, or more.
    """
    heads: list[SignedHead] = []
    try:
        heads += (await server.heads(index, first, last)).heads
    except HistoryPrunedError as error:
        if not first < error.oldest <= last:
            raise
        first = error.oldest
    while len(heads) < last - first + 1:
        some = (await server.heads(index, first + len(heads), last)).heads
        if not some:
            raise ServerMisbehavedError("a server does not show the heads it was asked for")
        heads += some
    if len(heads) > last - first + 1:
        raise ServerMisbehavedError("a server shows more heads than it was asked for")
    return heads


async def fetch_head(server: LookingServer, index: bytes, version: int) -> tuple[SignedHead, Head]:
    """Return one head, whoever may have made it. Raises as ``fetch_heads``, and BadHeadError."""
    (signed,) = await fetch_heads(server, index, version, version)
    head = parse_head(signed.head)
    if head.version != version or head.index != index:
        raise ServerMisbehavedError("a server shows another head than the one it was asked for")
    return signed, head
