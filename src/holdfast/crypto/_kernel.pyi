"""The native kernel, built from native/*.c. ``kernel`` says what its functions promise; use that."""

from collections.abc import Sequence

from holdfast.crypto.buffers import Buffer

WritableBuffer = bytearray | memoryview

def multiply(rows: Buffer, sources: Sequence[Buffer], outputs: Sequence[WritableBuffer], /) -> None: ...
def products(rows: Buffer, sources: Sequence[Buffer], /) -> list[bytes]: ...
def hash_many(tag: bytes, messages: Sequence[Buffer], /) -> list[bytes]: ...
def hash_parents(level: Buffer, /) -> bytes: ...
def paths() -> tuple[str, ...]:
    """Return the names of the paths this processor can run, the best first."""

def path() -> str:
    """Return the name of the path in use."""

def engines() -> tuple[str, str, str]:
    """Return what multiplies, encrypts and hashes on the path in use."""

def force(name: str, /) -> None:
    """Use a path from now on. Raises ValueError if it cannot run here."""

def wanted() -> str | None:
    """Return the environment variable HOLDFAST_KERNEL, or None if it is not set or empty."""

class SegmentEncoder:
    def __new__(
        cls, key: bytes | None, shares_needed: int, shares_total: int, check_rows: bytes
    ) -> SegmentEncoder: ...
    def encode(
        self, plaintext: Buffer, offset: int, block_size: int, out: WritableBuffer, /
    ) -> tuple[bytes, bytes]:
        """As in ``kernel``. Raises RuntimeError while another thread is in it."""

    def crypttext_hash(self) -> bytes: ...

class SegmentDecoder:
    def __new__(cls, key: bytes | None, shares_needed: int) -> SegmentDecoder: ...
    def decode(
        self,
        blocks: Sequence[Buffer],
        numbers: Sequence[int],
        missing_rows: Buffer,
        offset: int,
        size: int,
        out: WritableBuffer,
        /,
    ) -> tuple[bytes, bytes]:
        """As in ``kernel``; ``missing_rows`` makes the primary blocks not given, in ascending order."""
