"""The entries of a directory, sealed.

Source: docs/spec/vdrive.md, sections 5 and 6.1.
"""

from __future__ import annotations

from typing import NamedTuple


class SealedEntry(NamedTuple):
    """One child, for those who have the keys.

    Attributes:
        slot: of its name, 32 bytes.
        version: of the directory, when the entry was written last.
        name: box; as are the following.
        write: empty if there is no write capability.
    """

    slot: bytes
    version: int
    name: bytes
    write: bytes
    read: bytes
    metadata: bytes


class NameEntry(NamedTuple):
    """One child in a listing of names.

    Attributes:
        body: digest of the boxes left out, 32 bytes.
    """

    slot: bytes
    version: int
    name: bytes
    body: bytes
