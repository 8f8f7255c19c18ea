"""The shares of immutable files as servers hold them on disk, those of tahoe-lafs and of Holdfast alike.

Source: docs/spec/storage-disk.md, sections 2, 3 and 6.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from holdfast.crypto import base32
from holdfast.formats.containers import StoredLease, leases, parse_container
from holdfast.servers.storage.directory import StorageDirectory
from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.share_log import LoggedShare, ShareLog, log_paths

PATIENCE_S = 30.0  # on a machine that others use too


@dataclass(frozen=True, slots=True)
class StoredShare:
    """One share in the directory of one server."""

    node: Path  # directory of the server
    storage_index: str  # base32, 26 characters
    number: int

    @property
    def path(self) -> Path:
        return self.node / "storage/shares" / self.storage_index[:2] / self.storage_index / str(self.number)

    @property
    def data(self) -> bytes:
        """What a client stored: the file without the server's header and leases."""
        content = self.path.read_bytes()
        container = parse_container(content, len(content))
        return content[container.data_offset : container.data_offset + container.size]

    def leases(self) -> list[StoredLease]:
        """Return the leases in the file, and those that Holdfast keeps beside it."""
        content = self.path.read_bytes()
        container = parse_container(content, len(content))
        inside = leases(container, lambda offset, length: content[offset : offset + length])
        return [*inside, *self._leases_beside()]

    def flip(self, offset: int) -> None:
        """Change the byte at ``offset`` of what the client stored."""
        content = self.path.read_bytes()
        at = parse_container(content, len(content)).data_offset + offset
        with open(self.path, "r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 0xFF]))

    def advice(self) -> list[str]:
        """Return the reasons of all advice on corruption that the server has received about this share."""
        name = f"*--{self.storage_index}-{self.number}*"
        files = sorted((self.node / "storage/corruption-advisories").glob(name))
        return [path.read_text(encoding="utf-8").partition("\n\n")[2].strip() for path in files]

    def _leases_beside(self) -> list[StoredLease]:
        catalog = self.node / "storage/holdfast/storage.db"
        if not catalog.exists():
            return []
        with closing(sqlite3.connect(f"{catalog.as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(
                "SELECT renew_hash, cancel_hash, owner, expiry FROM leases"
                " WHERE storage_index = ? AND number = ?",
                (base32.decode(self.storage_index), self.number),
            ).fetchall()
        return [StoredLease(*row) for row in rows]


def _wait_for_files(node: Path, storage_index: str) -> None:
    places = StorageDirectory(node / "storage")
    logs = [ShareLog(path, Disk(synchronise=False)) for path in log_paths(places)]
    logged = [share for log in logs for share in log.read()]
    index = base32.decode(storage_index)
    waiting = {share.number: share for share in logged if share.index == index}
    folder = node / "storage/shares" / storage_index[:2] / storage_index
    deadline = time.monotonic() + PATIENCE_S
    while waiting and time.monotonic() < deadline:
        if waiting.keys() <= _in_catalog(node, index) and all(
            _is_in_file(s, folder) for s in waiting.values()
        ):
            return
        time.sleep(0.05)


def _is_in_file(share: LoggedShare, folder: Path) -> bool:
    path = folder / str(share.number)
    return path.exists() and path.read_bytes().endswith(share.data)


def _in_catalog(node: Path, index: bytes) -> set[int]:
    catalog = node / "storage/holdfast/storage.db"
    with closing(sqlite3.connect(f"{catalog.as_uri()}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT number FROM shares WHERE storage_index = ?", (index,)).fetchall()
    return {number for (number,) in rows}


def stored_shares(nodes: Iterable[Path], storage_index: str) -> list[StoredShare]:
    """Return the complete shares of one file on all these servers, in order of their numbers.

    Those that wait for a file of their own get it within a second; that is waited for.
    """
    shares = []
    for node in nodes:
        _wait_for_files(node, storage_index)
        folder = node / "storage/shares" / storage_index[:2] / storage_index
        for path in folder.glob("*"):
            shares.append(StoredShare(node, storage_index, int(path.name)))
    return sorted(shares, key=lambda share: (share.number, share.node))
