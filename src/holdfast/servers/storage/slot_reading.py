"""A mutable slot as it is: all its shares, from their files or from memory.

Source: docs/spec/storage-protocol.md, section 9.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from holdfast.formats.containers import MutableContainer
from holdfast.interfaces.storage_errors import ShareConflictError, TooLargeError, WrongSecretError
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.catalog import Kind, ShareRow
from holdfast.servers.storage.directory import StorageDirectory
from holdfast.servers.storage.share_files import (
    DamagedShareError,
    ShareData,
    ShareImage,
    SlotShare,
    open_share,
)

READ_ANSWER_MAX = 8 << 20  # bytes that one request may read


@contextmanager
def opened_slot(
    directory: StorageDirectory,
    index: StorageIndex,
    numbers: Collection[int],
    images: Mapping[int, ShareImage] | None = None,
    *,
    needed: Collection[int] = (),
) -> Iterator[dict[int, SlotShare]]:
    """Give the shares of a slot that are there. Blocks.

    Args:
        numbers: of the shares to be looked for.
        images: those that are in memory, whatever their files say.
        needed: numbers of more shares, which are to be written.

    Raises:
        ShareConflictError: there are immutable shares, or something that is no share is in the way.
    """
    slot: dict[int, SlotShare] = {}
    with ExitStack() as stack:
        for number in sorted({*numbers, *needed}):
            if images is not None and number in images:
                slot[number] = images[number]
                continue
            try:
                share = open_share(directory.share(index, number))
            except DamagedShareError:
                if number in needed:
                    raise ShareConflictError("a file that is no share is in the way") from None
                continue
            if share is None:
                continue
            stack.callback(os.close, share.descriptor)
            if share.kind is not Kind.MUTABLE:
                raise ShareConflictError("the index holds immutable shares")
            slot[number] = share
        yield slot


def check_kind(rows: Mapping[int, ShareRow]) -> None:
    """Raise ShareConflictError if there are immutable shares."""
    if any(row.kind is Kind.IMMUTABLE for row in rows.values()):
        raise ShareConflictError("the index holds immutable shares")


def check_enabler(slot: Mapping[int, SlotShare], write_enabler: bytes) -> None:
    """Raise WrongSecretError if a share has another write enabler."""
    for share in slot.values():
        assert isinstance(share.container, MutableContainer)
        if not hmac.compare_digest(share.container.write_enabler, write_enabler):
            raise WrongSecretError("the slot has another write enabler")


def read_all(
    shares: Mapping[int, SlotShare | ShareData], read_vector: Sequence[tuple[int, int]]
) -> dict[int, Sequence[bytes]]:
    """Return (offset, length) ranges of every share, cut at its end.

    Raises:
        TooLargeError: that is more than one answer may hold.
    """
    total = sum(
        max(0, min(size, share.size - offset)) for share in shares.values() for offset, size in read_vector
    )
    if total > READ_ANSWER_MAX:
        raise TooLargeError("so much is not read in one request")
    return {
        number: [share.read(offset, size) for offset, size in read_vector]
        for number, share in sorted(shares.items())
    }
