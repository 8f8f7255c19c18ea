"""The life of an upload: idle time, canaries, hung clients, promised space, restarts, checks at the end."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import cbor2
import pytest

from holdfast.interfaces.storage import ByteRange
from holdfast.interfaces.storage_errors import NoSuchShareError, ShareConflictError
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage import uploads
from holdfast.servers.storage.engine import StorageEngine, open_storage
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.raw_https import RawConnection
from holdfast.testing.storage_bench import SI, UPLOAD, Bench
from holdfast.testing.storage_server import FakeClock, ServedStorage
from holdfast.testing.storage_suite import DATA, INDEX, LEASE, OTHER_SECRET, SECRET, store

IMMUTABLE_VECTORS = Path(__file__).parents[1] / "vectors" / "immutable.json"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(tmp_path: Path, clock: FakeClock) -> AsyncIterator[StorageEngine]:
    settings = StorageSettings(durability="os", canary_beat_s=0.01)
    async with open_storage(tmp_path / "storage", settings, b"s" * 20, clock) as engine:
        yield engine


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    settings = StorageSettings(durability="os", canary_beat_s=0.05)
    async with ServedStorage(tmp_path / "server", settings=settings) as server:
        yield Bench(server)


async def begin(engine: StorageEngine, *numbers: int, size: int = 48) -> None:
    await engine.allocate(INDEX, frozenset(numbers), size, SECRET, LEASE)


# -- idle time


async def test_an_idle_upload_ends_after_half_an_hour(engine: StorageEngine, clock: FakeClock) -> None:
    await begin(engine, 0, 1)
    clock.now += 1000
    await engine.write(INDEX, 1, SECRET, 0, [DATA[:1]], 1)
    clock.now += 801
    await engine.step()

    with pytest.raises(NoSuchShareError):
        await engine.write(INDEX, 0, SECRET, 0, [DATA], 48)
    assert await engine.write(INDEX, 1, SECRET, 1, [DATA[1:2]], 1) == [ByteRange(2, 48)]
    assert engine.reserved_bytes == 48


async def test_repeating_the_allocation_does_not_prolong_an_upload(
    engine: StorageEngine, clock: FakeClock
) -> None:
    await begin(engine, 0)
    clock.now += 1790
    await begin(engine, 0)
    clock.now += 11
    await engine.step()

    assert engine.reserved_bytes == 0


async def test_a_slow_body_is_no_idle_upload(engine: StorageEngine, clock: FakeClock) -> None:
    size = 100_000
    await begin(engine, 0, size=size)
    halfway = asyncio.Event()
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[memoryview]:
        yield memoryview(bytes(50_000))
        halfway.set()
        await go_on.wait()
        yield memoryview(bytes(50_000))

    writing = asyncio.create_task(engine.write(INDEX, 0, SECRET, 0, body(), size))
    await halfway.wait()
    clock.now += 4000
    await engine.step()
    go_on.set()

    assert await writing == []


# -- promised space


@pytest.mark.seed("S-060")
async def test_space_is_promised_at_allocation(tmp_path: Path) -> None:
    settings = StorageSettings(durability="os", capacity=100)
    other = StorageIndex(INDEX[::-1])
    async with open_storage(tmp_path, settings, b"s" * 20) as engine:
        await begin(engine, 0, 1, 2, size=25)
        answer = await engine.allocate(other, frozenset({0, 1, 2}), 25, OTHER_SECRET, LEASE)
        assert answer.allocated == {0}
        assert (await engine.version()).available_space == 0
        for number in (0, 1, 2):
            await engine.abort(INDEX, number, SECRET)
        answer = await engine.allocate(other, frozenset({0, 1, 2, 3}), 25, OTHER_SECRET, LEASE)
        assert answer.allocated == {0, 1, 2, 3}
        await engine.write(other, 0, OTHER_SECRET, 0, [bytes(25)], 25)

    async with open_storage(tmp_path, settings, b"s" * 20) as engine:
        assert (engine.stored_bytes, engine.reserved_bytes) == (25, 0)
        answer = await engine.allocate(INDEX, frozenset(range(5)), 25, SECRET, LEASE)
        assert answer.allocated == {0, 1, 2}


async def test_uploads_in_progress_end_with_the_server(tmp_path: Path) -> None:
    settings = StorageSettings(durability="os")
    async with open_storage(tmp_path, settings, b"s" * 20) as engine:
        await begin(engine, 0)
    async with open_storage(tmp_path, settings, b"s" * 20) as engine:
        with pytest.raises(NoSuchShareError):
            await engine.write(INDEX, 0, SECRET, 0, [DATA], 48)
        assert list((tmp_path / "shares" / "incoming").iterdir()) == []


# -- hung and competing clients


async def test_a_hung_request_gives_way(engine: StorageEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "STALL_S", 0.1)
    size = 100_000
    await begin(engine, 0, size=size)
    hung = asyncio.Event()

    async def body() -> AsyncIterator[memoryview]:
        yield memoryview(b"x" * 70_000)
        hung.set()
        await asyncio.sleep(0.5)
        yield memoryview(b"x" * 30_000)

    writing = asyncio.create_task(engine.write(INDEX, 0, SECRET, 0, body(), size))
    await hung.wait()
    assert await engine.write(INDEX, 0, SECRET, 0, [b"y" * size], size) == []

    with pytest.raises((ShareConflictError, NoSuchShareError)):
        await writing
    assert await engine.read_immutable(INDEX, 0, 0, size) == b"y" * size


async def test_requests_for_the_same_bytes_at_once_are_one_after_another(engine: StorageEngine) -> None:
    size = 200_000
    await begin(engine, 0, size=size)

    async def write(byte: bytes) -> bool:
        try:
            await engine.write(INDEX, 0, SECRET, 0, [byte * 100_000], 100_000)
        except ShareConflictError:
            return False
        return True

    done = await asyncio.gather(*(write(bytes([byte])) for byte in range(6)))

    assert sum(done) == 1
    winner = bytes([done.index(True)])
    assert await engine.write(INDEX, 0, SECRET, 100_000, [winner * 100_000], 100_000) == []
    assert await engine.read_immutable(INDEX, 0, 0, size) == winner * size


async def test_a_cancelled_request_leaves_the_upload_usable(engine: StorageEngine) -> None:
    size = 100_000
    await begin(engine, 0, size=size)
    reached = asyncio.Event()

    async def body() -> AsyncIterator[memoryview]:
        yield memoryview(bytes(70_000))
        reached.set()
        await asyncio.sleep(60)

    writing = asyncio.create_task(engine.write(INDEX, 0, SECRET, 0, body(), size))
    await reached.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert await engine.write(INDEX, 0, SECRET, 0, [b"z" * size], size) == []


async def test_a_completion_survives_the_cancellation_of_its_request(engine: StorageEngine) -> None:
    await begin(engine, 0)
    writing = asyncio.create_task(engine.write(INDEX, 0, SECRET, 0, [DATA], 48))
    for _ in range(6):
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    for _ in range(200):
        if await engine.list_immutable(INDEX):
            break
        await asyncio.sleep(0.01)

    assert await engine.read_immutable(INDEX, 0, 0, 48) == DATA
    assert engine.reserved_bytes == 0


async def test_allocations_of_one_index_at_once_share_the_numbers(engine: StorageEngine) -> None:
    answers = await asyncio.gather(
        *(engine.allocate(INDEX, frozenset(range(20)), 10, bytes([n]) * 32, LEASE) for n in range(1, 9))
    )

    assert sorted(number for answer in answers for number in answer.allocated) == list(range(20))


# -- canaries


async def hold(engine: StorageEngine, secret: bytes = SECRET) -> AsyncGenerator[bytes, None]:
    """Open a stream and take its first byte."""
    stream = engine.canary(INDEX, secret)
    await anext(stream)
    return stream


@pytest.mark.seed("S-061")
async def test_a_broken_canary_ends_the_uploads_of_its_owner(engine: StorageEngine, clock: FakeClock) -> None:
    stream = await hold(engine)
    await begin(engine, 0)
    await engine.allocate(INDEX, frozenset({1}), 48, OTHER_SECRET, LEASE)
    await stream.aclose()
    clock.now += 29
    await engine.step()
    assert engine.reserved_bytes == 96

    clock.now += 1
    await engine.step()
    assert engine.reserved_bytes == 48
    with pytest.raises(NoSuchShareError):
        await engine.write(INDEX, 0, SECRET, 0, [DATA], 48)
    assert await engine.write(INDEX, 1, OTHER_SECRET, 0, [DATA], 48) == []


@pytest.mark.seed("S-061")
async def test_a_canary_that_comes_back_in_time_saves_the_upload(
    engine: StorageEngine, clock: FakeClock
) -> None:
    await begin(engine, 0)
    first = await hold(engine)
    await first.aclose()
    clock.now += 20
    second = await hold(engine)
    clock.now += 1000
    await engine.step()

    assert await engine.write(INDEX, 0, SECRET, 0, [DATA], 48) == []
    await second.aclose()


@pytest.mark.seed("S-062")
async def test_a_finished_share_outlives_the_canary(engine: StorageEngine, clock: FakeClock) -> None:
    stream = await hold(engine)
    await store(engine, 0, DATA)
    await begin(engine, 1)
    await stream.aclose()
    clock.now += 31
    await engine.step()

    assert await engine.list_immutable(INDEX) == {0}
    assert engine.reserved_bytes == 0


@pytest.mark.seed("S-061")
async def test_a_canary_is_a_stream_that_ends_with_the_connection(bench: Bench) -> None:
    await bench.allocated({0})
    connection = await RawConnection.open(bench.server.port)
    secret = base64.b64encode(UPLOAD[1]).decode()
    headers = bench.server.headers([("X-Holdfast-Upload-Secret", secret)])
    connection.send_head("GET", f"/storage-ext/v1/canary/{SI}", headers)
    head = await connection.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    for _ in range(3):
        assert await connection.reader.readuntil(b"\r\n") == b"1\r\n"
        assert len(await connection.reader.readuntil(b"\r\n")) == 3
    await connection.close()
    for _ in range(100):
        await asyncio.sleep(0.02)
        bench.server.clock.now += 31
        await bench.engine.step()
        if bench.engine.reserved_bytes == 0:
            break

    assert bench.engine.reserved_bytes == 0


@pytest.mark.seed("S-061", "S-026")
async def test_the_extensions_describe_themselves(bench: Bench) -> None:
    answer = await bench.request("GET", "/storage-ext/v1/version")
    assert answer.status == 200
    message = cbor2.loads(answer.body)
    assert message["features"]["canary"] is True
    assert message["limits"]["share-numbers"] == 256
    assert message["versions"]["holdfast"]

    canary = f"/storage-ext/v1/canary/{SI}"
    right = ("X-Holdfast-Upload-Secret", "dXV1")
    assert (await bench.request("GET", "/storage-ext/v1/version", authorized=False)).status == 401
    assert (await bench.request("GET", canary, [right], authorized=False)).status == 401
    assert (await bench.request("POST", "/storage-ext/v1/version")).status == 405
    assert (await bench.request("GET", "/storage-ext/v1/other")).status == 404
    assert (await bench.request("GET", "/storage-ext/v1/canary/nonsense", [right])).status == 404
    assert (await bench.request("GET", canary)).status == 400
    assert (await bench.request("GET", canary, [("X-Holdfast-Upload-Secret", "?")])).status == 400
    assert (await bench.request("GET", canary, [right], secrets=[UPLOAD])).status == 400


# -- checks when the last byte has come


def shares_of_the_vectors() -> list[bytes]:
    cases = json.loads(IMMUTABLE_VECTORS.read_text())["cases"]
    return [bytes.fromhex(text) for entry in cases for text in entry.get("share_hex") or []]


@pytest.mark.seed("S-046")
@pytest.mark.parametrize("mode", ["off", "layout", "deep"])
async def test_good_and_foreign_shares_pass_every_check(tmp_path: Path, mode: str) -> None:
    settings = StorageSettings(durability="os", verify_on_close=mode)  # type: ignore[arg-type]
    shares = [*shares_of_the_vectors(), b"opaque bytes", b"\0\0\0\3" + bytes(100), b"x"]
    async with open_storage(tmp_path, settings, b"s" * 20) as engine:
        for position, share in enumerate(shares):
            index = StorageIndex(position.to_bytes(16, "big"))
            await store(engine, 0, share, index)
            assert await engine.read_immutable(index, 0, 0, 2**30) == share


@pytest.mark.seed("S-046")
async def test_nonsense_is_thrown_away_at_the_last_byte(bench: Bench) -> None:
    share = shares_of_the_vectors()[-1]
    offsets_outside = share[:0x20] + b"\x7f\xff\xff\xff" + share[0x24:]
    ragged = share[:0x18] + (int.from_bytes(share[0x18:0x1C], "big") + 1).to_bytes(4, "big") + share[0x1C:]
    for number, nonsense in enumerate((offsets_outside, ragged, share[:-1], share[:40])):
        size = len(nonsense)
        await bench.allocated({number}, size)
        answer = await bench.write(number, f"bytes 0-{size - 1}/*", nonsense)
        assert answer.status == 409
        assert (await bench.write(number, f"bytes 0-{size - 1}/*", nonsense)).status == 404
    assert await bench.listed() == set()
    assert bench.engine.reserved_bytes == bench.engine.stored_bytes == 0


@pytest.mark.seed("S-046")
async def test_one_flipped_bit_of_a_block_is_seen_by_a_deep_check(tmp_path: Path) -> None:
    share = bytearray(shares_of_the_vectors()[-1])
    share[0x24] ^= 1
    settings = StorageSettings(durability="os", verify_on_close="deep")
    async with open_storage(tmp_path, settings, b"s" * 20) as engine:
        await begin(engine, 0, size=len(share))
        with pytest.raises(ShareConflictError):
            await engine.write(INDEX, 0, SECRET, 0, [share], len(share))
        assert engine.reserved_bytes == 0
