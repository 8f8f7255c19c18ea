"""Files of a drive: in their capability, immutable, or mutable.

Source: docs/spec/seed-map.md, section H.
"""

from __future__ import annotations

from typing import Final, TypeVar

from holdfast.caps import ImmutableReadCap, LiteralCap, MutableReadCap, MutableWriteCap
from holdfast.drive.backing import Change, Contents, ImmutableFiles, MutableFile
from holdfast.drive.known_node import KnownNode
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.targets import DataTarget
from holdfast.interfaces.drive import NotWriteableError
from holdfast.interfaces.transfer import DownloadTarget
from holdfast.interfaces.types import Buffer

T = TypeVar("T")


class ImmutableFileNode(KnownNode):
    """A file that never changes; a literal one, whose contents are in its capability, takes no traffic."""

    kind: Final = "file"

    def __init__(self, cap: ImmutableReadCap | LiteralCap, files: ImmutableFiles) -> None:
        super().__init__(cap)
        self._size = cap.size
        self._files = files

    async def get_size(self) -> int:
        """Return the length in bytes."""
        return self._size

    async def download(
        self,
        target: DownloadTarget[T],
        *,
        offset: int = 0,
        size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> T:
        """Write the bytes ``[offset, offset + size)``, cut at the end of the file, to ``target``.

        Returns:
            what the target's ``finish`` returned.

        Raises: as ``Downloader.download``.
        """
        result = await self._files.download(
            self.get_uri(), target, offset=offset, size=size, progress=progress
        )
        return result.value

    async def download_to_data(self, offset: int = 0, size: int | None = None) -> bytes:
        """Return the contents, or a range of them, in memory."""
        return await self.download(DataTarget(), offset=offset, size=size)


class LiteralFileNode(ImmutableFileNode):
    """A file that is in its capability; nothing is asked of the grid."""

    def __init__(self, cap: LiteralCap, files: ImmutableFiles) -> None:
        super().__init__(cap, files)


class MutableFileNode(KnownNode):
    """A file whose contents can change, through this node or another."""

    kind: Final = "file"

    def __init__(self, cap: MutableWriteCap | MutableReadCap, file: MutableFile) -> None:
        super().__init__(cap)
        self._file = file

    async def get_size(self) -> int:
        """Return the length in bytes of the newest version."""
        return await self._file.size()

    async def download(
        self,
        target: DownloadTarget[T],
        *,
        offset: int = 0,
        size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> T:
        """Write the bytes ``[offset, offset + size)`` of the newest version to ``target``.

        Returns:
            what the target's ``finish`` returned.
        """
        result = await self._file.read_into(target, offset=offset, size=size, progress=progress)
        return result.value

    async def download_to_data(self, offset: int = 0, size: int | None = None) -> bytes:
        """Return the contents, or a range of them, in memory."""
        return await self._file.read(offset, size)

    async def overwrite(self, data: Contents, *, progress: ProgressCallback | None = None) -> None:
        """Publish ``data`` in place of the contents.

        Raises:
            NotWriteableError: the file is held read-only. Nothing is sent.
        """
        self._check_writable()
        await self._file.overwrite(data, progress=progress)

    async def modify(self, change: Change) -> bytes:
        """Publish what ``change`` makes of the contents; see ``MutableFile.modify``.

        Raises:
            NotWriteableError: as ``overwrite``.
        """
        self._check_writable()
        return await self._file.modify(change)

    async def update(self, offset: int, data: Buffer) -> None:
        """Publish the contents with ``data`` at ``offset``, which is not behind their end.

        Raises:
            NotWriteableError: as ``overwrite``.
        """
        self._check_writable()
        await self._file.update(offset, data)

    def _check_writable(self) -> None:
        if not self.is_mutable():
            raise NotWriteableError("this file is held read-only; changing it takes its write capability")
