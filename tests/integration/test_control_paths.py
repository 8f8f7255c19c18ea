"""Files that the node itself reads and writes for those who control it: only where it
was allowed to, and every refusal tells the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.grid.sources import DataSource
from holdfast.node.control.errors import PathNotAllowedError
from holdfast.node.control.paths import PathRules
from holdfast.testing.controlled_node import MemoryNode, memory_node
from holdfast.wire.local_client import LocalClient

DATA = random.Random(7).randbytes(300_000)
NOT_ALLOWED = (403, {"error": "PathNotAllowed", "message": "the node does not read or write this file"})


class Places:
    """A node with a directory it reads from and one it writes to."""

    def __init__(self, node: MemoryNode, outgoing: Path, incoming: Path) -> None:
        self.node = node
        self.outgoing = outgoing
        self.incoming = incoming

    async def post(self, call: str, **arguments: object) -> tuple[int, Any]:
        body = json.dumps(arguments).encode()

        def request() -> tuple[int, Any]:
            client = LocalClient(self.node.private)
            answer = client.request("POST", f"/control/v1/{call}", body=body, timeout_s=20)
            return answer.status, answer.read_json()

        return await asyncio.to_thread(request)

    async def stored(self) -> str:
        path = self.outgoing / "stored"
        path.write_bytes(DATA)
        status, answer = await self.post("upload-file", path=str(path))
        assert status == 200
        return str(answer["uri"])


@pytest.fixture
async def places(tmp_path: Path) -> AsyncIterator[Places]:
    outgoing, incoming = tmp_path / "out", tmp_path / "in"
    outgoing.mkdir()
    incoming.mkdir()
    async with memory_node(
        tmp_path / "node", read_roots=[str(outgoing), str(tmp_path / "node")], write_roots=[str(incoming)]
    ) as node:
        yield Places(node, outgoing, incoming)


@pytest.mark.seed("S-210")
async def test_a_file_below_a_root_is_stored_under_the_same_capability(places: Places) -> None:
    deep = places.outgoing / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(DATA)
    status, answer = await places.post("upload-file", path=str(deep / "file"))
    assert (status, answer["size"]) == (200, len(DATA))
    assert places.node.grid is not None
    assert answer["uri"] == (await places.node.grid.upload(DataSource(DATA), places.node.encoding)).uri


@pytest.mark.seed("S-210")
async def test_without_configured_roots_nothing_is_touched(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    async with memory_node(tmp_path / "node") as node:
        places = Places(node, tmp_path, tmp_path)
        assert await places.post("upload-file", path=str(tmp_path / "file")) == NOT_ALLOWED
        copy = str(tmp_path / "copy")
        assert await places.post("download-file", uri="URI:LIT:nbswy3dp", path=copy) == NOT_ALLOWED
        assert not os.path.exists(copy)


@pytest.mark.seed("S-211", "S-213")
@pytest.mark.parametrize(
    "name",
    ["file", "./file", "", "{root}/../x", "{root}//file", "{root}/./file", "/{root}/f\0", "{root}/\ud800"],
)
async def test_a_name_that_is_not_absolute_and_plain_is_refused(places: Places, name: str) -> None:
    for call, root in (("upload-file", places.outgoing), ("download-file", places.incoming)):
        arguments = {"uri": "URI:LIT:nbswy3dp"} if call == "download-file" else {}
        status, answer = await places.post(call, path=name.format(root=root), **arguments)
        assert (status, answer["error"]) == (400, "NotAbsolute")


async def test_whatever_is_out_of_bounds_is_refused_alike(places: Places, tmp_path: Path) -> None:
    out = places.outgoing
    (out / "file").write_bytes(DATA)
    (out / "directory").mkdir()
    (out / "directory" / "file").write_bytes(DATA)
    (tmp_path / "secret").write_bytes(DATA)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(DATA)
    (out / "link").symlink_to(out / "file")
    (out / "link-directory").symlink_to(out / "directory")
    (out / "directory" / "link-outside").symlink_to(tmp_path / "outside")
    os.mkfifo(out / "fifo")
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(out / "socket"))
    bound.close()
    os.link(tmp_path / "secret", out / "second-name")
    (tmp_path / "out-of-root").write_bytes(DATA)
    refused = [
        tmp_path / "secret",
        tmp_path / "out-of-root",  # begins like a root, and is none
        out,
        out / "missing",
        out / "missing" / "file",
        out / "directory",
        out / "file" / "below",
        out / "link",
        out / "link-directory" / "file",
        out / "directory" / "link-outside" / "file",
        out / "fifo",
        out / "socket",
        out / "second-name",
        out / ("long" * 100),
        places.node.private / "control.token",
        places.node.directory / "missing",
        Path("/dev/null"),
        Path("/proc/self/environ"),
    ]
    if os.geteuid() == 0:
        (out / "foreign").write_bytes(DATA)
        os.chown(out / "foreign", 12345, 12345)
        os.mknod(out / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        refused += [out / "foreign", out / "device"]
    for path in refused:
        assert await places.post("upload-file", path=str(path)) == NOT_ALLOWED, path
    assert (await places.post("upload-file", path=str(out / "file")))[0] == 200
    assert (await places.post("upload-file", path=str(out / "directory" / "file")))[0] == 200


async def test_the_nodes_own_directory_is_refused_below_a_root_too(places: Places, tmp_path: Path) -> None:
    (places.node.directory / "file").write_bytes(DATA)
    rules = PathRules([str(tmp_path), "/"], [str(tmp_path), "/"], places.node.directory)
    for name in ("file", "private/control.token"):
        with pytest.raises(PathNotAllowedError):
            rules.open_for_reading(str(places.node.directory / name))
        with pytest.raises(PathNotAllowedError), rules.place_for_writing(str(places.node.directory / name)):
            pass
    (tmp_path / "near").write_bytes(DATA)
    os.close(rules.open_for_reading(str(tmp_path / "near")))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_files_of_listed_users_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    os.chown(tmp_path / "file", 12345, 12345)
    os.close(
        PathRules([str(tmp_path)], [], tmp_path / "node", {12345}).open_for_reading(str(tmp_path / "file"))
    )


@pytest.mark.seed("S-212", "S-214")
async def test_a_file_is_written_whole_and_its_name_returned(places: Places) -> None:
    uri = await places.stored()
    path = places.incoming / "copy"
    assert await places.post("download-file", uri=uri, path=str(path)) == (200, {"path": str(path)})
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(places.incoming) == ["copy"]


@pytest.mark.seed("S-212")
async def test_a_file_is_replaced_only_when_asked(places: Places) -> None:
    uri = await places.stored()
    path = places.incoming / "copy"
    path.write_bytes(b"precious")
    status, answer = await places.post("download-file", uri=uri, path=str(path))
    assert (status, answer["error"]) == (409, "AlreadyThere")
    assert path.read_bytes() == b"precious"
    status, _ = await places.post("download-file", uri=uri, path=str(path), overwrite=True)
    assert status == 200
    assert path.read_bytes() == DATA
    assert os.listdir(places.incoming) == ["copy"]


@pytest.mark.seed("S-212")
async def test_a_download_that_fails_leaves_no_file(places: Places) -> None:
    uri = await places.stored()
    assert places.node.memory is not None
    for lost in (range(8), range(10)):
        stores = list(places.node.memory.stores.values())
        for i in lost:
            stores[i].faults.dead = True
        status, answer = await places.post("download-file", uri=uri, path=str(places.incoming / "copy"))
        assert status == 503, answer
        assert os.listdir(places.incoming) == []


async def test_writing_is_refused_where_reading_is(places: Places, tmp_path: Path) -> None:
    (places.incoming / "directory").mkdir()
    (tmp_path / "outside").mkdir()
    (places.incoming / "link-directory").symlink_to(tmp_path / "outside")
    (places.incoming / "link").symlink_to(tmp_path / "outside" / "new")
    os.mkfifo(places.incoming / "fifo")
    uri = await places.stored()
    for path in (
        places.outgoing / "new",
        tmp_path / "outside" / "new",
        places.incoming / "directory",
        places.incoming / "missing" / "new",
        places.incoming / "link-directory" / "new",
        places.incoming / "link",
        places.incoming / "fifo",
        places.node.private / "control.token",
    ):
        for overwrite in (False, True):
            answer = await places.post("download-file", uri=uri, path=str(path), overwrite=overwrite)
            assert answer == NOT_ALLOWED, path
    assert os.listdir(tmp_path / "outside") == []
