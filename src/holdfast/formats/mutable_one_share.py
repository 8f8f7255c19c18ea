"""The records of a single share of a mutable file, made again from the plaintext: for versions too large to
hold all shares at once.

Source: docs/spec/mutable.md, sections 3.2 to 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.ctr import CtrCipher
from holdfast.crypto.gf256 import check_rows
from holdfast.crypto.kernel import multiply
from holdfast.crypto.mutable_hashes import data_key
from holdfast.formats.mutable_segmentation import MutableSegmentation


def records_of_share(
    segmentation: MutableSegmentation,
    read_key: bytes,
    number: int,
    first: int,
    plaintexts: Sequence[Buffer],
    salts: Sequence[bytes],
) -> bytearray:
    """Return the records of share ``number`` of successive segments, the same as ``encode_segments`` makes.

    Args:
        first: number of the first segment.
        plaintexts: the real bytes of each segment, without padding.
        salts: of each segment.
    """
    records = bytearray()
    for segment, (plaintext, salt) in enumerate(zip(plaintexts, salts, strict=True), start=first):
        if segmentation.salt_size:
            records += salt
        records += _block(segmentation, segment, plaintext, data_key(salt, read_key), number)
    return records


def _block(
    segmentation: MutableSegmentation, segment: int, plaintext: Buffer, key: bytes, number: int
) -> memoryview:
    needed, size = segmentation.shares_needed, segmentation.block_length(segment)
    crypttext = bytearray(needed * size)
    view = memoryview(plaintext).cast("B")
    CtrCipher(key).update_into(view, memoryview(crypttext)[: len(view)])
    pieces = [memoryview(crypttext)[i * size : (i + 1) * size] for i in range(needed)]
    if number < needed:
        return pieces[number]
    row = check_rows(needed, segmentation.shares_total)[(number - needed) * needed :][:needed]
    block = bytearray(size)
    multiply(row, pieces, [memoryview(block)])
    return memoryview(block)
