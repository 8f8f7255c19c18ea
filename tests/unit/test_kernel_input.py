"""What the kernel refuses, in every implementation; and that it writes nowhere but where it was told to."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import kernel
from holdfast.crypto.immutable_hashes import crypttext_hash

KEY = bytes(16)


@pytest.fixture(autouse=True, params=kernel.available())
def implementation(request: pytest.FixtureRequest) -> Iterator[None]:
    """One implementation after the other, in force."""
    before = kernel.implementation()
    kernel.force(request.param)
    yield
    kernel.force(before)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (-1, 1), (2, 1), (1, 257), (257, 257), (1, 0), (2**80, 2**80)])
def test_parameters_out_of_limits_are_refused(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="shares_needed"):
        kernel.SegmentEncoder(KEY, k, n)


@pytest.mark.parametrize("k", [0, -1, 257])
def test_a_decoder_for_too_few_or_too_many_shares_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="shares_needed"):
        kernel.SegmentDecoder(KEY, k)


@pytest.mark.parametrize("key", [b"", bytes(15), bytes(17), bytes(32)])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        kernel.SegmentEncoder(key, 1, 2)
    with pytest.raises(ValueError, match="16 bytes"):
        kernel.SegmentDecoder(key, 1)


def test_objects_do_not_show_their_key() -> None:
    for made in (
        kernel.SegmentEncoder(b"sixteen secrets!", 1, 2),
        kernel.SegmentDecoder(b"sixteen secrets!", 1),
    ):
        assert "secret" not in repr(made) + repr(vars(made))


@pytest.mark.parametrize(
    ("plaintext", "offset", "block_size", "out"),
    [
        (bytes(7), 0, 3, bytearray(9)),  # more than k blocks hold
        (b"", 0, 0, bytearray()),
        (b"", 0, -1, bytearray(9)),
        (bytes(6), 0, 3, bytearray(8)),
        (bytes(6), 0, 3, bytearray(10)),
        (bytes(6), 0, 2**62, bytearray(9)),
        (bytes(6), -1, 3, bytearray(9)),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    plaintext: bytes, offset: int, block_size: int, out: bytearray
) -> None:
    encoder = kernel.SegmentEncoder(KEY, 2, 3)
    before = bytes(out)
    nothing = encoder.crypttext_hash()
    with pytest.raises(ValueError):
        encoder.encode(plaintext, offset, block_size, out)
    assert out == before
    assert encoder.crypttext_hash() == nothing


@pytest.mark.parametrize("offset", [2**63, 2**64, 2**200])
def test_an_absurd_offset_is_refused(offset: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        kernel.SegmentEncoder(KEY, 2, 3).encode(bytes(6), offset, 3, bytearray(9))


@pytest.mark.parametrize(
    "arguments", [("text", 0, 3, bytearray(9)), (bytes(6), 0, 3, "text"), (None, 0, 3, None)]
)
def test_what_holds_no_bytes_is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        kernel.SegmentEncoder(KEY, 2, 3).encode(*arguments)


def test_a_read_only_output_is_refused() -> None:
    with pytest.raises((BufferError, TypeError)):
        kernel.SegmentEncoder(KEY, 2, 3).encode(bytes(6), 0, 3, memoryview(bytes(9)))
    with pytest.raises((BufferError, TypeError)):
        kernel.SegmentDecoder(KEY, 1).decode([bytes(3)], [0], 0, 3, memoryview(bytes(3)))
    with pytest.raises((BufferError, TypeError)):
        kernel.multiply(b"\1", [bytes(3)], [memoryview(bytes(3))])


def test_memory_with_gaps_is_refused() -> None:
    gaps = memoryview(bytearray(18))[::2]
    with pytest.raises((BufferError, TypeError)):
        kernel.SegmentEncoder(KEY, 2, 3).encode(bytes(6), 0, 3, gaps)
    with pytest.raises((BufferError, TypeError)):
        kernel.SegmentDecoder(KEY, 1).decode([gaps], [0], 0, 9, bytearray(9))
    with pytest.raises((BufferError, TypeError)):
        kernel.multiply(b"\1", [gaps], [bytearray(9)])


@pytest.fixture
def native_only() -> None:
    """The other implementation copies before it writes, so memory that overlaps does no harm."""
    if kernel.implementation() == "python":
        pytest.skip("works with any memory")


def test_a_plaintext_that_overlaps_with_other_blocks_is_refused(native_only: None) -> None:
    out = bytearray(9)
    with pytest.raises(ValueError, match="overlap"):
        kernel.SegmentEncoder(KEY, 2, 3).encode(memoryview(out)[1:7], 0, 3, out)


@pytest.mark.parametrize(
    ("blocks", "numbers"),
    [
        ([bytes(3)], [0]),
        ([bytes(3)] * 3, [0, 1, 2]),
        ([bytes(3)] * 2, [0, 0]),
        ([bytes(3)] * 2, [0, 256]),
        ([bytes(3)] * 2, [0, -1]),
        ([bytes(3)] * 2, [0, 1, 2]),
        ([bytes(3)] * 3, [0, 1]),
        ([bytes(3), bytes(4)], [0, 1]),
        ([], []),
    ],
)
def test_blocks_that_are_not_k_of_one_size_with_numbers_of_their_own_are_refused(
    blocks: list[bytes], numbers: list[int]
) -> None:
    with pytest.raises(ValueError):
        kernel.SegmentDecoder(KEY, 2).decode(blocks, numbers, 0, 3, bytearray(6))


@pytest.mark.parametrize(("size", "room"), [(7, 9), (-1, 6), (6, 5), (2**62, 6)])
def test_a_size_that_does_not_fit_is_refused(size: int, room: int) -> None:
    out = bytearray(room)
    with pytest.raises(ValueError):
        kernel.SegmentDecoder(KEY, 2).decode([b"abc", b"def"], [0, 1], 0, size, out)
    assert out == bytes(room)


def test_a_block_elsewhere_in_the_output_is_refused(native_only: None) -> None:
    out = bytearray(6)
    view = memoryview(out)
    for blocks, numbers in (([view[3:], bytes(3)], [0, 1]), ([view[:3], bytes(3)], [2, 1])):
        with pytest.raises(ValueError, match="overlap"):
            kernel.SegmentDecoder(None, 2).decode(blocks, numbers, 0, 6, out)


@pytest.mark.parametrize(
    ("rows", "sources", "outputs"),
    [
        (b"", [], []),
        (b"\1", [], [bytearray(1)]),
        (b"\1\2\3", [bytes(2), bytes(2)], [bytearray(2)]),
        (b"\1\2", [bytes(2), bytes(2)], [bytearray(2), bytearray(2)]),
        (b"\1\2", [bytes(2), bytes(3)], [bytearray(2)]),
        (b"\1\2", [bytes(2), bytes(2)], [bytearray(3)]),
        (bytes(257), [bytes(1)] * 257, [bytearray(1)]),
        (bytes(257), [bytes(1)], [bytearray(1) for _ in range(257)]),
    ],
)
def test_products_that_do_not_fit_are_refused(
    rows: bytes, sources: list[bytes], outputs: list[bytearray]
) -> None:
    with pytest.raises(ValueError):
        kernel.multiply(rows, sources, outputs)


def test_outputs_that_overlap_are_refused(native_only: None) -> None:
    memory = memoryview(bytearray(16))
    for sources, outputs in (
        ([memory[:8]], [memory[4:12]]),
        ([memory[:8]], [memory[:8]]),
        ([bytes(8)], [memory[:8], memory[7:15]]),
    ):
        with pytest.raises(ValueError, match="overlap"):
            kernel.multiply(b"\1" * len(outputs), sources, outputs)
    kernel.multiply(b"\1", [memory[:8]], [memory[8:]])


@pytest.mark.parametrize("size", [1, 31, 32, 63, 96])
def test_half_a_pair_of_nodes_is_refused(size: int) -> None:
    with pytest.raises(ValueError):
        kernel.hash_parents(bytes(size))


def test_nothing_to_hash_gives_nothing() -> None:
    assert kernel.hash_parents(b"") == b""
    assert kernel.hash_many(b"tag", []) == []
    assert kernel.products(b"", [b"data"]) == []


def test_messages_that_hold_no_bytes_are_refused() -> None:
    for messages in (["text"], [1], [b"good", None]):
        with pytest.raises(TypeError):
            kernel.hash_many(b"tag", messages)


@given(
    k=st.integers(1, 9),
    more=st.integers(0, 9),
    block_size=st.integers(1, 200),
    cut=st.integers(0, 8),
    seed=st.integers(0, 99),
)
def test_only_the_output_is_written(k: int, more: int, block_size: int, cut: int, seed: int) -> None:
    rng = random.Random(seed)
    n, size, guard = k + more, k * block_size - min(cut, k - 1), b"guard" * 20
    memory = bytearray(guard + bytes(n * block_size) + guard)
    out = memoryview(memory)[len(guard) : -len(guard)]
    plaintext = bytearray(rng.randbytes(size))
    before = bytes(plaintext)
    kernel.SegmentEncoder(KEY, k, n).encode(plaintext, rng.randrange(99), block_size, out)
    assert plaintext == before
    assert memory.startswith(guard)
    assert memory.endswith(guard)

    blocks = [bytearray(out[j * block_size : (j + 1) * block_size]) for j in range(n)]
    copies = [bytes(block) for block in blocks]
    held = rng.sample(range(n), k)
    memory = bytearray(guard + bytes(size) + guard)
    out = memoryview(memory)[len(guard) : len(guard) + size]
    kernel.SegmentDecoder(KEY, k).decode([blocks[j] for j in held], held, 0, size, out)
    assert memory.startswith(guard)
    assert memory.endswith(guard)
    assert blocks == copies


def test_two_threads_in_one_encoder_fail_or_take_turns() -> None:
    encoder = kernel.SegmentEncoder(None, 3, 5)
    data, done = bytes(3 << 16), []

    def work() -> None:
        out = bytearray(5 << 16)
        for _ in range(20):
            with suppress(RuntimeError):
                encoder.encode(data, 0, 1 << 16, out)
                done.append(data)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert encoder.crypttext_hash() == crypttext_hash(b"".join(done))
