"""Nameless files for what waits on the disk only for a moment: a crash leaves nothing of them.

Before such a file grows there has to be room for it beyond the reserve, and as much again for what is made
of it. It does not count as share data.

Source: docs/spec/storage-protocol.md, section 11.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import IO

from holdfast.interfaces.storage_errors import NoSpaceError
from holdfast.interfaces.types import Buffer
from holdfast.servers.storage.admission import Admission
from holdfast.servers.storage.disk import Disk, preallocate, refusal_of
from holdfast.servers.storage.share_files import read_fully

PIECE = 1 << 20  # bytes looked at at once
WINDOW = 16 * 1024  # bytes read at once of what consists of little things
UNANNOUNCED = 16 << 20  # bytes of room for a file of which nobody has said how long it will be


class ScratchSpace:
    """Makes nameless files in a directory."""

    def __init__(self, directory: str, disk: Disk, admission: Admission) -> None:
        self.directory = directory
        self._disk = disk
        self._admission = admission

    def new_file(self) -> ScratchFile:
        """Return a file that is still to be opened."""
        return ScratchFile(self.directory, self._disk, self._admission)


class ScratchFile:
    """A file to be written once, from front to back, and read then."""

    def __init__(self, directory: str, disk: Disk, admission: Admission) -> None:
        self._directory = directory
        self._disk = disk
        self._admission = admission
        self._file: IO[bytes] | None = None
        self._room = 0  # bytes for the file
        self._promised = 0  # bytes without blocks of their own
        self.size = 0  # bytes written

    def open(self, size: int | None) -> None:
        """Make the file, for ``size`` bytes, if that is known. Blocks. It is to be closed in any case.

        Raises:
            NoSpaceError: there is no room for it.
        """
        try:
            # Closed by ``close``.
            self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise refusal_of(error) from error
        self._make_room(size or 0)

    @property
    def descriptor(self) -> int:
        assert self._file is not None
        return self._file.fileno()

    def append(self, data: Buffer) -> None:
        """Write ``data`` behind what is there. Blocks.

        Raises:
            NoSpaceError: there is no room.
        """
        if self.size + len(data) > self._room:
            self._make_room(self._room + max(UNANNOUNCED, len(data)))
        try:
            self._disk.write(self.descriptor, data, self.size)
        except OSError as error:
            raise refusal_of(error) from error
        self.size += len(data)

    def use(self) -> None:
        """Take back the promise of room for what is made of the file: it asks for its own."""
        self._give_back(min(self._promised, self._room))

    def close(self) -> None:
        """Remove the file. Blocks."""
        if self._file is not None:
            self._file.close()
        self._give_back(self._promised)

    def _make_room(self, size: int) -> None:
        more = size - self._room
        if not self._admission.reserve_scratch(2 * more):
            raise NoSpaceError("there is no room where a message of this size could wait")
        self._room = size
        self._promised += 2 * more
        try:
            backed = more > 0 and preallocate(self.descriptor, size)
        except OSError as error:
            raise refusal_of(error) from error
        if backed:
            self._promised -= more
            self._admission.backed(more)

    def _give_back(self, size: int) -> None:
        self._promised -= size
        self._admission.release_scratch(size)


class FileParts:
    """A byte string that lies in a file, perhaps in several parts (implements ``BytesElsewhere``)."""

    __slots__ = ("_bounds", "descriptor")

    def __init__(self, descriptor: int, parts: Sequence[tuple[int, int]]) -> None:
        """``parts``: begin and end of each."""
        self.descriptor = descriptor
        self._bounds = array("Q", chain.from_iterable(parts))  # there may be a great many

    @property
    def parts(self) -> Iterator[tuple[int, int]]:
        """Begin and end of each part."""
        return zip(self._bounds[::2], self._bounds[1::2], strict=True)

    def __len__(self) -> int:
        return sum(end - begin for begin, end in self.parts)

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """Read the string piece by piece. Blocks."""
        for begin, end in self.parts:
            for offset in range(begin, end, PIECE):
                yield read_fully(self.descriptor, offset, min(PIECE, end - offset))


class FileBytes:
    """The contents of a file, read as they are sliced, by one thread at a time."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._window = b""  # what lies around what was read last
        self._window_begin = 0

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice | int) -> bytes | int:
        if isinstance(part, int):
            return self._read(part, part + 1)[0]
        begin, end, _ = part.indices(self._size)
        return self._read(begin, end) if begin < end else b""

    def _read(self, begin: int, end: int) -> bytes:
        at = begin - self._window_begin
        if at < 0 or end - self._window_begin > len(self._window):
            size = min(max(WINDOW, end - begin), self._size - begin)
            self._window = read_fully(self._descriptor, begin, size)
            self._window_begin, at = begin, 0
        return self._window[at : at + end - begin]
