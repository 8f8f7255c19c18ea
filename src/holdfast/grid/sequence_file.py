"""The sequence number of a node's announcements, kept so that it only ever rises.

Clients believe the highest number. A number that came back would make them ignore what the node says.

Source: docs/spec/control-and-introducer.md, section 3.4 ("Identity").
"""

from __future__ import annotations

import re
from pathlib import Path

import structlog

from holdfast.grid.durable_files import replace_file

log = structlog.get_logger(__name__)

SEQUENCE_LIMIT = 2**63
_NUMBER = re.compile(rb"[0-9]{1,19}\s*")


class SequenceFile:
    """The file ``private/announcement-seq``: the highest number that may have been signed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> int | None:
        """Return the number, or None if it is lost and must be found again."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("the sequence number cannot be read", file=str(self._path), reason=error.strerror)
            return None
        if _NUMBER.fullmatch(data) is None or int(data) >= SEQUENCE_LIMIT:
            log.warning("the sequence number is damaged; asking introducers", file=str(self._path))
            return None
        return int(data)

    def write(self, number: int) -> None:
        """Keep ``number``. It is on stable storage when this returns.

        Raises:
            OSError: it could not be written. Nothing may be signed with it.
        """
        replace_file(self._path, b"%d\n" % number)
