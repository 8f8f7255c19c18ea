"""Changes that depend on the old contents, made again and again until nobody else wrote in between.

A change is applied to what somebody else has written rather than to what was left behind here by an attempt
that collided: so nobody's change is lost that was told to have been stored.

Source: docs/spec/mutable.md, section 13.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from holdfast.errors import NotEnoughServersError, NotEnoughSharesError, UncoordinatedWriteError
from holdfast.formats.mutable_layout import MutableHeader
from holdfast.grid.mutable.file_identity import FileIdentity
from holdfast.grid.mutable.known_versions import KnownVersion
from holdfast.grid.mutable.operation import Encoding, Operation, operation
from holdfast.grid.mutable.parts import MutableParts
from holdfast.grid.mutable.publisher import StaleMapError
from holdfast.grid.sources import DataSource, open_source
from holdfast.planning.publication import ATTEMPTS_MAX, Outcome, retry_delay_s
from holdfast.planning.survey import SurveyMode

STEADY_S = 2.5  # a version that nobody goes on with for so long was given up by its writer
T = TypeVar("T")

Change = Callable[[bytes, bool], bytes | None]
"""From the contents found, and whether this is the first attempt, to the new ones; None to leave them."""


class CollisionError(Exception):
    """An attempt failed because of another writer. Nobody outside of this module and its users sees it."""

    def __init__(self, error: UncoordinatedWriteError | NotEnoughSharesError) -> None:
        super().__init__(str(error))
        self.error = error


class Attempts:
    """Attempts at one change: which versions it was based on, and which of them are its own."""

    def __init__(self, parts: MutableParts, identity: FileIdentity, encoding: Encoding) -> None:
        self._parts = parts
        self._identity = identity
        self.encoding = encoding
        self._floor = 0  # sequence number of the newest version that an attempt was based on
        self._own: set[MutableHeader] = set()
        self._unfinished: dict[MutableHeader, frozenset[int]] = {}
        self._unfinished_since = 0.0

    async def run(
        self,
        attempt: Callable[[Operation, MutableHeader, bool], Awaitable[T]],
        at_once: Callable[[], Awaitable[T | None]] | None = None,
    ) -> T:
        """Carry out ``attempt`` with an operation, the version to change, and whether it is the first.

        It raises CollisionError if it is to be repeated after a while.

        Args:
            at_once: tried before; None tells that nothing was done.

        Raises:
            UncoordinatedWriteError: others wrote first every time.
            NotEnoughSharesError, NoServersError, RolledBackError: there is no version to change.
        """
        collision = 1
        while True:
            try:
                if collision == 1 and at_once is not None:
                    done = await at_once()
                    if done is not None:
                        return done
                async with operation(self._parts, self._identity) as op:
                    base = await self._base(op, first=collision == 1, last=collision == ATTEMPTS_MAX)
                    try:
                        return await attempt(op, base, collision == 1)
                    except NotEnoughSharesError as error:
                        if op.overtaken:
                            raise CollisionError(error) from None
                        raise
            except CollisionError as collided:
                delay_s = retry_delay_s(collision, secrets.randbelow(1000) / 1000)
                if delay_s is None:
                    raise collided.error from None
                await asyncio.sleep(delay_s * self._parts.retry_scale)
                collision += 1

    @asynccontextmanager
    async def recalled(self) -> AsyncIterator[tuple[Operation, KnownVersion] | None]:
        """Give an operation on what was written here last, as if it had been found; None if that is unknown.

        The block ends without an error if it is not there any more; nothing was written then.
        """
        known = self._parts.known.get(self._identity.index)
        if known is None:
            yield None
            return
        gap_s = known.gap_s(self._parts.known.clock())
        if gap_s:
            await asyncio.sleep(gap_s)
        async with operation(self._parts, self._identity) as op:
            try:
                yield (op, known) if op.recall(known) else None
            except StaleMapError:
                self._parts.known.changed_by_others(self._identity.index)

    def based_on(self, known: KnownVersion) -> None:
        """Keep the encoding of the version that is to be changed."""
        self.encoding = Encoding(known.header.shares_needed, known.header.shares_total)

    def check(self, outcome: Outcome) -> None:
        """Return if a version was published. Raises CollisionError, NotEnoughServersError."""
        try:
            outcome.check()
        except UncoordinatedWriteError as error:
            self._own.add(outcome.header)
            self._parts.known.changed_by_others(self._identity.index)
            raise CollisionError(error) from None
        except NotEnoughServersError:
            self._own.add(outcome.header)
            raise

    async def _base(self, op: Operation, *, first: bool, last: bool) -> MutableHeader:
        """Return the version to change."""
        await op.survey(SurveyMode.WRITE if first else SurveyMode.CHECK, self.encoding)
        seen = op.sighting.map
        if seen.best is None or seen.unrecoverable_newer():
            if first:
                await op.survey(SurveyMode.CHECK, self.encoding)
            op.check_not_rolled_back()
            self._check_finished(op, last=last)
        best = op.best()
        news = [v for v in seen.recoverable() if v not in self._own and v.sequence > self._floor]
        chosen = max(news, key=lambda v: (v.sequence, len(seen.holders(v)), v.rank), default=best)
        self._floor = max(self._floor, chosen.sequence)
        self.encoding = Encoding(chosen.shares_needed, chosen.shares_total)
        return chosen

    def _check_finished(self, op: Operation, *, last: bool) -> None:
        """Look again for a version that somebody may be writing just now, or that is hidden.

        One that stays as it is while every server answers was given up by its writer, and is of no account.

        Raises:
            CollisionError: it is to be looked for again.
            NotEnoughSharesError: it may be on servers that cannot be reached.
        """
        seen = op.sighting.map
        newer = [version for version in seen.unrecoverable_newer() if version not in self._own]
        if not newer or len(seen.versions()) == 1:
            return
        found = {version: frozenset(seen.holders(version)) for version in newer}
        now = asyncio.get_running_loop().time()
        same = found == self._unfinished
        if not same:
            self._unfinished, self._unfinished_since = found, now
        steady = same and now - self._unfinished_since >= STEADY_S * self._parts.retry_scale
        if steady and seen.best is not None and len(self._parts.servers) == len(seen.answered):
            return
        version = newer[0]
        error = NotEnoughSharesError(
            f"version {version.sequence} of the file is the newest, but of the {version.shares_needed} shares"
            f" it needs {len(found[version])} were found; a forced repair gives it up{op.problems.summary()}",
            found=len(found[version]),
            needed=version.shares_needed,
        )
        if steady or last:
            raise error
        raise CollisionError(error)


async def modify(attempts: Attempts, change: Change) -> bytes:
    """Apply ``change`` until it is published; return the contents that are there now.

    Raises: as ``Attempts.run``.
    """

    async def attempt(op: Operation, base: MutableHeader, first: bool) -> bytes:
        old = await read_all(op, base)
        new = change(old, first)
        if new is None or new == old:
            if first or settled(op, base):
                return old
            new = old  # so that in the end one version is there that nobody contests
        return await publish(op, bytes(new))

    async def at_once() -> bytes | None:
        async with attempts.recalled() as recalled:
            if recalled is None:
                return None
            op, known = recalled
            new = _changed(change, known.contents)
            if new is None:
                return None
            attempts.based_on(known)
            try:
                return await publish(op, new)
            except NotEnoughServersError:
                return None  # are they gone, or have they gone back? A survey tells
        return None

    async def publish(op: Operation, new: bytes) -> bytes:
        plaintext = await open_source(DataSource(new))
        try:
            attempts.check(await op.publish(plaintext, attempts.encoding, op.next_sequence()))
        finally:
            await plaintext.close()
        return new

    return await attempts.run(attempt, at_once)


def _changed(change: Change, known: bytes | None) -> bytes | None:
    """Return what becomes of contents that nobody has confirmed; None unless they are to be replaced."""
    if known is None:
        return None
    try:
        new = change(known, True)
    except Exception:
        # Raised again if the servers confirm the contents: an error, as a reading, is not told from memory.
        return None
    return None if new is None or new == known else bytes(new)


async def read_all(op: Operation, version: MutableHeader) -> bytes:
    """Return the contents of a version. Raises CollisionError if it is there no more."""
    return await read_range(op, version, 0, version.size)


async def read_range(op: Operation, version: MutableHeader, offset: int, length: int) -> bytes:
    """Return bytes of a version that lie within it. Raises CollisionError if it is there no more."""
    data = bytearray()
    try:
        async for piece in op.reader(version).read(offset, length):
            data += piece
    except NotEnoughSharesError as error:
        raise CollisionError(error) from None
    return bytes(data)


def settled(op: Operation, version: MutableHeader) -> bool:
    """Tell whether ``version`` is the only one, and is there completely."""
    return op.sighting.map.versions() == [version] and (
        len(op.sighting.map.holders(version)) == version.shares_total
    )
