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
from holdfast.grid.mutable.sighting import Sighting
from holdfast.grid.mutable.slot_reads import read_slot
from holdfast.grid.mutable.surveyor import HEAD_SIZE, Surveyor
from holdfast.grid.patience import FACTOR
from holdfast.interfaces.storage import ReadTestWriteResult, ShareVectors, WriteVector
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import StorageIndex
from holdfast.planning.publication import Goal, Outcome, Publication, plan_goal, unchanged_test
from holdfast.planning.server_map import Place

TOGETHER_MAX = 1 << 20  # bytes of shares sent to one server in one request
WRITE_TIMEOUT_S = 40.0
WRITE_LEAST_S = 6.0
LOOK_TIMEOUT_S = 3.0
ROUNDS_MAX = 3

WritesOf = Callable[[int], Sequence[Write]]
"""Gives the writes of one share."""


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
    ) -> None:
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
        self._attempts = 2  # at each request

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
        """
        self._attempts = 2 if whole else 1
        outcome = await self._round(goal, writes_of)
        broken = {place.server for place in outcome.failed}
        for _ in range(ROUNDS_MAX - 1):
            missing = set(range(self._header.shares_total)).difference(outcome.numbers, there)
            usable = [server for server in accepting if server not in broken]
            if outcome.surprises or not missing or not usable:
                break
            more = await self._round(self._goal_for(missing, usable), writes_of)
            broken |= {place.server for place in more.failed}
            outcome = replace(
                outcome,
                placed=outcome.placed | more.placed,
                failed=outcome.failed | more.failed,
                surprises=outcome.surprises + more.surprises,
            )
        return outcome

    def _goal_for(self, missing: set[int], usable: Sequence[str]) -> Goal:
        """Deal the missing shares out to servers that did not fail."""
        try:
            goal = plan_goal(self._sighting.map, usable, self._header.shares_total)
        except NoServersError:
            return Goal(())
        return Goal(tuple(p for p in goal.writes if p.number in missing and p.server in usable))

    async def _round(self, goal: Goal, writes_of: WritesOf) -> Outcome:
        publication = Publication(self._sighting.map, goal, self._header, self._offsets)
        loop = asyncio.get_running_loop()
        began = loop.time()
        requests = {
            asyncio.create_task(self._send(publication, server, numbers, writes_of)): (server, numbers)
            for server in goal.servers()
            for numbers in self._batches(goal, server)
        }
        pending, limit, enough = set(requests), began + WRITE_TIMEOUT_S, len(requests) // 2
        try:
            while pending and loop.time() < limit:
                done, pending = await asyncio.wait(
                    pending, timeout=limit - loop.time(), return_when=asyncio.FIRST_COMPLETED
                )
                if done and len(requests) - len(pending) >= enough:
                    took = loop.time() - began
                    limit = began + min(WRITE_TIMEOUT_S, max(WRITE_LEAST_S, FACTOR * took))
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
        step = max(1, TOGETHER_MAX // self._share_size)
        return [numbers[i : i + step] for i in range(0, len(numbers), step)]

    async def _send(
        self, publication: Publication, server_id: str, numbers: list[int], writes_of: WritesOf
    ) -> None:
        """Send one request, and once more if what stood in its way was no other writer."""
        server = self._sighting.servers[server_id]
        for attempt in range(self._attempts):
            vectors = self._vectors(publication.goal, server_id, numbers, writes_of)
            try:
                answer = await self._request(server, vectors, publication.read_vector)
            except StorageRefusalError as error:
                self._fail(publication, server_id, numbers, error)
                return
            except ServerError as error:
                answer_found = await self._look(server)
                if answer_found is None:
                    self._fail(publication, server_id, numbers, error)
                    return
                answer = answer_found
            answer, blocked = await self._explained(publication, server_id, numbers, answer)
            if not blocked:
                publication.record_answer(server_id, numbers, answer)
                return
            if attempt + 1 == self._attempts:
                self._fail(publication, server_id, numbers, ServerError("does not keep its shares"))

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
                writes = [WriteVector(offset, bytes(data)) for offset, data in writes_of(number)]
                vectors[number] = ShareVectors([test], writes)
        return vectors

    async def _request(
        self, server: KnownServer, vectors: dict[int, ShareVectors], read_vector: list[tuple[int, int]]
    ) -> ReadTestWriteResult:
        enabler = write_enabler(self._master, server.record.server_seed)
        return await server.service.read_test_write(
            self._index, enabler, server.lease(self._index), vectors, read_vector
        )

    async def _look(self, server: KnownServer) -> ReadTestWriteResult | None:
        """Return what a server holds after a request failed, if it tells: it may have been carried out."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                data = await read_slot(server.service, self._index, [(0, len(self._header.checkstring))])
        except (ServerError, StorageRefusalError, TimeoutError):
            return None
        return ReadTestWriteResult(False, data)

    async def _explained(
        self,
        publication: Publication,
        server_id: str,
        numbers: list[int],
        answer: ReadTestWriteResult,
    ) -> tuple[ReadTestWriteResult, bool]:
        """Return the answer without what is no other writer's doing, and whether it failed for that only."""
        mine = self._header.checkstring
        in_request = set(numbers)
        elsewhere = {*publication.goal.numbers(server_id), *publication.goal.deleted(server_id)} - in_request
        strange = []
        for number in sorted({*answer.data, *in_request} - elsewhere):
            found = answer.data[number][0] if number in answer.data else b""
            if found == mine or (number in in_request and answer.success):
                continue
            if number not in answer.data and number not in in_request:
                continue
            known = unchanged_test(self._sighting.map, Place(server_id, number)).specimen
            if found[: len(known)] != known or (not known and found):
                strange.append(number)
        others = await self._changed_by_others(server_id, strange)
        kept = {n: parts for n, parts in answer.data.items() if n not in strange or n in others}
        done = answer.success or all(
            number in answer.data and answer.data[number][0] == mine for number in in_request
        )
        return ReadTestWriteResult(answer.success, kept), not done and not others

    async def _changed_by_others(self, server_id: str, strange: list[int]) -> set[int]:
        """Look closer at shares that are not as they were; return those that another writer has written."""
        if not strange:
            return set()
        server = self._sighting.servers[server_id]
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                heads = await read_slot(server.service, self._index, [(0, HEAD_SIZE)])
        except (ServerError, StorageRefusalError, TimeoutError):
            heads = {}
        others = set()
        for number in strange:
            place = Place(server_id, number)
            self._sighting.forget(place)
            if number not in heads:
                continue
            copy = await self._surveyor.verified(place, heads[number][0])
            if copy is None:
                continue
            if copy.header != self._header and self._is_news(copy.header.sequence, copy.header in self._seen):
                others.add(number)
            else:
                self._sighting.add(copy)
        return others

    def _is_news(self, sequence: int, seen: bool) -> bool:
        return not seen and sequence > self._newest

    def _fail(self, publication: Publication, server: str, numbers: list[int], error: Exception) -> None:
        for number in numbers:
            self._problems.note(self._sighting.servers[server], error, number)
        publication.record_failure(server, numbers)
