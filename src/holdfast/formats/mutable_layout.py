"""Where the parts of a mutable share lie, and its header.

The header begins with the signed prefix, which identifies a version; the offsets behind it are not signed, so
that they are a matter of each share, checked against the sizes that follow from the prefix.

Source: docs/spec/mutable.md, sections 5, 6 and 7 (steps 1, 4 and 5).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.hashing import HASH_SIZE
from holdfast.crypto.merkle import padded_leaf_count, uncle_chain
from holdfast.crypto.rsa_keys import PUBLIC_KEY_BITS_MAX, PUBLIC_KEY_SIZE_MAX
from holdfast.errors import CorruptShareError
from holdfast.formats.mutable_segmentation import SALT_SIZE, MutableFormat, MutableSegmentation
from holdfast.formats.share_hash_chain import CHAIN_ENTRY_SIZE

HEADER_SIZE_MAX = 123  # bytes; of either format
SIGNED_PREFIX_SIZE_MAX = 75
CHECKSTRING_SIZE_MAX = 57
SEQUENCE_END = 2**64
MDMF_DATA_OFFSET = 2167
"""Where the share data of every MDMF share begins: other clients rely on it."""
SIGNATURE_SIZE_MAX = PUBLIC_KEY_BITS_MAX // 8
PRIVATE_KEY_SIZE_MAX = 16384  # bytes; one of 2048 bits has about 1217

_SDMF_PREFIX = struct.Struct(f">BQ{HASH_SIZE}s{SALT_SIZE}sBBQQ")
_MDMF_PREFIX = struct.Struct(f">BQ{HASH_SIZE}sBBQQ")
_SDMF_OFFSETS = struct.Struct(">4L2Q")
_MDMF_OFFSETS = struct.Struct(">8Q")
_PREFIXES: dict[int, tuple[MutableFormat, struct.Struct, struct.Struct]] = {
    0: ("SDMF", _SDMF_PREFIX, _SDMF_OFFSETS),
    1: ("MDMF", _MDMF_PREFIX, _MDMF_OFFSETS),
}


@dataclass(frozen=True, slots=True)
class MutableHeader:
    """What the signature covers, and nothing else: two shares are of one version if these are equal.

    Raises:
        ValueError: a field cannot be stored.
    """

    sequence: int
    root_hash: bytes  # 32 bytes
    salt: bytes  # 16 bytes in SDMF; none in MDMF
    segmentation: MutableSegmentation

    def __post_init__(self) -> None:
        if not 0 <= self.sequence < SEQUENCE_END:
            raise ValueError("a sequence number is stored in 64 bits")
        if len(self.root_hash) != HASH_SIZE:
            raise ValueError(f"a root hash has {HASH_SIZE} bytes")
        if len(self.salt) != (SALT_SIZE if self.format == "SDMF" else 0):
            raise ValueError(f"SDMF has a salt of {SALT_SIZE} bytes in its header, MDMF none")

    @property
    def format(self) -> MutableFormat:
        return self.segmentation.format

    @property
    def shares_needed(self) -> int:
        return self.segmentation.shares_needed

    @property
    def shares_total(self) -> int:
        return self.segmentation.shares_total

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.segmentation.size

    @property
    def signed_prefix(self) -> bytes:
        """The first bytes of a share of this version: 75 in SDMF, 59 in MDMF."""
        plan = self.segmentation
        rest = (plan.shares_needed, plan.shares_total, plan.segment_size, plan.size)
        if self.format == "SDMF":
            return _SDMF_PREFIX.pack(0, self.sequence, self.root_hash, self.salt, *rest)
        return _MDMF_PREFIX.pack(1, self.sequence, self.root_hash, *rest)

    @property
    def checkstring(self) -> bytes:
        """What a conditional write compares: 57 bytes in SDMF, 41 in MDMF."""
        return self.signed_prefix[: 41 + len(self.salt)]

    @property
    def rank(self) -> tuple[int, bytes, bytes]:
        """Of two versions the one of higher rank is better: sequence number, then root hash.

        The prefix at the end only matters if a writer signed two versions with one root hash.
        """
        return (self.sequence, self.root_hash, self.signed_prefix)


class Section(NamedTuple):
    """Bytes ``[begin, end)`` of a share."""

    begin: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.begin

    def of(self, share: Buffer) -> bytes:
        """Return the section of a share. Raises CorruptShareError if the share ends before."""
        if self.end > len(share):
            raise CorruptShareError("the share is cut short")
        return bytes(share[self.begin : self.end])


@dataclass(frozen=True, slots=True)
class MutableOffsets:
    """Where each section of one share lies, counted from the beginning of the share."""

    public_key: Section
    signature: Section
    chain: Section  # share hash chain
    block_tree: Section  # block hash tree, whole
    data: Section  # blocks or records
    private_key: Section  # encrypted

    @property
    def end(self) -> int:
        """Where the share ends; what lies behind is left over from a longer version."""
        return max(self.block_tree.end, self.private_key.end)

    @classmethod
    def plan(
        cls,
        segmentation: MutableSegmentation,
        *,
        public_key_size: int,
        signature_size: int,
        private_key_size: int,
    ) -> MutableOffsets:
        """Return where a writer puts everything.

        Raises:
            ValueError: the keys are too large for MDMF, or an offset for its field.
        """
        chain_size = CHAIN_ENTRY_SIZE * len(uncle_chain(segmentation.shares_total, 0))
        tree_size, data_size = segmentation.block_tree_size, segmentation.data_size
        if segmentation.format == "SDMF":
            sizes = [public_key_size, signature_size, chain_size, tree_size, data_size, private_key_size]
            return cls(*_successive(_SDMF_PREFIX.size + _SDMF_OFFSETS.size, sizes))
        private_key, chain, signature, public_key = _successive(
            HEADER_SIZE_MAX, [private_key_size, chain_size, signature_size, public_key_size]
        )
        if public_key.end > MDMF_DATA_OFFSET:
            raise ValueError(f"the keys end at {public_key.end}, but the data begin at {MDMF_DATA_OFFSET}")
        data, block_tree = _successive(MDMF_DATA_OFFSET, [data_size, tree_size])
        return cls(public_key, signature, chain, block_tree, data, private_key)

    def to_bytes(self, file_format: MutableFormat) -> bytes:
        """Return the table that follows the signed prefix. Raises ValueError if the share is too large."""
        try:
            if file_format == "SDMF":
                return _SDMF_OFFSETS.pack(
                    self.signature.begin,
                    self.chain.begin,
                    self.block_tree.begin,
                    self.data.begin,
                    self.private_key.begin,
                    self.private_key.end,
                )
            return _MDMF_OFFSETS.pack(
                self.private_key.begin,
                self.chain.begin,
                self.signature.begin,
                self.public_key.begin,
                self.public_key.end,
                self.data.begin,
                self.block_tree.begin,
                self.block_tree.end,
            )
        except struct.error:
            raise ValueError("the share would be too large for its offsets") from None


def parse_mutable_header(data: Buffer, number: int) -> tuple[MutableHeader, MutableOffsets]:
    """Read the header of share ``number`` from its first bytes, 123 or more unless the share is shorter.

    Nothing is authentic yet: the signature over the signed prefix decides, and hashes prove the rest. But the
    numbers make sense, each section has the size it must have or a bounded one, and they lie in order.

    Raises:
        CorruptShareError: not a header of this share; no version of the format that is known.
    """
    if not data:
        raise CorruptShareError("the share is empty")
    if data[0] not in _PREFIXES:
        raise CorruptShareError(f"mutable share version {data[0]} is not known")
    header = _parse_prefix(data)
    if not 0 <= number < header.shares_total:
        raise CorruptShareError(f"share number {number} does not belong to {header.shares_total} shares")
    _, prefix, table = _PREFIXES[data[0]]
    values = table.unpack_from(_front(data, prefix.size + table.size), prefix.size)
    offsets = _sdmf_offsets(values) if header.format == "SDMF" else _mdmf_offsets(values)
    _check(header.segmentation, offsets)
    return header, offsets


def _parse_prefix(data: Buffer) -> MutableHeader:
    file_format, prefix, _ = _PREFIXES[data[0]]
    _, sequence, root_hash, *salt, needed, total, segment_size, size = prefix.unpack_from(
        _front(data, prefix.size)
    )
    try:
        segmentation = MutableSegmentation(file_format, size, needed, total, segment_size)
        return MutableHeader(sequence, root_hash, salt[0] if salt else b"", segmentation)
    except ValueError as error:
        raise CorruptShareError(f"impossible numbers in the header of a share: {error}") from None


def _front(data: Buffer, size: int) -> bytes:
    if len(data) < size:
        raise CorruptShareError("the header of the share is cut short")
    return bytes(data[:size])


def _sdmf_offsets(values: tuple[int, ...]) -> MutableOffsets:
    signature, chain, block_tree, data, private_key, end = values
    return MutableOffsets(
        public_key=Section(_SDMF_PREFIX.size + _SDMF_OFFSETS.size, signature),
        signature=Section(signature, chain),
        chain=Section(chain, block_tree),
        block_tree=Section(block_tree, data),
        data=Section(data, private_key),
        private_key=Section(private_key, end),
    )


def _mdmf_offsets(values: tuple[int, ...]) -> MutableOffsets:
    private_key, chain, signature, public_key, public_key_end, data, block_tree, end = values
    if private_key != HEADER_SIZE_MAX:
        raise CorruptShareError("the private key of a share does not follow the header")
    if public_key_end > data:
        raise CorruptShareError("the data of a share overlap with its public key")
    return MutableOffsets(
        public_key=Section(public_key, public_key_end),
        signature=Section(signature, public_key),
        chain=Section(chain, signature),
        block_tree=Section(block_tree, end),
        data=Section(data, block_tree),
        private_key=Section(private_key, chain),
    )


def _check(segmentation: MutableSegmentation, offsets: MutableOffsets) -> None:
    """Compare the sizes of sections with what they have to be; a negative one never passes."""
    chain_nodes = 2 * padded_leaf_count(segmentation.shares_total) - 1
    if not (
        1 <= offsets.public_key.size <= PUBLIC_KEY_SIZE_MAX
        and 1 <= offsets.signature.size <= SIGNATURE_SIZE_MAX
        and 0 <= offsets.chain.size <= CHAIN_ENTRY_SIZE * chain_nodes
        and offsets.chain.size % CHAIN_ENTRY_SIZE == 0
        and offsets.block_tree.size == segmentation.block_tree_size
        and offsets.data.size == segmentation.data_size
        and 1 <= offsets.private_key.size <= PRIVATE_KEY_SIZE_MAX
    ):
        raise CorruptShareError("impossible offsets in a share")


def _successive(begin: int, sizes: list[int]) -> list[Section]:
    sections = []
    for size in sizes:
        sections.append(Section(begin, begin + size))
        begin += size
    return sections
