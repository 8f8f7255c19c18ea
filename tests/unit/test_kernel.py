"""Every implementation of the kernel gives the bytes of the vectors, of the reference and of zfec."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zfec
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import kernel, reference
from holdfast.crypto.hashing import tagged_hash
from holdfast.crypto.immutable_hashes import block_hash, crypttext_hash, crypttext_segment_hash
from holdfast.crypto.merkle import build_tree

VECTORS = Path(__file__).parents[1] / "vectors"
ERASURE = json.loads((VECTORS / "erasure.json").read_text())
HASHING = json.loads((VECTORS / "hashing.json").read_text())
AES_128 = [case for case in HASHING["aes_ctr"] if len(case["key_hex"]) == 32]
KEY = bytes(range(100, 116))


@pytest.fixture(params=kernel.available())
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """One implementation after the other, in force."""
    before = kernel.implementation()
    kernel.force(request.param)
    yield request.param
    kernel.force(before)


def generated(seed: str, size: int) -> bytes:
    """The data of the vectors, by the rule in their README."""
    parts = (hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range(size // 32 + 1))
    return b"".join(parts)[:size]


def case_id(case: dict[str, Any]) -> str:
    return f"{case['k']}-{case['n']}-{case['block_size']}"


def encoded(data: bytes, k: int, n: int, block_size: int) -> list[bytes]:
    """All blocks of ``data``, without encryption."""
    out = bytearray(n * block_size)
    kernel.SegmentEncoder(None, k, n).encode(data, 0, block_size, out)
    return [bytes(out[i : i + block_size]) for i in range(0, len(out), block_size)]


@pytest.mark.parametrize("case", ERASURE["encode"], ids=case_id)
def test_blocks_are_those_of_the_vectors(implementation: str, case: dict[str, Any]) -> None:
    data = b"".join(map(bytes.fromhex, case["data_blocks_hex"]))
    blocks = encoded(data, case["k"], case["n"], case["block_size"])
    assert [block.hex() for block in blocks[: case["k"]]] == case["data_blocks_hex"]
    assert [block.hex() for block in blocks[case["k"] :]] == case["check_blocks_hex"]


@pytest.mark.parametrize("case", ERASURE["encode_big"], ids=case_id)
def test_large_blocks_are_those_of_the_vectors(implementation: str, case: dict[str, Any]) -> None:
    k, n, block_size = case["k"], case["n"], case["block_size"]
    data = generated(case["seed"], k * block_size)
    assert hashlib.sha256(data).hexdigest() == case["data_sha256"]
    blocks = encoded(data, k, n, block_size)
    assert [hashlib.sha256(block).hexdigest() for block in blocks[k:]] == case["check_blocks_sha256"]


@pytest.mark.parametrize("case", ERASURE["decode"], ids=case_id)
def test_data_is_that_of_the_vectors(implementation: str, case: dict[str, Any]) -> None:
    blocks = [bytes.fromhex(block) for block in case["blocks_hex"]]
    data = bytes.fromhex(case["data_hex"])
    out = bytearray(len(data))
    decoder = kernel.SegmentDecoder(None, case["k"])
    segment_hash, block_hashes = decoder.decode(blocks, case["share_numbers"], 0, len(data), out)
    assert out == data
    assert segment_hash == crypttext_segment_hash(data)
    assert block_hashes == b"".join(map(block_hash, blocks))


@pytest.mark.parametrize("case", AES_128, ids=lambda case: str(case["offset"]))
def test_the_key_stream_is_that_of_the_vectors(implementation: str, case: dict[str, Any]) -> None:
    plaintext = bytes.fromhex(case["plaintext_hex"])
    out = bytearray(len(plaintext))
    encoder = kernel.SegmentEncoder(bytes.fromhex(case["key_hex"]), 1, 1)
    encoder.encode(plaintext, case["offset"], len(plaintext), out)
    assert out.hex() == case["crypttext_hex"]


def test_tagged_hashes_are_those_of_the_vectors(implementation: str) -> None:
    for case in HASHING["tagged_hash"]:
        value = bytes.fromhex(case["value_hex"])
        digests = kernel.hash_many(bytes.fromhex(case["tag_hex"]), [value, value])
        size = case["truncate_to"] or 32
        assert [digest[:size].hex() for digest in digests] == [case["out_hex"]] * 2


@pytest.mark.parametrize("leaves", [1, 2, 3, 33, 64, 100])
def test_interior_nodes_are_those_of_the_reference(implementation: str, leaves: int) -> None:
    tree = build_tree([hashlib.sha256(b"%d" % i).digest() for i in range(leaves)])
    for node in range(len(tree) // 2):
        assert tree[node] == reference.hash_parents(tree[2 * node + 1] + tree[2 * node + 2])


@given(
    st.binary(max_size=300), st.lists(st.one_of(st.binary(max_size=300), st.just(bytes(5000))), max_size=20)
)
def test_every_implementation_hashes_alike(tag: bytes, messages: list[bytes]) -> None:
    expected = [tagged_hash(tag, message) for message in messages]
    for _ in each():
        assert kernel.hash_many(tag, messages) == expected


TAGS = [b"t" * size for size in (0, 29, 60)]  # their netstrings end at different places of a block


@pytest.fixture(scope="module")
def every_length() -> list[tuple[bytes, list[memoryview], list[bytes]]]:
    """Tags; messages of every length up to three blocks, at every alignment; their hashes."""
    memory = memoryview(random.Random(6).randbytes(64 + 200))
    cases = []
    for tag in TAGS:
        for start in range(64):
            messages = [memory[start : start + size] for size in range(200)]
            cases.append((tag, messages, [tagged_hash(tag, bytes(message)) for message in messages]))
    return cases


def test_messages_of_every_length_at_every_alignment_hash_alike(
    implementation: str, every_length: list[tuple[bytes, list[memoryview], list[bytes]]]
) -> None:
    for tag, messages, expected in every_length:
        assert kernel.hash_many(tag, messages) == expected


@pytest.mark.parametrize("count", range(1, 13))
def test_messages_that_begin_and_end_at_different_times_hash_alike(implementation: str, count: int) -> None:
    data = random.Random(7).randbytes(9000)
    alike, rising = [1000] * count, [64 * i for i in range(count)]
    uneven = [1, 300, 63, 900] * count
    for sizes in (alike, rising, rising[::-1], uneven, [9000, *alike], [3000, 3000, *alike]):
        messages = [data[i : i + size] for i, size in enumerate(sizes)]
        assert kernel.hash_many(b"tag", messages) == [tagged_hash(b"tag", message) for message in messages]


@dataclass(frozen=True)
class Segment:
    """A segment and its parameters, from a seed."""

    k: int
    n: int
    block_size: int
    size: int
    offset: int
    seed: int

    @property
    def plaintext(self) -> bytes:
        return random.Random(self.seed).randbytes(self.size)

    @property
    def held(self) -> list[int]:
        """Some k share numbers in some order."""
        return random.Random(self.seed).sample(range(self.n), self.k)


@st.composite
def segments(draw: st.DrawFn, k_max: int = 256, n_max: int = 256, block_max: int = 700) -> Segment:
    k = draw(st.integers(1, min(k_max, 12)) | st.integers(1, k_max))
    n = draw(st.integers(k, min(n_max, k + 9)) | st.integers(k, n_max))
    block_size = draw(
        st.integers(1, 20) | st.sampled_from([63, 64, 65, 127, 128]) | st.integers(1, block_max)
    )
    size = k * block_size - draw(st.integers(0, k - 1) | st.integers(0, k * block_size))
    offset = draw(st.integers(0, 100) | st.integers(0, 2**40))
    return Segment(k, n, block_size, size, offset, draw(st.integers(0, 2**32)))


Outcome = tuple[bytes, bytes, bytes, bytes]


def encode(module: Any, segment: Segment, key: bytes | None = KEY) -> Outcome:
    """The blocks of a segment, its two kinds of hashes, and the running hash when it is encoded twice."""
    encoder = module.SegmentEncoder(key, segment.k, segment.n)
    out = bytearray(b"\xff" * (segment.n * segment.block_size))
    for _ in range(2):
        hashes = encoder.encode(segment.plaintext, segment.offset, segment.block_size, out)
    return bytes(out), *hashes, encoder.crypttext_hash()


def each() -> Iterator[str]:
    """Put every implementation in force, one after the other."""
    before = kernel.implementation()
    try:
        for name in kernel.available():
            kernel.force(name)
            yield name
    finally:
        kernel.force(before)


@given(segments(k_max=6, n_max=9, block_max=70))
def test_every_implementation_encodes_as_the_reference(segment: Segment) -> None:
    expected = encode(reference, segment)
    for name in each():
        assert encode(kernel, segment) == expected, name


@given(segments())
def test_every_implementation_encodes_and_decodes_alike(segment: Segment) -> None:
    k, block_size, size = segment.k, segment.block_size, segment.size
    blocks, segment_hash, block_hashes, running = encode(kernel, segment)
    given_blocks = [blocks[j * block_size : (j + 1) * block_size] for j in segment.held]
    given_hashes = b"".join(block_hashes[32 * j : 32 * j + 32] for j in segment.held)
    for name in each():
        assert encode(kernel, segment) == (blocks, segment_hash, block_hashes, running), name
        out = bytearray(size + 3)
        decoder = kernel.SegmentDecoder(KEY, k)
        hashes = decoder.decode(given_blocks, segment.held, segment.offset, size, out)
        assert out == segment.plaintext + b"\0\0\0", name
        assert hashes == (segment_hash, given_hashes), name


@given(segments())
def test_hashes_are_those_of_the_blocks_and_the_ciphertext(segment: Segment) -> None:
    blocks, segment_hash, block_hashes, running = encode(kernel, segment)
    pieces = [blocks[i : i + segment.block_size] for i in range(0, len(blocks), segment.block_size)]
    assert segment_hash == crypttext_segment_hash(blocks[: segment.size])
    assert block_hashes == b"".join(map(block_hash, pieces))
    assert running == crypttext_hash(2 * blocks[: segment.size])
    assert not any(blocks[segment.size : segment.k * segment.block_size])


@given(segments())
def test_zfec_gives_the_same_blocks(segment: Segment) -> None:
    blocks = encode(kernel, segment, key=None)[0]
    pieces = [blocks[i : i + segment.block_size] for i in range(0, len(blocks), segment.block_size)]
    assert list(zfec.Encoder(segment.k, segment.n).encode(pieces[: segment.k])) == pieces
    held = [pieces[j] for j in segment.held]
    assert list(zfec.Decoder(segment.k, segment.n).decode(held, segment.held)) == pieces[: segment.k]


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 300), st.randoms())
def test_every_implementation_multiplies_alike(k: int, count: int, size: int, rng: random.Random) -> None:
    rows = rng.randbytes(k * count)
    sources = [rng.randbytes(size) for _ in range(k)]
    expected: list[bytes] | None = None
    for name in each():
        outputs = [bytearray(size) for _ in range(count)]
        kernel.multiply(rows, sources, outputs)
        expected = expected or [bytes(output) for output in outputs]
        assert outputs == expected, name
        assert kernel.products(rows, sources) == expected, name


def test_products_are_those_of_the_reference(implementation: str) -> None:
    rng = random.Random(5)
    rows, sources = rng.randbytes(3 * 4), [rng.randbytes(129) for _ in range(4)]
    outputs, expected = ([bytearray(129) for _ in range(3)] for _ in range(2))
    kernel.multiply(rows, sources, outputs)
    reference.multiply(rows, sources, expected)
    assert outputs == expected


def test_every_product_of_two_elements_is_right(implementation: str) -> None:
    every = bytes(range(256))
    expected = [bytes(reference.product(a, b) for b in range(256)) for a in range(256)]
    assert kernel.products(every, [every]) == expected


@pytest.mark.parametrize(("k", "n"), [(256, 256), (1, 256), (128, 256), (255, 256)])
def test_the_largest_parameters_work(implementation: str, k: int, n: int) -> None:
    data = random.Random(k).randbytes(3 * k)
    blocks = encoded(data, k, n, 3)
    numbers = list(range(n - k, n))
    out = bytearray(len(data))
    kernel.SegmentDecoder(None, k).decode([blocks[j] for j in numbers], numbers, 0, len(data), out)
    assert out == data


def test_segments_make_up_the_hash_of_the_file(implementation: str) -> None:
    data = random.Random(1).randbytes(2500)
    encoder = kernel.SegmentEncoder(KEY, 2, 3)
    crypttext = b""
    for offset in range(0, len(data), 600):
        piece = data[offset : offset + 600]
        out = bytearray(3 * 300)
        encoder.encode(piece, offset, 300, out)
        crypttext += out[: len(piece)]
        assert encoder.crypttext_hash() == crypttext_hash(crypttext)


def test_a_plaintext_may_be_encrypted_where_it_lies(implementation: str) -> None:
    data = random.Random(2).randbytes(295)
    apart, together = bytearray(5 * 100), bytearray(data.ljust(5 * 100, b"x"))
    hashes = kernel.SegmentEncoder(KEY, 3, 5).encode(data, 7, 100, apart)
    view = memoryview(together)
    assert kernel.SegmentEncoder(KEY, 3, 5).encode(view[:295], 7, 100, together) == hashes
    assert together == apart


def test_a_primary_block_may_lie_at_its_place_in_the_output(implementation: str) -> None:
    data = random.Random(3).randbytes(295)
    shares = bytearray(5 * 100)
    kernel.SegmentEncoder(KEY, 3, 5).encode(data, 7, 100, shares)
    out = bytearray(300)
    out[:100] = shares[:100]
    out[200:] = shares[200:300]
    view = memoryview(out)
    blocks = [view[200:], shares[400:], view[:100]]
    kernel.SegmentDecoder(KEY, 3).decode(blocks, [2, 4, 0], 7, 295, out)
    assert out[:295] == data


def test_one_decoder_serves_several_threads(implementation: str) -> None:
    k, n, size = 5, 12, 50_001
    block_size = -(-size // k)
    decoder = kernel.SegmentDecoder(KEY, k)

    def round_trip(seed: int) -> bool:
        rng = random.Random(seed)
        data, offset, held = rng.randbytes(size), rng.randrange(1 << 40), rng.sample(range(n), k)
        out, back = bytearray(n * block_size), bytearray(size)
        kernel.SegmentEncoder(KEY, k, n).encode(data, offset, block_size, out)
        blocks = [out[j * block_size : (j + 1) * block_size] for j in held]
        decoder.decode(blocks, held, offset, size, back)
        return back == data

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(round_trip, range(80)))


def test_other_threads_run_while_a_segment_is_encoded(
    implementation: str, switch_on_release_only: None
) -> None:
    begin, ran = threading.Event(), threading.Event()

    def other() -> None:
        begin.wait()
        ran.set()

    thread = threading.Thread(target=other)
    thread.start()
    encoder, data, out = kernel.SegmentEncoder(KEY, 3, 5), bytes(3 << 20), bytearray(5 << 20)
    begin.set()
    give_up_at = time.monotonic() + 20  # on a busy machine the other thread may be late for many segments
    while not ran.is_set() and time.monotonic() < give_up_at:
        encoder.encode(data, 0, 1 << 20, out)
    assert ran.is_set()
    thread.join()


@pytest.fixture
def switch_on_release_only() -> Iterator[None]:
    """Let a thread go on until it releases the interpreter lock of its own accord."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(100)
    yield
    sys.setswitchinterval(before)
