"""Clients of virtual drive servers, and children to put into directories, for tests."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from holdfast.caps.immutable import LiteralCap
from holdfast.caps.slots import ChildSlots, child_slots
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.directory import VdriveDirectory
from holdfast.grid.vdrive.memory import VdriveMemory
from holdfast.grid.vdrive.servers import ServerSource
from holdfast.grid.vdrive.settings import VdriveSettings
from holdfast.grid.vdrive.views import (
    ChangeResult,
    DeleteEntry,
    EntriesView,
    EntryChange,
    Plan,
    PutEntry,
)
from holdfast.interfaces.drive import ChildAlreadyPresentError
from holdfast.testing.memory_vdrive import FixedServers

PAUSE_S = 0.001  # writers that collide wait for milliseconds


def client_of(
    servers: ServerSource | Any,
    memory: VdriveMemory | Path | None = None,
    *,
    clock: Callable[[], float] = time.time,
    **settings: Any,
) -> VdriveClient:
    """Return a client.

    Args:
        servers: a server in memory, or what finds servers.
        memory: or where it is.
    """
    if not isinstance(memory, VdriveMemory):
        memory = VdriveMemory(memory, clock=clock)
    source = servers if hasattr(servers, "service_id") else FixedServers(servers)
    chosen = VdriveSettings(**{"lease_seed": bytes(32), "pause_s": PAUSE_S, "auto_heal": False, **settings})
    return VdriveClient(source, memory, chosen, clock=clock)


def literal(text: str = "") -> ChildSlots:
    """Return a child that is a file with this content, of up to 55 bytes."""
    return child_slots(None, LiteralCap(text.encode()).to_text())


def putting(names: Sequence[str], text: str = "", *, replace: bool = False) -> Plan:
    """Return the plan that puts a child under each name, which must be free unless ``replace``."""

    def plan(views: Sequence[EntriesView]) -> list[list[EntryChange]]:
        for name in names:
            if not replace and views[0].get(name) is not None:
                raise ChildAlreadyPresentError(name)
        return [[PutEntry(name, literal(text or name), {}) for name in names]]

    return plan


async def put(
    client: VdriveClient,
    directory: VdriveDirectory,
    *names: str,
    text: str = "",
    replace: bool = False,
    deadline_s: float = 30.0,
) -> ChangeResult:
    """Put a child under each name, in one change."""
    plan = putting(names, text, replace=replace)
    return await client.change([(directory, names)], plan, deadline_s=deadline_s)


async def delete(client: VdriveClient, directory: VdriveDirectory, *names: str) -> ChangeResult:
    """Delete names, in one change."""
    return await client.change([(directory, names)], lambda views: [[DeleteEntry(name) for name in names]])


async def names_in(directory: VdriveDirectory) -> set[str]:
    """Return all names in a directory."""
    return {entry.name for entry in await directory.all_entries()}


async def contents_of(directory: VdriveDirectory) -> dict[str, bytes | None]:
    """Return what each name leads to."""
    return {entry.name: entry.child.strongest for entry in await directory.all_entries()}


def copied_state(memory_path: Path, copy_path: Path) -> Path:
    """Copy what a client remembers, as somebody does who copies the directory of a node."""
    copy_path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("", "-wal", "-shm"):
        source = Path(f"{memory_path}{suffix}")
        if source.exists():
            shutil.copy(source, f"{copy_path}{suffix}")
    return copy_path
