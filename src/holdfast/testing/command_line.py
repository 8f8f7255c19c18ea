"""The ``holdfast`` command as its users run it: a process with arguments, streams and an exit status.

It is a fork of a process that has imported everything, unless a test is of how the command starts.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryFile

from holdfast.testing.warm_processes import WarmProcess

COMMAND = (sys.executable, "-P", "-m", "holdfast.cli.main")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output as text, without white space at its ends."""
        return self.stdout.decode().strip()


def run_holdfast(
    *arguments: str | os.PathLike[str],
    stdin: bytes = b"",
    node: str | os.PathLike[str] | None = None,
    timeout_s: float = 90,
    fresh: bool = False,
    before_start: Callable[[], None] | None = None,
) -> Outcome:
    """Run ``holdfast`` and return how it ended; ``node`` becomes HOLDFAST_NODE.

    Args:
        fresh: in an interpreter of its own, which takes much longer to start.
        before_start: called in that interpreter's process before it begins.
    """
    process = (
        subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(node),
            preexec_fn=before_start,
        )
        if fresh or before_start is not None
        else start_holdfast(*arguments, node=node)
    )
    with process:
        try:
            stdout, stderr = process.communicate(stdin, timeout_s)
        except BaseException:
            process.kill()
            raise
    return Outcome(process.wait(), stdout, stderr.decode())


def run_here(
    *arguments: str | os.PathLike[str], stdin: bytes = b"", node: str | os.PathLike[str] | None = None
) -> Outcome:
    """Do the same within this process: a second faster, and alike but for what is of the process itself.

    To be called from the main thread, where no event loop runs.
    """
    from holdfast.cli.interrupts import SIGNALS
    from holdfast.cli.main import main

    before = {number: signal.getsignal(number) for number in SIGNALS}
    streams = sys.stdin, sys.stdout, sys.stderr
    own = dict(os.environ)
    with TemporaryFile() as given, TemporaryFile() as printed, TemporaryFile() as said:
        given.write(stdin)
        given.seek(0)
        mine = [io.TextIOWrapper(file, "utf-8", write_through=True) for file in (given, printed, said)]
        sys.stdin, sys.stdout, sys.stderr = mine
        try:
            os.environ.clear()
            os.environ.update(environment(node))
            main([os.fspath(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            for stream in mine:
                stream.detach()  # what it wraps would be closed with it
            sys.stdin, sys.stdout, sys.stderr = streams
            os.environ.clear()
            os.environ.update(own)
            for number, handler in before.items():
                signal.signal(number, handler)
        printed.seek(0)
        said.seek(0)
        return Outcome(code, printed.read(), said.read().decode())


def start_holdfast(
    *arguments: str | os.PathLike[str], node: str | os.PathLike[str] | None = None
) -> subprocess.Popen[bytes]:
    """Start ``holdfast`` with pipes for its three streams."""
    return WarmProcess(
        "holdfast.cli.main",
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(node),
    )


def environment(node: str | os.PathLike[str] | None) -> dict[str, str]:
    """Return the environment of a command that uses ``node``."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return own if node is None else {**own, "HOLDFAST_NODE": os.fspath(node)}
