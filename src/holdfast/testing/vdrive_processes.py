"""Virtual drive servers in processes of their own, that can be killed; each is reached through a proxy, so
that it can be started again and its connections can be cut.

Source: docs/spec/vdrive.md, section 17, V-09, V-12 and V-13.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.caps.vdrive import VdrivePlace
from holdfast.protocol.nurl import parse_nurl, spki_hash_bytes
from holdfast.testing.tcp_proxy import TcpProxy


class VdriveProcess:
    """One server. A context manager; it runs once it is started.

    Attributes:
        directory, database_url: where it keeps its keys and everything else.
        proxy: in front of it.
        running: the process.
    """

    def __init__(self, directory: Path, database_url: str | None = None) -> None:
        """``directory`` of its keys, which several servers on one database share."""
        self.directory = directory
        self.database_url = database_url
        self.proxy = TcpProxy()
        self.running: subprocess.Popen[bytes] | None = None
        self.swissnum = ""
        self.sid = b""
        self._command = [sys.executable, "-m", "holdfast.testing.vdrive_server", str(directory)]
        if database_url is not None:
            self._command.append(database_url)

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.proxy.__exit__(kind, error, trace)

    @property
    def pid(self) -> int:
        assert self.running is not None, "the server does not run"
        return self.running.pid

    def start(self) -> None:
        """Start it, for the first time or again, and wait until it listens."""
        self.running = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.running.stdout is not None
        nurl = parse_nurl(self.running.stdout.readline().decode().strip())
        self.sid, self.swissnum = spki_hash_bytes(nurl.spki_hash), nurl.swissnum
        self.proxy.target = nurl.port

    def kill(self) -> None:
        """End it as a crash does."""
        if self.running is not None:
            self.running.kill()
            self.running.communicate()
            self.running = None

    def stop(self) -> None:
        """End it in order."""
        if self.running is not None:
            self.running.communicate()
            self.running = None


def place_of(*servers: VdriveProcess) -> VdrivePlace:
    """Return what capabilities say of servers that are one service."""
    return VdrivePlace(servers[0].sid, servers[0].swissnum, tuple(one.proxy.location for one in servers))
