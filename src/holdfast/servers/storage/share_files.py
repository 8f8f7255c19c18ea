"""Looking at share files: what kind they are, where their data lie, whether they are sound.

Source: docs/spec/storage-disk.md, sections 3, 4 and 9.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from holdfast.formats.containers import (
    EXTRA_COUNT_SIZE,
    HEADER_SIZE_MAX,
    Container,
    DamagedContainerError,
    MutableContainer,
    check_extra_leases,
    parse_container,
)
from holdfast.servers.storage.catalog import Kind

log = logging.getLogger(__name__)

OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class DamagedShareError(Exception):
    """The file at a share's place is not one we understand. It is left alone, and reported."""


@dataclass(frozen=True, slots=True)
class ShareFile:
    """An open share. The descriptor is its owner's to close."""

    descriptor: int
    container: Container
    extra_length: int = 0  # of the block of extra leases in a mutable container

    @property
    def kind(self) -> Kind:
        return Kind.MUTABLE if isinstance(self.container, MutableContainer) else Kind.IMMUTABLE

    @property
    def size(self) -> int:
        """Bytes of share data."""
        return self.container.size

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes of the share; fewer only at its end."""
        length = max(0, min(length, self.size - offset))
        return read_fully(self.descriptor, self.container.data_offset + offset, length) if length else b""


@dataclass(frozen=True, slots=True)
class ShareImage:
    """A container in memory; what ``ShareFile`` is for one in a file."""

    content: bytes = field(repr=False)
    container: MutableContainer
    extra_length: int  # of the block of extra leases

    @property
    def kind(self) -> Kind:
        return Kind.MUTABLE

    @property
    def size(self) -> int:
        """Bytes of share data."""
        return self.container.size

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes of the share; fewer only at its end."""
        begin = self.container.data_offset
        return self.content[begin + offset : begin + max(offset, min(offset + length, self.size))]


@dataclass(frozen=True, slots=True)
class ShareData:
    """The data of a share in memory, to be read as from a ``ShareFile``."""

    content: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of share data."""
        return len(self.content)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes of the share; fewer only at its end."""
        return self.content[offset : offset + length]


SlotShare = ShareFile | ShareImage
"""A mutable share, wherever its container is."""


def open_share(path: str) -> ShareFile | None:
    """Open the share at ``path``; None if there is nothing.

    Raises:
        DamagedShareError: there is something else, or something broken.
    """
    try:
        descriptor = os.open(path, OPEN_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link, a socket
            raise _damaged(path, "it is not a regular file") from None
        raise
    try:
        return _parse(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def opened_share(path: str) -> Iterator[ShareFile | None]:
    """As ``open_share``; closes the file behind the block."""
    share = open_share(path)
    try:
        yield share
    finally:
        if share is not None:
            os.close(share.descriptor)


def look_at(path: str) -> ShareFile | None:
    """As ``open_share``, for what can be said of the file; the descriptor returned is closed."""
    with opened_share(path) as share:
        return share


def read_fully(descriptor: int, offset: int, length: int) -> bytes:
    """Return exactly ``length`` bytes of a file.

    Raises:
        OSError: they are not there (any more).
    """
    data = os.pread(descriptor, length, offset)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            raise OSError(errno.EIO, "the file ends too soon")
        data += more
    return data


def _parse(path: str, descriptor: int) -> ShareFile:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise _damaged(path, "it is not a regular file")
    size = status.st_size
    try:
        container = parse_container(os.pread(descriptor, HEADER_SIZE_MAX, 0), size)
        extra_length = 0
        if isinstance(container, MutableContainer):
            count = os.pread(descriptor, EXTRA_COUNT_SIZE, container.extra_offset)
            extra_length = check_extra_leases(container, count, size)
    except DamagedContainerError as error:
        raise _damaged(path, str(error)) from None
    return ShareFile(descriptor, container, extra_length)


def _damaged(path: str, why: str) -> DamagedShareError:
    log.warning("%s is left out: %s", path, why)
    return DamagedShareError(why)
