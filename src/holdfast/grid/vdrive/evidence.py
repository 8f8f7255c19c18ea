"""What a server answered that it must not, kept in files: signed heads speak for themselves.

Source: docs/spec/vdrive.md, sections 7.2 and 8.5.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from holdfast.crypto.vdrive_keys import log_name
from holdfast.protocol.vdrive_items import encoded

log = structlog.get_logger(__name__)

FILES_MAX = 1000


class EvidenceKeeper:
    """Writes files that are never overwritten. Whoever keeps too many loses the oldest."""

    def __init__(self, directory: Path | None, clock: Callable[[], float] = time.time) -> None:
        """``directory`` is made once it is needed. None: nothing is kept."""
        self._directory = directory
        self._clock = clock
        self._numbers = itertools.count()
        self._kept: OrderedDict[bytes, Path | None] = OrderedDict()  # by hash of what it is about

    def keep(self, index: bytes, what: str, parts: Mapping[str, object]) -> Path | None:
        """Keep what shows that a server misbehaved, once; return the file, if one could be written.

        Args:
            what: a word for it: ``fork``, ``rollback``, ``disowned``, ``answer``.
            parts: what CBOR can express, by name.
        """
        key = hashlib.sha256(encoded([index, what, dict(parts)])).digest()
        if key not in self._kept:
            self._kept[key] = self._write(index, what, parts)
            if len(self._kept) > FILES_MAX:
                self._kept.popitem(last=False)
        return self._kept[key]

    def _write(self, index: bytes, what: str, parts: Mapping[str, object]) -> Path | None:
        name = log_name(index)
        log.warning("evidence against a server of virtual drives", directory=name, what=what)
        if self._directory is None:
            return None
        now = self._clock()
        content = encoded({"index": index, "time": int(now), "what": what, "parts": dict(parts)})
        path = self._directory / f"{int(now)}-{what}-{name}-{os.getpid()}-{next(self._numbers)}.cbor"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
            self._trim()
        except OSError as error:
            log.warning("evidence cannot be kept", reason=str(error))
            return None
        return path

    def _trim(self) -> None:
        assert self._directory is not None
        files = sorted(self._directory.glob("*.cbor"), key=lambda path: path.stat().st_mtime)
        for path in files[:-FILES_MAX]:
            path.unlink(missing_ok=True)
