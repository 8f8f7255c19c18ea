"""What a drive stands on: mutable files, and a grid that stores immutable ones.

Source: docs/spec/mutable.md, section 13; docs/spec/directories.md, section 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

from holdfast.caps import MutableReadCap, MutableVerifyCap, MutableWriteCap
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.results import DownloadResult, UploadResult
from holdfast.grid.settings import EncodingSettings
from holdfast.interfaces.transfer import AsyncUploadable, DownloadTarget, Uploadable
from holdfast.interfaces.types import Buffer

T = TypeVar("T")

MutableFormat = Literal["SDMF", "MDMF"]

Contents = Buffer | Uploadable | AsyncUploadable
"""What a file is to contain: bytes, or where they come from."""
Change = Callable[[bytes, bool], bytes | None]
"""From the contents found, and whether this is the first attempt, to the new ones; None to leave them."""


class MutableFile(Protocol):
    """One mutable file, through one capability. All who hold it here take turns."""

    @property
    def cap(self) -> MutableWriteCap | MutableReadCap | MutableVerifyCap: ...

    async def size(self) -> int: ...

    async def read(self, offset: int = 0, size: int | None = None) -> bytes: ...

    async def read_into(
        self,
        target: DownloadTarget[T],
        *,
        offset: int = 0,
        size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> DownloadResult[T]: ...

    async def overwrite(self, data: Contents, *, progress: ProgressCallback | None = None) -> None: ...

    async def modify(self, change: Change) -> bytes:
        """Change the contents, again and again until nobody else wrote in between; return what they are now.

        Nothing is written if ``change`` raises, or returns None or the contents it was given.
        """
        ...

    async def update(self, offset: int, data: Buffer) -> None:
        """Replace the bytes from ``offset`` on, which is not behind the end."""
        ...


class MutableFiles(Protocol):
    """The mutable files of one grid."""

    async def create(
        self,
        data: Contents = b"",
        *,
        format: MutableFormat = "SDMF",  # noqa: A002  (the word of the specification)
        progress: ProgressCallback | None = None,
    ) -> MutableFile: ...

    async def create_with(
        self,
        make: Callable[[bytes], bytes],
        *,
        format: MutableFormat = "SDMF",  # noqa: A002  (as above)
    ) -> MutableFile:
        """Make a file whose contents depend on its write key, 16 bytes."""
        ...

    def open(self, cap: MutableWriteCap | MutableReadCap | MutableVerifyCap) -> MutableFile:
        """Nothing is asked of the grid."""
        ...


class ImmutableFiles(Protocol):
    """What of a grid the immutable files of a drive need; ``holdfast.grid.client.Grid`` has it."""

    async def upload(
        self,
        source: Uploadable | AsyncUploadable,
        encoding: EncodingSettings | None = None,
        progress: ProgressCallback | None = None,
    ) -> UploadResult: ...

    async def download(
        self,
        uri: str,
        target: DownloadTarget[T],
        *,
        offset: int = 0,
        size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> DownloadResult[T]: ...
