"""Taking in small shares whole: one request, one transaction.

The same rules as for an allocation followed by writes hold; there just is nothing in between.

Source: docs/spec/storage-protocol.md, sections 8.1, 8.2 and 18.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from holdfast.formats.containers import new_immutable_header
from holdfast.interfaces.storage import Allocation, LeaseSecrets
from holdfast.interfaces.storage_errors import ShareConflictError
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.allocation import Accepted, Allocations, check_request
from holdfast.servers.storage.catalog import Changes, Kind, LeaseRow
from holdfast.servers.storage.catalog_writer import UnfinishedMoveError
from holdfast.servers.storage.disk import NO_ROOM, refusal_of
from holdfast.servers.storage.immutable import ImmutableWrites, NonsenseError
from holdfast.servers.storage.lease_terms import BY_ALLOCATION, granted_lease
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.upload_ends import UploadEnds
from holdfast.servers.storage.uploads import Upload


class SmallShares:
    """Stores shares that come whole, all of one length."""

    def __init__(
        self, parts: StorageParts, allocations: Allocations, writes: ImmutableWrites, ends: UploadEnds
    ) -> None:
        self._parts = parts
        self._allocations = allocations
        self._writes = writes
        self._ends = ends

    async def store(
        self,
        index: StorageIndex,
        shares: Mapping[int, bytes],
        upload_secret: bytes,
        lease: LeaseSecrets,
        *,
        only_if_none: bool,
    ) -> Allocation:
        """Store what is missing of ``shares``, and renew or add the lease on everything there is.

        Args:
            only_if_none: store nothing if the index has any complete share here.

        Returns:
            The shares that were there, asked for or not, and those stored now: durable and visible.

        Raises:
            ShareConflictError: the index holds mutable shares, or a share is nonsense. Nothing is stored.
        """
        parts = self._parts
        size = len(next(iter(shares.values())))
        check_request(frozenset(shares), size, upload_secret)
        granted = granted_lease(lease, BY_ALLOCATION, parts.clock())
        await parts.redo.make_room()
        batch = _Batch(parts, index, shares, upload_secret, granted)
        return await parts.steadfast.run(self._store(batch, granted, size, only_if_none))

    async def _store(self, batch: _Batch, granted: LeaseRow, size: int, only_if_none: bool) -> Allocation:
        parts = self._parts
        found = Accepted()

        def make_changes() -> Changes:
            nonlocal found
            found = self._take_in(batch, wanted, only_if_none)
            return self._changes(batch, found, granted, size)

        async with parts.locks.hold(batch.index):
            wanted = sorted(batch.shares.keys() - parts.uploads.of(batch.index).keys())
            try:
                # Files are made by the thread that commits: changing threads would cost more than they do.
                await parts.writer.submit(make_changes)
            except UnfinishedMoveError:
                self._keep(found)
                raise
            except BaseException:
                for upload in found.made:
                    await self._ends.give_up(upload)
                raise
            self._keep(found)
        return Allocation(frozenset(found.complete), frozenset(upload.number for upload in found.made))

    def _changes(self, batch: _Batch, found: Accepted, granted: LeaseRow, size: int) -> Changes:
        changes, index = found.adopted, batch.index
        if found.complete:
            changes.renew_all(index, granted)
        for upload in found.made:
            changes.put_share(index, upload.number, Kind.IMMUTABLE, size, replaces=upload.replaces)
            changes.put_lease(index, upload.number, granted)
        if found.made:
            moves = [(index, u.number, u.name, batch.contents[u.number]) for u in found.made]
            self._parts.redo.promise(changes, Kind.IMMUTABLE, moves)
        return changes

    def _take_in(self, batch: _Batch, wanted: list[int], only_if_none: bool) -> Accepted:
        """Find what is there, and write the files of what is not. Blocks."""
        for number in wanted:
            share = batch.shares[number]
            try:
                self._writes.verify(partial(_cut, share), len(share))
            except NonsenseError as error:
                raise ShareConflictError(f"share {number} is nonsense: {error}") from None
        try:
            return self._allocations.find_and_make(batch.index, wanted, batch.make, only_if_none=only_if_none)
        except OSError as error:
            raise refusal_of(error) from error

    def _keep(self, found: Accepted) -> None:
        for upload in found.made:
            upload.gone = True
            more = upload.size - (upload.replaces or 0)
            self._parts.admission.keep(upload.size, backed=True, stored=more)


def _cut(share: bytes, offset: int, length: int) -> bytes:
    return share[offset : offset + length]


class _Batch:
    """The shares of one request, and the files made of them."""

    def __init__(
        self,
        parts: StorageParts,
        index: StorageIndex,
        shares: Mapping[int, bytes],
        upload_secret: bytes,
        lease: LeaseRow,
    ) -> None:
        self._parts = parts
        self.index = index
        self.shares = shares
        self._secret = upload_secret
        self._lease = lease
        self.contents: dict[int, bytes | None] = {}  # of the files, where they go into redo records

    def make(self, number: int, replaces: int | None) -> Upload | None:
        """Reserve room and write the file; None if there is no room. Blocks."""
        parts, share = self._parts, self.shares[number]
        size = len(share)
        if not parts.admission.reserve(size):
            return None
        name = parts.new_name()
        content = new_immutable_header(size) + share
        try:
            parts.disk.create_with(parts.directory.waiting(name), content)
        except BaseException as error:
            parts.admission.release(size, backed=False)
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                return None
            raise
        parts.admission.backed(size)
        self.contents[number] = content if parts.disk.synchronise else None
        return Upload(
            self.index, number, size, self._secret, self._lease, name, True, replaces, parts.clock()
        )
