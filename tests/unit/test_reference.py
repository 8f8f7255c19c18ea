"""The slow reference gives the bytes of the vectors, so that it may judge the kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.crypto import reference

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/erasure.json").read_text())
WORK_MAX = 4000  # products of the largest case that is run


def _small(vectors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [v for v in vectors if v["k"] * v["n"] * v["block_size"] <= WORK_MAX]


@pytest.mark.parametrize("vector", _small(VECTORS["encode"]), ids=lambda v: f"{v['k']}-of-{v['n']}")
def test_encoding_gives_the_blocks_of_the_vectors(vector: dict[str, Any]) -> None:
    k, n, block_size = vector["k"], vector["n"], vector["block_size"]
    pieces = [bytes.fromhex(piece) for piece in vector["data_blocks_hex"]]
    out = bytearray(n * block_size)
    reference.SegmentEncoder(None, k, n).encode(b"".join(pieces), 0, block_size, out)
    assert out.hex() == "".join(vector["data_blocks_hex"] + vector["check_blocks_hex"])

    checks = [bytearray(block_size) for _ in range(n - k)]
    rows = b"".join(bytes(reference.generator_row(k, j)) for j in range(k, n))
    reference.multiply(rows, pieces, checks)
    assert [check.hex() for check in checks] == vector["check_blocks_hex"]


@pytest.mark.parametrize("vector", _small(VECTORS["decode"]), ids=lambda v: f"{v['k']}-of-{v['n']}")
def test_decoding_gives_the_data_of_the_vectors(vector: dict[str, Any]) -> None:
    size = vector["k"] * vector["block_size"]
    out = bytearray(size)
    blocks = [bytes.fromhex(block) for block in vector["blocks_hex"]]
    reference.SegmentDecoder(None, vector["k"]).decode(blocks, vector["share_numbers"], 0, size, out)
    assert out.hex() == vector["data_hex"]


def test_an_encrypted_file_comes_back_segment_by_segment() -> None:
    key, plaintext = bytes(range(16)), bytes(range(100, 141))
    encoder, decoder = reference.SegmentEncoder(key, 3, 5), reference.SegmentDecoder(key, 3)
    for start in range(
        0, len(plaintext), 21
    ):  # the second segment begins within a cipher block, and is short
        segment = plaintext[start : start + 21]
        blocks = bytearray(5 * 7)
        segment_hash, block_hashes = encoder.encode(segment, start, 7, blocks)
        given = {j: bytes(blocks[7 * j : 7 * j + 7]) for j in (4, 0, 3)}
        out = bytearray(len(segment))
        hashes = decoder.decode(list(given.values()), list(given), start, len(segment), out)
        assert out == segment
        assert hashes == (segment_hash, b"".join(block_hashes[32 * j : 32 * j + 32] for j in given))


def test_a_singular_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="singular"):
        reference.inverse([[1, 2], [1, 2]])
    with pytest.raises(ZeroDivisionError):
        reference.quotient(1, 0)
