"""Checks where the shares of a file are, and verifies what is in them.

Source: docs/spec/immutable.md, section 14; docs/spec/grid.md, section 12.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from holdfast.caps import ImmutableVerifyCap, LiteralCap
from holdfast.errors import BadFileError, IntegrityError, NoServersError, ServerError
from holdfast.grid.advice import Problems
from holdfast.grid.bucket_reader import RemoteBucketReader
from holdfast.grid.downloader import guessed_layout, no_servers_message
from holdfast.grid.file_caps import checkable_file_cap
from holdfast.grid.known_server import KnownServer
from holdfast.grid.memory import MemoryBudget
from holdfast.grid.open_share import FileIdentity
from holdfast.grid.patience import ask_all
from holdfast.grid.progress import Progress, ProgressCallback, ignore_progress
from holdfast.grid.results import CheckResult, ServerProblem
from holdfast.grid.servers import Servers
from holdfast.grid.structured import first_error
from holdfast.grid.verifier import verify_share
from holdfast.grid.workers import Workers
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import StorageIndex
from holdfast.planning.happiness import happiness

ASK_TIMEOUT_S = 6.0
SHARES_AT_ONCE = 4


class Checker:
    """Checks files on the servers of one client."""

    def __init__(self, servers: Servers, workers: Workers, memory: MemoryBudget) -> None:
        self._servers = servers
        self._workers = workers
        self._memory = memory

    async def check(self, uri: str) -> CheckResult:
        """Ask every server which shares it holds; look at none of them.

        Raises:
            BadCapabilityError, WrongCapabilityTypeError: this capability cannot be checked.
            NoServersError: no server answers.
        """
        cap = checkable_file_cap(uri)
        return _LITERAL if isinstance(cap, LiteralCap) else await self._check(cap, None)

    async def verify(self, uri: str, progress: ProgressCallback | None = None) -> CheckResult:
        """Read and prove every share on every server. Needs no more than the verify capability.

        Raises: as ``check``; BadFileError for a file that was made wrongly.
        """
        cap = checkable_file_cap(uri)
        return (
            _LITERAL if isinstance(cap, LiteralCap) else await self._check(cap, progress or ignore_progress)
        )

    async def _check(self, cap: ImmutableVerifyCap, progress: ProgressCallback | None) -> CheckResult:
        index = StorageIndex(cap.storage_index)
        problems = Problems(index)
        servers = {server.id: server for server in self._servers.in_order(index)}
        try:
            held = await self._ask_all(index, list(servers.values()), problems)
            corrupt: list[ServerProblem] = []
            if progress is not None:
                with first_error():
                    corrupt = await self._verify_all(cap, index, servers, held, problems, progress)
            return self._result(cap, held, corrupt, problems)
        finally:
            await problems.deliver()

    async def _ask_all(
        self, index: StorageIndex, servers: list[KnownServer], problems: Problems
    ) -> dict[str, set[int]]:
        """Return server id to share numbers, for every server that answers."""

        async def ask(server: KnownServer) -> set[int] | None:
            try:
                return set(await server.service.list_immutable(index))
            except (ServerError, StorageRefusalError) as error:
                problems.note(server, error)
                return None

        answers = await ask_all(
            [ask(server) for server in servers], enough=len(servers) // 2, most_s=ASK_TIMEOUT_S
        )
        held: dict[str, set[int]] = {}
        for server, answer in zip(servers, answers, strict=True):
            if isinstance(answer, TimeoutError):
                problems.note(server, ServerError("hung"))
            elif answer is not None:
                held[server.id] = answer
        if not held:
            raise NoServersError(no_servers_message(self._servers))
        return held

    async def _verify_all(
        self,
        cap: ImmutableVerifyCap,
        index: StorageIndex,
        servers: Mapping[str, KnownServer],
        held: dict[str, set[int]],
        problems: Problems,
        progress: ProgressCallback,
    ) -> list[ServerProblem]:
        """Verify every share; take those that fail out of ``held``, and return the corrupt ones."""
        identity = FileIdentity(cap.ueb_hash, cap.shares_needed, cap.shares_total, cap.size)
        guess = guessed_layout(identity)
        shares = [(s, n) for s, numbers in held.items() for n in sorted(numbers) if n < cap.shares_total]
        corrupt: list[ServerProblem] = []
        total = len(shares) * -(-cap.size // cap.shares_needed)
        done = 0
        turn = asyncio.Semaphore(SHARES_AT_ONCE)

        def passed(count: int) -> None:
            nonlocal done
            done += count
            progress(Progress("verifying", min(done, total), total))

        async def verify(server_id: str, number: int) -> None:
            server = servers[server_id]
            reader = RemoteBucketReader(server.service, index, number, cap.shares_total, guess)
            async with turn:
                try:
                    await verify_share(number, reader, identity, self._workers, self._memory, passed)
                    return
                except BadFileError:
                    raise
                except IntegrityError as error:
                    problems.note(server, error, number)
                    corrupt.append(ServerProblem(server.id, server.name, str(error), number))
                except (ServerError, StorageRefusalError) as error:
                    problems.note(server, error, number)
                held[server_id].discard(number)

        async with asyncio.TaskGroup() as group:
            for server_id, number in shares:
                group.create_task(verify(server_id, number))
        return corrupt

    def _result(
        self,
        cap: ImmutableVerifyCap,
        held: dict[str, set[int]],
        corrupt: list[ServerProblem],
        problems: Problems,
    ) -> CheckResult:
        sharemap: dict[int, list[str]] = {}
        for server_id, numbers in held.items():
            for number in numbers:
                if number < cap.shares_total:
                    sharemap.setdefault(number, []).append(server_id)
        return CheckResult(
            healthy=len(sharemap) == cap.shares_total,
            recoverable=len(sharemap) >= cap.shares_needed,
            shares={number: tuple(sorted(sharemap[number])) for number in sorted(sharemap)},
            shares_needed=cap.shares_needed,
            shares_total=cap.shares_total,
            happiness=happiness(sharemap),
            corrupt=tuple(sorted(corrupt, key=lambda p: (p.share or 0, p.server_id))),
            problems=problems.all(),
            servers_asked=len(held),
            servers_known=len(self._servers),
        )


_LITERAL = CheckResult(
    healthy=True, recoverable=True, shares={}, shares_needed=0, shares_total=0, happiness=0
)
