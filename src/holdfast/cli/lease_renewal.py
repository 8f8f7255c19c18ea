"""The renewal of leases for whoever holds nothing but refresh capabilities: a machine that is always on, say.

Source: docs/spec/vdrive.md, sections 12.1 to 12.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from holdfast.caps.refresh import RefreshCap, parse_refresh_cap
from holdfast.caps.vdrive import VdriveRefreshCap
from holdfast.errors import BadCapabilityError, HoldfastError, InputError, ServerError
from holdfast.grid.client import Grid
from holdfast.grid.known_server import KnownServer
from holdfast.interfaces.storage_errors import NoSuchShareError, StorageRefusalError
from holdfast.interfaces.types import StorageIndex
from holdfast.node.drive_client import DriveClient

AnyRefreshCap = RefreshCap | VdriveRefreshCap
AT_ONCE = 8  # objects
LINE_MAX = 2000  # characters


@dataclass(slots=True)
class RenewalReport:
    """What came of it.

    Attributes:
        renewed: objects whose leases were renewed wherever they are.
        failed: objects that were not renewed at all, by their refresh capability, with the reason.
        partly: objects some of whose servers did not answer.
        cancelled: directories whose lease was given up.
    """

    renewed: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    partly: int = 0
    cancelled: int = 0


def parse_manifest(lines: Iterable[str], source: str) -> list[AnyRefreshCap]:
    """Return the refresh capabilities in a manifest, one a line, each once. Blank lines and comments (``#``)
    do not count.

    Raises:
        InputError: a line is something else; the message names it by its number.
    """
    found: dict[AnyRefreshCap, None] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            found[parse_refresh_cap(text[:LINE_MAX])] = None
        except BadCapabilityError:
            raise InputError(
                f"{source}, line {number}: this is no refresh capability; make the manifest with:"
                " holdfast manifest --refresh-cap"
            ) from None
    return list(found)


async def renew_all(
    client: DriveClient, caps: Sequence[AnyRefreshCap], done: Callable[[int], None] = lambda count: None
) -> RenewalReport:
    """Renew the leases of all these objects; ``done`` is told how many there were so far."""
    report, turn, finished = RenewalReport(), asyncio.Semaphore(AT_ONCE), 0

    async def renew(cap: AnyRefreshCap) -> None:
        nonlocal finished
        async with turn:
            try:
                whole = await _renew(client, cap)
            except HoldfastError as error:
                report.failed.append((cap.to_text(), str(error)))
            else:
                report.renewed += whole
                report.partly += not whole
        finished += 1
        done(finished)

    async with asyncio.TaskGroup() as group:
        for cap in caps:
            group.create_task(renew(cap))
    return report


async def cancel_gone(
    client: DriveClient, before: Sequence[AnyRefreshCap], now: Sequence[AnyRefreshCap], report: RenewalReport
) -> None:
    """Give up the leases of directories that are only in ``before``. Those of files run out by themselves."""
    for cap in dict.fromkeys(before):
        if isinstance(cap, VdriveRefreshCap) and cap not in now:
            try:
                await client.vdrive_client.cancel_lease(cap)
            except HoldfastError as error:
                report.failed.append((cap.to_text(), str(error)))
            else:
                report.cancelled += 1


async def _renew(client: DriveClient, cap: AnyRefreshCap) -> bool:
    """Renew one object; return whether all servers that may hold it were asked.

    Raises:
        HoldfastError: nobody holds it, or could be asked.
    """
    if isinstance(cap, VdriveRefreshCap):
        await client.vdrive_client.renew_lease(cap)
        return True
    return await _renew_shares(client.grid, StorageIndex(cap.storage_index))


async def _renew_shares(grid: Grid, index: StorageIndex) -> bool:
    servers = grid.known.all()
    outcomes = await asyncio.gather(*(_renew_at(server, index) for server in servers))
    if True not in outcomes:
        raise ServerError("no server holds shares of it" if servers else "no storage server is known")
    return None not in outcomes


async def _renew_at(server: KnownServer, index: StorageIndex) -> bool | None:
    """Return whether the server holds shares, whose leases were renewed; None if it does not answer."""
    try:
        await server.service.add_lease(index, server.lease(index))
    except NoSuchShareError:
        return False
    except (ServerError, StorageRefusalError, TimeoutError):
        return None
    return True
