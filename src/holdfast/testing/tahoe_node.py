"""One node directory of the real tahoe-lafs and the process that runs it.

The directory is written by hand rather than by `tahoe create-node`, which asks for
nothing that is needed here and costs a second per node.

Source: docs/spec/storage-disk.md, section 1.
"""

from __future__ import annotations

import random
import socket
import subprocess
import time
from pathlib import Path

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
POLL_INTERVAL_S = 0.05

# Below the range from which systems take ports for outgoing connections: a server that was
# killed finds its port free when it comes back.
PORTS = range(12000, 30000)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at the moment."""
    while True:
        port = random.choice(PORTS)  # noqa: S311  (spread, not secrecy)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class TahoeNodeError(Exception):
    """A tahoe-lafs process did not start, ended on its own or never got ready."""


class TahoeNode:
    """A node that can be started, killed and started again; its directory stays.

    The process ends when this process does, however that ends: tahoe-lafs stops when its
    standard input is closed.
    """

    def __init__(self, command: Path, directory: Path, settings: str) -> None:
        """Prepare ``directory``, which must not exist. ``settings`` becomes `tahoe.cfg`."""
        self.directory = directory
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0  # where the log of the present run begins
        (directory / "private").mkdir(parents=True, mode=0o700)
        (directory / "tahoe-client.tac").touch()  # tells tahoe-lafs what kind of node this is
        (directory / "tahoe.cfg").write_text(settings, encoding="utf-8")

    @property
    def log(self) -> Path:
        """What all runs of the process printed."""
        return self.directory / "log.txt"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start the process and return at once; `wait_until_running` waits for it."""
        if self.running:
            raise TahoeNodeError(f"{self.directory.name} is running already")
        with open(self.log, "ab") as log:
            self._log_offset = log.tell()
            self._process = subprocess.Popen(
                [self._command, "run", self.directory],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal is for the tests to handle
            )

    def wait_until_running(self) -> None:
        """Wait until the node serves requests.

        Raises:
            TahoeNodeError: the process ended, or took longer than START_TIMEOUT_S.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while b"client running" not in (said := self._said()):
            if not self.running or time.monotonic() > deadline:
                self.kill()
                tail = said[-8000:].decode(errors="replace")
                raise TahoeNodeError(f"{self.directory.name} did not start:\n{tail}")
            time.sleep(POLL_INTERVAL_S)

    def start(self) -> None:
        """Start the process and wait until it serves requests."""
        self.launch()
        self.wait_until_running()

    def kill(self) -> None:
        """End the process as a power cut would (SIGKILL). Nothing happens if there is none."""
        if self._process is not None:
            self._process.kill()
            self._forget()

    def ask_to_stop(self) -> None:
        """Ask the process to end and return at once; `stop` waits for it."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def stop(self) -> None:
        """End the process in an orderly way; kill it if that takes longer than STOP_TIMEOUT_S."""
        self.ask_to_stop()
        if self._process is not None:
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._forget()

    def _forget(self) -> None:
        if self._process is not None:
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def _said(self) -> bytes:
        with open(self.log, "rb") as log:
            log.seek(self._log_offset)
            return log.read()

    def _text(self, name: str) -> str:
        """Return the one line in the file ``name`` of the node directory."""
        return (self.directory / name).read_text(encoding="ascii").strip()
