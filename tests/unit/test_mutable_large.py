"""Large mutable files: what is not held in memory is the same, byte for byte."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.rsa_keys import SigningKey
from holdfast.errors import NotEnoughServersError
from holdfast.formats.mutable_encoding import encode_segments
from holdfast.formats.mutable_one_share import records_of_share
from holdfast.formats.mutable_segmentation import MutableFormat, MutableSegmentation
from holdfast.grid.mutable import operation
from holdfast.grid.mutable.keys import new_signing_key
from holdfast.grid.mutable.patched import PatchedPlaintext
from holdfast.grid.progress import Progress
from holdfast.grid.sources import DataSource, StreamSource, open_source
from holdfast.interfaces import storage
from holdfast.interfaces.storage import ShareVectors, WriteVector
from holdfast.protocol.storage_messages import (
    encode_read_test_write_request,
    read_test_write_frame,
    read_test_write_pieces,
)
from holdfast.testing.memory_grid import memory_grid

SEGMENT = 131_073  # bytes of an MDMF segment, 3 of 10


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return new_signing_key()


@pytest.fixture
def _nothing_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "STREAMED_FROM", 0)
    monkeypatch.setattr(operation, "SPOOLED_FROM", 0)


def contents(size: int) -> bytes:
    return bytes((i * 7 + (i >> 8)) % 251 for i in range(size))


@given(
    file_format=st.sampled_from(["SDMF", "MDMF"]),
    needed=st.integers(1, 6),
    more=st.integers(0, 4),
    size=st.integers(1, 500),
    segments=st.integers(1, 9),
)
def test_records_of_one_share_are_those_of_all(
    file_format: MutableFormat, needed: int, more: int, size: int, segments: int
) -> None:
    segment_size = needed * segments if file_format == "MDMF" else -(-size // needed) * needed
    plan = MutableSegmentation(file_format, size, needed, needed + more, segment_size)
    data, count = contents(size), plan.segment_count
    plaintexts = [data[i * segment_size : (i + 1) * segment_size] for i in range(count)]
    salts, read_key = [secrets.token_bytes(16) for _ in range(count)], b"r" * 16
    encoded = encode_segments(plan, read_key, 0, plaintexts, salts)
    for number in range(plan.shares_total):
        assert records_of_share(plan, read_key, number, 0, plaintexts, salts) == encoded.share(number)


@given(
    number=st.integers(0, 255),
    tests=st.lists(
        st.builds(storage.TestVector, st.integers(0, 2**40), st.integers(0, 99), st.binary()), max_size=3
    ),
    writes=st.lists(st.builds(WriteVector, st.integers(0, 2**63), st.binary(max_size=70_000)), max_size=3),
    reads=st.lists(st.tuples(st.integers(0, 2**63), st.integers(0, 2**32)), max_size=3),
)
def test_a_streamed_request_is_the_same_message(
    number: int, tests: list[storage.TestVector], writes: list[WriteVector], reads: list[tuple[int, int]]
) -> None:
    frame = read_test_write_frame(number, tests, [(w.offset, len(w.data)) for w in writes], reads)
    parts = [part for before, write in zip(frame, writes, strict=False) for part in (before, write.data)]
    whole = encode_read_test_write_request({number: ShareVectors(tests, writes)}, reads)
    assert cbor2.loads(b"".join([*parts, frame[-1]])) == cbor2.loads(whole)
    assert b"".join([*parts, frame[-1]]) == whole
    views = [WriteVector(write.offset, memoryview(write.data)) for write in writes]
    assert b"".join(read_test_write_pieces({number: ShareVectors(tests, views)}, reads)) == whole


@given(
    old=st.binary(max_size=30), at=st.integers(0, 30), data=st.binary(max_size=30), begin=st.integers(0, 60)
)
async def test_a_patched_plaintext(old: bytes, at: int, data: bytes, begin: int) -> None:
    at = min(at, len(old))
    expected = old[:at] + data + old[at + len(data) :]
    plaintext = PatchedPlaintext(await open_source(DataSource(old)), at, data)
    assert plaintext.size == len(expected)
    begin = min(begin, len(expected))
    out = bytearray(len(expected) - begin)
    plaintext.read_into(begin, memoryview(out))
    assert out == expected[begin:]


@pytest.mark.usefixtures("_nothing_in_memory")
@pytest.mark.parametrize("size", [0, 1, SEGMENT, 9 * SEGMENT + 5])
async def test_a_large_file_is_made_read_changed_and_repaired(key: SigningKey, size: int) -> None:
    async with memory_grid(memory_max=4 << 20) as grid:
        told: list[Progress] = []

        async def pieces() -> AsyncIterator[bytes]:
            yield contents(size)

        file = await grid.grid.mutable.create(
            StreamSource(pieces()), format="MDMF", key=key, progress=told.append
        )
        assert not size or told[-1] == Progress("uploading", size, size)
        expected = contents(size)
        assert await file.read() == expected
        stores = [store.slots.shares for store in grid.stores.values()]
        before = [dict(shares) for shares in stores]
        stores[0].clear()
        stores[3].clear()
        assert (await file.repair()).kept_version
        assert stores == before
        stores[1].clear()
        await file.update(size // 2, b"changed")
        expected = expected[: size // 2] + b"changed" + expected[size // 2 + 7 :]
        assert await file.read() == expected
        assert await file.modify(lambda old, first: old + b"!") == expected + b"!"
        check = await file.check(verify=True)
        assert (check.healthy, check.size) == (True, len(expected) + 1)


@pytest.mark.usefixtures("_nothing_in_memory")
async def test_servers_that_fail_while_it_is_sent(key: SigningKey) -> None:
    async with memory_grid(14) as grid:
        data = contents(5 * SEGMENT)
        file = await grid.grid.mutable.create(data, format="MDMF", key=key)
        for store in list(grid.stores.values())[:5]:
            store.faults.failing_calls = {"read_test_write"}
        await file.overwrite(data + b"more")
        assert await file.read() == data + b"more"
        for store in grid.stores.values():
            store.faults.failing_calls = {"read_test_write"}
        with pytest.raises(NotEnoughServersError):
            await file.overwrite(data)
