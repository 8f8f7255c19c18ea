"""Files of a client that only their owner may read, and that are replaced as a whole.

Secrets of a node have rules of their own (node/private_files.py); what is kept here is bytes.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 that appears under its name only when it is whole.

    When this returns, neither a crash nor a loss of power brings the old contents back.

    Raises:
        OSError: it could not be written; what was there is still there.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    with suppress(OSError):  # some systems cannot open directories; their renames are durable by themselves
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
