"""The process that has imported all of Holdfast, and forks for each of ``warm_processes``.

``python -P -m holdfast.testing.warm_forker DESCRIPTOR``: of a socket on which it is asked; it ends with
the one who asks. It has neither threads nor an event loop, so that it may fork.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import holdfast

LENGTH = struct.Struct("!I")  # of a message
REPORT = struct.Struct("!q")  # first a process id; when that process has ended, its status
STREAMS = 3
LAZY = (  # what Holdfast and its dependencies import in their own time
    "alembic.command",
    "encodings.idna",
    "psycopg",
    "rich.progress",
    "rich.table",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
)

NOT_FOR_ALL = ("holdfast.testing.", "holdfast.servers.vdrive.migrations.")

Job = Callable[[], object]


def main() -> None:
    """See the module. A fork comes back into this function to do what it is for, with nothing beneath it."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    for number in (signal.SIGINT, signal.SIGHUP):  # meant for the one who asks, at the same terminal
        signal.signal(number, signal.SIG_IGN)
    _import_all()
    gc.collect()
    gc.freeze()
    job = _Forks(asked).serve()
    if job is not None:
        job()


def _import_all() -> None:
    """Import what can be; the rest will fail in the process that needs it, and say so there."""
    modules = [module.name for module in pkgutil.walk_packages(holdfast.__path__, "holdfast.")]
    for name in [*LAZY, *modules]:
        if not name.startswith(NOT_FOR_ALL):
            with suppress(Exception):
                importlib.import_module(name)


class _Forks:
    """The forks that run, by process id, each with the socket on which its end is told."""

    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._told: dict[int, socket.socket] = {}
        self._ended, writing = os.pipe()
        for descriptor in (self._ended, writing):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def serve(self) -> Job | None:
        """Fork whenever asked, until nobody asks any more; return, in a fork, what that is to do."""
        while True:
            ready, _, _ = select.select([self._asked.fileno(), self._ended], [], [])
            if self._ended in ready:
                os.read(self._ended, 4096)
                self._tell_ends()
            if self._asked.fileno() in ready:
                head, descriptors, _, _ = socket.recv_fds(self._asked, LENGTH.size, STREAMS + 1)
                if not head:
                    return None
                job = self._fork(json.loads(self._read(*LENGTH.unpack(head))), descriptors)
                if job is not None:
                    return job

    def _read(self, size: int) -> bytes:
        message = b""
        while len(message) < size:
            message += self._asked.recv(size - len(message))
        return message

    def _fork(self, start: dict[str, Any], descriptors: list[int]) -> Job | None:
        *streams, told = descriptors
        pid = os.fork()
        if pid == 0:
            return partial(_run, start, streams)
        for descriptor in streams:
            os.close(descriptor)
        self._told[pid] = socket.socket(fileno=told)
        self._tell(pid, pid)
        return None

    def _tell_ends(self) -> None:
        while self._told:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            self._tell(pid, status)
            self._told.pop(pid).close()

    def _tell(self, pid: int, value: int) -> None:
        with suppress(OSError):  # nobody listens any more
            self._told[pid].send(REPORT.pack(value))


def _run(start: dict[str, Any], streams: list[int]) -> NoReturn:
    """Become what was asked for."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if start["new_session"]:
        os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.closerange(STREAMS, os.sysconf("SC_OPEN_MAX"))
    os.chdir(start["directory"])
    os.environ.clear()
    os.environ.update(start["environment"])
    sys.stdin, sys.stdout, sys.stderr = (_text(number) for number in range(STREAMS))
    module = importlib.import_module(start["module"])
    sys.argv = [str(module.__file__), *start["arguments"]]
    _end(_status_of(module.main))


def _status_of(main: Callable[[], int | None]) -> int:
    """Return with what status an interpreter that ran ``main`` ends."""
    try:
        return main() or 0  # as `sys.exit(main())`
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1


def _end(status: int) -> NoReturn:
    """End as an interpreter does, but for giving back all memory, of which it would first make a copy."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status & 0xFF)


def _text(number: int) -> io.TextIOWrapper:
    """Return the standard stream of this number, as the interpreter makes it."""
    errors = "backslashreplace" if number == 2 else "strict"
    file = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115  (for as long as we live)
    return io.TextIOWrapper(file, "utf-8", errors, line_buffering=number == 2 or os.isatty(number))


if __name__ == "__main__":
    main()
