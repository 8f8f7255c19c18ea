"""Measure the kernel in one thread, beside the libraries that would do its work without it.

`run` returns the figures, rates in MB (1,000,000 bytes of a file) per second; run as a program it prints them
as tables. Each figure is the best of several, since what disturbs a measurement only ever slows it down.
"""

from __future__ import annotations

import hashlib
import random
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import zfec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from holdfast.crypto import kernel
from holdfast.crypto.codec import CrsEncoder
from holdfast.crypto.gf256 import check_rows
from holdfast.crypto.immutable_hashes import BLOCK_TAG, CRYPTTEXT_SEGMENT_TAG, CRYPTTEXT_TAG
from holdfast.crypto.netstring import netstring

MB = 1_000_000
SEGMENT = 1 << 20
CODES = ((3, 10), (25, 100))
SIZES = (1 << 17, 1 << 20, 1 << 22)
SECONDS = 0.7  # for each figure
KEY = bytes(range(16))

Figures = dict[str, Any]


def run(seconds: float = SECONDS) -> Figures:
    """Measure everything, spending about ``seconds`` on each figure.

    Returns:
        codec: products alone, into memory that is used again, by "k/n"; beside zfec.
        segment: encrypting, coding and hashing segments of 1 MiB, by "k/n"; beside cryptography, zfec and
            hashlib; and decoding them from check blocks, and from primary ones.
        implementations: encoding 3-of-10 with every implementation that works here.
        sizes: the codec objects, by bytes of data in a call: rate, and the most memory a call allocated.
        fewer_blocks: seconds for 3-of-10 segments, by how many check blocks were asked for.
    """
    return {
        "implementation": kernel.implementation(),
        "codec": {f"{k}/{n}": _codec(k, n, seconds) for k, n in CODES},
        "segment": {f"{k}/{n}": _segment(k, n, seconds) for k, n in CODES},
        "implementations": _implementations(seconds),
        "sizes": {size: _size(size, seconds) for size in SIZES},
        "fewer_blocks": {count: _some_blocks(count, seconds) for count in (7, 4, 1)},
    }


def _codec(k: int, n: int, seconds: float) -> Figures:
    block_size = -(-SEGMENT // k)
    pieces = _cut(_data(k * block_size), block_size)
    outputs = [bytearray(block_size) for _ in range(n - k)]
    rows, encoder, numbers = check_rows(k, n), zfec.Encoder(k, n), list(range(k, n))
    size = k * block_size
    ours = _rate(size, seconds, lambda: kernel.multiply(rows, pieces, outputs))
    theirs = _rate(size, seconds, lambda: encoder.encode(pieces, numbers))
    return {"holdfast": ours, "zfec": theirs, "ratio": ours / theirs}


def _segment(k: int, n: int, seconds: float) -> Figures:
    block_size = -(-SEGMENT // k)
    data, out = _data(SEGMENT), bytearray(n * block_size)
    encoder = kernel.SegmentEncoder(KEY, k, n)
    ours = _rate(SEGMENT, seconds, lambda: encoder.encode(data, 0, block_size, out))
    libraries = _Libraries(k, n)
    theirs = _rate(SEGMENT, seconds, lambda: libraries.encode(data, block_size))

    blocks, back = _cut(out, block_size), bytearray(SEGMENT)
    decoder = kernel.SegmentDecoder(KEY, k)
    rates = {}
    for name, held in (("decode_check_blocks", range(n - k, n)), ("decode_primary_blocks", range(k))):
        chosen = [blocks[j] for j in held]
        rates[name] = _rate(SEGMENT, seconds, lambda: decoder.decode(chosen, held, 0, SEGMENT, back))  # noqa: B023
        if back != data:
            raise AssertionError("a segment came back changed")
    return {"holdfast": ours, "libraries": theirs, "ratio": ours / theirs, **rates}


class _Libraries:
    """The work of ``SegmentEncoder`` without the kernel: cryptography, zfec and hashlib."""

    def __init__(self, k: int, n: int) -> None:
        self._k = k
        self._cipher = Cipher(AES(KEY), CTR(bytes(16))).encryptor()
        self._code = zfec.Encoder(k, n)
        self._flat = hashlib.sha256(netstring(CRYPTTEXT_TAG))

    def encode(self, data: bytes, block_size: int) -> tuple[bytes, list[bytes]]:
        crypttext = self._cipher.update(data)
        self._flat.update(crypttext)
        pieces = _cut(crypttext.ljust(self._k * block_size, b"\0"), block_size)
        blocks = self._code.encode(pieces)
        return self._hash(CRYPTTEXT_SEGMENT_TAG, crypttext), [
            self._hash(BLOCK_TAG, block) for block in blocks
        ]

    @staticmethod
    def _hash(tag: bytes, data: bytes) -> bytes:
        inner = hashlib.sha256(netstring(tag))
        inner.update(data)
        return hashlib.sha256(inner.digest()).digest()


def _implementations(seconds: float) -> dict[str, float]:
    k, n = CODES[0]
    block_size = -(-SEGMENT // k)
    data, out = _data(SEGMENT), bytearray(n * block_size)
    before, rates = kernel.implementation(), {}
    for name in kernel.available():
        kernel.force(name)
        encoder = kernel.SegmentEncoder(KEY, k, n)
        rates[name] = _rate(SEGMENT, seconds, lambda: encoder.encode(data, 0, block_size, out))  # noqa: B023
    kernel.force(before)
    return rates


def _size(size: int, seconds: float) -> Figures:
    k, n = CODES[0]
    size -= size % k
    data, encoder = _data(size), CrsEncoder()
    encoder.set_params(size, k, n)
    tracemalloc.start()
    encoder.encode_proposal_now(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"rate": _rate(size, seconds, lambda: encoder.encode_proposal_now(data)), "peak_memory": peak}


def _some_blocks(count: int, seconds: float) -> float:
    k, n = CODES[0]
    size = SEGMENT - SEGMENT % k
    data, encoder = _data(size), CrsEncoder()
    encoder.set_params(size, k, n)
    numbers = list(range(k, k + count))
    return _best(seconds, lambda: encoder.encode_proposal_now(data, numbers))


def _data(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def _cut(data: bytes | bytearray, size: int) -> list[bytes]:
    return [bytes(data[start : start + size]) for start in range(0, len(data), size)]


def _rate(size: int, seconds: float, work: Callable[[], object]) -> float:
    return size / _best(seconds, work) / MB


def _best(seconds: float, work: Callable[[], object]) -> float:
    """Return the shortest time of one call."""
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        begin = time.perf_counter()
        work()
        now = time.perf_counter()
        best = min(best, now - begin)
        if now >= end:
            return best


def main() -> None:
    figures = run()
    print(f"kernel: {figures['implementation']}; MB/s of a file in one thread; segments of 1 MiB\n")
    print(f"{'':24}{'Holdfast':>10}{'libraries':>10}{'times':>8}")
    for code, row in figures["codec"].items():
        print(f"{'code ' + code:24}" + _comparison(row["holdfast"], row["zfec"], row["ratio"]))
    for code, row in figures["segment"].items():
        print(
            f"{'encrypt+code+hash ' + code:24}" + _comparison(row["holdfast"], row["libraries"], row["ratio"])
        )
        print(f"{'decode, check blocks':24}{row['decode_check_blocks']:10.0f}")
        print(f"{'decode, primary blocks':24}{row['decode_primary_blocks']:10.0f}")
    print("\nencrypt+code+hash 3/10 by implementation")
    for name, rate in figures["implementations"].items():
        print(f"{name:24}{rate:10.0f}")
    print("\ncodec 3/10 by bytes in a call: MB/s, and MB allocated at most")
    for size, row in figures["sizes"].items():
        print(f"{size:<24}{row['rate']:10.0f}{row['peak_memory'] / MB:10.2f}")
    print("\ncodec 3/10, milliseconds for a segment by number of check blocks")
    for count, taken in figures["fewer_blocks"].items():
        print(f"{count:<24}{taken * 1000:10.2f}")


def _comparison(ours: float, theirs: float, ratio: float) -> str:
    return f"{ours:10.0f}{theirs:10.0f}{ratio:8.1f}"


if __name__ == "__main__":
    main()
