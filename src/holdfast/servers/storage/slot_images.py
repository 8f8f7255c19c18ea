"""Mutable shares whose containers are in memory: looked at, and made anew.

Source: docs/spec/storage-disk.md, sections 4 and 8.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.formats.containers import (
    EXTRA_COUNT_SIZE,
    HEADER_SIZE_MAX,
    MUTABLE_HEADER_SIZE,
    DamagedContainerError,
    MutableContainer,
    check_extra_leases,
    new_mutable_header,
    parse_container,
    resized_mutable_header,
)
from holdfast.interfaces.storage import WriteVector
from holdfast.servers.storage.share_files import ShareImage, SlotShare, read_fully
from holdfast.servers.storage.share_log import LoggedShare
from holdfast.servers.storage.slot_edit import SlotEdit, kept_ranges


def image_of(content: bytes) -> ShareImage:
    """Return the share of a container.

    Raises:
        DamagedContainerError: it is none of a mutable share.
    """
    container = parse_container(content[:HEADER_SIZE_MAX], len(content))
    if not isinstance(container, MutableContainer):
        raise DamagedContainerError("the container is not that of a mutable share")
    begin = container.extra_offset
    count = content[begin : begin + EXTRA_COUNT_SIZE]
    return ShareImage(content, container, check_extra_leases(container, count, len(content)))


def images_of(waiting: Mapping[int, LoggedShare]) -> dict[int, ShareImage]:
    """Return mutable shares that wait for their files, by number."""
    return {number: image_of(share.data) for number, share in waiting.items()}


def new_image(
    share: SlotShare | None,
    edit: SlotEdit,
    writes: Sequence[WriteVector],
    server_seed: bytes,
    write_enabler: bytes,
) -> bytes:
    """Return the container that writes lead to; room that no data uses is zero. All data are in memory."""
    if share is None:
        header, extra = new_mutable_header(server_seed, write_enabler), bytes(EXTRA_COUNT_SIZE)
    else:
        header, extra = _around(share)
    whole = _written_whole(edit, writes)
    if whole is not None:
        return b"".join((resized_mutable_header(header, edit.new_size, edit.extra_offset), *whole, extra))
    image = bytearray(edit.extra_offset + len(extra))
    if share is not None:
        for begin, end in kept_ranges(writes, share.size):
            image[MUTABLE_HEADER_SIZE + begin : MUTABLE_HEADER_SIZE + end] = share.read(begin, end - begin)
    for write in writes:
        begin = MUTABLE_HEADER_SIZE + write.offset
        assert isinstance(write.data, bytes)
        image[begin : begin + len(write.data)] = write.data
    if edit.new_size < edit.written_size:
        cut = edit.written_size - edit.new_size
        image[MUTABLE_HEADER_SIZE + edit.new_size : MUTABLE_HEADER_SIZE + edit.written_size] = bytes(cut)
    image[edit.extra_offset :] = extra
    image[:MUTABLE_HEADER_SIZE] = resized_mutable_header(header, edit.new_size, edit.extra_offset)
    return bytes(image)


def _written_whole(edit: SlotEdit, writes: Sequence[WriteVector]) -> list[bytes] | None:
    """Return the data of writes that follow one another, if nothing else is between header and leases."""
    end = 0
    data: list[bytes] = []
    for write in writes:
        if write.offset != end:
            return None
        assert isinstance(write.data, bytes)
        data.append(write.data)
        end += len(write.data)
    if end == edit.new_size == edit.extra_offset - MUTABLE_HEADER_SIZE:
        return data
    return None


def _around(share: SlotShare) -> tuple[bytes, bytes]:
    """Return the header of a container, and its block of extra leases."""
    assert isinstance(share.container, MutableContainer)
    begin = share.container.extra_offset
    if isinstance(share, ShareImage):
        return share.content[:MUTABLE_HEADER_SIZE], share.content[begin : begin + share.extra_length]
    header = read_fully(share.descriptor, 0, MUTABLE_HEADER_SIZE)
    return header, read_fully(share.descriptor, begin, share.extra_length)
