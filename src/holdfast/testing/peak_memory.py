"""The most memory this process has had resident, its own alone."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_memory() -> int:
    """Return KiB.

    Where the system tells of this program only, that is taken: ``getrusage`` also counts what the parent
    had resident when it started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
