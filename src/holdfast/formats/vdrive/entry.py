"""The entries of a directory, sealed, and the digests that vouch for them.

Source: docs/spec/vdrive.md, sections 5 and 6.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from holdfast.crypto import kernel
from holdfast.crypto.vdrive_keys import tag


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


_BODY_TAG = tag("body")
_ENTRY_TAG = tag("entry")


def body_digest(write: bytes, read: bytes, metadata: bytes) -> bytes:
    """Return the digest, 32 bytes, of the boxes that a listing of names leaves out."""
    return kernel.hash_many(_BODY_TAG, [_body(write, read, metadata)])[0]


def entry_digest(version: int, name: bytes, body: bytes) -> bytes:
    """Return the digest, 32 bytes, of the entry with this box of a name and this ``body_digest``."""
    return kernel.hash_many(_ENTRY_TAG, [_entry(version, name, body)])[0]


def digest_of(entry: SealedEntry | NameEntry) -> bytes:
    """Return the digest of an entry, 32 bytes. It does not cover the slot."""
    return digests_of([entry])[0]


def digests_of(entries: Sequence[SealedEntry | NameEntry]) -> list[bytes]:
    """Return the digest of each entry, all hashed together."""
    return kernel.hash_many(
        _ENTRY_TAG,
        [
            _entry(entry.version, entry.name, body)
            for entry, body in zip(entries, body_digests_of(entries), strict=True)
        ],
    )


def body_digests_of(entries: Sequence[SealedEntry | NameEntry]) -> list[bytes]:
    """Return the ``body_digest`` of each entry."""
    hashed = iter(
        kernel.hash_many(
            _BODY_TAG,
            [
                _body(entry.write, entry.read, entry.metadata)
                for entry in entries
                if isinstance(entry, SealedEntry)
            ],
        )
    )
    return [entry.body if isinstance(entry, NameEntry) else next(hashed) for entry in entries]


def _body(write: bytes, read: bytes, metadata: bytes) -> bytes:
    return b"%d:%b,%d:%b,%d:%b," % (len(write), write, len(read), read, len(metadata), metadata)


def _entry(version: int, name: bytes, body: bytes) -> bytes:
    return b"8:%b,%d:%b,32:%b," % (version.to_bytes(8, "big"), len(name), name, body)
