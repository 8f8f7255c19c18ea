"""Carries out publications: sends the shares of one version, each on condition that nobody else wrote.

What an answer shows is looked at before it counts as somebody else's change: only a version that is signed,
was not seen before, and is not older. A server that lost, replayed or mixed up a share is no other writer:
it is asked once more, on condition of what is there now. Shares that found no place get another server.

Source: docs/spec/mutable.md, section 12.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from holdfast.crypto.mutable_hashes import write_enabler, write_enabler_master
from holdfast.errors import NoServersError, ServerError
from holdfast.formats.mutable_share import SignedVersion, Write
from holdfast.grid.advice import Problems
from holdfast.grid.known_server import KnownServer
from holdfast.grid.mutable.held_writes import WithdrawnError, held_back, until_decided
from holdfast.grid.mutable.sighting import Sighting
from holdfast.grid.mutable.slot_reads import read_slot
from holdfast.grid.mutable.surveyor import HEAD_SIZE, Surveyor
from holdfast.grid.patience import FACTOR
from holdfast.interfaces.storage import ReadTestWriteResult, ShareVectors, StreamedWrite, WriteVector
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import StorageIndex
from holdfast.planning.publication import Goal, Outcome, Publication, plan_goal, unchanged_test
from holdfast.planning.server_map import Place

HELD_MIN = 64 * 1024  # bytes of a share of which all but the end is sent ahead
TOGETHER_MAX = 1 << 20  # bytes of shares sent to one server in one request
WRITE_TIMEOUT_S = 30.0
SENT_BYTES_PER_S_MIN = 64 * 1024  # requests may take longer by their size
WRITE_LEAST_S = 6.0  # and for a server that is written to before all others
LOOK_TIMEOUT_S = 3.0
ROUNDS_MAX = 3
LEADERS_MAX = 3  # servers tried, each before all others


class StaleMapError(Exception):
    """A share is not what it was when it was written here last; nothing was written. Stays in the client."""


WritesOf = Callable[[int], Sequence[Write]]
"""Gives the writes of one share."""
StreamOf = Callable[[int], Sequence[StreamedWrite]]
"""Gives the writes of one share, which are made while they are sent."""


class Publisher:
    """Publishes one signed version of a file, once."""

    def __init__(
        self,
        index: StorageIndex,
        write_key: bytes,
        signed: SignedVersion,
        sighting: Sighting,
        surveyor: Surveyor,
        problems: Problems,
        stream_of: StreamOf | None = None,
        passed: Callable[[int], None] | None = None,
        *,
        recalled: bool = False,
    ) -> None:
        """
        Args:
            recalled: the map is not of a survey, but of what was written here last.
            stream_of: makes each share while it is sent; used instead of the writes of ``publish``.
            passed: told of bytes of share data that are stored.
        """
        self._index = index
        self._master = write_enabler_master(write_key)
        self._header = signed.header
        self._offsets = signed.offsets
        self._share_size = signed.offsets.end
        self._sighting = sighting
        self._surveyor = surveyor
        self._problems = problems
        self._seen = set(sighting.map.versions())
        self._newest = sighting.map.highest_sequence
        self._stream_of = stream_of
        self._passed = passed
        self._attempts = 2  # at each request
        self._doubtful = recalled  # until the first request

    async def publish(
        self,
        goal: Goal,
        accepting: Sequence[str],
        writes_of: WritesOf,
        there: Collection[int] = (),
        *,
        whole: bool = True,
    ) -> Outcome:
        """Send the shares of ``goal``; give those that fail to other servers of ``accepting``.

        ``there``: the shares of this version that need not be sent.

        ``whole``: the writes make complete shares. If not, no server is asked more than once.

        Returns: what became of all of it; ``Outcome.check`` raises if it is not published.

        Raises:
            StaleMapError: the map was recalled, and is not right.
        """
        self._attempts = 2 if whole else 1
        outcome = await self._first_round(goal, writes_of, alone=bool(there))
        broken = {place.server for place in outcome.failed}
        for _ in range(ROUNDS_MAX - 1):
            missing = set(range(self._header.shares_total)).difference(outcome.numbers, there)
            usable = [server for server in accepting if server not in broken]
            if outcome.surprises or not missing or not usable:
                break
            more = await self._round(self._goal_for(missing, usable), writes_of)
            broken |= {place.server for place in more.failed}
            outcome = both(outcome, more)
        return outcome

    async def _first_round(self, goal: Goal, writes_of: WritesOf, *, alone: bool) -> Outcome:
        """Send the shares of ``goal``, to the first server before all others if somebody else may be writing.

        All writers begin at the same server, so only one of them gets any further, and the others leave the
        version that was there as it is. If all wrote everywhere at once, many of them could leave so few
        shares of each version that none could be read.

        ``alone``: nobody else's shares can be in the way.
        """
        outcome = Outcome(self._header, frozenset(), frozenset(), ())
        if alone or not (self._sighting.map.shares or self._sighting.map.bad):
            return await self._round(goal, writes_of)
        large = self._stream_of is None and self._share_size >= HELD_MIN
        for number, server in enumerate(self._in_order(goal)[:LEADERS_MAX]):
            leading, goal = _parted(goal, server)
            if large and number == 0 and goal.servers():
                first, rest = await self._round_held(leading, goal, writes_of)
            else:
                first, rest = await self._round(leading, writes_of, timeout_s=WRITE_LEAST_S), None
            outcome = both(outcome, first)
            self._doubtful = False
            if rest is not None:
                return both(outcome, rest)
            if outcome.surprises:
                return outcome
            if outcome.placed:
                break
        return both(outcome, await self._round(goal, writes_of))

    async def _round_held(
        self, leading: Goal, goal: Goal, writes_of: WritesOf
    ) -> tuple[Outcome, Outcome | None]:
        """Send the shares of ``leading``, and meanwhile those of ``goal`` but for their last byte.

        The other servers get that, and so have anything to carry out, once the first has written.

        Returns: both outcomes; None if the others got nothing to carry out.
        """
        held: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        rest = asyncio.create_task(self._round(goal, writes_of, held=held))
        try:
            first = await self._round(leading, writes_of, timeout_s=WRITE_LEAST_S)
            self._doubtful = False
            held.set_result(bool(first.placed) and not first.surprises)
            outcome = await rest
        finally:
            rest.cancel()
            await asyncio.gather(rest, return_exceptions=True)
        return first, outcome if held.result() else None

    def _in_order(self, goal: Goal) -> list[str]:
        """Return the servers of ``goal`` in the order that all clients have them in."""
        servers = set(goal.servers())
        return [server for server in self._sighting.servers if server in servers]

    def _goal_for(self, missing: set[int], usable: Sequence[str]) -> Goal:
        """Deal the missing shares out to servers that did not fail."""
        try:
            goal = plan_goal(self._sighting.map, usable, self._header.shares_total)
        except NoServersError:
            return Goal(())
        return Goal(tuple(p for p in goal.writes if p.number in missing and p.server in usable))

    async def _round(
        self,
        goal: Goal,
        writes_of: WritesOf,
        timeout_s: float | None = None,
        held: asyncio.Future[bool] | None = None,
    ) -> Outcome:
        """Send the shares of ``goal`` to all its servers at a time.

        ``held``: tells when the last byte of each may be sent, and whether at all; if not, nothing is done.
        """
        publication = Publication(self._sighting.map, goal, self._header, self._offsets)
        timeout_s = WRITE_TIMEOUT_S if timeout_s is None else timeout_s
        loop = asyncio.get_running_loop()
        began = loop.time()
        requests = {
            asyncio.create_task(self._send(publication, server, numbers, writes_of, held)): (server, numbers)
            for server in goal.servers()
            for numbers in self._batches(goal, server)
        }
        most = max((len(numbers) for _, numbers in requests.values()), default=0) * self._share_size
        allowance_s = most / SENT_BYTES_PER_S_MIN
        pending = set(requests)
        try:
            if held is not None:
                await asyncio.wait([held])
                began = loop.time()
                pending = pending if held.result() else set()
            limit = began + timeout_s + allowance_s
            while pending and loop.time() < limit:
                done, pending = await asyncio.wait(
                    pending, timeout=limit - loop.time(), return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    took = loop.time() - began
                    limit = began + min(WRITE_TIMEOUT_S, max(WRITE_LEAST_S, FACTOR * took)) + allowance_s
            for request in pending:
                server, numbers = requests[request]
                self._fail(publication, server, numbers, ServerError("hung"))
        finally:
            for request in requests:
                request.cancel()
            ended = await asyncio.gather(*requests, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error
        return publication.outcome()

    def _batches(self, goal: Goal, server: str) -> list[list[int]]:
        """Return the numbers of each request to a server: all together if they are small."""
        numbers = [*goal.numbers(server), *goal.deleted(server)]
        step = max(1, TOGETHER_MAX // self._share_size) if self._stream_of is None else 1
        return [numbers[i : i + step] for i in range(0, len(numbers), step)]

    async def _send(
        self,
        publication: Publication,
        server_id: str,
        numbers: list[int],
        writes_of: WritesOf,
        held: asyncio.Future[bool] | None,
    ) -> None:
        """Send one request, and once more if what stood in its way was no other writer."""
        server = self._sighting.servers[server_id]
        for attempt in range(self._attempts):
            failure: ServerError | None = None
            try:
                answer = await self._request(server, publication, numbers, writes_of, held)
            except StorageRefusalError as error:
                self._fail(publication, server_id, numbers, error)
                return
            except WithdrawnError:
                return
            except ServerError as error:
                failure = error
                answer_found = await self._look(server)
                if answer_found is None:
                    self._fail(publication, server_id, numbers, error)
                    return
                answer = answer_found
            strange = self._strange(publication, server_id, numbers, answer)
            if strange and self._doubtful and not self._is_done(numbers, answer):
                raise StaleMapError
            others = await self._changed_by_others(server_id, strange)
            if self._is_done(numbers, answer) or others:
                if self._passed is not None:
                    self._passed(len(numbers) * self._offsets.data.size)
                publication.record_answer(server_id, numbers, self._without_faults(answer, numbers, others))
                return
            if others is None or attempt + 1 == self._attempts:
                self._fail(
                    publication, server_id, numbers, failure or ServerError("does not keep its shares")
                )
                return

    def _vectors(
        self, goal: Goal, server: str, numbers: list[int], writes_of: WritesOf
    ) -> dict[int, ShareVectors]:
        deleted = goal.deleted(server)
        vectors = {}
        for number in numbers:
            test = unchanged_test(self._sighting.map, Place(server, number))
            if number in deleted:
                vectors[number] = ShareVectors([test], new_length=0)
            else:
                writes = [WriteVector(offset, data) for offset, data in writes_of(number)]
                vectors[number] = ShareVectors([test], writes)
        return vectors

    async def _request(
        self,
        server: KnownServer,
        publication: Publication,
        numbers: list[int],
        writes_of: WritesOf,
        held: asyncio.Future[bool] | None,
    ) -> ReadTestWriteResult:
        goal, service, lease = publication.goal, server.service, server.lease(self._index)
        enabler = write_enabler(self._master, server.record.server_seed)
        number, one = numbers[0], len(numbers) == 1 and numbers[0] not in goal.deleted(server.id)
        if one and self._stream_of is not None:
            writes = self._stream_of(number)
        elif one and held is not None and not held.done():
            writes = held_back(writes_of(number), held)
        else:
            if held is not None:
                await until_decided(held)
            vectors = self._vectors(goal, server.id, numbers, writes_of)
            return await service.read_test_write(
                self._index, enabler, lease, vectors, publication.read_vector
            )
        test = unchanged_test(self._sighting.map, Place(server.id, number))
        return await service.write_share(
            self._index, enabler, lease, number, [test], writes, publication.read_vector
        )

    async def _look(self, server: KnownServer) -> ReadTestWriteResult | None:
        """Return what a server holds after a request failed, if it tells: it may have been carried out."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                data = await read_slot(server.service, self._index, [(0, len(self._header.checkstring))])
        except (ServerError, StorageRefusalError, TimeoutError):
            return None
        return ReadTestWriteResult(False, data)

    def _is_done(self, numbers: list[int], answer: ReadTestWriteResult) -> bool:
        """Tell whether all shares of a request are as it wants them."""
        mine = self._header.checkstring
        return answer.success or all(n in answer.data and answer.data[n][0] == mine for n in numbers)

    def _without_faults(
        self, answer: ReadTestWriteResult, numbers: list[int], others: Collection[int] | None
    ) -> ReadTestWriteResult:
        """Return an answer with only those shares that were asked for or somebody else has written."""
        kept = {n: parts for n, parts in answer.data.items() if n in numbers or n in (others or ())}
        return ReadTestWriteResult(answer.success, kept)

    def _strange(
        self, publication: Publication, server_id: str, numbers: list[int], answer: ReadTestWriteResult
    ) -> list[int]:
        """Return the shares that are neither as they were nor as they are to be."""
        goal = publication.goal
        others = {*goal.numbers(server_id), *goal.deleted(server_id)}.difference(numbers)
        strange = []
        for number in sorted({*answer.data, *numbers} - others):
            if answer.success and number in numbers:
                continue
            found = answer.data[number][0] if number in answer.data else b""
            known = unchanged_test(self._sighting.map, Place(server_id, number)).specimen
            as_it_was = found[: len(known)] == known and bool(known or not found)
            if not as_it_was and found != self._header.checkstring:
                strange.append(number)
        return strange

    async def _changed_by_others(self, server_id: str, strange: Sequence[int]) -> set[int] | None:
        """Look closer at shares that are strange; return those that another writer has written.

        What is there otherwise is in the map then. None if the server does not tell.
        """
        if not strange:
            return set()
        server = self._sighting.servers[server_id]
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                heads = await read_slot(server.service, self._index, [(0, HEAD_SIZE)])
        except (ServerError, StorageRefusalError, TimeoutError):
            return None
        others = set()
        for number in strange:
            place = Place(server_id, number)
            self._sighting.forget(place)
            copy = await self._surveyor.verified(place, heads[number][0]) if number in heads else None
            if copy is None:
                continue
            unseen = copy.header not in self._seen and copy.header != self._header
            if unseen and copy.header.sequence > self._newest:
                others.add(number)
            else:
                self._sighting.add(copy)
        return others

    def _fail(self, publication: Publication, server: str, numbers: list[int], error: Exception) -> None:
        for number in numbers:
            self._problems.note(self._sighting.servers[server], error, number)
        publication.record_failure(server, numbers)


def both(one: Outcome, other: Outcome) -> Outcome:
    """Return what became of a version that was sent in two parts."""
    return replace(
        one,
        placed=one.placed | other.placed,
        failed=one.failed | other.failed,
        surprises=one.surprises + other.surprises,
    )


def _parted(goal: Goal, server: str) -> tuple[Goal, Goal]:
    """Return what is to be done at a server, and all the rest."""
    return (
        Goal(
            tuple(place for place in goal.writes if place.server == server),
            tuple(place for place in goal.deletions if place.server == server),
        ),
        Goal(
            tuple(place for place in goal.writes if place.server != server),
            tuple(place for place in goal.deletions if place.server != server),
        ),
    )
