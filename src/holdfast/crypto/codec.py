"""The erasure codecs as objects that are set up once and used for many segments, and the table that finds
them by the name a file states.

``crs`` is the code of all files. ``rep``, plain copies, is for tests: no file is written with it.
All of this is synchronous; ``grid.codec`` has the forms to be awaited.

The longer the data of one call, the faster per byte, and the more memory: its blocks take
data_size * max_shares / required_shares bytes. Of these, ``encode_now`` allocates the check blocks alone.

Source: docs/spec/seed-map.md, sections J and K; docs/spec/immutable.md, section 6.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.gf256 import SHARES_MAX, check_rows, interpolation_rows
from holdfast.crypto.kernel import products
from holdfast.errors import InputError

DATA_SIZE_MAX = 1 << 40  # bytes in one call; far above any segment
SERIALIZED_MAX = 48  # characters
_SERIALIZED = re.compile(r"([1-9][0-9]*)-([1-9][0-9]*)-([1-9][0-9]*)")


class UnknownCodecError(InputError, LookupError):
    """No codec has this name."""


@dataclass(frozen=True, slots=True)
class CodecParams:
    """How one codec call cuts its data."""

    data_size: int  # bytes, a multiple of required_shares
    required_shares: int  # k
    max_shares: int  # N

    def __post_init__(self) -> None:
        if not 1 <= self.required_shares <= self.max_shares <= SHARES_MAX:
            raise ValueError("1 <= required_shares <= max_shares <= 256")
        if not 1 <= self.data_size <= DATA_SIZE_MAX or self.data_size % self.required_shares:
            raise ValueError("data_size is a positive multiple of required_shares, at most 2**40")

    @classmethod
    def parse(cls, text: str) -> CodecParams:
        """Read what ``serialized`` gives. Raises ValueError for anything else."""
        match = _SERIALIZED.fullmatch(text) if len(text) <= SERIALIZED_MAX else None
        if match is None:
            raise ValueError("codec parameters are three decimal numbers: size-needed-total")
        return cls(*map(int, match.groups()))

    @property
    def serialized(self) -> str:
        """The form stored with a file: ``size-k-N``, decimal."""
        return f"{self.data_size}-{self.required_shares}-{self.max_shares}"

    @property
    def block_size(self) -> int:
        """Bytes of each piece, and of each block."""
        return self.data_size // self.required_shares


class _Encoder(ABC):
    """Set-up and checks. Once set up nothing changes, so that several threads may encode at once."""

    encoder_type: ClassVar[str]
    _set_up: CodecParams | None = None

    def set_params(self, data_size: int, required_shares: int, max_shares: int) -> None:
        """Prepare for ``data_size`` bytes a call. No other method may be called before.

        Raises:
            ValueError: not 1 <= required_shares <= max_shares <= 256, or data_size is not a positive multiple
                of required_shares.
        """
        self._set_up = CodecParams(data_size, required_shares, max_shares)

    def get_encoder_type(self) -> str:
        """Return the codec's name in ``CODECS``."""
        self._params()
        return self.encoder_type

    def get_serialized_params(self) -> str:
        """Return what a decoder needs to prepare itself, in digits and hyphens."""
        return self._params().serialized

    def get_block_size(self) -> int:
        """Return the bytes of each block."""
        return self._params().block_size

    def encode_now(
        self, pieces: Sequence[Buffer], desired_share_ids: Sequence[int] | None = None
    ) -> tuple[list[bytes], list[int]]:
        """Return blocks and their share numbers, two lists of one length.

        Args:
            pieces: required_shares successive parts of the data, block_size bytes each; the caller pads.
            desired_share_ids: which blocks to make, in this order; all if None.

        Raises:
            ValueError: pieces of other number or size, or a share number that is out of range or comes twice.
        """
        params = self._params()
        if len(pieces) != params.required_shares:
            raise ValueError(f"{params.required_shares} pieces are needed, not {len(pieces)}")
        if any(memoryview(piece).nbytes != params.block_size for piece in pieces):
            raise ValueError(f"each piece has {params.block_size} bytes; pad the data with zero bytes")
        numbers = list(range(params.max_shares) if desired_share_ids is None else desired_share_ids)
        _check_numbers(numbers, params.max_shares)
        return self._blocks(params, pieces, numbers), numbers

    def encode_proposal_now(
        self, data: Buffer, desired_share_ids: Sequence[int] | None = None
    ) -> tuple[list[bytes], list[int]]:
        """As ``encode_now``, of data in one buffer of data_size bytes, which is not copied to be cut."""
        params, view = self._params(), memoryview(data).cast("B")
        if len(view) != params.data_size:
            raise ValueError(
                f"the data has {params.data_size} bytes, not {len(view)}; pad it with zero bytes"
            )
        size = params.block_size
        pieces = [view[start : start + size] for start in range(0, params.data_size, size)]
        return self.encode_now(pieces, desired_share_ids)

    @abstractmethod
    def _blocks(
        self, params: CodecParams, pieces: Sequence[Buffer], numbers: Sequence[int]
    ) -> list[bytes]: ...

    def _params(self) -> CodecParams:
        if self._set_up is None:
            raise RuntimeError("set_params")
        return self._set_up


class CrsEncoder(_Encoder):
    """The code of immutable.md, section 6: pieces, and linear combinations of them."""

    encoder_type = "crs"

    def _blocks(self, params: CodecParams, pieces: Sequence[Buffer], numbers: Sequence[int]) -> list[bytes]:
        needed = params.required_shares
        all_rows = check_rows(needed, params.max_shares)
        rows = b"".join(
            all_rows[(j - needed) * needed : (j - needed + 1) * needed] for j in numbers if j >= needed
        )
        made = iter(products(rows, pieces) if rows else ())
        return [bytes(pieces[j]) if j < needed else next(made) for j in numbers]


class RepEncoder(_Encoder):
    """Copies."""

    encoder_type = "rep"

    def set_params(self, data_size: int, required_shares: int, max_shares: int) -> None:
        """As for all codecs; required_shares is 1."""
        _check_copies(required_shares)
        super().set_params(data_size, required_shares, max_shares)

    def _blocks(self, params: CodecParams, pieces: Sequence[Buffer], numbers: Sequence[int]) -> list[bytes]:
        return [bytes(pieces[0])] * len(numbers)


class _Decoder(ABC):
    """Set-up and checks. Once set up nothing changes, so that several threads may decode at once."""

    _set_up: CodecParams | None = None

    def set_serialized_params(self, params: str) -> None:
        """Prepare from the encoder's string. No other method may be called before.

        Raises:
            ValueError: it is not one, or states impossible numbers.
        """
        self._set_up = CodecParams.parse(params)

    def get_needed_shares(self) -> int:
        """Return how many shares ``decode_now`` takes."""
        return self._params().required_shares

    def decode_now(self, some_shares: Sequence[Buffer], their_shareids: Sequence[int]) -> list[Buffer]:
        """Return the pieces, in order; joined they are the data.

        Nothing is verified: wrong shares or numbers give wrong data, so check hashes before.

        Args:
            some_shares: exactly as many different ones as are needed, of block_size bytes each.
            their_shareids: their numbers, in the same order.

        Returns:
            One buffer per piece. Where a piece was among the shares, it is that very object.

        Raises:
            ValueError: other shares than that.
        """
        params = self._params()
        if not len(some_shares) == len(their_shareids) == params.required_shares:
            raise ValueError(f"exactly {params.required_shares} shares and their numbers are needed")
        if any(memoryview(share).nbytes != params.block_size for share in some_shares):
            raise ValueError(f"each share has {params.block_size} bytes")
        _check_numbers(their_shareids, params.max_shares)
        return self._pieces(params, some_shares, their_shareids)

    @abstractmethod
    def _pieces(
        self, params: CodecParams, shares: Sequence[Buffer], numbers: Sequence[int]
    ) -> list[Buffer]: ...

    def _params(self) -> CodecParams:
        if self._set_up is None:
            raise RuntimeError("set_serialized_params")
        return self._set_up


class CrsDecoder(_Decoder):
    """Solves for the pieces that are missing."""

    def _pieces(self, params: CodecParams, shares: Sequence[Buffer], numbers: Sequence[int]) -> list[Buffer]:
        pieces: dict[int, Buffer] = dict(zip(numbers, shares, strict=True))
        missing = [j for j in range(params.required_shares) if j not in pieces]
        if missing:
            made = products(interpolation_rows(numbers, missing), shares)
            pieces.update(zip(missing, made, strict=True))
        return [pieces[j] for j in range(params.required_shares)]


class RepDecoder(_Decoder):
    """Takes any copy."""

    def set_serialized_params(self, params: str) -> None:
        """As for all codecs; the number of shares needed is 1."""
        super().set_serialized_params(params)
        _check_copies(self.get_needed_shares())

    def _pieces(self, params: CodecParams, shares: Sequence[Buffer], numbers: Sequence[int]) -> list[Buffer]:
        return list(shares)


Encoder = CrsEncoder | RepEncoder
Decoder = CrsDecoder | RepDecoder

CODECS: Mapping[str, tuple[type[Encoder], type[Decoder]]] = MappingProxyType(
    {"crs": (CrsEncoder, CrsDecoder), "rep": (RepEncoder, RepDecoder)}
)
"""Encoder and decoder by the name that ``get_encoder_type`` gives and an extension block states."""


def get_encoder_by_name(name: str) -> Encoder:
    """Return a new encoder. Raises UnknownCodecError."""
    return _codec(name)[0]()


def get_decoder_by_name(name: str) -> Decoder:
    """Return a new decoder. Raises UnknownCodecError."""
    return _codec(name)[1]()


def _codec(name: str) -> tuple[type[Encoder], type[Decoder]]:
    try:
        return CODECS[name]
    except KeyError:
        raise UnknownCodecError(f"no codec is called {name[:20]!r}; there are {', '.join(CODECS)}") from None


def _check_numbers(numbers: Sequence[int], shares_total: int) -> None:
    if not all(0 <= number < shares_total for number in numbers):
        raise ValueError(f"share numbers lie in 0 .. {shares_total - 1}")
    if len(set(numbers)) != len(numbers):
        raise ValueError("a share number comes twice")


def _check_copies(required_shares: int) -> None:
    if required_shares != 1:
        raise ValueError("one copy is enough: required_shares is 1")
