"""Changes of a part of an MDMF file in place: only the segments it touches are written.

Source: docs/spec/mutable.md, section 14.
"""

from __future__ import annotations

import asyncio
import secrets

from holdfast.errors import CorruptShareError, IntegrityError, NotEnoughSharesError, ServerError
from holdfast.formats.mutable_encoding import BlockLeaves, EncodedSegments, encode_segments
from holdfast.formats.mutable_keys import FileKeys
from holdfast.formats.mutable_layout import MDMF_DATA_OFFSET, MutableHeader
from holdfast.formats.mutable_proof import VersionProof
from holdfast.formats.mutable_segmentation import SALT_SIZE, MutableSegmentation
from holdfast.formats.mutable_share import SignedVersion
from holdfast.grid.mutable.modification import CollisionError, read_range
from holdfast.grid.mutable.operation import Encoding, Operation
from holdfast.grid.mutable.patched import PatchedPlaintext
from holdfast.grid.mutable.share_copy import ShareCopy
from holdfast.grid.mutable.slot_reads import FETCH_TIMEOUT_S
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.interfaces.types import Buffer
from holdfast.planning.publication import Outcome


class NotInPlaceError(Exception):
    """The file has to be written as a whole: a share is missing, say."""


async def update_in_place(op: Operation, base: MutableHeader, offset: int, data: Buffer) -> Outcome:
    """Replace a part of ``base``, which may grow; return what became of it.

    Args:
        offset: at most the size of the file.
        data: not empty.

    Raises:
        NotInPlaceError: nothing was written.
    """
    _check_possible(op, base)
    keys = await op.keys()
    old = base.segmentation
    size = max(base.size, offset + len(data))
    plan = MutableSegmentation.plan("MDMF", size, old.shares_needed, old.shares_total)
    if plan.segment_size != old.segment_size:
        raise NotInPlaceError
    leaves = await _old_leaves(op, base)
    touched = range(offset // plan.segment_size, (offset + len(data) - 1) // plan.segment_size + 1)
    contents = await _contents(op, base, plan, touched, offset, data)
    encoded, signed = await op.in_worker(
        len(contents), _encode, plan, touched, contents, leaves, keys, op.next_sequence()
    )
    begin = plan.record_offset(touched[0])
    return await op.send_update(
        signed, lambda number: signed.writes_of_update(number, [(begin, encoded.share(number))])
    )


async def rewrite(op: Operation, base: MutableHeader, offset: int, data: bytes) -> Outcome:
    """Do the same by writing the file as a whole. Raises CollisionError if ``base`` is there no more."""
    encoding = Encoding(base.shares_needed, base.shares_total)
    try:
        async with op.copied(base) as (old, _):
            patched = PatchedPlaintext(old, offset, data)
            return await op.publish(patched, encoding, op.next_sequence())
    except NotEnoughSharesError as error:
        raise CollisionError(error) from None


def _check_possible(op: Operation, base: MutableHeader) -> None:
    """Raise NotInPlaceError unless all shares are there, of this version, and laid out as they must be."""
    seen = op.sighting.map
    if (
        base.format != "MDMF"
        or op.identity.format != "MDMF"
        or base.size == 0
        or seen.bad
        or seen.versions() != [base]
        or len(seen.holders(base)) != base.shares_total
    ):
        raise NotInPlaceError
    if any(found.offsets.data.begin != MDMF_DATA_OFFSET for found in seen.shares.values()):
        raise NotInPlaceError


async def _old_leaves(op: Operation, base: MutableHeader) -> list[list[bytes]]:
    """Return the proven leaves of every share. Raises NotInPlaceError."""
    proof = VersionProof(base)
    copies = op.sighting.copies_of(base)

    async def leaves_of(copy: ShareCopy) -> list[bytes] | None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                leaves = await copy.leaves(op.identity.index, proof)
            if copy.offsets.private_key.size != len(op_keys.encrypted_private_key):
                raise CorruptShareError("the private key of a share has another length")
            return leaves
        except (IntegrityError, ServerError, StorageRefusalError, TimeoutError) as error:
            op.give_up(copy, error)
            return None

    op_keys = await op.keys()
    found = await asyncio.gather(*(leaves_of(copy) for copy in copies))
    by_number: dict[int, list[bytes]] = {}
    for copy, leaves in zip(copies, found, strict=True):
        if leaves is None:
            raise NotInPlaceError
        by_number[copy.number] = leaves
    return [by_number[number] for number in range(base.shares_total)]


async def _contents(
    op: Operation, base: MutableHeader, plan: MutableSegmentation, touched: range, offset: int, data: Buffer
) -> bytes:
    """Return the new contents of all touched segments, whole."""
    begin = touched[0] * plan.segment_size
    end = min((touched[-1] + 1) * plan.segment_size, plan.size)
    behind = offset + len(data)
    before = await read_range(op, base, begin, offset - begin) if begin < offset else b""
    after = await read_range(op, base, behind, end - behind) if behind < end else b""
    return b"".join((before, data, after))


def _encode(
    plan: MutableSegmentation,
    touched: range,
    contents: bytes,
    old_leaves: list[list[bytes]],
    keys: FileKeys,
    sequence: int,
) -> tuple[EncodedSegments, SignedVersion]:
    view, size = memoryview(contents), plan.segment_size
    plaintexts = [view[i * size : (i + 1) * size] for i in range(len(touched))]
    salts = [secrets.token_bytes(SALT_SIZE) for _ in touched]
    encoded = encode_segments(plan, keys.read_key, touched[0], plaintexts, salts)
    leaves = BlockLeaves(plan, old_leaves)
    leaves.add(encoded)
    return encoded, SignedVersion.sign(plan, sequence, b"", leaves.trees(), keys)
