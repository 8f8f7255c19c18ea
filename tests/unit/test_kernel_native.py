"""The native module trusts nobody: called without the facade, it refuses the same, and never crashes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

native: Any = pytest.importorskip("holdfast.crypto._kernel")

CPUINFO = Path("/proc/cpuinfo")
KEY = bytes(16)
MEMORY = bytearray(100)
ANYTHING = [
    *(
        None,
        0,
        1,
        -1,
        3,
        255,
        256,
        257,
        2**31,
        2**62,
        2**63,
        2**64,
        2**200,
        1.5,
        "text",
        object(),
        int,
        {1: 2},
    ),
    *(b"", b"a", b"\0" * 16, bytearray(9), memoryview(bytearray(30))[::2], memoryview(b"abc")),
    *(memoryview(MEMORY)[3:12], memoryview(MEMORY)[:48], [], [None], [b"abc", b"def"], [b"a" * 16] * 3),
    *(
        [0, 1],
        [0, 2, 1],
        (1, 2, 3),
        [1, 1, 1],
        [2**70, 1],
        range(3),
        range(300),
        [bytearray(16), bytearray(16)],
    ),
    [memoryview(MEMORY)[0:16], memoryview(MEMORY)[16:32], memoryview(MEMORY)[40:56]],
]


@pytest.mark.parametrize("rows", [b"", b"1", bytes(5), bytes(7)])
def test_rows_of_another_size_are_refused(rows: bytes) -> None:
    with pytest.raises(ValueError, match="rows"):
        native.SegmentEncoder(KEY, 3, 5, rows)
    with pytest.raises(ValueError, match="rows"):
        native.SegmentDecoder(KEY, 3).decode([b"abc"] * 3, [0, 4, 3], rows, 0, 9, bytearray(9))


@pytest.mark.parametrize("numbers", [[0, 0, 1], [0, 1, 256], [0, 1, -1], [0, 1, 2**80], [0, 1], [0, 1, 2, 3]])
def test_numbers_that_are_not_of_k_blocks_are_refused(numbers: list[int]) -> None:
    with pytest.raises(ValueError, match="numbers"):
        native.SegmentDecoder(KEY, 3).decode([b"abc"] * 3, numbers, b"", 0, 9, bytearray(9))


@pytest.mark.parametrize(("k", "n"), [(0, 1), (-1, 1), (2, 1), (1, 257), (257, 257)])
def test_parameters_out_of_limits_are_refused(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="shares_needed"):
        native.SegmentEncoder(KEY, k, n, b"")
    if k != 1 and k != 2:
        with pytest.raises(ValueError, match="shares_needed"):
            native.SegmentDecoder(KEY, k)


@pytest.mark.parametrize("key", [bytes(15), bytes(17), b""])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        native.SegmentEncoder(key, 1, 1, b"")
    with pytest.raises(ValueError, match="16 bytes"):
        native.SegmentDecoder(key, 1)


def test_a_path_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="warp-drive"):
        native.force("warp-drive")


def test_whatever_runs_is_named() -> None:
    assert native.path() in native.paths()
    assert native.paths()[-1] == "portable"
    assert all(native.engines())


@pytest.mark.skipif(not CPUINFO.exists(), reason="only Linux tells the features of the processor so")
def test_the_widest_hash_runs_where_the_processor_can() -> None:
    flags = (line for line in CPUINFO.read_text().splitlines() if line.startswith("flags"))
    features = set(next(flags, "").split())
    wide = {"gfni", "avx512f", "avx512bw", "avx512vl", "sha_ni"} <= features
    before = native.path()
    native.force(native.paths()[0])
    assert (native.engines()[2] == "sha-ni-avx512") == wide
    native.force(before)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: native.multiply, 3),
        (lambda: native.products, 2),
        (lambda: native.hash_many, 2),
        (lambda: native.hash_parents, 1),
        (lambda: native.SegmentEncoder, 4),
        (lambda: native.SegmentDecoder, 2),
        (lambda: native.SegmentEncoder(KEY, 3, 5, b"123456").encode, 4),
        (lambda: native.SegmentEncoder(None, 1, 1, b"").encode, 4),
        (lambda: native.SegmentDecoder(KEY, 3).decode, 6),
        (lambda: native.SegmentDecoder(None, 1).decode, 6),
    ],
)
def test_any_arguments_work_or_raise(make: Callable[[], Any], count: int) -> None:
    rng, function = random.Random(count), make()
    for _ in range(2000):
        try:
            function(*rng.choices(ANYTHING, k=count))
        except (TypeError, ValueError, BufferError, OverflowError):
            continue
