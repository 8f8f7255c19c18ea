"""Processes that have nothing left to import: each is a fork of one that has imported all of Holdfast.

Most of the time that a short command or a node takes to start goes into imports. A fork has made them, and
is otherwise a process of its own: arguments, streams, environment, directory, session, signals and exit
status are its own. What it cannot show is how a fresh interpreter starts: what it imports, how long that
takes, and how much memory is used.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import IO, Any

from holdfast.testing.warm_forker import LENGTH, REPORT

Stream = int | IO[Any] | None
"""As ``Popen`` takes it: PIPE, DEVNULL, STDOUT, a descriptor, a file, or None for what this process has."""


_RUNNING: set[WarmProcess] = set()  # as with Popen, streams of what runs stay open when nobody holds it


class WarmProcess(subprocess.Popen[bytes]):
    """What ``python -P -m module arguments`` would run, in a fork; used like any ``Popen`` of bytes."""

    _sigint_wait_secs = 0.0  # how long Popen waits for it after Ctrl-C

    def __init__(
        self,
        module: str,
        arguments: Sequence[str | os.PathLike[str]] = (),
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        cwd: str | os.PathLike[str] = ".",
        env: Mapping[str, str] | None = None,
        start_new_session: bool = False,
    ) -> None:
        """Take all but the first two as ``Popen`` takes them; ``module`` has a ``main()``."""
        self.args = [module, *(os.fspath(argument) for argument in arguments)]
        self.returncode: int | None = None
        self._ending = threading.Lock()
        start = {
            "module": module,
            "arguments": self.args[1:],
            "directory": os.path.abspath(cwd),
            "environment": dict(os.environ if env is None else env),
            "new_session": start_new_session,
        }
        streams = _Streams()
        try:
            for stream in (stdin, stdout, stderr):
                streams.add(stream)
            self._reports = _forker().start(start, streams.theirs)
        finally:
            streams.close_theirs()
        self.stdin, self.stdout, self.stderr = streams.ours
        self.pid = self._report()
        _RUNNING.add(self)

    def poll(self) -> int | None:
        return self._ended_within(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def communicate(
        self,
        input: bytes | None = None,  # noqa: A002  (the name is Popen's)
        timeout: float | None = None,
    ) -> tuple[bytes, bytes]:
        """As ``Popen.communicate``, for streams that are pipes; what was read before a time-out is lost."""
        deadline = None if timeout is None else time.monotonic() + timeout
        read = {"stdout": b"", "stderr": b""}

        def take(name: str, stream: IO[bytes]) -> None:
            with stream:
                read[name] = stream.read()

        def give(stream: IO[bytes]) -> None:
            with suppress(BrokenPipeError), stream:
                stream.write(input or b"")

        pipes = {"stdout": self.stdout, "stderr": self.stderr}
        jobs = [threading.Thread(target=take, args=pipe, daemon=True) for pipe in pipes.items() if pipe[1]]
        if self.stdin is not None and not self.stdin.closed:
            jobs.append(threading.Thread(target=give, args=(self.stdin,), daemon=True))
        for job in jobs:
            job.start()
        for job in jobs:
            job.join(_left(deadline))
            if job.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(_left(deadline))
        return read["stdout"], read["stderr"]

    def _ended_within(self, seconds: float | None) -> int | None:
        with self._ending:
            if self.returncode is None:
                self._reports.settimeout(seconds)
                with suppress(BlockingIOError, TimeoutError):
                    self.returncode = os.waitstatus_to_exitcode(self._report())
                    self._reports.close()
                    _RUNNING.discard(self)
            return self.returncode

    def _report(self) -> int:
        report = self._reports.recv(REPORT.size)  # it is written at once, so all of it is there
        if not report:
            raise OSError("the process that forks has ended")
        (value,) = REPORT.unpack(report)
        return int(value)

    def __del__(self) -> None:
        """Do nothing: whoever forked the process waits for its end."""


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


class _Streams:
    """The standard streams of a new process: their ends, and ours of those that are pipes."""

    def __init__(self) -> None:
        self.theirs: list[int] = []
        self.ours: list[IO[bytes] | None] = []
        self._opened: list[int] = []

    def add(self, stream: Stream) -> None:
        number = len(self.theirs)
        our: IO[bytes] | None = None
        if stream is None:
            self.theirs.append(number)
        elif stream == subprocess.STDOUT:
            self.theirs.append(self.theirs[1])
        elif stream == subprocess.DEVNULL:
            self._opened.append(os.open(os.devnull, os.O_RDWR))
            self.theirs.append(self._opened[-1])
        elif stream == subprocess.PIPE:
            reading, writing = os.pipe()
            self._opened.append(reading if number == 0 else writing)
            self.theirs.append(self._opened[-1])
            our = os.fdopen(writing, "wb") if number == 0 else os.fdopen(reading, "rb")
        else:
            self.theirs.append(stream if isinstance(stream, int) else stream.fileno())
        self.ours.append(our)

    def close_theirs(self) -> None:
        for descriptor in self._opened:
            os.close(descriptor)


class _Forker:
    """The process that forks, seen from the one that started it. It ends with this one."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair()
        self._using = threading.Lock()
        with theirs:
            command = [sys.executable, "-P", "-m", "holdfast.testing.warm_forker", str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        atexit.register(self._end)

    def start(self, start: Mapping[str, Any], streams: Sequence[int]) -> socket.socket:
        """Have a process forked; return where it is told what its id is, and how it ended."""
        ours, theirs = socket.socketpair()
        message = json.dumps(start).encode()
        with theirs, self._using:
            socket.send_fds(self._requests, [LENGTH.pack(len(message))], [*streams, theirs.fileno()])
            self._requests.sendall(message)
        return ours

    def _end(self) -> None:
        self._requests.close()
        self._process.wait()


@cache
def _forker() -> _Forker:
    return _Forker()
