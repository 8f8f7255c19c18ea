"""Entries sealed by writers, so that the server sees boxes only.

Source: docs/spec/vdrive.md, sections 5.1 to 5.3.
"""

from __future__ import annotations

from typing import Final

from holdfast.caps.parsing import CAP_SIZE_MAX, IMMUTABLE_PREFIX
from holdfast.caps.slots import ChildFaultError, ChildSlots
from holdfast.crypto.sealed_boxes import NONCE_SIZE, BoxCipher, SealedBox
from holdfast.crypto.vdrive_keys import WriteKeys, slot_of_bytes
from holdfast.formats.directory_metadata import Metadata
from holdfast.formats.vdrive.edge_metadata import metadata_to_cbor
from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.names import child_name

NONCES_SIZE: Final = 4 * NONCE_SIZE  # bytes, for one entry


class EntrySealer:
    """Seals entries of one directory."""

    def __init__(self, keys: WriteKeys) -> None:
        self._name_key = keys.read.name_key
        self._reader = BoxCipher(keys.read.seal_key, keys.read.index)
        self._writer = BoxCipher(keys.seal_key, keys.read.index)

    def seal(
        self,
        name: str,
        child: ChildSlots,
        metadata: Metadata,
        nonces: bytes,
        version: int,
        *,
        uniform: bool = False,
    ) -> SealedEntry:
        """Return the entry that lets ``name`` lead to ``child``.

        Args:
            nonces: 64 random bytes, not used before.
            version: of the directory, once the entry is written.
            uniform: without a write capability, let it look as if there were one.

        Raises:
            BadChildNameError: ``name`` cannot be that of a child.
            ChildFaultError: the child is an unreadable one.
            BadMetadataError: the metadata is too long, or something in it cannot be expressed.
        """
        if child.fault is not None:
            raise ChildFaultError(child.fault)
        if len(nonces) != NONCES_SIZE:
            raise ValueError(f"the nonces of an entry have {NONCES_SIZE} bytes")
        raw = child_name(name).encode("utf-8")
        slot = slot_of_bytes(self._name_key, raw)
        n, w, r, m = (nonces[at : at + NONCE_SIZE] for at in range(0, NONCES_SIZE, NONCE_SIZE))
        write = SealedBox(b"")
        if child.rw or uniform:
            write = self._writer.seal(slot, "w", w, _checked_text(child.rw))
        return SealedEntry(
            slot,
            version,
            self._reader.seal(slot, "n", n, raw),
            write,
            self._reader.seal(slot, "r", r, _checked_text(child.ro)),
            self._reader.seal(slot, "m", m, metadata_to_cbor(metadata)),
        )


def _checked_text(text: bytes | None) -> bytes:
    """Return the text of a capability, or nothing."""
    if text is None:
        return b""
    if len(text) > CAP_SIZE_MAX + len(IMMUTABLE_PREFIX):
        raise ChildFaultError("malformed")
    return text
