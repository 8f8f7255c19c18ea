"""Taking in small shares whole: one request, one transaction.

The same rules as for an allocation followed by writes hold; there just is nothing in between.

Source: docs/spec/storage-protocol.md, sections 8.1, 8.2 and 18.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from holdfast.interfaces.storage import Allocation, LeaseSecrets
from holdfast.interfaces.storage_errors import ShareConflictError
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.catalog import Changes, Kind
from holdfast.servers.storage.disk import refusal_of
from holdfast.servers.storage.immutable import Accepted, ImmutableIntake, NonsenseError, Part, check_request
from holdfast.servers.storage.lease_terms import BY_ALLOCATION, granted_lease
from holdfast.servers.storage.parts import StorageParts
from holdfast.servers.storage.uploads import Upload


class SmallShares:
    """Stores shares that come whole, all of one length."""

    def __init__(self, parts: StorageParts, intake: ImmutableIntake) -> None:
        self._parts = parts
        self._intake = intake

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
        async with parts.locks.hold(index):
            wanted = sorted(shares.keys() - parts.uploads.of(index).keys())
            make = partial(self._intake.new_upload, index, size, upload_secret, granted)
            found, contents = await parts.workers.run(
                self._take_in, index, wanted, make, shares, only_if_none
            )
            changes = found.adopted
            if found.complete:
                changes.renew_all(index, granted)
            for upload in found.made:
                changes.put_share(index, upload.number, Kind.IMMUTABLE, size, replaces=upload.replaces)
                changes.put_lease(index, upload.number, granted)
            moves = [(index, u.number, u.name, contents[u.number]) for u in found.made]
            if moves:
                parts.redo.promise(changes, Kind.IMMUTABLE, moves)
            await self._commit(changes, found)
        return Allocation(frozenset(found.complete), frozenset(upload.number for upload in found.made))

    async def _commit(self, changes: Changes, found: Accepted) -> None:
        parts = self._parts
        try:
            if changes.steps:
                await parts.writer.commit(changes)
        except OSError as error:
            raise refusal_of(error) from error
        except BaseException:
            for upload in found.made:
                await self._intake.give_up(upload)
            raise
        for upload in found.made:
            upload.gone = True
            parts.admission.keep(
                upload.size, backed=upload.backed, stored=upload.size - (upload.replaces or 0)
            )

    def _take_in(
        self,
        index: StorageIndex,
        wanted: list[int],
        make: partial[Upload | None],
        shares: Mapping[int, bytes],
        only_if_none: bool,
    ) -> tuple[Accepted, dict[int, bytes | None]]:
        """Find what is there, and write the files of what is not."""
        found = self._intake.find_and_make(index, wanted, make, only_if_none=only_if_none)
        contents: dict[int, bytes | None] = {}
        try:
            for upload in found.made:
                contents[upload.number] = self._intake.prepare(upload, Part(0, shares[upload.number]))
        except BaseException as error:
            for upload in found.made:
                self._intake.give_up_file(upload)
            if isinstance(error, NonsenseError):
                raise ShareConflictError(f"the share is nonsense: {error}") from None
            if isinstance(error, OSError):
                raise refusal_of(error) from error
            raise
        return found, contents
