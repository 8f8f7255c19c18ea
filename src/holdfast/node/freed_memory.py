"""What becomes of memory that this process has freed."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Parameters of the C library's `mallopt`, and what we want of them.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT = 16 << 20  # bytes; so much free memory stays with the process
_OF_THEIR_OWN = 4 << 20  # bytes; a larger piece comes from the system, and goes back to it


def keep_freed_memory() -> None:
    """Use freed memory again, not give it back to the system. For a process that is all ours.

    A server needs a buffer of a megabyte for each piece of a share. To have the system clear such a one each
    time takes longer than to read the piece from the system's memory. Where the C library cannot be told,
    nothing changes.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _OF_THEIR_OWN)
