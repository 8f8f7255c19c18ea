"""One operation on one mutable file, from its first question to its last answer: surveys, reads, writes.

Source: docs/spec/mutable.md, sections 9 to 12.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from holdfast.errors import (
    NoServersError,
    NoSharesError,
    NotCapableError,
    NotEnoughSharesError,
    RolledBackError,
)
from holdfast.formats.mutable_encoding import EncodedSegments, EncodedVersion, VersionTrees, encode_version
from holdfast.formats.mutable_keys import FileKeys
from holdfast.formats.mutable_layout import MutableHeader
from holdfast.formats.mutable_proof import VersionProof
from holdfast.formats.mutable_segmentation import SALT_SIZE, MutableSegmentation
from holdfast.formats.mutable_share import SignedVersion, Write
from holdfast.grid.advice import Problems
from holdfast.grid.downloader import no_servers_message
from holdfast.grid.mutable.file_identity import FileIdentity
from holdfast.grid.mutable.known_versions import CONTENTS_MAX, KnownVersion, is_whole
from holdfast.grid.mutable.large_versions import LargeVersion
from holdfast.grid.mutable.parts import MutableParts
from holdfast.grid.mutable.publisher import Publisher, StreamOf, WritesOf
from holdfast.grid.mutable.share_copy import ChangedShareError, ShareCopy
from holdfast.grid.mutable.sighting import Sighting
from holdfast.grid.mutable.surveyor import Surveyor
from holdfast.grid.mutable.version_reader import VersionReader
from holdfast.grid.progress import Progress, ProgressCallback, ignore_progress
from holdfast.grid.sources import DataSource, Plaintext, StreamSource, open_source
from holdfast.planning.publication import Goal, Outcome, next_sequence, plan_goal
from holdfast.planning.rollback import Verdict, judge, remember
from holdfast.planning.server_map import Place
from holdfast.planning.survey import Survey, SurveyMode

STREAMED_FROM = 32 << 20  # bytes of a version and all its shares; a larger one is not held in memory
SPOOLED_FROM = 8 << 20  # bytes of contents that are copied

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a version is spread: any ``shares_needed`` of ``shares_total`` shares suffice."""

    shares_needed: int
    shares_total: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A version that only lacks its signature: its blocks, or what makes them while they are sent."""

    trees: VersionTrees
    blocks: EncodedSegments | None
    stream_of: Callable[[SignedVersion, Callable[[int], None]], StreamOf] | None
    contents: bytes | None = field(repr=False)  # unless they are large


class Operation:
    """Made by ``operation``. Everything seen and learned during it is in ``sighting`` and ``identity``."""

    def __init__(self, parts: MutableParts, identity: FileIdentity, problems: Problems) -> None:
        self._parts = parts
        self.identity = identity
        self.problems = problems
        self.progress: ProgressCallback = ignore_progress  # of what is published
        self.overtaken = False  # True once another writer replaced what was being read
        self.sighting = Sighting({})
        self._surveyor = Surveyor(identity, self.sighting, problems)
        # From before the servers are asked: what another process writes after they answered is no news.
        self._remembered = parts.rollback.get(identity.index)
        self._known = parts.known
        self._recalled: KnownVersion | None = None
        self._began = self._surveyed = self._known.clock()
        self._use_servers()

    # -- looking

    async def survey(self, mode: SurveyMode, encoding: Encoding, *, add_lease: bool = False) -> None:
        """Look what is where. What was seen before in this operation stays known.

        Raises:
            NoServersError: nobody answers.
        """
        self._use_servers()
        self._surveyed = self._known.clock()
        remembered = self._remembered
        survey = Survey(
            mode,
            list(self.sighting.servers),
            self.sighting.map,
            encoding.shares_needed,
            encoding.shares_total,
            private_key_wanted=self.identity.write_key is not None and self.identity.keys is None,
            sequence_remembered=0 if remembered is None else remembered.sequence,
        )
        await self._surveyor.run(survey, add_lease=add_lease)
        known = self._known.get(self.identity.index)
        if known is not None and self.sighting.map.best != known.header:
            self._known.forget(self.identity.index)
        if not self.sighting.map.answered:
            raise NoServersError(no_servers_message(self._parts.servers))

    def recall(self, known: KnownVersion) -> bool:
        """Take what was written last for what is there now, instead of a survey; False if it cannot be.

        What is published then raises StaleMapError if it is not, and nothing is written.
        """
        remembered = self._remembered
        if remembered is not None and remembered.sequence > known.header.sequence:
            return False  # another process of this node has written
        if self.identity.keys is None or not known.seen.servers() <= self.sighting.servers.keys():
            return False
        self.sighting.map, self._surveyed, self._recalled = known.seen.copy(), known.surveyed, known
        return True

    def best(self) -> MutableHeader:
        """Return the version to read.

        Raises:
            NotEnoughSharesError, NoSharesError: there is none.
            RolledBackError: it is older than what was there before.
        """
        best = self.sighting.map.best
        if best is None:
            raise self._unreadable()
        self.check_not_rolled_back()
        return best

    @property
    def rolled_back(self) -> bool:
        """True if the best version is older than one that was read or written here."""
        return judge(self._remembered, self.sighting.map).verdict is Verdict.ROLLED_BACK

    def check_not_rolled_back(self) -> None:
        """Raise RolledBackError if ``rolled_back``."""
        best, remembered = self.sighting.map.best, self._remembered
        if best is not None and remembered is not None and self.rolled_back:
            raise RolledBackError(
                f"the servers show version {best.sequence} of the file, but version {remembered.sequence}"
                " was there before; a forced repair settles for what they show",
                sequence_found=best.sequence,
                sequence_remembered=remembered.sequence,
            )

    def remember(self, version: MutableHeader) -> None:
        """Note that ``version`` was read or written completely."""
        index, store = self.identity.index, self._parts.rollback
        before = store.get(index)
        after = remember(before, version)
        if after != before:
            store.put(index, after)

    def _unreadable(self) -> NotEnoughSharesError:
        unrecoverable = self.sighting.map.unrecoverable()
        summary = self.problems.summary()
        if not unrecoverable:
            return NoSharesError(f"no share of the file was found{summary}", found=0, needed=0)
        newest = unrecoverable[0]
        found, needed = len(self.sighting.map.holders(newest)), newest.shares_needed
        return NotEnoughSharesError(
            f"version {newest.sequence} of the file needs {needed} shares, {found} were found{summary}",
            found=found,
            needed=needed,
        )

    # -- reading

    def reader(self, version: MutableHeader) -> VersionReader:
        """Return what reads ``version``. Raises NotCapableError for a verify capability."""
        if self.identity.read_key is None:
            raise NotCapableError("a verify capability does not allow reading the file")
        return VersionReader(
            self.identity.index,
            version,
            self.identity.read_key,
            self.sighting.copies_of(version),
            self._parts.workers,
            self._parts.memory,
            self.give_up,
        )

    @asynccontextmanager
    async def copied(self, version: MutableHeader) -> AsyncIterator[tuple[Plaintext, list[bytes]]]:
        """Give the contents of a version, and the salt of each segment; a large one lies in a file.

        Raises:
            NotEnoughSharesError, NoSharesError: it cannot be read any more.
        """
        reader = self.reader(version)
        pieces = reader.read(0, version.size)
        if version.size <= SPOOLED_FROM:
            plaintext = await open_source(DataSource(b"".join([bytes(piece) async for piece in pieces])))
        else:
            plaintext = await open_source(StreamSource(bytes(piece) async for piece in pieces))
        try:
            yield plaintext, [reader.salts[i] for i in range(version.segmentation.segment_count)]
        finally:
            await plaintext.close()

    async def records(self, copy: ShareCopy, proof: VersionProof, segments: range) -> list[memoryview]:
        """Return proven records of one copy; see ``ShareCopy.records``."""
        return await copy.records(self.identity.index, proof, segments, self._parts.workers)

    def hold(self, size: int) -> AbstractAsyncContextManager[None]:
        """Hold ``size`` bytes of the memory of all operations."""
        return self._parts.memory.hold(size)

    def give_up(self, copy: ShareCopy, error: Exception) -> None:
        """Note that a copy is of no use; if another writer was faster, whatever is there now may be."""
        self.problems.note(copy.server, error, copy.number)
        place = Place(copy.server.id, copy.number)
        if isinstance(error, ChangedShareError):
            self.overtaken = True
            self._surveyor.read_more_at_once()
            self.sighting.forget(place)
        else:
            self.sighting.mark_bad(place, copy.head)

    # -- writing

    async def keys(self) -> FileKeys:
        """Return the keys of the file, from any share that has them.

        Raises:
            NotCapableError: the capability does not allow writing.
            NotEnoughSharesError, NoSharesError: no share with the right private key is to be had.
        """
        if self.identity.write_key is None:
            raise NotCapableError("a capability to write is needed to change the file")
        for copy in list(self.sighting.copies.values()):
            if await self._surveyor.find_private_key(copy):
                break
        if self.identity.keys is None:
            raise self._unreadable()
        return self.identity.keys

    def next_sequence(self, wanted: int | None = None) -> int:
        """Return a number above all that were seen or are remembered.

        Raises:
            UncoordinatedWriteError: the number ``wanted`` is not the next one.
        """
        if wanted is not None:
            self.check_not_rolled_back()
            return next_sequence(self.sighting.map, wanted)
        remembered = self._parts.rollback.get(self.identity.index)
        return max(next_sequence(self.sighting.map), 1 + (0 if remembered is None else remembered.sequence))

    async def publish(self, plaintext: Plaintext, encoding: Encoding, sequence: int) -> Outcome:
        """Make a version of ``plaintext`` and store it. The result says what became of it.

        Raises:
            StaleMapError: what was recalled is not there. Nothing was written.
        """
        keys = await self.keys()
        plan = MutableSegmentation.plan(
            self.identity.format, plaintext.size, encoding.shares_needed, encoding.shares_total
        )
        salt = secrets.token_bytes(SALT_SIZE) if plan.format == "SDMF" else b""
        async with self.encoded(plaintext, plan, [salt] if salt else None) as encoded:
            signed = await self.in_worker(
                plan.size, SignedVersion.sign, plan, sequence, salt, encoded.trees, keys
            )
            outcome = await self.send(signed, encoded)
        if not (outcome.surprises or outcome.failed) and is_whole(self.sighting.map, outcome.header):
            self._keep(outcome.header, encoded.contents)
        return outcome

    def _keep(self, version: MutableHeader, contents: bytes | None) -> None:
        """Remember what was published, for the next change."""
        in_a_row = 0 if self._recalled is None else self._recalled.in_a_row + 1
        now = self._known.clock()
        known = KnownVersion(
            version,
            self.sighting.map.copy(),
            contents,
            self._surveyed,
            in_a_row=in_a_row,
            took=now - self._began,
            written=now,
        )
        self._known.put(self.identity.index, known)

    @asynccontextmanager
    async def encoded(
        self, plaintext: Plaintext, plan: MutableSegmentation, salts: list[bytes] | None
    ) -> AsyncIterator[Encoded]:
        """Encode a version, in memory unless it is large. ``salts``: None for new ones, in MDMF."""
        keys, parts = await self.keys(), self._parts
        size = plan.size + plan.shares_total * plan.data_size
        if plan.format == "MDMF" and size > STREAMED_FROM:
            large = LargeVersion(plaintext, plan, keys, parts.workers, parts.memory, salts)
            yield Encoded(await large.trees(), None, large.stream_of, None)
            return
        async with parts.memory.hold(size):
            version, data = await parts.workers.run(plan.size, _encode, plaintext, plan, keys, salts)
            yield Encoded(version.trees, version.encoded, None, data if plan.size <= CONTENTS_MAX else None)

    async def in_worker(self, size: int, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``job`` in a thread if it is long. ``size``: bytes it handles."""
        return await self._parts.workers.run(size, job, *args, **kwargs)

    async def send(self, signed: SignedVersion, encoded: Encoded, *, only_missing: bool = False) -> Outcome:
        """Store a signed version where the map says.

        ``only_missing``: shares of this version that are there are left alone.
        """
        blocks, stream_of = encoded.blocks, encoded.stream_of

        def writes_of(number: int) -> Sequence[Write]:
            return signed.writes_of_new_share(number, [] if blocks is None else [blocks.share(number)])

        stream = None if stream_of is None else stream_of(signed, self._passed(signed))
        return await self._send(signed, writes_of, stream, only_missing=only_missing)

    def _passed(self, signed: SignedVersion) -> Callable[[int], None]:
        """Return what is told of bytes of share data that were sent, and tells of progress."""
        size, done = signed.header.size, 0
        total = max(1, signed.header.shares_total * signed.offsets.data.size)

        def passed(count: int) -> None:
            nonlocal done
            done = min(done + count, total)
            self.progress(Progress("uploading", size * done // total, size))

        return passed

    async def send_update(self, signed: SignedVersion, writes_of: WritesOf) -> Outcome:
        """Store a version by writes to shares that are there; each is asked for once."""
        return await self._send(signed, writes_of, None, whole=False)

    async def _send(
        self,
        signed: SignedVersion,
        writes_of: WritesOf,
        stream_of: StreamOf | None,
        *,
        whole: bool = True,
        only_missing: bool = False,
    ) -> Outcome:
        keys = await self.keys()
        self._known.forget(self.identity.index)
        accepting = [
            server.id
            for server in self._parts.servers.for_uploads(self.identity.index)
            if server.id in self.sighting.servers  # one that came back meanwhile was not asked what it has
        ]
        goal = plan_goal(self.sighting.map, accepting, signed.header.shares_total)
        there = {p for p, found in self.sighting.map.shares.items() if found.header == signed.header}
        if only_missing:
            goal = Goal(tuple(place for place in goal.writes if place not in there), goal.deletions)
        publisher = Publisher(
            self.identity.index,
            keys.write_key,
            signed,
            self.sighting,
            self._surveyor,
            self.problems,
            stream_of,
            self._passed(signed) if stream_of is None else None,
            recalled=self._recalled is not None,
        )
        numbers = {place.number for place in there}
        outcome = await publisher.publish(goal, accepting if whole else (), writes_of, numbers, whole=whole)
        if not outcome.surprises and len(outcome.numbers | numbers) >= signed.header.shares_needed:
            self.remember(signed.header)
        return outcome

    def _use_servers(self) -> None:
        """Take in servers that came. Those that went stay, as long as shares on them are known."""
        servers = {server.id: server for server in self._parts.servers.in_order(self.identity.index)}
        known = {place.server for place in (*self.sighting.map.shares, *self.sighting.map.bad)}
        kept = {key: server for key, server in self.sighting.servers.items() if key in known}
        self.sighting.servers = {**servers, **{k: s for k, s in kept.items() if k not in servers}}


@asynccontextmanager
async def operation(parts: MutableParts, identity: FileIdentity) -> AsyncIterator[Operation]:
    """Begin an operation; at its end servers have been told of their corrupt shares."""
    problems = Problems(identity.index, mutable=True)
    try:
        yield Operation(parts, identity, problems)
    finally:
        await problems.deliver()


def _encode(
    plaintext: Plaintext, plan: MutableSegmentation, keys: FileKeys, salts: list[bytes] | None
) -> tuple[EncodedVersion, bytes]:
    """Encode a version in memory; return its contents besides. For a worker."""
    buffer = bytearray(plaintext.size)
    plaintext.read_into(0, memoryview(buffer))
    plaintext.check_unchanged()
    data = bytes(buffer)
    if salts is None:
        salts = [secrets.token_bytes(SALT_SIZE) for _ in range(plan.segment_count)]
    return encode_version(data, plan, keys.read_key, salts), data
