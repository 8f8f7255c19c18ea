"""Carries out surveys: asks servers for the shares of a mutable file, and verifies what they say.

A server that keeps us waiting much longer than the others did counts as failed.

Source: docs/spec/mutable.md, sections 7 and 10.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from holdfast.errors import CorruptShareError, IntegrityError, ServerError
from holdfast.formats.mutable_keys import FileKeys
from holdfast.formats.mutable_layout import HEADER_SIZE_MAX, parse_mutable_header
from holdfast.formats.mutable_share import SignedHeaders
from holdfast.grid.advice import Problems
from holdfast.grid.known_server import KnownServer
from holdfast.grid.mutable.file_identity import FileIdentity
from holdfast.grid.mutable.share_copy import ShareCopy
from holdfast.grid.mutable.sighting import Sighting
from holdfast.grid.mutable.slot_reads import read_share, read_slot
from holdfast.grid.patience import FACTOR, LEAST_S
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.planning.server_map import Place
from holdfast.planning.survey import Survey, SurveyMode

HEAD_SIZE = 4000  # bytes of each share read at once: of a small file the whole share
LONG_HEAD_SIZE = 1 << 16  # the same while others write, so that what was found can be read
ANSWER_TIMEOUT_S = 10.0

_Query = asyncio.Task[Mapping[int, Sequence[bytes]]]


class Surveyor:
    """Surveys of one file, for one operation."""

    def __init__(self, identity: FileIdentity, sighting: Sighting, problems: Problems) -> None:
        self._identity = identity
        self._sighting = sighting
        self._problems = problems
        self._signed = SignedHeaders(identity.fingerprint)
        self._head_size = HEAD_SIZE

    def read_more_at_once(self) -> None:
        """Read a small share whole from now on, since it may be another one a moment later."""
        self._head_size = LONG_HEAD_SIZE

    async def run(self, survey: Survey, *, add_lease: bool = False) -> None:
        """Ask servers until the survey is finished. No request outlives this.

        One that takes too long counts as failed, and others are asked; if its answer comes meanwhile, or
        nothing else can be read, it is used all the same.

        ``add_lease``: renew the lease of all shares on every server that is asked.
        """
        loop = asyncio.get_running_loop()
        queries: dict[_Query, tuple[str, float]] = {}
        late: dict[_Query, tuple[str, float]] = {}
        asked: list[_Query] = []
        slowest: float | None = None
        try:
            while not survey.finished or (late and self._sighting.map.best is None):
                for server_id in survey.next_queries():
                    query = asyncio.create_task(self._ask(server_id, add_lease=add_lease))
                    queries[query] = (server_id, loop.time())
                    asked.append(query)
                limit = _patience_s(survey.mode, slowest)
                due = [began + limit for _, began in queries.values()]
                due += [began + ANSWER_TIMEOUT_S for _, began in late.values()] if survey.finished else []
                done, _ = await asyncio.wait(
                    {*queries, *late},
                    timeout=max(0.0, min(due) - loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for query in done & queries.keys():
                    server_id, began = queries.pop(query)
                    slowest = max(slowest or 0.0, loop.time() - began)
                    if await self._take(survey, server_id, query):
                        survey.record_answer(server_id)
                    else:
                        survey.record_failure(server_id)
                for query in done & late.keys():
                    await self._take(survey, late.pop(query)[0], query)
                if not done:
                    for query in [q for q, (_, began) in queries.items() if began + limit <= loop.time()]:
                        server_id, _ = late[query] = queries.pop(query)
                        self._failed(server_id, ServerError("hung"))
                        survey.record_failure(server_id)
                    if survey.finished:
                        late = {q: e for q, e in late.items() if e[1] + ANSWER_TIMEOUT_S > loop.time()}
        finally:
            for query in asked:
                query.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _ask(self, server_id: str, *, add_lease: bool) -> Mapping[int, Sequence[bytes]]:
        server, index = self._sighting.servers[server_id], self._identity.index
        if not add_lease:
            return await read_slot(server.service, index, [(0, self._head_size)])
        answer, _ = await asyncio.gather(
            read_slot(server.service, index, [(0, self._head_size)]), self._add_lease(server)
        )
        return answer

    async def _add_lease(self, server: KnownServer) -> None:
        index = self._identity.index
        with suppress(ServerError, StorageRefusalError):  # also where there is no share
            await server.service.add_lease(index, server.lease(index))

    async def _take(self, survey: Survey, server_id: str, query: _Query) -> bool:
        """Enter an answer into the map; return whether it is one."""
        try:
            answer = query.result()
        except (ServerError, StorageRefusalError) as error:
            self._failed(server_id, error)
            return False
        self._sighting.map.record_answer(server_id, answer.keys())
        for number, (head,) in sorted(answer.items()):
            await self._take_share(survey, Place(server_id, number), head)
        return True

    def _failed(self, server_id: str, error: Exception) -> None:
        self._problems.note(self._sighting.servers[server_id], error)
        self._sighting.map.record_failure(server_id)

    async def _take_share(self, survey: Survey, place: Place, head: bytes) -> None:
        copy = await self.verified(place, head)
        if copy is None:
            return
        self._sighting.add(copy)
        if survey.private_key_wanted and await self.find_private_key(copy):
            survey.private_key_found()

    async def verified(self, place: Place, head: bytes) -> ShareCopy | None:
        """Return a share whose first bytes are ``head``, if they are right; else mark it bad."""
        server = self._sighting.servers[place.server]
        try:
            header, offsets = parse_mutable_header(head, place.number)
            end = max(offsets.public_key.end, offsets.signature.end)
            if end > len(head):
                head = await self._longer(server, place.number, head, end)
                header, offsets = parse_mutable_header(head, place.number)
            self._signed.check(header, offsets, head)
        except IntegrityError as error:
            self._problems.note(server, error, place.number)
            self._sighting.mark_bad(place, head)
            return None
        except (ServerError, StorageRefusalError) as error:
            self._problems.note(server, error, place.number)
            return None
        return ShareCopy(server, place.number, header, offsets, head)

    async def _longer(self, server: KnownServer, number: int, head: bytes, end: int) -> bytes:
        """Return the first ``end`` bytes of a share with a long key."""
        if len(head) < HEADER_SIZE_MAX or len(head) < HEAD_SIZE:
            raise CorruptShareError("the share is cut short")
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            (longer,) = await read_share(server.service, self._identity.index, number, [(0, end)])
        return longer

    async def find_private_key(self, copy: ShareCopy) -> bool:
        """Take the private key from a share, unless it is known or wrong. Needs the write capability."""
        write_key = self._identity.write_key
        if self._identity.keys is not None or write_key is None:
            return self._identity.keys is not None
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                wanted = [copy.offsets.public_key, copy.offsets.private_key]
                public, encrypted = await copy.sections(self._identity.index, wanted)
            self._identity.keys = FileKeys.stored(write_key, public, encrypted)
        except (IntegrityError, ServerError, StorageRefusalError, TimeoutError) as error:
            self._problems.note(copy.server, error, copy.number)
            return False
        return True


def _patience_s(mode: SurveyMode, slowest: float | None) -> float:
    """Return how long to wait for one server, given how long the slowest took that answered."""
    if slowest is None:
        # A reader asks others soon. A writer wants to know what is on the servers it will write to.
        return min(2 * LEAST_S, ANSWER_TIMEOUT_S) if mode is SurveyMode.READ else ANSWER_TIMEOUT_S
    return min(max(LEAST_S, FACTOR * slowest), ANSWER_TIMEOUT_S)
