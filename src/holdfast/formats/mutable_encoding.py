"""From plaintext to records and hash trees, and back, a batch of segments at a time.

A batch needs memory for its own segments only. The blocks of all shares are made, and hashed, where they are
going to be sent from: for each share the records of a batch lie together.

Source: docs/spec/mutable.md, sections 3.2 to 3.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.ctr import CtrCipher
from holdfast.crypto.gf256 import check_rows, interpolation_rows
from holdfast.crypto.hashing import HASH_SIZE
from holdfast.crypto.kernel import hash_many, multiply
from holdfast.crypto.merkle import build_tree, empty_leaf, padded_leaf_count, tree_levels, uncle_chain
from holdfast.crypto.mutable_hashes import data_key
from holdfast.formats.mutable_segmentation import SALT_SIZE, MutableSegmentation
from holdfast.formats.share_hash_chain import pack_chain

BLOCK_TAG = b"allmydata_encoded_subshare_v1"


@dataclass(frozen=True, slots=True)
class EncodedSegments:
    """The records of successive segments, of all shares."""

    segments: range
    size: int  # bytes of one share's records
    records: memoryview = field(repr=False)  # of share 0, then of share 1, and so on
    hashes: Sequence[bytes] = field(repr=False)  # leaves: of share 0 for each segment, then of share 1, ...

    def share(self, number: int) -> memoryview:
        """Return the records of one share, one after another, as they are stored."""
        return self.records[number * self.size : (number + 1) * self.size]

    def leaves(self, number: int) -> Sequence[bytes]:
        """Return the hashes of the records of one share."""
        count = len(self.segments)
        return self.hashes[number * count : (number + 1) * count]


def encode_segments(
    segmentation: MutableSegmentation,
    read_key: bytes,
    first: int,
    plaintexts: Sequence[Buffer],
    salts: Sequence[bytes],
) -> EncodedSegments:
    """Encrypt, code and hash successive segments.

    Args:
        first: number of the first one.
        plaintexts: the real bytes of each segment, without padding.
        salts: 16 random bytes for each, never used before with this read key. In SDMF it is the one of the
            header.

    Raises:
        ValueError: a segment that does not exist, or a plaintext or salt of another length.
    """
    segments = range(first, first + len(plaintexts))
    if first < 0 or segments.stop > segmentation.segment_count:
        raise ValueError(f"there are {segmentation.segment_count} segments")
    size = segmentation.records_length(segments)
    total = range(segmentation.shares_total)
    records = memoryview(bytearray(segmentation.shares_total * size))
    views: list[list[memoryview]] = [[] for _ in total]
    for segment, plaintext, salt in zip(segments, plaintexts, salts, strict=True):
        offset = segmentation.record_offset(segment) - segmentation.record_offset(first)
        length = segmentation.record_length(segment)
        places = [records[n * size + offset : n * size + offset + length] for n in total]
        _encode(segmentation, segment, plaintext, salt, data_key(salt, read_key), places)
        for number, place in zip(total, places, strict=True):
            views[number].append(place)
    hashes = hash_many(BLOCK_TAG, [view for of_share in views for view in of_share])
    return EncodedSegments(segments, size, records, hashes)


def _encode(
    segmentation: MutableSegmentation,
    segment: int,
    plaintext: Buffer,
    salt: bytes,
    key: bytes,
    places: Sequence[memoryview],
) -> None:
    """Fill the place of each share, so far zero, with its record of one segment."""
    view = memoryview(plaintext).cast("B")
    if len(view) != segmentation.segment_length(segment) or len(salt) != SALT_SIZE:
        raise ValueError(f"segment {segment} has {segmentation.segment_length(segment)} bytes, a salt 16")
    needed, skip = segmentation.shares_needed, segmentation.salt_size
    if skip:
        for place in places:
            place[:skip] = salt
    blocks = [place[skip:] for place in places]
    cipher, size = CtrCipher(key), len(blocks[0])
    for number in range(needed):
        cipher.update_into(view[number * size : (number + 1) * size], blocks[number])
    if segmentation.shares_total > needed:
        multiply(check_rows(needed, segmentation.shares_total), blocks[:needed], blocks[needed:])


@dataclass(frozen=True, slots=True)
class EncodedVersion:
    """All of a version that is encoded at once: every SDMF file, and an MDMF file that fits in memory."""

    segmentation: MutableSegmentation
    salt: bytes  # as the header has it: none in MDMF
    encoded: EncodedSegments
    trees: VersionTrees


def encode_version(
    plaintext: Buffer, segmentation: MutableSegmentation, read_key: bytes, salts: Sequence[bytes]
) -> EncodedVersion:
    """Encode a whole version.

    Args:
        salts: one per segment in MDMF, exactly one in SDMF, even for an empty file.

    Raises:
        ValueError: the plaintext has not the size it is planned with, or the salts are not these.
    """
    view = memoryview(plaintext).cast("B")
    count, size = segmentation.segment_count, segmentation.segment_size
    if len(view) != segmentation.size:
        raise ValueError(f"the plaintext has {len(view)} bytes, not {segmentation.size}")
    if len(salts) != (1 if segmentation.format == "SDMF" else count):
        raise ValueError("there is one salt per segment in MDMF, and one in SDMF")
    plaintexts = [view[i * size : (i + 1) * size] for i in range(count)]
    encoded = encode_segments(segmentation, read_key, 0, plaintexts, salts[:count])
    leaves = BlockLeaves(segmentation)
    leaves.add(encoded)
    salt = salts[0] if segmentation.format == "SDMF" else b""
    return EncodedVersion(segmentation, salt, encoded, leaves.trees())


def decode_segment(
    segmentation: MutableSegmentation,
    read_key: bytes,
    segment: int,
    salt: bytes,
    blocks: Mapping[int, Buffer],
) -> bytearray:
    """Return the plaintext of a segment, without padding. Nothing is verified here.

    Args:
        blocks: by share number, without salts; as many as are needed, or more, of which the lowest are used.

    Raises:
        ValueError: too few blocks, a number out of range, or a block of another length.
    """
    needed, size = segmentation.shares_needed, segmentation.block_length(segment)
    numbers = sorted(blocks)[:needed]
    if len(numbers) < needed or not all(0 <= number < segmentation.shares_total for number in numbers):
        raise ValueError(f"{needed} blocks of shares below {segmentation.shares_total} are needed")
    if any(memoryview(blocks[number]).nbytes != size for number in numbers):
        raise ValueError(f"a block of segment {segment} has {size} bytes")
    crypttext = bytearray(needed * size)
    pieces = memoryview(crypttext)
    missing = []
    for number in range(needed):
        if number in blocks:
            pieces[number * size : (number + 1) * size] = blocks[number]
        else:
            missing.append(number)
    if missing:
        outputs = [pieces[number * size : (number + 1) * size] for number in missing]
        multiply(interpolation_rows(numbers, missing), [blocks[number] for number in numbers], outputs)
    length = segmentation.segment_length(segment)
    plaintext = bytearray(length)
    CtrCipher(data_key(salt, read_key)).update_into(pieces[:length], plaintext)
    return plaintext


class BlockLeaves:
    """Collects the leaves of the block hash trees of all shares, batch by batch, in any order.

    For an update in place it begins with the leaves of the old version, of which some are replaced, and
    others added. Those have to be proven before.
    """

    def __init__(
        self, segmentation: MutableSegmentation, old: Sequence[Sequence[bytes]] | None = None
    ) -> None:
        """``old``: leaves of each share, in order of segments; there may be fewer than segments."""
        count = segmentation.segment_count
        of_shares = old if old is not None else [()] * segmentation.shares_total
        if len(of_shares) != segmentation.shares_total or any(len(leaves) > count for leaves in of_shares):
            raise ValueError("leaves of every share are needed, none beyond the end of the file")
        self._leaves: list[list[bytes | None]] = [
            [*leaves, *([None] * (count - len(leaves)))] for leaves in of_shares
        ]

    def add(self, encoded: EncodedSegments) -> None:
        """Take the leaves of a batch in place of what was known of its segments."""
        segments = slice(encoded.segments.start, encoded.segments.stop)
        for number, leaves in enumerate(self._leaves):
            leaves[segments] = encoded.leaves(number)

    def trees(self) -> VersionTrees:
        """Return the trees. Raises ValueError if a segment is missing."""
        complete = [[leaf for leaf in leaves if leaf is not None] for leaves in self._leaves]
        if any(len(leaves) != len(self._leaves[0]) for leaves in complete):
            raise ValueError("some segments have not been encoded")
        return VersionTrees.of(complete)


@dataclass(frozen=True, slots=True)
class VersionTrees:
    """The hash trees of one version."""

    block_trees: Sequence[bytes] = field(repr=False)  # of each share: all nodes, as stored
    share_tree: Sequence[bytes] = field(repr=False)  # all nodes, root first

    @classmethod
    def of(cls, leaves: Sequence[Sequence[bytes]]) -> VersionTrees:
        """Build the trees from the leaves of each share: one per segment, none for an empty file."""
        block_trees = [_stored_tree(of_share) for of_share in leaves]
        return cls(block_trees, build_tree([tree[:HASH_SIZE] for tree in block_trees]))

    @property
    def shares_total(self) -> int:
        return len(self.block_trees)

    @property
    def root_hash(self) -> bytes:
        return self.share_tree[0]

    def chain(self, number: int) -> bytes:
        """Return the share hash chain of a share, as stored."""
        nodes = sorted(uncle_chain(self.shares_total, number))
        return pack_chain([(node, self.share_tree[node]) for node in nodes])


def _stored_tree(leaves: Sequence[bytes]) -> bytes:
    return b"".join(reversed(tree_levels(leaves))) if leaves else empty_leaf(0)


def stored_leaves(segmentation: MutableSegmentation, block_tree: bytes) -> list[bytes]:
    """Return the leaves that a stored block hash tree holds, one per segment. They prove nothing yet."""
    begin = HASH_SIZE * (padded_leaf_count(segmentation.leaf_count) - 1)
    return [
        block_tree[begin + HASH_SIZE * segment : begin + HASH_SIZE * (segment + 1)]
        for segment in range(segmentation.segment_count)
    ]
