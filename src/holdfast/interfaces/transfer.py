"""What files come from and go to, and the parts that carry them: sources, targets,
encoder, decoder, uploader, downloader.

Source: docs/spec/seed-map.md, sections L to Q. Methods that the founding
interfaces name keep their names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import BinaryIO, Protocol, TypeVar, runtime_checkable

from holdfast.interfaces.storage import BucketReader, BucketWriter
from holdfast.interfaces.types import Buffer, Hash

T_co = TypeVar("T_co", covariant=True)


@runtime_checkable
class Uploadable(Protocol):
    """A file to be uploaded, as a handle with ``read``, ``seek`` and ``tell``."""

    def get_filehandle(self) -> BinaryIO: ...

    def close_filehandle(self, f: BinaryIO) -> None:
        """Called once with that handle when the upload is over, however it ended."""
        ...


@runtime_checkable
class AsyncUploadable(Protocol):
    """A file to be uploaded that arrives piece by piece, of a length not known before its end."""

    async def read(self, length: int) -> bytes:
        """Return up to ``length`` bytes; none at the end."""
        ...

    async def close(self) -> None:
        """Called once when the upload is over, however it ended."""
        ...


@runtime_checkable
class DownloadTarget(Protocol[T_co]):
    """Where a download goes. Each method but ``register_canceller`` may be a coroutine.

    Order of calls: ``register_canceller``, ``open``, ``write`` any number of times, ``close``,
    ``finish``; or ``fail`` at any moment after the first, and nothing more.
    """

    def register_canceller(self, cb: Callable[[], None]) -> None:
        """``cb`` cancels the download, from any thread."""
        ...

    def open(self, size: int) -> Awaitable[None] | None:
        """``size``: bytes that will be written."""
        ...

    def write(self, data: Buffer) -> Awaitable[None] | None:
        """Take proven ``data``, in order, without gaps. It may change once this (or its result) is done."""
        ...

    def close(self) -> Awaitable[None] | None: ...

    def fail(self, why: BaseException) -> Awaitable[None] | None: ...

    def finish(self) -> Awaitable[T_co] | T_co:
        """What this returns is what the download returns."""
        ...


class Encoder(Protocol):
    """Encrypts, encodes, hashes and delivers one file to shareholders it is given."""

    def setup(self, infile: BinaryIO | AsyncUploadable) -> Awaitable[None] | None: ...

    def get_share_size(self) -> int:
        """Bytes of blocks one shareholder gets."""
        ...

    def get_allocated_size(self) -> int:
        """Bytes of one share, with all its hashes."""
        ...

    def get_block_size(self) -> int: ...

    def set_shareholders(self, shareholders: Mapping[int, BucketWriter]) -> None: ...

    async def start(self) -> Hash:
        """Return the hash of the URI extension block."""
        ...


class Decoder(Protocol):
    """Fetches, proves, decodes and decrypts one file from shareholders it is given."""

    def setup(self, outfile: BinaryIO) -> None: ...

    def set_shareholders(self, shareholders: Mapping[int, BucketReader | Sequence[BucketReader]]) -> None: ...

    async def start(self) -> Decoder: ...
