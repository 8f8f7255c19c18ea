"""Looking up the complete shares of an index, and reading them, from their files or from memory.

Source: docs/spec/storage-protocol.md, sections 8.4, 8.5, 9.2, 9.3 and 18.6.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Container, Mapping, Sequence
from contextlib import ExitStack

from holdfast.interfaces.storage_errors import NoSuchShareError
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.catalog import Kind
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.share_files import (
    DamagedShareError,
    ShareData,
    ShareFile,
    look_at,
    open_share,
)
from holdfast.servers.storage.slot_images import image_of
from holdfast.servers.storage.slot_reading import read_all

log = logging.getLogger(__name__)


class ShareReading:
    """What can be learnt of complete shares without changing anything."""

    def __init__(self, parts: StorageParts) -> None:
        self._parts = parts

    async def numbers(self, index: StorageIndex, kind: Kind) -> frozenset[int]:
        """Return the numbers of the sound shares of one kind."""
        ongoing = self._ongoing(index, kind)
        waiting = self._parts.waiting.of(index, kind)
        placed = await self._parts.look_ups.run(self._sound_shares, index, kind, ongoing)
        return placed | waiting.keys()

    async def read(self, index: StorageIndex, number: int, kind: Kind, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes of a share; fewer only at its end.

        Raises:
            NoSuchShareError: there is no sound share of this kind.
        """
        waiting = self.waiting(index, number, kind)
        if waiting is not None:
            return waiting[offset : offset + length]
        return await self._parts.read(length, self._read, index, number, kind, offset, length)

    async def read_all(
        self, index: StorageIndex, ranges: Sequence[tuple[int, int]], numbers: Collection[int] | None
    ) -> Mapping[int, Sequence[bytes]]:
        """Return (offset, length) ranges of every sound immutable share, cut at its end, by number.

        Args:
            numbers: the shares to be read, if not all.

        Raises:
            TooLargeError: that is more than one answer may hold.
        """
        ongoing = self._ongoing(index, Kind.IMMUTABLE)
        there = self._parts.waiting.of(index, Kind.IMMUTABLE)
        waiting = {number: ShareData(share.data) for number, share in there.items()}
        size = sum(length for _, length in ranges)
        return await self._parts.read(size, self._read_all, index, ranges, numbers, ongoing, waiting)

    async def open(self, index: StorageIndex, number: int, kind: Kind) -> ShareFile:
        """Open a share to be read piece by piece; the caller closes its descriptor.

        What is read stays one version of the share, also if it is changed meanwhile.

        Raises:
            NoSuchShareError: there is no sound share of this kind.
        """
        if number in self._parts.waiting.of(index, kind):
            await self._parts.waiting.placed(index)
        return await self._parts.look_ups.run(self._open, index, number, kind)

    async def check(self, index: StorageIndex, number: int, kind: Kind) -> None:
        """Raise NoSuchShareError unless there is a sound share of this kind."""
        if number in self._parts.waiting.of(index, kind):
            return
        share = await self.open(index, number, kind)
        os.close(share.descriptor)

    def waiting(self, index: StorageIndex, number: int, kind: Kind) -> bytes | None:
        """Return the data of a share that is not in a file of its own yet, or has another version there."""
        share = self._parts.waiting.of(index, kind).get(number)
        if share is None or kind is Kind.IMMUTABLE:
            return None if share is None else share.data
        image = image_of(share.data)
        return image.read(0, image.size)

    def _ongoing(self, index: StorageIndex, kind: Kind) -> Container[int]:
        """Return the shares that may be committed, but are not acknowledged: they are not there yet."""
        return self._parts.uploads.of(index) if kind is Kind.IMMUTABLE else ()

    # -- blocking parts

    def _sound_shares(self, index: StorageIndex, kind: Kind, without: Container[int]) -> frozenset[int]:
        rows = self._parts.catalog.shares_of(index)
        return frozenset(
            number
            for number, row in rows.items()
            if row.kind is kind and number not in without and self._is_sound(index, number)
        )

    def _is_sound(self, index: StorageIndex, number: int) -> bool:
        path = self._parts.directory.share(index, number)
        try:
            if look_at(path) is not None:
                return True
        except DamagedShareError:
            return False
        log.warning("%s is in the catalog, but not on the disk", path)
        return False

    def _open(self, index: StorageIndex, number: int, kind: Kind) -> ShareFile:
        try:
            share = open_share(self._parts.directory.share(index, number))
        except DamagedShareError:
            share = None
        if share is not None and share.kind is not kind:
            os.close(share.descriptor)
            share = None
        if share is None:
            raise NoSuchShareError("there is no such share")
        return share

    def _read(self, index: StorageIndex, number: int, kind: Kind, offset: int, length: int) -> bytes:
        share = self._open(index, number, kind)
        try:
            return share.read(offset, length)
        finally:
            os.close(share.descriptor)

    def _read_all(
        self,
        index: StorageIndex,
        ranges: Sequence[tuple[int, int]],
        numbers: Collection[int] | None,
        ongoing: Container[int],
        waiting: Mapping[int, ShareData],
    ) -> Mapping[int, Sequence[bytes]]:
        with ExitStack() as stack:
            shares: dict[int, ShareFile | ShareData] = dict(waiting)
            for number, row in self._parts.catalog.shares_of(index).items():
                if row.kind is not Kind.IMMUTABLE or number in ongoing or number in shares:
                    continue
                try:
                    share = self._open(index, number, Kind.IMMUTABLE)
                except NoSuchShareError:
                    continue
                stack.callback(os.close, share.descriptor)
                shares[number] = share
            return read_all({n: shares[n] for n in shares if numbers is None or n in numbers}, ranges)
