"""The ``holdfast`` command as its users run it: a process with arguments, streams and an exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

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
    before_start: Callable[[], None] | None = None,
) -> Outcome:
    """Run ``holdfast`` and return how it ended; ``node`` becomes HOLDFAST_NODE."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        env=environment(node),
        timeout=timeout_s,
        preexec_fn=before_start,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr.decode())


def start_holdfast(
    *arguments: str | os.PathLike[str], node: str | os.PathLike[str] | None = None
) -> subprocess.Popen[bytes]:
    """Start ``holdfast`` with pipes for its three streams."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(node),
    )


def environment(node: str | os.PathLike[str] | None) -> dict[str, str]:
    """Return the environment of a command that uses ``node``."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return own if node is None else {**own, "HOLDFAST_NODE": os.fspath(node)}
