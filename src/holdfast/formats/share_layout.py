"""The layout of an immutable share: where its parts lie, in versions 1 and 2.

Source: docs/spec/immutable.md, section 9.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from holdfast.crypto.merkle import padded_leaf_count
from holdfast.errors import CorruptShareError, IntegrityError
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_hash_chain import CHAIN_ENTRY_SIZE, chain_size

_HEADERS = {1: struct.Struct(">9L"), 2: struct.Struct(">L8Q")}
_FIELD_SIZES = {1: 4, 2: 8}
HEADER_SIZE_MAX = _HEADERS[2].size  # bytes


class IncompatibleShareError(IntegrityError):
    """The share is of a layout version this reader does not know. That is no corruption."""


@dataclass(frozen=True, slots=True)
class ParsedHeader:
    """Where a share says its parts lie, in bytes from its start. ``extension``: where the length field is."""

    version: int
    data: int
    plaintext_hashes: int
    crypttext_hashes: int
    block_hashes: int
    share_hashes: int
    extension: int

    @property
    def header_size(self) -> int:
        return _HEADERS[self.version].size

    @property
    def field_size(self) -> int:
        """Bytes of the length field in front of the extension block."""
        return _FIELD_SIZES[self.version]


@dataclass(frozen=True, slots=True)
class ShareLayout(ParsedHeader):
    """The layout a writer gives to every share of a file."""

    block_size: int
    data_size: int
    share_length: int

    @classmethod
    def plan(cls, plan: Segmentation, extension_length: int, *, version: int | None = None) -> ShareLayout:
        """Lay out the shares of a file; version 2 only where version 1 cannot (or as told)."""
        if version is None:
            layout = cls.plan(plan, extension_length, version=1)
            small = max(layout.block_size, layout.data_size, layout.extension) < 2**32
            return layout if small else cls.plan(plan, extension_length, version=2)
        tree = 32 * (2 * padded_leaf_count(plan.segment_count) - 1)
        data = _HEADERS[version].size
        plaintext = data + plan.data_size
        share_hashes = plaintext + 3 * tree
        extension = share_hashes + chain_size(plan.shares_total)
        return cls(
            version,
            data,
            plaintext,
            plaintext + tree,
            plaintext + 2 * tree,
            share_hashes,
            extension,
            plan.block_size,
            plan.data_size,
            extension + _FIELD_SIZES[version] + extension_length,
        )

    def header(self) -> bytes:
        """Return the bytes a share begins with."""
        return _HEADERS[self.version].pack(
            self.version,
            self.block_size,
            self.data_size,
            self.data,
            self.plaintext_hashes,
            self.crypttext_hashes,
            self.block_hashes,
            self.share_hashes,
            self.extension,
        )


def parse_header(data: bytes) -> ParsedHeader:
    """Return what the first bytes of a share say; ``HEADER_SIZE_MAX`` of them suffice.

    Raises:
        CorruptShareError: they are too few, or state impossible places.
        IncompatibleShareError: the version is not known.
    """
    if len(data) < 4:
        raise CorruptShareError("the share is cut short: it has no header")
    version = int.from_bytes(data[:4], "big")
    header = _HEADERS.get(version)
    if header is None:
        raise IncompatibleShareError(f"the share has layout version {version}, which is not known here")
    if len(data) < header.size:
        raise CorruptShareError("the share is cut short: its header is incomplete")
    _, _, _, *offsets = header.unpack_from(data)
    parsed = ParsedHeader(version, *offsets)
    chain = parsed.extension - parsed.share_hashes
    tree = parsed.share_hashes - parsed.block_hashes
    if chain < 0 or chain % CHAIN_ENTRY_SIZE or tree < 0 or tree % 32:
        raise CorruptShareError("the share's header states impossible places")
    return parsed
