"""Finds servers for the shares of one upload: asks the likely ones to take their share
at once, learns from the answers what is there already, who is full and who is gone,
and goes round until nothing changes.

Source: docs/spec/grid.md, sections 10 and 11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from holdfast.crypto.hashing import tagged_pair_hash
from holdfast.errors import NoServersError, ServerError, UnhappyError
from holdfast.grid.advice import Problems
from holdfast.grid.downloader import no_servers_message
from holdfast.grid.known_server import KnownServer
from holdfast.grid.patience import ask_all
from holdfast.grid.servers import Servers
from holdfast.interfaces.storage import Allocation, ServerVersion
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import StorageIndex
from holdfast.planning.happiness import happiness
from holdfast.planning.placement import place

CANDIDATES_PER_SHARE = 2
ASK_TIMEOUT_S = 5.0  # for the version of a server
ALLOCATE_TIMEOUT_S = 15.0
ABORT_TIMEOUT_S = 5.0
UPLOAD_SECRET_TAG = b"holdfast_upload_secret_v1"


@dataclass(slots=True)
class Selection:
    """Where the shares of an upload go.

    Attributes:
        writing: share number to the server that accepted it from us.
        held: server id to the numbers that are complete on it.
    """

    writing: dict[int, KnownServer] = field(default_factory=dict)
    held: dict[str, set[int]] = field(default_factory=dict)

    def sharemap(self, without: int | None = None) -> dict[int, set[str]]:
        """Return share number to ids of servers, for what is held and what is being written."""
        sharemap: dict[int, set[str]] = {}
        for server_id, numbers in self.held.items():
            for number in numbers:
                sharemap.setdefault(number, set()).add(server_id)
        for number, server in self.writing.items():
            if number != without:
                sharemap.setdefault(number, set()).add(server.id)
        return sharemap


SendWhole = Callable[[KnownServer, set[int], bool], Awaitable[Allocation]]
"""Has a server store whole shares; told whether it is to do so only if it has none of the file."""


class ServerSelection:
    """One search for servers. ``abort`` gives back what was allocated."""

    def __init__(
        self,
        servers: Servers,
        index: StorageIndex,
        share_size: int,
        shares_needed: int,
        shares_total: int,
        happiness_wanted: int,
        problems: Problems,
        source_mark: bytes,
        send: SendWhole | None = None,
    ) -> None:
        """``source_mark`` tells one state of the source from another.

        With ``send``, whole shares go out at once, and what a server accepts is complete.
        """
        self._source_mark = source_mark
        self._servers = servers
        self._send = send
        self.sent: set[int] = set()
        self._index = index
        self._share_size = share_size
        self._needed = shares_needed
        self._total = shares_total
        self._wanted = happiness_wanted
        self._problems = problems
        self._unasked = servers.for_uploads(index)
        self._offered = {server.id: server for server in self._unasked}
        self._order: list[KnownServer] = []
        self._read_only: set[str] = set()
        self._allocated: dict[str, set[int]] = {}
        self._renewed: set[str] = set()
        self._full = 0
        self._failed = 0
        self.selection = Selection()

    def upload_secret(self, server: KnownServer) -> bytes:
        """Return the secret of this upload on a server.

        It is the same when the same client tries again with an untouched source, so that an interrupted
        upload goes on where it stopped; and another if the source was touched, since the earlier attempt
        may then have sent something else. It is derived from the lease secret; nobody else can know it.
        """
        return tagged_pair_hash(
            UPLOAD_SECRET_TAG, server.lease(self._index).renew, self._index + self._source_mark
        )

    async def run(self) -> Selection:
        """Find places for all shares, as far as there are.

        Raises:
            NoServersError: not one server answers.
            UnhappyError: the shares cannot be spread as wanted. What was allocated has been given back.
        """
        await self._add_candidates(CANDIDATES_PER_SHARE * self._total)
        if not self._order:
            raise NoServersError(no_servers_message(self._servers, for_uploads=True))
        first = True
        while True:
            changed = await self._round(survey=first)
            first = False
            if changed:
                continue
            if happiness(self.selection.sharemap()) >= self._wanted or not self._unasked:
                break
            before = len(self._order)
            await self._add_candidates(self._total)
            first = len(self._order) > before
        if happiness(self.selection.sharemap()) < self._wanted:
            error = self.unhappy(self.selection.sharemap())
            await self.abort()
            raise error
        await self._renew_leases()
        return self.selection

    async def abort(self) -> None:
        """Give back every allocation, as far as the servers answer within a few seconds."""
        pairs = [(self._offered[s], n) for s, numbers in self._allocated.items() for n in numbers]
        self._allocated.clear()
        self.selection.writing.clear()
        await self._give_back(pairs)

    def completed(self, number: int) -> None:
        """Note that a share was completed, so that nothing is given back for it."""
        server = self.selection.writing.pop(number)
        self._allocated[server.id].discard(number)
        self.selection.held.setdefault(server.id, set()).add(number)

    async def give_back(self, number: int) -> None:
        """Give back one allocation that will not be completed."""
        holders = [self._offered[s] for s, numbers in self._allocated.items() if number in numbers]
        for server in holders:
            self._allocated[server.id].discard(number)
        await self._give_back([(server, number) for server in holders])

    def unhappy(self, sharemap: Mapping[int, set[str]]) -> UnhappyError:
        """Return the error that says what was needed and what was found (grid.md, section 9.1)."""
        holders = {server for servers in sharemap.values() for server in servers}
        count, reached = len(holders), happiness(sharemap)
        if count < self._needed:
            text = f"needs at least {self._needed} servers to hold shares, {count} did"
        elif reached < self._needed:
            text = (
                f"shares lie on {count} servers, but so unevenly that {self._needed} of them need not suffice"
            )
        else:
            text = f"needs {self._wanted} servers with a share of their own, {reached} were found"
        known, failed = len(self._servers), self._failed
        text += (
            f" ({known} known, {len(self._order)} answered, {self._full} full or read-only, {failed} failed)"
        )
        return UnhappyError(
            text + self._problems.summary(),
            servers=count,
            happiness=reached,
            shares_needed=self._needed,
            happiness_wanted=self._wanted,
        )

    # -- candidates

    async def _add_candidates(self, count: int) -> None:
        """Ask the next servers what they can take; those that answer become candidates, in permuted order."""
        while count > 0 and self._unasked:
            asked, self._unasked = self._unasked[:count], self._unasked[count:]
            known = [version for server in asked if (version := server.recent_version) is not None]
            if len(known) == len(asked):  # as usual: nobody has to be waited for
                for server, version in zip(asked, known, strict=True):
                    self._judge(server, version)
                self._order += asked
                count -= len(asked)
                continue
            answers = await ask_all(
                [self._ask(server) for server in asked], enough=self._wanted, most_s=ASK_TIMEOUT_S
            )
            for server, answer in zip(asked, answers, strict=True):
                if isinstance(answer, TimeoutError):
                    self._fail(server, ServerError("hung: no sign of life"))
            good = [server for server, answer in zip(asked, answers, strict=True) if answer is True]
            self._order += good
            count -= len(good)

    async def _ask(self, server: KnownServer) -> bool:
        try:
            version = await server.version()
        except (ServerError, StorageRefusalError) as error:
            self._fail(server, error)
            return False
        self._judge(server, version)
        return True

    def _judge(self, server: KnownServer, version: ServerVersion) -> None:
        """Note if a server takes no share of this size; it can have some all the same."""
        if version.maximum_immutable_share_size < self._share_size:
            self._refuse(server)

    def _fail(self, server: KnownServer, error: Exception) -> None:
        self._failed += 1
        self._problems.note(server, error)

    def _refuse(self, server: KnownServer) -> None:
        if server.id not in self._read_only:
            self._read_only.add(server.id)
            self._full += 1

    # -- rounds of placement

    async def _round(self, *, survey: bool) -> bool:
        """Place, allocate what is new, give back what is not needed; True if something was learnt."""
        placement = place([s.id for s in self._order], self._read_only, self._total, self.selection.held)
        wanted: dict[str, set[int]] = {}
        for number, server_id in placement.servers.items():
            if number not in self.selection.held.get(server_id, ()):
                wanted.setdefault(server_id, set()).add(number)
        surplus = [
            (self._offered[s], n)
            for s, numbers in self._allocated.items()
            for n in numbers
            if n not in wanted.get(s, ())
        ]
        for server, number in surplus:
            self._allocated[server.id].discard(number)
        new = {s: n - self._allocated.get(s, set()) for s, n in wanted.items()}
        asked = [self._offered[s] for s, n in new.items() if n]
        asks = [self._allocate(server, new[server.id]) for server in asked]
        if survey:
            others = [s for s in self._order if not new.get(s.id) and s.id not in self._allocated]
            asked += others
            asks += [self._survey(server) for server in others]
        await self._give_back(surplus)
        answers = await ask_all(asks, enough=max(1, len(asks) // 2), most_s=ALLOCATE_TIMEOUT_S)
        for server, answer in zip(asked, answers, strict=True):
            if isinstance(answer, TimeoutError):
                self._drop(server, ServerError("hung"))
        changed = any(answer is not False for answer in answers)
        self.selection.writing = {
            n: self._offered[s] for s, numbers in self._allocated.items() for n in numbers
        }
        return changed

    async def _allocate(self, server: KnownServer, numbers: set[int]) -> bool:
        """Ask a server to take shares. True if it answered anything but a plain yes."""
        held = self.selection.held.get(server.id, set())
        try:
            answer = await self._take(server, numbers, held)
        except asyncio.CancelledError:
            # The server may have said yes already: it is asked to take that back along with the rest.
            self._allocated.setdefault(server.id, set()).update(numbers)
            raise
        except (ServerError, StorageRefusalError) as error:
            self._drop(server, error)
            return True
        self._renewed.add(server.id)
        return self._learn(server, numbers, answer)

    async def _take(self, server: KnownServer, numbers: set[int], held: set[int]) -> Allocation:
        if self._send is not None:
            return await self._send(server, numbers, not held)
        return await server.service.allocate(
            self._index,
            frozenset(numbers | held),
            self._share_size,
            self.upload_secret(server),
            server.lease(self._index),
        )

    def _learn(self, server: KnownServer, numbers: set[int], answer: Allocation) -> bool:
        held = self.selection.held.setdefault(server.id, set())
        already = {n for n in answer.already_have if n < self._total}
        accepted = answer.allocated & numbers
        changed = not already <= held
        held |= already
        if self._send is None:
            self._allocated.setdefault(server.id, set()).update(accepted)
        else:
            held |= accepted
            self.sent |= accepted
            if changed and not accepted:
                return True  # it has others of the file, so it was to take none until all are placed anew
        if numbers - accepted - already:
            self._refuse(server)
            changed = True
        return changed

    async def _survey(self, server: KnownServer) -> bool:
        """Ask which shares a server holds that is to get none. True if it named any, or failed."""
        try:
            numbers = await server.service.list_immutable(self._index)
        except (ServerError, StorageRefusalError) as error:
            self._drop(server, error)
            return True
        held = self.selection.held.setdefault(server.id, set())
        before = len(held)
        held |= {n for n in numbers if n < self._total}
        return len(held) > before

    def _drop(self, server: KnownServer, error: Exception) -> None:
        self._fail(server, error)
        self._order = [s for s in self._order if s is not server]
        self._allocated.pop(server.id, None)
        self.selection.held.pop(server.id, None)

    async def _give_back(self, pairs: list[tuple[KnownServer, int]]) -> None:
        async def abort(server: KnownServer, number: int) -> None:
            try:
                async with asyncio.timeout(ABORT_TIMEOUT_S):
                    await server.service.abort(self._index, number, self.upload_secret(server))
            except (ServerError, StorageRefusalError, TimeoutError):
                pass  # an upload nobody completes expires by itself

        await asyncio.gather(*(abort(server, number) for server, number in pairs))

    async def _renew_leases(self) -> None:
        """Renew the leases of shares that were found on servers we allocated nothing on."""

        async def renew(server: KnownServer) -> None:
            try:
                await server.service.add_lease(self._index, server.lease(self._index))
            except (ServerError, StorageRefusalError) as error:
                self._problems.note(server, error)

        holders = [s for s, numbers in self.selection.held.items() if numbers and s not in self._renewed]
        await asyncio.gather(*(renew(self._offered[s]) for s in holders))
