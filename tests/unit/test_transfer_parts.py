"""The parts of a transfer as the founding interfaces describe them: encoder, decoder,
sources, targets, bucket writers and readers, uploader, downloader.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import immutable_hashes
from holdfast.errors import (
    CancelledTransferError,
    CorruptShareError,
    HoldfastError,
    InputError,
    NoServersError,
    NotEnoughSharesError,
    SourceChangedError,
    UnhappyError,
)
from holdfast.formats.extension_block import packed_length
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_layout import ShareLayout
from holdfast.grid import running_fetches, selection, uploader, whole_shares
from holdfast.grid.bucket_reader import RemoteBucketReader
from holdfast.grid.bucket_writer import BucketClosedError, RemoteBucketWriter
from holdfast.grid.decoder import FileDecoder
from holdfast.grid.encoder import FileEncoder, batches_of
from holdfast.grid.memory import MemoryBudget
from holdfast.grid.open_share import FileIdentity
from holdfast.grid.progress import Progress
from holdfast.grid.remote_buckets import RemoteStorageServer
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource, FileHandleSource, FileNameSource, StreamSource, open_source
from holdfast.grid.targets import DataTarget, DiscardTarget, FileHandleTarget, FileTarget
from holdfast.grid.workers import Workers
from holdfast.interfaces.storage_errors import ShareConflictError
from holdfast.interfaces.types import Hash, StorageIndex
from holdfast.testing.memory_faults import Faults
from holdfast.testing.memory_grid import CONVERGENCE, memory_grid
from holdfast.testing.memory_storage import MemoryStorage

INDEX = StorageIndex(b"i" * 16)
KEY = b"k" * 16
DATA = os.urandom(5000)
PLAN = Segmentation.plan(len(DATA), 3, 10, 999)


class Workshop:
    """An executor and a budget, and encoders made with them."""

    def __init__(self) -> None:
        self.workers = Workers()
        self.memory = MemoryBudget(64 << 20)

    def encoder(self, plan: Segmentation = PLAN, key: bytes | None = KEY) -> FileEncoder:
        def lost(number: int, error: Exception) -> None:
            raise error

        return FileEncoder(plan, key, self.workers, self.memory, on_lost=lost, can_spare=lambda number: False)

    def decoder(self, ueb_hash: bytes, size: int = len(DATA), key: bytes | None = KEY) -> FileDecoder:
        async def no_more() -> bool:
            return False

        return FileDecoder(
            FileIdentity(ueb_hash, 3, 10, size),
            key,
            self.workers,
            self.memory,
            find_more=no_more,
            on_problem=lambda holder, number, error: None,
        )


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


async def writers(store: MemoryStorage, plan: Segmentation = PLAN) -> dict[int, Any]:
    server = RemoteStorageServer(store, b"l" * 32, b"s" * 20)
    _, buckets = await server.allocate_buckets(INDEX, frozenset(range(plan.shares_total)), plan, b"canary")
    return dict(buckets)


async def encoded(workshop: Workshop, store: MemoryStorage) -> Hash:
    encoder = workshop.encoder()
    encoder.setup(await open_source(DataSource(DATA)))
    encoder.set_shareholders(await writers(store))
    return await encoder.start()


async def read_all(decoder: FileDecoder, offset: int = 0, size: int = len(DATA)) -> bytes:
    return b"".join([bytes(piece) async for piece in decoder.read(offset, size)])


# -- encoder


@pytest.mark.seed("S-152", "S-153", "S-154", "S-155", "S-166")
async def test_an_encoder_fed_with_in_memory_buckets_makes_a_file_that_decodes(workshop: Workshop) -> None:
    store = MemoryStorage()
    ueb_hash = await encoded(workshop, store)
    decoder = workshop.decoder(ueb_hash)
    server = RemoteStorageServer(store, b"l" * 32, b"s" * 20)
    decoder.set_shareholders(await server.get_buckets(INDEX))
    assert await read_all(decoder) == DATA


@pytest.mark.seed("S-156", "S-157")
async def test_files_buffers_and_streams_give_equal_shares_read_from_their_beginning(
    workshop: Workshop, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    path.write_bytes(DATA)
    handle = path.open("rb")
    handle.seek(100)
    memory = io.BytesIO(DATA)
    memory.seek(100)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 700):
            yield DATA[start : start + 700]

    hashes = set()
    for source in (FileHandleSource(handle), FileHandleSource(memory), StreamSource(pieces())):
        encoder = workshop.encoder()
        encoder.setup(await open_source(source))
        encoder.set_shareholders({})
        hashes.add(await encoder.start())
    assert len(hashes) == 1
    assert not handle.closed


@pytest.mark.seed("S-158", "S-165", "S-123")
async def test_an_encoder_out_of_order_says_so(workshop: Workshop) -> None:
    encoder = workshop.encoder()
    for call in (encoder.get_share_size, encoder.get_block_size, encoder.get_allocated_size):
        with pytest.raises(RuntimeError):
            call()
    with pytest.raises(RuntimeError):
        encoder.set_shareholders({})
    encoder.setup(await open_source(DataSource(DATA)))
    with pytest.raises(RuntimeError):
        await encoder.start()
    with pytest.raises(ValueError, match="between 0 and 9"):
        encoder.set_shareholders({10: None})  # type: ignore[dict-item]


@pytest.mark.seed("S-159", "S-160", "S-161", "S-162", "S-164")
async def test_sizes_are_known_before_and_are_exact(workshop: Workshop) -> None:
    store = MemoryStorage()
    encoder = workshop.encoder()
    encoder.setup(await open_source(DataSource(DATA)))
    encoder.set_shareholders(await writers(store))
    await encoder.start()
    shares = [share for _, share in sorted(store.shares.items())]
    assert {len(share) for share in shares} == {encoder.get_allocated_size()}
    assert encoder.get_block_size() == PLAN.block_size
    reader = RemoteBucketReader(store, INDEX, 4)
    reader.set_segmentation(PLAN)
    blocks = [await reader.get_block(i) for i in (3, 0, 5, 1, 4, 2)]
    assert sum(map(len, blocks)) == encoder.get_share_size() == PLAN.data_size


@pytest.mark.seed("S-163")
def test_the_uploader_needs_no_block_size() -> None:
    for module in (uploader, selection, whole_shares):
        assert "get_block_size" not in inspect.getsource(module)
    assert callable(FileEncoder.get_block_size)


@pytest.mark.seed("S-165")
async def test_gaps_in_share_numbers_are_allowed(workshop: Workshop) -> None:
    store = MemoryStorage()
    some = {number: writer for number, writer in (await writers(store)).items() if number in (1, 5, 9)}
    encoder = workshop.encoder()
    encoder.setup(await open_source(DataSource(DATA)))
    encoder.set_shareholders(some)
    ueb_hash = await encoder.start()
    assert sorted(number for _, number in store.shares) == [1, 5, 9]
    decoder = workshop.decoder(ueb_hash)
    server = RemoteStorageServer(store, b"l" * 32, b"s" * 20)
    decoder.set_shareholders(await server.get_buckets(INDEX))
    assert await read_all(decoder) == DATA


# -- decoder


@pytest.mark.seed("S-167", "S-168", "S-171", "S-172")
async def test_a_decoder_uses_several_sources_of_one_number_in_turn(workshop: Workshop) -> None:
    good, bad = MemoryStorage(), MemoryStorage()
    ueb_hash = await encoded(workshop, good)
    bad.shares = dict(good.shares)
    bad.faults.cut = dict.fromkeys(range(10), 500)
    decoder = workshop.decoder(ueb_hash)
    decoder.set_shareholders(
        {n: [RemoteBucketReader(bad, INDEX, n), RemoteBucketReader(good, INDEX, n)] for n in (2, 4, 6)}
    )
    assert await read_all(decoder) == DATA


class AsyncSink:
    """A sink whose methods are coroutines."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.closed = 0

    async def write(self, data: memoryview) -> None:
        await asyncio.sleep(0)
        self.data += data

    async def close(self) -> None:
        self.closed += 1


class SyncSink(io.BytesIO):
    """A sink that remembers what it got, and how often it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closes = 0

    def close(self) -> None:
        self.closes += 1


@pytest.mark.seed("S-169", "S-172", "S-173")
async def test_a_decoder_writes_to_its_sink_closes_it_once_and_returns_itself(workshop: Workshop) -> None:
    store = MemoryStorage()
    ueb_hash = await encoded(workshop, store)
    server = RemoteStorageServer(store, b"l" * 32, b"s" * 20)
    slow, quick = AsyncSink(), SyncSink()
    for sink in (slow, quick):
        decoder = workshop.decoder(ueb_hash)
        with pytest.raises(RuntimeError):
            await decoder.start()
        decoder.setup(sink)
        with pytest.raises(RuntimeError):
            await decoder.start()
        decoder.set_shareholders(await server.get_buckets(INDEX))
        assert await decoder.start() is decoder
    assert bytes(slow.data) == quick.getvalue() == DATA
    assert slow.closed == quick.closes == 1


@pytest.mark.seed("S-172")
async def test_a_sink_is_not_closed_and_gets_no_wrong_byte_when_decoding_fails(workshop: Workshop) -> None:
    store = MemoryStorage()
    ueb_hash = await encoded(workshop, store)
    store.faults.flip = {(number, 600) for number in range(10)}
    server = RemoteStorageServer(store, b"l" * 32, b"s" * 20)
    decoder, sink = workshop.decoder(ueb_hash), AsyncSink()
    decoder.setup(sink)
    decoder.set_shareholders(await server.get_buckets(INDEX))
    with pytest.raises(NotEnoughSharesError):
        await decoder.start()
    assert sink.closed == 0
    assert DATA.startswith(bytes(sink.data))


@pytest.mark.seed("S-170")
async def test_a_slow_sink_holds_the_fetching_back(workshop: Workshop) -> None:
    data = bytes(40_000_000)
    plan = Segmentation.plan(len(data), 3, 10, 1 << 20)
    store = MemoryStorage()
    encoder = workshop.encoder(plan)
    encoder.setup(await open_source(DataSource(data)))
    encoder.set_shareholders(await writers(store, plan))
    ueb_hash = await encoder.start()
    decoder = workshop.decoder(ueb_hash, len(data))
    server = RemoteStorageServer(store, b"l" * 32, b"s" * 20)
    decoder.set_shareholders(await server.get_buckets(INDEX))
    store.bytes_read = 0
    pieces = decoder.read(0, len(data))
    await anext(pieces)
    for _ in range(200):
        await asyncio.sleep(0.001)
    assert store.bytes_read < 20_000_000
    await pieces.aclose()


class GatedReader(RemoteBucketReader):
    """Blocks come only once the gate is open, the first one with a flipped bit if ``corrupt``."""

    gate: asyncio.Event
    asked: list[int]
    corrupt = False

    async def get_blocks(self, first_block: int, count: int, out: memoryview) -> None:
        self.asked.append(self._number)
        if len(self.asked) >= 6:
            self.gate.set()
        await self.gate.wait()
        await super().get_blocks(first_block, count, out)
        if self.corrupt:
            out[0] ^= 1


@pytest.mark.parametrize("corrupt", [(), (0,), (0, 1, 2), (0, 2, 4)])
async def test_late_answers_that_come_together_with_their_replacements_are_all_of_use(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, corrupt: tuple[int, ...]
) -> None:
    monkeypatch.setattr(running_fetches, "SLOW_FIRST_S", 0.02)
    monkeypatch.setattr(running_fetches, "SLOW_MIN_S", 0.02)
    store = MemoryStorage()
    ueb_hash = await encoded(workshop, store)
    decoder = workshop.decoder(ueb_hash)
    gate, asked = asyncio.Event(), list[int]()
    for number in range(6):
        reader = GatedReader(store, INDEX, number, 10)
        reader.gate, reader.asked, reader.corrupt = gate, asked, number in corrupt
        decoder.add_shareholder(f"holder {number}", number, reader)
    async with asyncio.timeout(10):
        assert await read_all(decoder) == DATA


# -- bucket writers and readers


async def one_writer(store: MemoryStorage, plan: Segmentation = PLAN) -> RemoteBucketWriter:
    layout = ShareLayout.plan(plan, packed_length(plan))
    service = RemoteStorageServer(store, b"l" * 32, b"s" * 20)
    await service.allocate_buckets(INDEX, frozenset((0,)), plan, b"canary")
    return RemoteBucketWriter(store, INDEX, 0, b"canary", plan, layout)


def parts(plan: Segmentation = PLAN) -> tuple[list[bytes], list[Hash], list[tuple[int, Hash]], bytes]:
    blocks = [bytes([i]) * plan.block_length(i) for i in range(plan.segment_count)]
    tree = [Hash(bytes([i]) * 32) for i in range(15)]
    chain = [(i, Hash(bytes([i]) * 32)) for i in range(5)]
    return blocks, tree, chain, b"u" * packed_length(plan)


async def finish(writer: RemoteBucketWriter) -> None:
    _, tree, chain, ueb = parts()
    await writer.put_crypttext_hashes(tree)
    await writer.put_block_hashes(tree)
    await writer.put_share_hashes(chain)
    await writer.put_uri_extension(ueb)
    await writer.close()


@pytest.mark.seed("S-030", "S-034", "S-035", "S-036", "S-038", "S-050", "S-053", "S-055")
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 1, 5, 0, 4, 2]])
async def test_parts_written_in_any_order_are_read_back(order: list[int]) -> None:
    store = MemoryStorage()
    writer = await one_writer(store)
    blocks, tree, chain, ueb = parts()
    for i in order:
        await writer.put_block(i, blocks[i])
    await finish(writer)
    reader = RemoteBucketReader(store, INDEX, 0)
    reader.set_segmentation(PLAN)
    assert [await reader.get_block(i) for i in range(PLAN.segment_count)] == blocks
    assert await reader.get_crypttext_hashes() == tree
    assert await reader.get_block_hashes({3, 9}) == [tree[3], tree[9]]
    assert await reader.get_share_hashes() == chain
    assert await reader.get_plaintext_hashes() == []
    assert await reader.get_uri_extension() == ueb


@pytest.mark.seed("S-030")
async def test_a_block_sent_twice_is_harmless_and_another_in_its_place_is_refused() -> None:
    store = MemoryStorage()
    writer = await one_writer(store)
    blocks = parts()[0]
    await writer.put_block(0, blocks[0])
    await writer.put_block(2, blocks[2])
    await writer.put_block(0, blocks[0])
    await writer.put_block(3, blocks[3])
    await writer.put_block(2, b"x" * len(blocks[2]))
    with pytest.raises(ShareConflictError):
        await writer.put_block(0, blocks[0])


@pytest.mark.seed("S-031", "S-032", "S-037", "S-009")
async def test_parts_of_wrong_sizes_are_refused_before_a_byte_is_sent() -> None:
    store = MemoryStorage()
    writer = await one_writer(store)
    blocks, tree, chain, _ = parts()
    store.calls.clear()
    refused: list[Callable[[], Any]] = [
        lambda: writer.put_block(1, blocks[1][:-1]),
        lambda: writer.put_block(1, blocks[1] + b"x"),
        lambda: writer.put_block(6, blocks[0]),
        lambda: writer.put_block(-1, blocks[0]),
        lambda: writer.put_block_hashes(tree[:-1]),
        lambda: writer.put_crypttext_hashes([*tree[:-1], Hash(b"x" * 31)]),
        lambda: writer.put_share_hashes([(65536, Hash(bytes(32)))]),
        lambda: writer.put_share_hashes([(1, Hash(bytes(31)))]),
        lambda: writer.put_uri_extension(bytes(1001)),
        lambda: writer.put_block_hashes([Hash(bytes(32))] * (2**20 + 1)),
    ]
    for call in refused:
        with pytest.raises(ValueError, match=r"."):
            await call()
    assert "write" not in store.calls
    assert chain


@pytest.mark.seed("S-045", "S-047")
async def test_a_share_shows_after_close_and_takes_nothing_more() -> None:
    store = MemoryStorage()
    writer = await one_writer(store)
    server = RemoteStorageServer(store, b"l" * 32, b"s" * 20)
    blocks = parts()[0]
    for i, block in enumerate(blocks):
        await writer.put_block(i, block)
    assert await server.get_buckets(INDEX) == {}
    await finish(writer)
    assert sorted(await server.get_buckets(INDEX)) == [0]
    with pytest.raises(BucketClosedError):
        await writer.put_block(0, blocks[0])


@pytest.mark.seed("S-056", "S-058", "S-063")
async def test_allocation_tells_what_is_there_and_gives_writers_for_the_rest(workshop: Workshop) -> None:
    store = MemoryStorage()
    await encoded(workshop, store)
    del store.shares[INDEX, 7]
    server = RemoteStorageServer(store, b"l" * 32, b"s" * 20)
    have, accepted = await server.allocate_buckets(INDEX, frozenset((6, 7)), PLAN, b"c")
    assert have == frozenset(range(10)) - {7}
    assert sorted(accepted) == [7]
    assert await server.get_buckets(StorageIndex(b"?" * 16)) == {}


@pytest.mark.seed("S-048", "S-054")
async def test_readers_refuse_what_does_not_exist_and_forged_lengths(workshop: Workshop) -> None:
    store = MemoryStorage()
    await encoded(workshop, store)
    reader = RemoteBucketReader(store, INDEX, 0)
    reader.set_segmentation(PLAN)
    with pytest.raises(IndexError):
        await reader.get_block(6)
    share = bytearray(store.shares[INDEX, 1])
    layout = ShareLayout.plan(PLAN, packed_length(PLAN))
    share[layout.extension : layout.extension + 4] = (2000).to_bytes(4, "big")
    store.shares[INDEX, 1] = bytes(share)
    with pytest.raises(CorruptShareError, match="absurd"):
        await RemoteBucketReader(store, INDEX, 1).get_uri_extension()
    forged = [1, 1, 1, 36, 36, 36, 64, 0xFFFFFFE0, 0xFFFFFFE0]
    store.shares[INDEX, 2] = b"".join(field.to_bytes(4, "big") for field in forged)
    with pytest.raises(CorruptShareError):
        await RemoteBucketReader(store, INDEX, 2).get_block_hashes()


# -- sources


class CountingSource:
    """A seed-style source that counts how often it is closed."""

    def __init__(self, data: bytes) -> None:
        self.handle = io.BytesIO(data)
        self.closed = 0

    def get_filehandle(self) -> io.BytesIO:
        return self.handle

    def close_filehandle(self, f: object) -> None:
        assert f is self.handle
        self.closed += 1


@pytest.mark.seed("S-186", "S-188", "S-190", "S-192")
async def test_all_sources_upload_equal_content_to_equal_capabilities(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(DATA)

    async def pieces() -> AsyncIterator[bytes]:
        yield DATA[:10]
        yield DATA[10:]

    async with memory_grid() as grid:
        uploader = grid.grid.uploader
        with path.open("rb") as handle:
            results = [
                await uploader.upload_data(DATA),
                await uploader.upload_filename(path),
                await uploader.upload_filehandle(handle),
                await uploader.upload(StreamSource(pieces())),
            ]
            assert not handle.closed
        assert len({str(result) for result in results}) == 1


@pytest.mark.seed("S-187")
async def test_a_source_is_closed_once_however_the_upload_ends() -> None:
    async with memory_grid() as grid:
        source = CountingSource(DATA)
        await grid.grid.upload(source)
        assert source.closed == 1
    async with memory_grid(servers=0) as grid:
        source = CountingSource(DATA)
        with pytest.raises(NoServersError):
            await grid.grid.upload(source)
        assert source.closed == 1
    async with memory_grid() as grid:
        source = CountingSource(DATA)
        for store in grid.stores.values():
            store.faults.hung_calls.add("write")
        task = asyncio.create_task(grid.grid.upload(source))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.closed == 1
        assert all(store.uploads == [] for store in grid.stores.values())


@pytest.mark.seed("S-191")
async def test_bad_file_names_are_told_apart(tmp_path: Path) -> None:
    async with memory_grid() as grid:
        with pytest.raises(ValueError, match="absolute"):
            await grid.grid.uploader.upload_filename("relative")
        for bad in (tmp_path / "missing", tmp_path):
            with pytest.raises(InputError, match=str(bad)):
                await grid.grid.uploader.upload_filename(bad)
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="not a regular file"):
            await grid.grid.uploader.upload_filename(tmp_path / "pipe")


@pytest.mark.seed("S-191")
@pytest.mark.parametrize("change", ["append", "truncate", "rewrite"])
async def test_a_file_that_changes_while_it_is_read_is_not_stored(tmp_path: Path, change: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(30_000_000))

    def alter() -> None:
        if change == "append":
            with path.open("ab") as f:
                f.write(b"x")
        elif change == "truncate":
            os.truncate(path, 100)
        else:
            path.open("r+b").write(b"x")

    async with memory_grid() as grid:
        with pytest.raises(SourceChangedError):
            await grid.grid.upload(
                FileNameSource(path), progress=lambda p: alter() if p.done < 20_000_000 else None
            )
        assert all(not store.shares and store.uploads == [] for store in grid.stores.values())


async def test_what_a_broken_attempt_left_is_trusted_only_if_the_file_was_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "f"
    content = os.urandom(30_000_000)
    path.write_bytes(content)
    async with memory_grid() as grid:
        for store in grid.stores.values():
            store.faults.failing_calls.add("abort")  # as if the client had been killed
        for store in grid.stores.values():
            store.faults.fail_after_writes = 2

        def alter(progress: Progress) -> None:
            if progress.stage == "hashing" and progress.done == progress.total:
                with path.open("r+b") as file:
                    file.seek(12_000_000)
                    file.write(b"something else")

        with pytest.raises(HoldfastError):
            await grid.grid.upload(FileNameSource(path), progress=alter)
        path.write_bytes(content)
        for store in grid.stores.values():
            store.faults = Faults()
        for server in grid.grid.known.all():
            server.retry_now()
        with pytest.raises(UnhappyError):  # the numbers are taken until the servers drop them as idle
            await grid.grid.upload(FileNameSource(path))
        assert all(not store.shares for store in grid.stores.values())


@pytest.mark.parametrize("size", [0, 1, 54, 55, 56, 57, 1 << 20, (1 << 20) + 1])
@pytest.mark.seed("S-089", "S-190")
async def test_files_of_edge_sizes_come_back(size: int) -> None:
    async with memory_grid() as grid:
        data = os.urandom(size)
        result = await grid.grid.upload(DataSource(data))
        assert result.uri.startswith("URI:LIT:" if size <= 55 else "URI:CHK:")
        assert (await grid.grid.download(result.uri, DataTarget())).value == data


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 10), (10, 10), (3, 10), (25, 100), (256, 256)])
async def test_files_of_every_encoding_come_back(k: int, n: int) -> None:
    encoding = EncodingSettings(shares_needed=k, happiness=1, shares_total=n, convergence_secret=CONVERGENCE)
    async with memory_grid(encoding=encoding) as grid:
        result = await grid.grid.upload(DataSource(DATA))
        assert (await grid.grid.download(result.uri, DataTarget())).value == DATA


async def test_without_a_convergence_secret_every_upload_has_its_own_key() -> None:
    async with memory_grid(encoding=EncodingSettings()) as grid:
        one = await grid.grid.upload(DataSource(DATA))
        two = await grid.grid.upload(DataSource(DATA))
        assert one.uri != two.uri
        assert one.uri not in repr(one)


# -- targets


class Recorder:
    """A target that writes down what is done to it."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.events: list[Any] = []
        self.cancel: Callable[[], None] = lambda: None
        self._cancel_after = cancel_after
        self._writes = 0

    def register_canceller(self, cb: Callable[[], None]) -> None:
        self.events.append("canceller")
        self.cancel = cb
        if self._cancel_after == 0:
            cb()

    def open(self, size: int) -> None:
        self.events.append(("open", size))

    async def write(self, data: memoryview) -> None:
        self.events.append(("write", len(data)))
        self._writes += 1
        if self._writes == self._cancel_after:
            self.cancel()

    def close(self) -> None:
        self.events.append("close")

    def fail(self, why: BaseException) -> None:
        self.events.append(("fail", why))

    async def finish(self) -> str:
        self.events.append("finish")
        return "value"


@pytest.mark.seed("S-174", "S-176", "S-177", "S-180", "S-182", "S-184", "S-185", "S-088")
async def test_a_target_is_called_in_order_and_its_value_returned() -> None:
    async with memory_grid() as grid:
        result = await grid.grid.upload(DataSource(DATA))
        target = Recorder()
        download = await grid.grid.download(result.uri, target, offset=10, size=4000)
        assert download.value == "value"
        assert target.events[0] == "canceller"
        assert target.events[1] == ("open", 4000)
        assert sum(event[1] for event in target.events[2:-2]) == 4000
        assert target.events[-2:] == ["close", "finish"]
        with pytest.raises(TypeError):
            await grid.grid.download(result.uri, object())  # type: ignore[arg-type]


@pytest.mark.seed("S-175", "S-178", "S-179")
async def test_a_failed_download_only_calls_fail() -> None:
    async with memory_grid(servers=0) as grid:
        target = Recorder()
        cap = "URI:CHK:aaaaaaaaaaaaaaaaaaaaaaaaaa:" + "a" * 52 + ":3:10:100"
        with pytest.raises(NoServersError) as error:
            await grid.grid.download(cap, target)
        assert target.events == ["canceller", ("fail", error.value)]


@pytest.mark.seed("S-180", "S-181")
@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_target_can_cancel_at_any_moment(after: int) -> None:
    async with memory_grid() as grid:
        result = await grid.grid.upload(DataSource(bytes(20_000_000)))
        target = Recorder(cancel_after=after)
        with pytest.raises(CancelledTransferError):
            await grid.grid.download(result.uri, target)
        assert sum(1 for event in target.events if event[0] == "write") == after
        assert target.events[-1][0] == "fail"
        assert isinstance(target.events[-1][1], CancelledTransferError)
        assert (await grid.grid.download(result.uri, DiscardTarget())).value == 20_000_000


async def test_handle_and_file_targets_receive_the_file(tmp_path: Path) -> None:
    async with memory_grid() as grid:
        result = await grid.grid.upload(DataSource(DATA))
        out = io.BytesIO()
        await grid.grid.download(result.uri, FileHandleTarget(out))
        assert out.getvalue() == DATA
        assert not out.closed
        path = tmp_path / "out"
        download = await grid.grid.download(result.uri, FileTarget(path))
        assert download.value.read_bytes() == DATA
        with pytest.raises(InputError, match="exists"):
            await grid.grid.download(result.uri, FileTarget(path, overwrite=False))


async def test_a_failed_download_leaves_no_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    async with memory_grid() as grid:
        result = await grid.grid.upload(DataSource(bytes(20_000_000)))
        for store in grid.stores.values():
            store.faults.flip = {(n, 6_000_000) for n in range(10)}
        path = tmp_path / "out"
        path.write_bytes(b"old")
        with pytest.raises(Exception, match="shares"):
            await grid.grid.download(result.uri, FileTarget(path))
        assert [p.name for p in tmp_path.iterdir()] == ["out"]
        assert path.read_bytes() == b"old"


async def test_the_spooled_stream_is_encrypted_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"secret plaintext " * 1000

    plaintext = await open_source(StreamSource(pieces()))
    raw = os.pread(plaintext._file.fileno(), 17_000, 0)  # type: ignore[attr-defined]
    assert b"secret" not in raw
    out = bytearray(6)
    plaintext.read_into(17, memoryview(out))
    assert out == b"secret"
    await plaintext.close()


def test_the_index_is_derived_from_the_key() -> None:
    assert len(immutable_hashes.storage_index(KEY)) == 16


@given(st.integers(0, 500), st.integers(1, 20))
def test_batches_hold_every_segment_once_and_in_order(count: int, most: int) -> None:
    batches = list(batches_of(count, most))
    assert [segment for batch in batches for segment in batch] == list(range(count))
    assert all(0 < len(batch) <= most for batch in batches)
    assert len(batches) <= -(-count // most) + 2


def test_of_many_batches_the_first_are_small() -> None:
    assert [len(batch) for batch in batches_of(40, 8)] == [2, 4, 8, 8, 8, 8, 2]
    assert [len(batch) for batch in batches_of(16, 8)] == [8, 8]
