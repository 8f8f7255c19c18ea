"""The calls of the founding control interface, as coroutines, against a node that runs."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.errors import NotEnoughSharesError
from holdfast.interfaces.control import ControlClient
from holdfast.node.control.client import HttpControlClient
from holdfast.node.control.errors import (
    AlreadyThereError,
    NotAbsoluteError,
    OutOfScopeError,
    PathNotAllowedError,
)
from holdfast.node.control.tokens import Tokens
from holdfast.testing.controlled_node import MemoryNode, memory_node

DATA = random.Random(3).randbytes(500_000)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[MemoryNode]:
    (tmp_path / "files").mkdir()
    roots = [str(tmp_path / "files")]
    async with memory_node(tmp_path / "node", read_roots=roots, write_roots=roots) as node:
        yield node


@pytest.fixture
def client(node: MemoryNode) -> ControlClient:
    return HttpControlClient(node.private)


@pytest.mark.seed("S-209")
async def test_waiting_returns_when_the_nth_server_connects(node: MemoryNode, client: ControlClient) -> None:
    assert await client.wait_for_client_connections(0) == 0
    waiting = asyncio.create_task(client.wait_for_client_connections(3))
    for count in (1, 2, 3):
        assert not waiting.done()
        await node.connect(count)
        await asyncio.sleep(0.05)
    assert await waiting == 3
    assert await client.wait_for_client_connections(2, timeout=5) == 3
    with pytest.raises(TimeoutError):
        await client.wait_for_client_connections(4, timeout=0.1)


@pytest.mark.seed("S-210", "S-212", "S-214")
@pytest.mark.parametrize("on_node", [False, True])
async def test_a_file_is_stored_and_read_back(client: ControlClient, tmp_path: Path, on_node: bool) -> None:
    source, copy = tmp_path / "files" / "source", tmp_path / "files" / "copy"
    source.write_bytes(DATA)
    uri = await client.upload_from_file_to_uri(str(source), on_node=on_node)
    assert uri == await client.upload_from_file_to_uri(str(source), on_node=not on_node)
    assert await client.download_from_uri_to_file(uri, str(copy), on_node=on_node) == str(copy)
    assert copy.read_bytes() == DATA
    with pytest.raises(AlreadyThereError):
        await client.download_from_uri_to_file(uri, str(copy), on_node=on_node)
    source.write_bytes(b"other")
    uri = await client.upload_from_file_to_uri(str(source), on_node=on_node)
    await client.download_from_uri_to_file(uri, str(copy), on_node=on_node, overwrite=True)
    assert copy.read_bytes() == b"other"
    assert sorted(os.listdir(tmp_path / "files")) == ["copy", "source"]


@pytest.mark.seed("S-211", "S-213")
@pytest.mark.parametrize("on_node", [False, True])
async def test_relative_names_are_refused(client: ControlClient, on_node: bool) -> None:
    with pytest.raises(NotAbsoluteError):
        await client.upload_from_file_to_uri("name", on_node=on_node)
    with pytest.raises(NotAbsoluteError):
        await client.download_from_uri_to_file("URI:LIT:", "name", on_node=on_node)


async def test_the_callers_own_files_are_not_confined(client: ControlClient, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(DATA)
    with pytest.raises(PathNotAllowedError):
        await client.upload_from_file_to_uri(str(tmp_path / "outside"), on_node=True)
    assert await client.upload_from_file_to_uri(str(tmp_path / "outside"))


@pytest.mark.seed("S-212")
@pytest.mark.parametrize("on_node", [False, True])
async def test_a_failed_download_leaves_no_file(
    node: MemoryNode, client: ControlClient, tmp_path: Path, on_node: bool
) -> None:
    source, copy = tmp_path / "files" / "source", tmp_path / "files" / "copy"
    source.write_bytes(DATA)
    uri = await client.upload_from_file_to_uri(str(source))
    copy.write_bytes(b"precious")
    assert node.memory is not None
    for store in list(node.memory.stores.values())[:8]:
        store.shares.clear()
    with pytest.raises(NotEnoughSharesError):
        await client.download_from_uri_to_file(uri, str(copy), on_node=on_node, overwrite=True)
    assert copy.read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path / "files")) == ["copy", "source"]


@pytest.mark.seed("S-216", "S-217", "S-218")
async def test_memory_is_three_whole_numbers_of_bytes(client: ControlClient) -> None:
    memory = await client.get_memory_usage()
    assert list(memory) == ["VmPeak", "VmSize", "VmData"]
    assert all(type(value) is int and value > 0 and value % 1024 == 0 for value in memory.values())


@pytest.mark.seed("S-215")
async def test_a_minted_token_is_used(node: MemoryNode) -> None:
    tokens = Tokens(node.private)  # as after a restart: the old master token is worth nothing
    text, _ = tokens.mint(
        tokens.grant_of((node.private / "control.token").read_text().strip()), ["wait"], 60, ""
    )
    async with memory_node(node.directory.with_name("other"), servers=None) as other:
        os.replace(node.private / "control-tokens.json", other.private / "control-tokens.json")
    async with memory_node(other.directory, servers=None):
        client = HttpControlClient(other.private, text)
        assert await client.wait_for_client_connections(0) == 0
        with pytest.raises(OutOfScopeError):
            await client.get_memory_usage()


async def test_a_cancelled_call_ends_at_the_node(
    node: MemoryNode, client: ControlClient, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA * 5)
    assert node.memory is not None
    for store in node.memory.stores.values():
        store.faults.hung_calls.add("write")
    work = asyncio.create_task(client.upload_from_file_to_uri(str(source)))
    async with asyncio.timeout(10):
        while not any(store.uploads for store in node.memory.stores.values()):
            await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        while any(store.uploads for store in node.memory.stores.values()):
            await asyncio.sleep(0.01)
