"""Memory that a process of ours has freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from holdfast.node.freed_memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()


def use_buffers():
    held = [bytearray(1 << 20) for _ in range(4)]


use_buffers()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    use_buffers()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_made(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only this C library can be told")
def test_buffers_of_a_megabyte_are_made_of_memory_that_was_used_before() -> None:
    """By default the system makes 256 new pages for most of these 400."""
    assert pages_made("kept") < 1000
