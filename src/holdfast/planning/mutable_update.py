"""Decides how bytes in the middle of a mutable file are replaced: in place, or by writing all of it anew.

In place only segments that change are written, with new salts; shares, segment sizes and encoding stay those
of the version. Whatever stands against it leads to a full rewrite, which always works.

Source: docs/spec/mutable.md, section 14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.crypto.buffers import Buffer
from holdfast.errors import InputError
from holdfast.formats.mutable_layout import MDMF_DATA_OFFSET, SEQUENCE_END, MutableHeader
from holdfast.formats.mutable_segmentation import MutableSegmentation
from holdfast.planning.server_map import ServerMap


@dataclass(frozen=True, slots=True)
class FullRewrite:
    """Download, change, publish."""

    reason: str


@dataclass(frozen=True, slots=True)
class InPlaceUpdate:
    """Which segments to write, and which of the old ones that takes.

    Besides, the hashes of all records of every share are needed, proven against the root hash of the old
    version (``ShareProof.offer_tree``), since the trees over all of them are made anew.
    """

    old: MutableSegmentation
    new: MutableSegmentation
    offset: int
    length: int
    segments: range  # to encode, in the new version
    old_segments: tuple[int, ...]  # to download and decode, as some of their bytes stay: none, one or two

    def plaintexts(self, data: Buffer, old: Mapping[int, Buffer]) -> list[bytes]:
        """Return the new contents of ``segments``.

        Args:
            data: the new bytes.
            old: the contents of ``old_segments``.
        """
        view = memoryview(data).cast("B")
        plaintexts = []
        for segment in self.segments:
            begin = segment * self.new.segment_size
            end = begin + self.new.segment_length(segment)
            middle = view[max(begin - self.offset, 0) : max(end - self.offset, 0)]
            before = bytes(old[segment][: self.offset - begin]) if begin < self.offset else b""
            after = self.offset + self.length
            kept = bytes(old[segment][after - begin : end - begin]) if after < end else b""
            plaintexts.append(b"".join([before, middle, kept]))
        return plaintexts


def plan_update(
    server_map: ServerMap, version: MutableHeader, offset: int, length: int
) -> InPlaceUpdate | FullRewrite:
    """Decide how to replace bytes ``[offset, offset + length)`` of a version; the file may grow by it.

    Args:
        server_map: of a survey that was made to write.
        version: the best one in it.

    Raises:
        InputError: nothing to write, or a place beyond the end of the file.
    """
    if not 0 <= offset <= version.size:
        raise InputError(f"the file has {version.size} bytes; nothing can be written at {offset}")
    if length < 1:
        raise InputError("an update writes at least one byte")
    hindrance = _hindrance(server_map, version)
    if hindrance is not None:
        return FullRewrite(hindrance)
    old = version.segmentation
    size = max(old.size, offset + length)
    if size >= SEQUENCE_END:
        raise InputError("a file of this size cannot be stored")
    new = MutableSegmentation(old.format, size, old.shares_needed, old.shares_total, old.segment_size)
    segments = new.segments_of(offset, length)
    end = offset + length
    kept = set()
    if offset % old.segment_size:
        kept.add(segments[0])
    if end < old.size and end % old.segment_size:
        kept.add(segments[-1])
    return InPlaceUpdate(old, new, offset, length, segments, tuple(sorted(kept)))


def _hindrance(server_map: ServerMap, version: MutableHeader) -> str | None:
    if version.format != "MDMF":
        return "an SDMF file is one segment"
    if version.size == 0:
        return "the file is empty"
    if any(found.header != version for found in server_map.shares.values()):
        return "there are shares of other versions, which have to be replaced"
    if server_map.bad:
        return "there are bad shares, which have to be replaced"
    if len(server_map.holders(version)) < version.shares_total:
        return "some shares are missing"
    if any(found.offsets.data.begin != MDMF_DATA_OFFSET for found in server_map.shares.values()):
        return "the data of some shares are not at their usual place"
    return None
