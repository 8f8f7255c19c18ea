"""The kernel: everything that touches each byte of a file. Native where it could be built.

Which implementation runs is chosen once, at import: the best one of this machine, or the one that the
environment variable HOLDFAST_KERNEL names (read by the native module, so without effect where that is
missing). All give the same bytes, which are those of ``reference``.

Source: docs/spec/immutable.md, sections 4 to 7; docs/spec/hashing.md, sections 3, 7 and 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from holdfast.crypto import fallback
from holdfast.crypto.buffers import Buffer
from holdfast.crypto.gf256 import SHARES_MAX, check_rows, interpolation_rows
from holdfast.errors import ConfigError

try:
    from holdfast.crypto import _kernel as native
except ImportError:  # built without a compiler
    _native = None
else:
    _native = native

PYTHON = "python"
DECODINGS_CACHED = 64

WritableBuffer = bytearray | memoryview


class _Encoder(Protocol):
    def encode(
        self, plaintext: Buffer, offset: int, block_size: int, out: WritableBuffer, /
    ) -> tuple[bytes, bytes]: ...

    def crypttext_hash(self) -> bytes: ...


class _Decoder(Protocol):
    def decode(
        self,
        blocks: Sequence[Buffer],
        numbers: Sequence[int],
        missing_rows: bytes,
        offset: int,
        size: int,
        out: WritableBuffer,
        /,
    ) -> tuple[bytes, bytes]: ...


class _Implementation(Protocol):
    """What the native module and ``fallback`` have in common; two members are classes, hence their names."""

    @property
    def multiply(self) -> Callable[[bytes, Sequence[Buffer], Sequence[WritableBuffer]], None]: ...
    @property
    def products(self) -> Callable[[bytes, Sequence[Buffer]], list[bytes]]: ...
    @property
    def hash_many(self) -> Callable[[bytes, Sequence[Buffer]], list[bytes]]: ...
    @property
    def hash_parents(self) -> Callable[[Buffer], bytes]: ...
    @property
    def SegmentEncoder(self) -> Callable[[bytes | None, int, int, bytes], _Encoder]: ...  # noqa: N802
    @property
    def SegmentDecoder(self) -> Callable[[bytes | None, int], _Decoder]: ...  # noqa: N802


_chosen: _Implementation = _native or fallback


def available() -> tuple[str, ...]:
    """Return the names of the implementations that work here, best first; the last is "python"."""
    return (*_native.paths(), PYTHON) if _native else (PYTHON,)


def implementation() -> str:
    """Return the name of the implementation in use."""
    return _native.path() if _native and _chosen is _native else PYTHON


def force(name: str) -> None:
    """Use the named implementation from now on, for objects made from now on.

    Raises:
        ValueError: it does not work here.
    """
    global _chosen
    if name not in available():
        raise ValueError(f"kernel {name!r} does not work here; these do: {', '.join(available())}")
    if _native and name != PYTHON:
        _native.force(name)
        _chosen = _native
    else:
        _chosen = fallback


def multiply(rows: bytes, sources: Sequence[Buffer], outputs: Sequence[WritableBuffer]) -> None:
    """Fill each output with a linear combination of the sources, byte by byte in GF(256).

    Args:
        rows: one row of coefficients per output, row after row, each with one per source.
        sources: 1 to 256 buffers of one size.
        outputs: up to 256 buffers of the same size; none may overlap with a source or another output.

    Raises:
        ValueError: numbers or sizes do not fit together.
        BufferError: a buffer is not contiguous, or an output cannot be written.
    """
    _chosen.multiply(rows, sources, outputs)


def products(rows: bytes, sources: Sequence[Buffer]) -> list[bytes]:
    """Return what ``multiply`` would write, one new object per row."""
    return _chosen.products(rows, sources)


def hash_many(tag: bytes, messages: Sequence[Buffer]) -> list[bytes]:
    """Return the 32-byte tagged hash of each message."""
    return _chosen.hash_many(tag, messages)


def hash_parents(level: Buffer) -> bytes:
    """Return the interior Merkle nodes above neighbours in ``level``.

    Args:
        level: an even number of nodes, 32 bytes each, concatenated.

    Raises:
        ValueError: it is not a multiple of 64 bytes long.
    """
    return _chosen.hash_parents(level)


class SegmentEncoder:
    """Turns the segments of one file into blocks and hashes, in one pass over each segment.

    Encode the segments in ascending order, each once, since the hash of the whole ciphertext runs along; so
    calls of one object must not overlap in time, though several objects may work at once.
    """

    def __init__(self, key: bytes | None, shares_needed: int, shares_total: int) -> None:
        """``key``: 16 bytes, or None if what will be encoded is ciphertext already (repair).

        Raises:
            ValueError: not 1 <= shares_needed <= shares_total <= 256, or the key has another length.
        """
        if not 1 <= shares_needed <= shares_total <= SHARES_MAX:
            raise ValueError("1 <= shares_needed <= shares_total <= 256")
        _check_key(key)
        rows = check_rows(shares_needed, shares_total)
        self._engine = _chosen.SegmentEncoder(key, shares_needed, shares_total, rows)

    def encode(
        self, plaintext: Buffer, offset: int, block_size: int, out: WritableBuffer
    ) -> tuple[bytes, bytes]:
        """Encrypt, code and hash one segment. Other threads run meanwhile.

        Args:
            plaintext: the real bytes of the segment, at most shares_needed * block_size.
            offset: position of the segment in the file.
            block_size: bytes, at least 1.
            out: exactly shares_total * block_size bytes; receives the blocks in order of their numbers, so
                that it begins with the ciphertext and its padding. ``plaintext`` may be the beginning of
                ``out``, but may not overlap with it otherwise.

        Returns:
            The crypttext segment hash (32 bytes), and the block hashes, concatenated.

        Raises:
            ValueError: sizes do not fit together.
        """
        return self._engine.encode(plaintext, offset, block_size, out)

    def crypttext_hash(self) -> bytes:
        """Return the hash of the ciphertext of all segments encoded so far, 32 bytes."""
        return self._engine.crypttext_hash()


class SegmentDecoder:
    """Turns blocks back into segments. May be used by several threads at once."""

    def __init__(self, key: bytes | None, shares_needed: int) -> None:
        """``key``: 16 bytes, or None if ciphertext is wanted.

        Raises:
            ValueError: not 1 <= shares_needed <= 256, or the key has another length.
        """
        if not 1 <= shares_needed <= SHARES_MAX:
            raise ValueError("1 <= shares_needed <= 256")
        _check_key(key)
        self._needed = shares_needed
        self._rows: dict[tuple[int, ...], bytes] = {}
        self._engine = _chosen.SegmentDecoder(key, shares_needed)

    def decode(
        self, blocks: Sequence[Buffer], numbers: Sequence[int], offset: int, size: int, out: WritableBuffer
    ) -> tuple[bytes, bytes]:
        """Rebuild, hash and decrypt one segment. Other threads run meanwhile.

        Nothing is verified here: compare the hashes before using ``out``.

        Args:
            blocks: shares_needed buffers of one size, in any order.
            numbers: their share numbers, all different.
            offset: position of the segment in the file.
            size: real bytes of the segment, at most shares_needed blocks.
            out: at least ``size`` bytes, of which the first ``size`` are written. A primary block may already
                lie at its place in ``out``; no block may overlap with it otherwise.

        Returns:
            The crypttext segment hash (32 bytes), and the block hashes in the order given, concatenated.

        Raises:
            ValueError: numbers or sizes do not fit together.
        """
        held = tuple(numbers)
        rows = self._rows.get(held)
        if rows is None:
            rows = self._rows_for(held)
        return self._engine.decode(blocks, held, rows, offset, size, out)

    def _rows_for(self, held: tuple[int, ...]) -> bytes:
        """Return the coefficients that make the missing primary blocks of those held."""
        if len(held) != self._needed or len(set(held)) != self._needed:
            raise ValueError("as many different share numbers as shares are needed")
        if not all(0 <= number < SHARES_MAX for number in held):
            raise ValueError("share numbers lie in 0 .. 255")
        missing = sorted(set(range(self._needed)).difference(held))
        rows = interpolation_rows(held, missing)
        if len(self._rows) >= DECODINGS_CACHED:
            self._rows = {}
        self._rows[held] = rows
        return rows


def _check_key(key: bytes | None) -> None:
    if key is not None and len(key) != 16:
        raise ValueError("the key has 16 bytes")


if _native and (_wanted := _native.wanted()):
    try:
        force(_wanted)
    except ValueError as error:
        raise ConfigError(f"HOLDFAST_KERNEL: {error}") from None
