"""Uploads and downloads through a running node, over its real socket, to a grid in memory."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import random
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from holdfast.errors import (
    BadCapabilityError,
    ConfigError,
    HoldfastError,
    InputError,
    NoSharesError,
    NotEnoughSharesError,
    SourceChangedError,
    UnhappyError,
    WrongCapabilityTypeError,
)
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.node.control import calls
from holdfast.node.control.errors import BadRequestError
from holdfast.testing.controlled_node import MemoryNode, memory_node
from holdfast.testing.memory_grid import CONVERGENCE
from holdfast.wire.local_client import BrokenOffError, LocalClient

T = TypeVar("T")
MIB = 1 << 20


CLIENTS = ThreadPoolExecutor(32)  # apart from the threads that the node itself needs


async def in_thread(work: Callable[..., T], *arguments: object, **named: object) -> T:
    """Run what a client does, in a thread."""
    call = functools.partial(work, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(CLIENTS, call)


async def ask(node: MemoryNode, work: Callable[[LocalClient], T]) -> T:
    """Run a blocking call."""
    return await in_thread(work, LocalClient(node.private))


def data_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


class Trickle(io.RawIOBase):
    """A stream of unknown length, in uneven pieces."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, 70_001))


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


def uploads_in_progress(node: MemoryNode) -> int:
    assert node.memory is not None
    return sum(len(store.uploads) for store in node.memory.stores.values())


@pytest.mark.seed("S-210")
@pytest.mark.parametrize("size", [0, 1, 55, 56, 5000, MIB, 3 * MIB + 17])
async def test_what_is_uploaded_comes_back_in_every_form(tmp_path: Path, size: int) -> None:
    data = data_of(size)
    async with memory_node(tmp_path) as node:
        grid = node.grid
        assert grid is not None
        direct = (await grid.upload(DataSource(data), node.encoding)).uri
        whole = await ask(node, lambda client: calls.upload(client, data))
        known = await ask(node, lambda client: calls.upload(client, io.BytesIO(data), size))
        stream = await ask(node, lambda client: calls.upload(client, Trickle(data)))  # type: ignore[arg-type]
        for result in (whole, known, stream):
            assert result["uri"] == direct
            assert result["size"] == size
        assert whole["servers"] == (10 if size > 55 else 0)
        copy = io.BytesIO()
        assert await ask(node, lambda client: calls.download(client, direct, copy)) == size
        assert copy.getvalue() == data
        assert uploads_in_progress(node) == 0


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 0), (7, 100), (MIB - 3, 10), (2 * MIB - 5, None), (9 * MIB, 4)]
)
async def test_a_range_is_downloaded(tmp_path: Path, offset: int, size: int | None) -> None:
    data = data_of(2 * MIB)
    async with memory_node(tmp_path) as node:
        uri = (await ask(node, lambda client: calls.upload(client, data)))["uri"]
        copy = io.BytesIO()
        await ask(node, lambda client: calls.download(client, uri, copy, offset=offset, size=size))
        assert copy.getvalue() == data[offset : None if size is None else offset + size]


async def test_options_of_an_upload_are_those_of_a_direct_one(tmp_path: Path) -> None:
    data = data_of(300_000)
    async with memory_node(tmp_path) as node:
        assert node.grid is not None
        settings = EncodingSettings(
            shares_needed=2,
            happiness=3,
            shares_total=4,
            segment_size_max=65536,
            convergence_secret=CONVERGENCE,
        )
        direct = (await node.grid.upload(DataSource(data), settings)).uri
        given = {"encoding": (2, 3, 4), "segment_size": 65536}
        there = await ask(node, lambda client: calls.upload(client, data, **given))  # type: ignore[arg-type]
        assert there["uri"] == direct
        assert there["shares_needed"] == 2
        two = [await ask(node, lambda c: calls.upload(c, data, random_key=True)) for _ in range(2)]
        assert two[0]["uri"] != two[1]["uri"]


async def test_wrong_options_are_refused_before_the_body_is_taken(tmp_path: Path) -> None:
    async with memory_node(tmp_path) as node:
        file = io.BytesIO(data_of(5 * MIB))
        for encoding in ((5, 3, 4), (3, 0, 10), (3, 7, 999)):
            upload = functools.partial(calls.upload, file=file, length=5 * MIB, encoding=encoding)
            with pytest.raises((ConfigError, BadRequestError)):
                await ask(node, upload)
        assert file.tell() == 0
        for query in (
            "kind=sdmf",
            "convergence=no",
            "encoding=3-7-10",
            "segment-size=0",
            "colour=red",
            "%zz=&",
        ):
            client = LocalClient(node.private)
            answer = await in_thread(client.request, "POST", f"/control/v1/upload?{query}", body=b"x")
            assert answer.status == 400
            assert answer.read_json()["error"] in ("BadRequest", "ConfigError")


async def test_progress_is_told_in_lines(tmp_path: Path) -> None:
    data = data_of(4 * MIB)
    async with memory_node(tmp_path) as node:
        assert node.memory is not None
        for store in node.memory.stores.values():
            store.faults.hung_calls.add("write")
        answer = await ask(
            node, lambda c: c.request("POST", "/control/v1/upload", body=data, accept="application/x-ndjson")
        )
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = answer.lines()
        first = await in_thread(next, lines)
        assert first["stage"] in ("hashing", "uploading")
        assert 0 <= first["progress"] <= first["total"] == len(data)
        answer.close()
        await until(lambda: uploads_in_progress(node) == 0)


@pytest.mark.parametrize("lines", [False, True])
async def test_a_failed_upload_is_the_error_the_node_met(tmp_path: Path, lines: bool) -> None:
    async with memory_node(tmp_path, servers=5) as node:
        with pytest.raises(UnhappyError) as caught:
            if lines:
                await ask(node, lambda c: calls.upload(c, Trickle(data_of(200_000))))  # type: ignore[arg-type]
            else:
                await ask(
                    node,
                    lambda c: calls.checked(c.request("POST", "/control/v1/upload", body=data_of(200_000))),
                )
        assert (caught.value.servers, caught.value.shares_needed, caught.value.happiness_wanted) == (5, 3, 7)


async def test_a_failed_download_is_the_error_the_node_met(tmp_path: Path) -> None:
    async with memory_node(tmp_path) as node:
        assert node.memory is not None
        uri = (await ask(node, lambda client: calls.upload(client, data_of(200_000))))["uri"]
        for store in list(node.memory.stores.values()):
            store.shares.clear()
        with pytest.raises(NoSharesError) as caught:
            await ask(node, lambda client: calls.download(client, uri, io.BytesIO()))
        assert caught.value.needed == 3
        with pytest.raises(BadCapabilityError):
            await ask(node, lambda client: calls.download(client, "URI:CHK:nonsense", io.BytesIO()))
        with pytest.raises(WrongCapabilityTypeError):
            await ask(
                node,
                lambda client: calls.download(client, "URI:DIR2:" + "a" * 26 + ":" + "a" * 52, io.BytesIO()),
            )


async def test_a_download_that_fails_on_its_way_is_short_and_says_why_when_asked_again(
    tmp_path: Path,
) -> None:
    data = data_of(12 * MIB)
    async with memory_node(tmp_path) as node:
        assert node.memory is not None
        uri = (await ask(node, lambda client: calls.upload(client, data)))["uri"]
        broken = threading.Event()
        copy = io.BytesIO()

        def lose(done: int, total: int) -> None:
            assert total == len(data)
            if not broken.is_set():
                broken.set()
                assert node.memory is not None
                for store in node.memory.stores.values():
                    store.shares.clear()

        with pytest.raises(NotEnoughSharesError):
            await ask(node, lambda client: calls.download(client, uri, copy, on_bytes=lose))
        assert 0 < len(copy.getvalue()) < len(data)
        assert data.startswith(copy.getvalue())


async def test_the_body_of_a_broken_download_is_short(tmp_path: Path) -> None:
    async with memory_node(tmp_path) as node:
        assert node.memory is not None
        uri = (await ask(node, lambda client: calls.upload(client, data_of(40 * MIB))))["uri"]
        body = json.dumps({"uri": uri}).encode()
        answer = await ask(node, lambda c: c.request("POST", "/control/v1/download", body=body))
        assert (answer.status, answer.headers["content-length"]) == (200, str(40 * MIB))
        for store in node.memory.stores.values():
            store.shares.clear()
        with pytest.raises(BrokenOffError):
            await in_thread(answer.copy_to, io.BytesIO())


async def test_a_client_that_goes_away_ends_its_download(tmp_path: Path) -> None:
    async with memory_node(tmp_path) as node:
        assert node.memory is not None
        uri = (await ask(node, lambda client: calls.upload(client, data_of(40 * MIB))))["uri"]
        before = asyncio.all_tasks()
        body = json.dumps({"uri": uri}).encode()
        answer = await ask(node, lambda c: c.request("POST", "/control/v1/download", body=body))
        await asyncio.sleep(0.2)
        read = sum(store.bytes_read for store in node.memory.stores.values())
        assert read < 30 * MIB  # it is not far ahead of its client
        answer.close()
        await until(lambda: asyncio.all_tasks() <= before)


@pytest.mark.parametrize("when", ["in the body", "later", "later, with lines"])
async def test_a_client_that_goes_away_leaves_no_buckets(tmp_path: Path, when: str) -> None:
    async with memory_node(tmp_path) as node:
        assert node.memory is not None
        for store in node.memory.stores.values():
            store.faults.hung_calls.add("write")
        before = asyncio.all_tasks()
        token = (node.private / "control.token").read_text().strip()
        size = 2 * MIB
        head = f"POST /control/v1/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        head += f"Content-Length: {size}\r\n"
        if when.endswith("lines"):
            head += "Accept: application/x-ndjson\r\n"
        _, writer = await asyncio.open_unix_connection(str(node.private / "control.sock"))
        writer.write(f"{head}\r\n".encode() + data_of(size)[: -1 if when == "in the body" else None])
        await writer.drain()
        if when != "in the body":
            await until(lambda: uploads_in_progress(node))
        writer.close()
        await until(lambda: uploads_in_progress(node) == 0 and asyncio.all_tasks() <= before)
        assert not any(store.shares for store in node.memory.stores.values())


async def test_a_body_that_says_it_is_longer_than_it_is_stores_nothing(tmp_path: Path) -> None:
    async with memory_node(tmp_path) as node:
        with pytest.raises(SourceChangedError):
            await ask(node, lambda c: calls.upload(c, io.BytesIO(data_of(2 * MIB)), 2 * MIB + 1))
        assert node.memory is not None
        assert not any(store.shares for store in node.memory.stores.values())


async def test_a_file_that_changes_while_it_is_sent_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data_of(3 * MIB))

    class Changing(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            with open(path, "ab") as other:
                other.write(b"more")
            return super().read(size)

    async with memory_node(tmp_path / "node") as node:
        with Changing(str(path)) as file, pytest.raises(SourceChangedError):
            await ask(node, lambda c: calls.upload(c, file, 3 * MIB))


async def test_a_node_without_a_client_side_says_so(tmp_path: Path) -> None:
    async with memory_node(tmp_path, servers=None) as node:
        with pytest.raises(ConfigError, match="no client"):
            await ask(node, lambda client: calls.upload(client, b"x" * 100))
        with pytest.raises(ConfigError, match="no client"):
            await ask(node, lambda client: calls.download(client, "URI:LIT:", io.BytesIO()))


async def test_many_transfers_at_once(tmp_path: Path) -> None:
    async with memory_node(tmp_path) as node:

        async def there_and_back(size: int) -> None:
            data = data_of(size)
            uri = (await ask(node, lambda client: calls.upload(client, io.BytesIO(data))))["uri"]
            copy = io.BytesIO()
            await ask(node, lambda client: calls.download(client, uri, copy))
            assert copy.getvalue() == data

        await asyncio.gather(*(there_and_back(100_000 * i) for i in range(1, 25)))


async def test_a_silent_node_is_given_up(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "control.token").write_text("token\n")
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(private / "control.sock"))
    silent.listen()
    try:
        with pytest.raises(HoldfastError, match="silent"):
            await in_thread(lambda: LocalClient(private).request("GET", "/control/v1/status", timeout_s=0.3))
    finally:
        silent.close()


async def test_a_client_reads_the_token_again_after_a_restart(tmp_path: Path) -> None:
    client = LocalClient(tmp_path / "private")
    statuses: list[Any] = []
    file = io.BytesIO(data_of(3 * MIB))
    for _ in range(2):
        async with memory_node(tmp_path):
            statuses.append((await in_thread(client.request, "GET", "/control/v1/memory")).status)
    async with memory_node(tmp_path):
        result = await in_thread(calls.upload, client, file)
        assert result["size"] == 3 * MIB
    assert statuses == [200, 200]


async def test_a_damaged_token_is_named_and_no_defect(tmp_path: Path) -> None:
    async with memory_node(tmp_path):
        (tmp_path / "private/control.token").write_bytes(b"\xff\xfe")
        with pytest.raises(InputError, match=r"control\.token is damaged"):
            await in_thread(LocalClient(tmp_path / "private").request, "GET", "/control/v1/memory")
