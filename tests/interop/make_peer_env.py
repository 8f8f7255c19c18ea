"""Make the environment of the real tahoe-lafs, once, and print the path of its command.

It lies in .cache/tahoe-<version>/, apart from Holdfast's own, and is made anew only
when the pinned releases (tahoe-<version>.txt beside this file) change. Several
processes may ask at the same time; one installs, the others wait.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import venv
from pathlib import Path

VERSION = "1.20.0"
PINS = Path(__file__).resolve().parent / f"tahoe-{VERSION}.txt"
CACHE = Path(__file__).resolve().parent.parent.parent / ".cache"


def peer_command() -> Path:
    """Return the path of the `tahoe` command, installing it first where needed."""
    environment = CACHE / f"tahoe-{VERSION}"
    command = environment / "bin/tahoe"
    ready = environment / "ready"  # written last: what was installed
    pins = PINS.read_text(encoding="utf-8")
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / f"tahoe-{VERSION}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.is_file() and ready.read_text(encoding="utf-8") == pins and command.is_file():
            return command
        print(f"installing tahoe-lafs {VERSION} into {environment}", file=sys.stderr, flush=True)
        venv.create(environment, clear=True, with_pip=True)
        pip = [str(environment / "bin/python"), "-m", "pip", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--requirement", str(PINS)], check=True, stdout=sys.stderr)
        ready.write_text(pins, encoding="utf-8")
    return command


if __name__ == "__main__":
    print(peer_command())
