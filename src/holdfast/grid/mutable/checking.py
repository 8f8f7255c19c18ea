"""Checks where the shares of a mutable file are, and verifies what is in them.

Every copy of every share is verified: its key and signature, its hash trees, each record, and with a
capability to write its private key. A verify capability is enough for everything else.

Source: docs/spec/mutable.md, section 15.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field

from holdfast.errors import IntegrityError, ServerError
from holdfast.formats.mutable_keys import decrypted_private_key
from holdfast.formats.mutable_layout import MutableHeader
from holdfast.formats.mutable_proof import VersionProof
from holdfast.grid.mutable.operation import Operation
from holdfast.grid.mutable.share_copy import ChangedShareError, ShareCopy
from holdfast.grid.mutable.slot_reads import FETCH_TIMEOUT_S
from holdfast.grid.mutable.version_reader import BATCH_SIZE
from holdfast.grid.progress import Progress, ProgressCallback
from holdfast.grid.results import CheckResult, ServerProblem
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.planning.happiness import happiness
from holdfast.planning.server_map import Place, ServerMap

SHARES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class MutableCheckResult(CheckResult):
    """Where the shares of the best version are, and which other versions there are.

    Attributes:
        sequence: of the best version; None if no share was found.
        size: of the best version, in bytes.
        recoverable_versions, unrecoverable_versions: how many were found.
        wrong_shares: how many shares of other versions were found.
        needs_merge: two versions with one sequence number can be read.
        needs_repair: it is not so that one version is there, completely.
        rolled_back: the best version is older than one that was read or written here before.
    """

    sequence: int | None = None
    size: int = 0
    recoverable_versions: int = 0
    unrecoverable_versions: int = 0
    wrong_shares: int = 0
    needs_merge: bool = False
    needs_repair: bool = field(default=False)
    rolled_back: bool = False


def check_result(op: Operation, servers_known: int, *, rolled_back: bool) -> MutableCheckResult:
    """Return what an operation has seen."""
    seen = op.sighting.map
    recoverable, unrecoverable = seen.recoverable(), seen.unrecoverable()
    shown = [*recoverable, *unrecoverable][:1]
    holders = seen.holders(shown[0]) if shown else {}
    total = shown[0].shares_total if shown else 10
    corrupt = _corrupt(op, seen.bad)
    complete = bool(recoverable) and len(holders) >= total
    one = len(recoverable) == 1 and not unrecoverable
    return MutableCheckResult(
        healthy=one and complete,
        recoverable=bool(recoverable),
        shares={number: tuple(ids) for number, ids in holders.items()},
        shares_needed=shown[0].shares_needed if shown else 3,
        shares_total=total,
        happiness=_happiness(seen),
        corrupt=corrupt,
        problems=op.problems.all(),
        servers_asked=len(seen.answered),
        servers_known=servers_known,
        sequence=shown[0].sequence if shown else None,
        size=shown[0].size if shown else 0,
        recoverable_versions=len(recoverable),
        unrecoverable_versions=len(unrecoverable),
        wrong_shares=sum(found.header not in shown for found in seen.shares.values()),
        needs_merge=seen.needs_merge,
        needs_repair=not one or not complete or bool(corrupt),
        rolled_back=rolled_back,
    )


async def verify_version(op: Operation, version: MutableHeader, progress: ProgressCallback) -> None:
    """Verify every copy of a version. Bad ones are marked bad, those that cannot be read are forgotten."""
    copies = op.sighting.copies_of(version)
    proof = VersionProof(version)
    turn = asyncio.Semaphore(SHARES_AT_ONCE)
    total, done = len(copies) * version.segmentation.data_size, 0

    def passed(count: int) -> None:
        nonlocal done
        done += count
        progress(Progress("verifying", done, total))

    async def verify(copy: ShareCopy) -> None:
        place = Place(copy.server.id, copy.number)
        async with turn:
            try:
                async for count in _verify(op, proof, copy):
                    passed(count)
            except IntegrityError as error:
                op.give_up(copy, error)
            except ChangedShareError:
                op.sighting.forget(place)
            except (ServerError, StorageRefusalError, TimeoutError) as error:
                op.problems.note(copy.server, error, copy.number)
                op.sighting.forget(place)

    async with asyncio.TaskGroup() as group:
        for copy in copies:
            group.create_task(verify(copy))


async def _verify(op: Operation, proof: VersionProof, copy: ShareCopy) -> AsyncGenerator[int]:
    """Verify one copy; yield how many bytes of records were right, again and again."""
    index, plan = op.identity.index, copy.header.segmentation
    async with asyncio.timeout(FETCH_TIMEOUT_S):
        await copy.leaves(index, proof)
        (private_key,) = await copy.sections(index, [copy.offsets.private_key])
    if op.identity.write_key is not None:
        decrypted_private_key(op.identity.write_key, private_key)
    step = max(1, BATCH_SIZE // max(1, plan.block_size))
    for first in range(0, plan.segment_count, step):
        segments = range(first, min(first + step, plan.segment_count))
        async with op.hold(2 * plan.records_length(segments)), asyncio.timeout(FETCH_TIMEOUT_S):
            await op.records(copy, proof, segments)
        yield plan.records_length(segments)


def _corrupt(op: Operation, places: Iterable[Place]) -> tuple[ServerProblem, ...]:
    told = {(p.server_id, p.share): p for p in op.problems.all()}
    return tuple(
        told.get((place.server, place.number)) or ServerProblem(place.server, "", "corrupt", place.number)
        for place in sorted(places)
    )


def _happiness(seen: ServerMap) -> int:
    """Return the happiness of all shares, where those of two versions are two."""
    numbers: dict[tuple[MutableHeader, int], int] = {}
    sharemap: dict[int, list[str]] = {}
    for place, found in seen.shares.items():
        number = numbers.setdefault((found.header, place.number), len(numbers))
        sharemap.setdefault(number, []).append(place.server)
    return happiness(sharemap)
