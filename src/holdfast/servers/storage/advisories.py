"""Corruption advisories: what clients say of shares, kept for the operator. The shares
are left alone: anybody who knows the swissnum can say anything.

Source: docs/spec/storage-protocol.md, section 12; docs/spec/storage-disk.md, section 6.
"""

from __future__ import annotations

import logging
import os
import re
from datetime import UTC, datetime

from holdfast.crypto import base32
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.catalog import Kind
from holdfast.servers.storage.settings import StorageSettings

log = logging.getLogger(__name__)

_CONTROL = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]|[\ud800-\udfff\u2028\u2029]")
LOGGED_MAX = 200  # characters of a reason that go into the log


class Advisories:
    """The directory of advisories. Its methods block."""

    def __init__(self, directory: str, settings: StorageSettings) -> None:
        self._directory = directory
        self._settings = settings
        self._count: int | None = None  # of files; known after the first look
        self._bytes = 0

    def record(self, kind: Kind, index: StorageIndex, number: int, reason: str, now: float) -> None:
        """Keep one advisory: in the log always, in a file while there are few and the disk takes it."""
        name = base32.encode(index)
        reason = _CONTROL.sub("?", reason)
        log.warning("a client says share %s-%d is corrupt: %s", name, number, reason[:LOGGED_MAX])
        text = (
            "report: Share Corruption\n"
            f"type: {kind.name.lower()}\n"
            f"storage_index: {name}\n"
            f"share_number: {number}\n\n"
            f"{reason}\n\n"
        )
        try:
            self._write(f"{_timestamp(now)}--{name}-{number}", text.encode("utf-8"))
        except OSError as error:
            log.warning("the advisory could not be written: %s", error.strerror)

    def _write(self, name: str, content: bytes) -> None:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        if self._count is None:
            sizes = [entry.stat().st_size for entry in os.scandir(self._directory)]
            self._count, self._bytes = len(sizes), sum(sizes)
        limits = self._settings
        if self._count >= limits.advisories_max or self._bytes + len(content) > limits.advisory_bytes_max:
            return
        descriptor = self._create(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        self._count += 1
        self._bytes += len(content)

    def _create(self, name: str) -> int:
        suffix = 0
        while True:
            path = f"{self._directory}/{name}-{suffix}" if suffix else f"{self._directory}/{name}"
            try:
                return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                suffix += 1


def _timestamp(now: float) -> str:
    """Return the time as the reference writes it: no colons, no fraction if it is zero."""
    return datetime.fromtimestamp(now, UTC).replace(tzinfo=None).isoformat().replace(":", "")
