"""One process per node directory, and how others learn of it: a lock that dies with
its process, and a file that says where it listens.

``lock`` is locked while a process runs the node, and holds its process id.
``running.json`` is there while it serves; after a crash it is stale, which the lock tells.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from holdfast.errors import InputError
from holdfast.node.private_files import write_private_file

LOCK_FILE = "lock"
RUNNING_FILE = "running.json"
LOCK_PATIENCE_S = 1.0  # others hold the lock for a moment to see whether it is free


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningNode:
    """What a running node says of itself. Its file has mode 0600: who has a NURL may store."""

    pid: int
    port: int
    server_id: str
    nurls: tuple[str, ...] = field(repr=False)


class AlreadyRunningError(InputError):
    """Another process runs this node."""


@contextmanager
def the_only_process(node: Path) -> Iterator[None]:
    """Hold the lock of a node directory.

    Raises:
        AlreadyRunningError: another process holds it.
    """
    descriptor = os.open(node / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, node)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def process_of(node: Path) -> int | None:
    """Return the id of the process that runs the node, or None."""
    try:
        descriptor = os.open(node / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None


def announce(node: Path, running: RunningNode) -> None:
    """Say that the node serves."""
    write_private_file(node / RUNNING_FILE, json.dumps(asdict(running), indent=1) + "\n")


def withdraw(node: Path) -> None:
    """Say that the node does not serve (any more)."""
    (node / RUNNING_FILE).unlink(missing_ok=True)


def running_node(node: Path) -> RunningNode | None:
    """Return what the node says of itself, or None when no process serves it."""
    pid = process_of(node)
    try:
        values = json.loads((node / RUNNING_FILE).read_text(encoding="utf-8"))
        running = RunningNode(
            pid=values["pid"],
            port=values["port"],
            server_id=values["server_id"],
            nurls=tuple(values["nurls"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return running if pid is not None and running.pid == pid else None


def _lock(descriptor: int, node: Path) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                raise AlreadyRunningError(f"{node} is in use by process {pid}; stop that first") from None
            time.sleep(0.02)
