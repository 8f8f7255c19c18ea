"""The virtual drive server: directories in a database, whoever asks for them.

What costs time is done in threads: signatures are checked and hashes computed before a
transaction begins. What is remembered here makes that faster and is never believed:
the transaction checks everything again.

Source: docs/spec/vdrive.md, sections 8 and 11.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial

from sqlalchemy import Connection

import holdfast
from holdfast.formats.vdrive.head import SignedHead
from holdfast.interfaces.vdrive import (
    DIRECTORIES_MAX,
    HEADS_MAX,
    OPERATIONS_MAX,
    PAGE_DEFAULT,
    PAGE_MAX,
    SLOTS_MAX,
    WAIT_MAX_S,
    AccountState,
    Authority,
    Changes,
    CommitAnswer,
    CommitRequest,
    Committed,
    Context,
    DirectoryInfo,
    HeadRange,
    LeaseInfo,
    Page,
    Turn,
    VdriveVersion,
)
from holdfast.interfaces.vdrive_errors import NoPublicRootError
from holdfast.protocol.versions import OLDEST_SUPPORTED
from holdfast.servers.vdrive import (
    accounts,
    bundles,
    enrol,
    history,
    importing,
    leases,
    listing,
    public_root,
    reading,
    turns,
)
from holdfast.servers.vdrive.commit import commit, passed_by
from holdfast.servers.vdrive.database import Database, open_database
from holdfast.servers.vdrive.housekeeping import Housekeeping
from holdfast.servers.vdrive.known import KnownDirectories, look_up, versions_of
from holdfast.servers.vdrive.preparing import PreparedCommit, check_shape, prepare
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.servers.vdrive.turn_queue import TurnQueue
from holdfast.servers.vdrive.waiting import Waiters

PROTOCOL = 1
CHECKERS = 2  # threads
FEATURES = ("changes", "bundles", "turns")


class VdriveEngine:
    """A running server. Made by ``open_vdrive``; to be used on its event loop.

    Attributes:
        database: what it keeps everything in.
    """

    def __init__(
        self,
        database: Database,
        settings: VdriveServerSettings,
        public_root: str | None,
        clock: Callable[[], float],
    ) -> None:
        self.database = database
        self.settings = settings
        self.clock = clock
        self._public_root = public_root
        self._known = KnownDirectories()
        self._turns = TurnQueue()
        self._waiters = Waiters(self._versions_of if database.shared else None)
        self._checkers = ThreadPoolExecutor(CHECKERS, thread_name_prefix="vdrive-checks")

    def close(self) -> None:
        """Finish what was begun. Blocks."""
        self._checkers.shutdown()
        self.database.close()

    # -- the service

    async def version(self) -> VdriveVersion:
        limits = {
            "children": self.settings.max_children,
            "directories": DIRECTORIES_MAX,
            "operations": OPERATIONS_MAX,
            "slots": SLOTS_MAX,
            "page": PAGE_MAX,
            "heads": HEADS_MAX,
            "wait": int(WAIT_MAX_S),
        }
        return VdriveVersion(
            PROTOCOL,
            limits,
            self.settings.public_root,
            self.settings.accounts,
            (*FEATURES, *self.database.features),
            holdfast.__version__,
            OLDEST_SUPPORTED,
            self.settings.sid,
        )

    async def public_root(self) -> str:
        if self._public_root is None:
            raise NoPublicRootError("this server offers no root that all share")
        return self._public_root

    async def account(self, token: str) -> AccountState:
        return await self.database.read(partial(accounts.state_of, token=token))

    # -- changes

    async def commit(self, request: CommitRequest, authority: Authority) -> CommitAnswer:
        check_shape(request)
        prepared = await self._prepared(request, authority)
        now = self._now()
        if any(self._known.passed(one.head.index, one.head.version) for one in prepared.sections):
            # Whoever comes too late need not wait for those who write.
            answer = await self.database.read(partial(passed_by, request=prepared, now=now))
            if answer is not None:
                return answer
        outcome = await self.database.write(
            partial(commit, request=prepared, settings=self.settings, now=now)
        )
        self._note(outcome.changed)
        for index in authority.turns:
            self._turns.freed(index)
        return outcome.answer

    async def turn(self, enablers: Mapping[bytes, bytes]) -> Turn:
        """As in the protocol; who comes while it is somebody else's turn waits in a line for a while."""

        async def take() -> Turn:
            return await self.database.write(partial(turns.take, enablers=enablers, now=self._now()))

        return await self._turns.take(enablers, take)

    async def enrol(self, index: bytes, enabler: bytes, proof: bytes) -> None:
        await self.database.write(
            partial(enrol.enrol, sid=self.settings.sid, index=index, enabler=enabler, proof=proof)
        )

    # -- reading

    async def describe(self, index: bytes) -> DirectoryInfo:
        return await self.database.read(partial(reading.describe, index=index, now=self._now()))

    async def child(self, index: bytes, slot: bytes) -> Context:
        return await self.context(index, [slot])

    async def context(self, index: bytes, slots: Sequence[bytes]) -> Context:
        return await self.database.read(partial(reading.context, index=index, slots=slots))

    async def page(
        self,
        index: bytes,
        *,
        at: int | None = None,
        after: bytes | None = None,
        limit: int = PAGE_DEFAULT,
        names_only: bool = False,
    ) -> Page:
        return await self.database.read(
            partial(
                listing.page,
                index=index,
                place=listing.Place(at, after, limit),
                settings=self.settings,
                now=self._now(),
                names_only=names_only,
            )
        )

    async def heads(self, index: bytes, first: int, last: int) -> HeadRange:
        return await self.database.read(partial(history.head_range, index=index, first=first, last=last))

    async def wait(self, index: bytes, version: int, timeout_s: float) -> SignedHead | None:
        with self._waiters.enter(index, version) as poll:
            directory = await self.database.read(partial(reading.find, index=index))
            if directory.version <= version:
                if not await poll.news(min(timeout_s, WAIT_MAX_S)):
                    return None
                directory = await self.database.read(partial(reading.find, index=index))
            return directory.head

    async def changes(
        self,
        index: bytes,
        since: int,
        *,
        at: int | None = None,
        after: bytes | None = None,
        limit: int = PAGE_DEFAULT,
    ) -> Changes:
        return await self.database.read(
            partial(
                listing.changes,
                index=index,
                since=since,
                place=listing.Place(at, after, limit),
                settings=self.settings,
                now=self._now(),
            )
        )

    def release_polls(self) -> None:
        """Answer all waiting polls, and let none wait from now on. To be called before the server stops."""
        self._waiters.release()

    # -- leases

    async def renew_lease(self, refresh_id: bytes, secret: bytes, seconds: int) -> int:
        return await self.database.write(
            partial(leases.renew, refresh_id=refresh_id, secret=secret, seconds=seconds, now=self._now())
        )

    async def cancel_lease(self, refresh_id: bytes, secret: bytes) -> None:
        await self.database.write(partial(leases.cancel, refresh_id=refresh_id, secret=secret))

    async def lease_info(self, refresh_id: bytes, secret: bytes) -> LeaseInfo:
        return await self.database.read(partial(leases.info, refresh_id=refresh_id, now=self._now()))

    # -- bundles

    def export(self, index: bytes) -> AsyncIterator[bytes]:
        return bundles.export(self.database, self.settings, self.clock, index)

    async def import_bundle(
        self, index: bytes, bundle: AsyncIterator[bytes], enabler: bytes, proof: bytes, account: str | None
    ) -> Committed:
        importer = importing.Importer(enabler, proof, account)
        committed = await importing.import_bundle(
            self.database, self.settings, self.clock, index, bundle, importer
        )
        self._note([committed])
        return committed

    # -- within

    async def _prepared(self, request: CommitRequest, authority: Authority) -> PreparedCommit:
        keys = {new.index: new.verify_key for new in request.creates}
        others = [section for section in request.sections if section.index not in keys]
        known = self._known.verify_keys(others, authority)
        if len(known) < len(others):
            found = await self.database.read(partial(look_up, sections=others, authority=authority))
            self._known.learn(found)
            known = {index: one.verify_key for index, one in found.items()}
        return await asyncio.get_running_loop().run_in_executor(
            self._checkers, prepare, request, authority, {**keys, **known}, self.settings.sid
        )

    def _note(self, committed: Sequence[Committed]) -> None:
        """Remember, and tell, what is there now."""
        self._known.advanced(committed)
        for one in committed:
            self._waiters.committed(one.index, one.version)

    async def _versions_of(self, indices: Sequence[bytes]) -> Mapping[bytes, int]:
        return await self.database.read(partial(versions_of, indices=indices))

    def _now(self) -> int:
        return int(self.clock())


@asynccontextmanager
async def open_vdrive(
    settings: VdriveServerSettings, clock: Callable[[], float] = time.time
) -> AsyncIterator[VdriveEngine]:
    """Open the database of a server, making it if it is missing, and let it run until the block ends.

    Args:
        clock: gives Unix seconds.

    Raises:
        ConfigError: the database, or the key of the public root, cannot be used; the message says why.
    """
    database = await asyncio.to_thread(open_database, settings.database)
    try:
        root = await database.write(partial(_prepare, settings=settings, now=int(clock())))
        engine = VdriveEngine(database, settings, root, clock)
    except BaseException:
        await asyncio.to_thread(database.close)
        raise
    housekeeping = asyncio.get_running_loop().create_task(
        Housekeeping(database, settings, clock).run_for_ever()
    )
    try:
        yield engine
    finally:
        housekeeping.cancel()
        with suppress(asyncio.CancelledError):
            await housekeeping
        engine.release_polls()
        await asyncio.to_thread(engine.close)


def _prepare(connection: Connection, settings: VdriveServerSettings, now: int) -> str | None:
    """Make what every server has; return the capability of the public root."""
    accounts.prepare(connection, settings, now)
    keys = public_root.prepare(connection, settings, now)
    return None if keys is None else public_root.capability(settings, keys)
