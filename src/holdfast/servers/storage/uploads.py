"""Uploads in progress: which bytes of each are there, who is writing where, and when
one is given up.

All of this lives in memory: a restart ends every upload. Nothing here touches the disk.

Source: docs/spec/storage-protocol.md, sections 8.2 and 13; seed-map S-060 to S-062.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field

from holdfast.interfaces.storage_errors import NoSuchShareError, ShareConflictError, WrongSecretError
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.byte_ranges import ByteRanges
from holdfast.servers.storage.catalog import LeaseRow

STALL_S = 5.0  # a request that sent nothing for so long gives way to one for the same bytes


@dataclass(slots=True, eq=False)
class Claim:
    """One request's exclusive use of a range while its body arrives."""

    begin: int
    end: int
    ended: asyncio.Future[None]
    progress: float  # time of the event loop
    busy: bool = False  # a thread is writing for it
    revoked: bool = False

    def check(self) -> None:
        """Raise ShareConflictError if another request has taken over."""
        if self.revoked:
            raise ShareConflictError("another request for the same bytes took over")


@dataclass(slots=True, eq=False)
class Upload:
    """One share on its way in. ``written`` holds what has been received completely and stored."""

    index: StorageIndex
    number: int
    size: int
    secret: bytes = field(repr=False)
    lease: LeaseRow = field(repr=False)
    name: str  # in incoming/
    backed: bool  # its blocks are allocated
    replaces: int | None  # size of a share that the catalog has, but whose file is lost
    touched: float  # seconds since 1970: allocated, or last written to
    written: ByteRanges = field(default_factory=ByteRanges)
    claims: list[Claim] = field(default_factory=list)
    completing: asyncio.Future[None] | None = None
    gone: bool = False

    def check_secret(self, secret: bytes) -> None:
        """Raise WrongSecretError unless ``secret`` is the one the upload was allocated with."""
        if not hmac.compare_digest(self.secret, secret):
            raise WrongSecretError("another upload of this share is in progress")

    def check_open(self) -> None:
        """Raise NoSuchShareError once the upload has ended in whatever way."""
        if self.gone:
            raise NoSuchShareError("the upload has ended")

    def is_completed_by(self, begin: int, end: int) -> bool:
        """Tell whether nothing outside ``[begin, end)`` is missing."""
        return all(begin <= gap.begin and gap.end <= end for gap in self.written.missing(0, self.size))

    async def claim(self, begin: int, end: int) -> Claim:
        """Wait until nobody else writes to ``[begin, end)``, then reserve it for the caller.

        Raises:
            NoSuchShareError: the upload ended meanwhile.
        """
        loop = asyncio.get_running_loop()
        while True:
            await self.settled()
            other = next((c for c in self.claims if c.begin < end and begin < c.end), None)
            if other is None:
                break
            patience = other.progress + STALL_S - loop.time()
            if patience <= 0 and not other.busy:
                self._revoke(other)
            else:
                await asyncio.wait([other.ended], timeout=max(patience, 0.05))
        claim = Claim(begin, end, loop.create_future(), loop.time())
        self.claims.append(claim)
        return claim

    def release(self, claim: Claim) -> None:
        """End a claim, whatever became of it."""
        if not claim.revoked:
            self._revoke(claim)

    async def settled(self) -> None:
        """Return at once, or, if the upload is being completed, when that failed.

        Raises:
            NoSuchShareError: it has ended.
        """
        while self.completing is not None:
            await asyncio.wait([self.completing])
        self.check_open()

    def _revoke(self, claim: Claim) -> None:
        claim.revoked = True
        self.claims.remove(claim)
        claim.ended.set_result(None)


class Uploads:
    """All uploads of a server, by index and number. Used on the event loop only."""

    def __init__(self) -> None:
        self._by_index: dict[StorageIndex, dict[int, Upload]] = {}

    def __iter__(self) -> Iterator[Upload]:
        return (upload for numbers in list(self._by_index.values()) for upload in list(numbers.values()))

    def of(self, index: StorageIndex) -> dict[int, Upload]:
        """Return the uploads of ``index`` by number, as they are now."""
        return dict(self._by_index.get(index, {}))

    def find(self, index: StorageIndex, number: int) -> Upload:
        """Return one upload.

        Raises:
            NoSuchShareError: there is none.
        """
        upload = self._by_index.get(index, {}).get(number)
        if upload is None:
            raise NoSuchShareError("no such upload")
        return upload

    def add(self, upload: Upload) -> None:
        self._by_index.setdefault(upload.index, {})[upload.number] = upload

    def remove(self, upload: Upload) -> None:
        """Forget an upload that was completed or given up."""
        upload.gone = True
        numbers = self._by_index.get(upload.index, {})
        if numbers.get(upload.number) is upload:
            del numbers[upload.number]
            if not numbers:
                del self._by_index[upload.index]
