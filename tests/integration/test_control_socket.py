"""The control interface over a real Unix socket and the loopback address."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import ConfigError, InputError
from holdfast.node.config import ControlConfig
from holdfast.node.control.listener import _for_users, serve_control
from holdfast.testing.controlled_node import memory_node
from holdfast.wire.http import Request, Response
from holdfast.wire.local_client import LocalClient, NotRunningError


@asynccontextmanager
async def controlled(private: Path, config: ControlConfig | None = None) -> AsyncIterator[LocalClient]:
    async with memory_node(private.parent, servers=None, config=config):
        yield LocalClient(private)


async def refuse(request: Request) -> Response:
    return Response(403)


async def call(client: LocalClient, target: str, method: str = "GET") -> tuple[int, Any]:
    def request() -> tuple[int, Any]:
        answer = client.request(method, target, timeout_s=10)
        return answer.status, answer.read_json()

    return await asyncio.to_thread(request)


@pytest.mark.seed("X-14")
async def test_a_client_learns_the_status_and_files_are_private(tmp_path: Path) -> None:
    async with controlled(tmp_path / "private") as client:
        assert await call(client, "/control/v1/status") == (200, {"nickname": "memory"})
        for name in ("control.sock", "control.token"):
            assert stat.S_IMODE((tmp_path / "private" / name).stat().st_mode) == 0o600
    assert not (tmp_path / "private" / "control.sock").exists()
    with pytest.raises(NotRunningError):
        client.request("GET", "/control/v1/status")


async def test_a_long_directory_name_is_no_obstacle(tmp_path: Path) -> None:
    private = tmp_path / ("long" * 40) / "private"
    private.parent.mkdir()
    async with controlled(private) as client:
        assert (await call(client, "/control/v1/status"))[0] == 200
    assert os.listdir(private) == ["control.token"]


async def test_the_socket_of_a_dead_node_is_replaced_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(private / "control.sock"))
    dead.close()
    async with controlled(private) as client:
        with pytest.raises(InputError, match="another process"):
            async with serve_control(private, refuse, ControlConfig()):
                pass
        assert (await call(client, "/control/v1/status"))[0] == 200


async def test_a_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        async with controlled(tmp_path / "private"):
            pass


async def test_only_the_nodes_user_is_let_in_and_root_if_allowed() -> None:
    async def everyone(request: Request) -> Response:
        return Response(200)

    def request(user: int | None) -> Request:
        return Request("GET", "/", "", (), None, peer_user=user)  # type: ignore[arg-type]

    guarded = _for_users(everyone, {1000})
    assert (await guarded(request(1000))).status == 200
    for user in (0, 1001):
        answer = await guarded(request(user))
        assert answer.status == 403
    assert (await _for_users(everyone, {1000, 0})(request(0))).status == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_cannot_connect(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    async with controlled(tmp_path / "private"):
        os.chmod(tmp_path / "private", 0o711)
        program = (
            "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX)\n"
            "try: s.connect(sys.argv[1])\n"
            "except PermissionError: print('refused')"
        )
        path = str(tmp_path / "private" / "control.sock")
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program, path], capture_output=True, text=True
        )
        assert done.stdout.strip() == "refused"


async def test_loopback_serves_who_has_the_token_and_no_browser(tmp_path: Path) -> None:
    private = tmp_path / "private"
    async with controlled(private, ControlConfig(tcp=True)) as client:
        os.rename(private / "control.sock", private / "hidden.sock")
        assert (await call(client, "/control/v1/status"))[0] == 200
        url = (private / "control.url").read_text().strip()
        assert stat.S_IMODE((private / "control.url").stat().st_mode) == 0o600
        host, port = url.removeprefix("http://").split(":")
        assert host == "127.0.0.1"
        token = (private / "control.token").read_text().strip()
        for headers, status in (
            (f"Host: {host}:{port}", b"200"),
            (f"Host: localhost:{port}", b"403"),
            ("Host: attacker.example", b"403"),
            (f"Host: {host}:{port}\r\nOrigin: http://attacker.example", b"403"),
            (f"Host: {host}:{port}\r\nOrigin: null", b"403"),
        ):
            reader, writer = await asyncio.open_connection(host, int(port))
            lines = f"GET /control/v1/status HTTP/1.1\r\n{headers}\r\nAuthorization: Bearer {token}"
            writer.write(f"{lines}\r\n\r\n".encode())
            assert (await reader.readline()).split()[1] == status
            writer.close()
        os.rename(private / "hidden.sock", private / "control.sock")
    assert not (private / "control.url").exists()
