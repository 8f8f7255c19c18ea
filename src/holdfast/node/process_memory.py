"""How much memory this process uses, in bytes.

Source: docs/spec/control-and-introducer.md, section 2.6; docs/spec/seed-map.md, S-216 to S-218.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path

KEYS = ("VmPeak", "VmSize", "VmData")
EXTRA_KEYS = ("VmRSS", "VmHWM")
KIB = 1024

STATUS = Path("/proc/self/status")
DESCRIPTORS = Path("/proc/self/fd")


def process_memory(status: Path = STATUS) -> dict[str, object]:
    """Return VmPeak, VmSize and VmData, 0 where the system cannot tell; ``source``; and ``extra`` figures.

    ``status``: the file in which the kernel tells, in lines such as ``VmSize:   1234 kB``.
    """
    try:
        figures = _parsed(status.read_text("ascii", "replace"))
        source = "proc"
    except OSError:
        figures = {"VmHWM": _peak_resident()}
        source = "none"
    extra = {key: figures[key] for key in EXTRA_KEYS if key in figures}
    extra["threads"] = threading.active_count()
    if DESCRIPTORS.is_dir():
        extra["open_files"] = len(os.listdir(DESCRIPTORS))
    return {**{key: figures.get(key, 0) for key in KEYS}, "source": source, "extra": extra}


def _parsed(text: str) -> dict[str, int]:
    figures = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        number, _, unit = value.strip().partition(" ")
        if name in KEYS + EXTRA_KEYS and unit == "kB" and number.isdigit():
            figures[name] = int(number) * KIB
    return figures


def _peak_resident() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIB
