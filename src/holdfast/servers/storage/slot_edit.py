"""What a read-test-write makes of one mutable share: the tests, and the new container.

The new container is written to a fresh file; the old one stays as it is. Leases inside
it are carried along.

Source: docs/spec/storage-protocol.md, section 9.1; docs/spec/storage-disk.md, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.formats.containers import (
    EXTRA_COUNT_SIZE,
    MUTABLE_HEADER_SIZE,
    MutableContainer,
    new_mutable_header,
    resized_mutable_header,
)
from holdfast.interfaces.storage import BytesElsewhere, ShareVectors, TestVector, WriteVector
from holdfast.interfaces.storage_errors import TooLargeError
from holdfast.interfaces.types import Buffer
from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.scratch import FileParts
from holdfast.servers.storage.share_files import ShareFile, SlotShare, read_fully


def holds(share: SlotShare | None, test: TestVector) -> bool:
    """Tell whether a test holds; a share that does not exist is empty."""
    available = 0 if share is None else max(0, min(test.size, share.size - test.offset))
    if available != len(test.specimen):
        return False
    if share is None:
        return True
    if not isinstance(test.specimen, FileParts):
        return share.read(test.offset, available) == test.specimen
    offset = test.offset
    for piece in test.specimen.pieces():
        if share.read(offset, len(piece)) != piece:
            return False
        offset += len(piece)
    return True


@dataclass(frozen=True, slots=True)
class SlotEdit:
    """The sizes of one share before and after its writes, in bytes."""

    old_size: int
    written_size: int  # before a new length cuts it
    new_size: int
    extra_offset: int  # in the new file
    grows: bool  # the container is new, or needs more room than it has

    @property
    def growth(self) -> int:
        """Bytes of share data that come to be, at the worst moment."""
        return max(0, self.written_size - self.old_size)


def end_of_writes(vectors: ShareVectors) -> int:
    """Return where in a share its writes end."""
    return max((write.offset + len(write.data) for write in vectors.writes), default=0)


def plan_edit(share: SlotShare | None, vectors: ShareVectors, size_max: int) -> SlotEdit:
    """Work out the sizes that the writes of ``vectors`` lead to.

    Raises:
        TooLargeError: the share would exceed ``size_max`` bytes on the way.
    """
    old_size = 0 if share is None else share.size
    written_size = max(old_size, end_of_writes(vectors))
    if written_size > size_max:
        raise TooLargeError("the share would be larger than this server allows")
    old_extra = MUTABLE_HEADER_SIZE
    if share is not None:
        assert isinstance(share.container, MutableContainer)
        old_extra = share.container.extra_offset
    # The lease block moves only to make room; a container never shrinks.
    extra_offset = max(old_extra, MUTABLE_HEADER_SIZE + written_size)
    new_size = written_size if vectors.new_length is None else min(written_size, vectors.new_length)
    return SlotEdit(old_size, written_size, new_size, extra_offset, share is None or extra_offset > old_extra)


def kept_ranges(writes: Sequence[WriteVector], size: int) -> list[tuple[int, int]]:
    """Return which bytes of a share of ``size`` bytes no write replaces: begin and end of each range."""
    kept, done = [], 0
    for begin, end in sorted((write.offset, write.offset + len(write.data)) for write in writes):
        if done < min(begin, size):
            kept.append((done, min(begin, size)))
        done = max(done, end)
    if done < size:
        kept.append((done, size))
    return kept


def write_container(
    disk: Disk,
    target: int,
    share: SlotShare | None,
    edit: SlotEdit,
    writes: Sequence[WriteVector],
    server_seed: bytes,
    write_enabler: bytes,
) -> int:
    """Fill the empty file ``target`` with the new container; return its size.

    Room that no data uses stays a hole, so that old bytes do not come up again later.
    """
    if share is None:
        header = new_mutable_header(server_seed, write_enabler)
        extra = bytes(EXTRA_COUNT_SIZE)
    else:
        container = share.container
        assert isinstance(container, MutableContainer)
        assert isinstance(share, ShareFile)
        header = read_fully(share.descriptor, 0, MUTABLE_HEADER_SIZE)
        extra = read_fully(share.descriptor, container.extra_offset, share.extra_length)
        for begin, end in kept_ranges(writes, share.size):
            disk.copy(share.descriptor, target, MUTABLE_HEADER_SIZE + begin, MUTABLE_HEADER_SIZE + end)
    for write in writes:
        if len(write.data):
            _put(disk, target, write.data, MUTABLE_HEADER_SIZE + write.offset)
    if edit.new_size < edit.written_size:
        disk.truncate(target, MUTABLE_HEADER_SIZE + edit.new_size)
    disk.write(target, extra, edit.extra_offset)
    disk.write(target, resized_mutable_header(header, edit.new_size, edit.extra_offset), 0)
    return edit.extra_offset + len(extra)


def _put(disk: Disk, target: int, data: Buffer | BytesElsewhere, offset: int) -> None:
    if isinstance(data, Buffer):
        disk.write(target, data, offset)
        return
    assert isinstance(data, FileParts)
    for begin, end in data.parts:
        disk.copy(data.descriptor, target, begin, end, offset)
        offset += end - begin
