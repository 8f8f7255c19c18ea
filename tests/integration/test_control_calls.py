"""Each call of the control interface: who may make it, what it takes and what it gives."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.node.control.handler import control_handler
from holdfast.node.control.tokens import SCOPES
from holdfast.node.process_memory import process_memory
from holdfast.testing.controlled_node import MemoryNode, memory_node
from holdfast.testing.json_schema import complaints
from holdfast.wire.local_client import LocalClient

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/spec/control-v1.schema.json").read_text())["$defs"]

CALLS = {
    "GET /metrics": "status",
    "GET /control/v1/status": "status",
    "GET /control/v1/connections/wait?n=0": "wait",
    "POST /control/v1/upload": "upload",
    "POST /control/v1/upload-file": "upload-path",
    "POST /control/v1/download": "download",
    "POST /control/v1/download-file": "download-path",
    "GET /control/v1/memory": "debug",
    "POST /control/v1/ping-servers": "debug",
    "POST /control/v1/speed-test": "debug",
    "POST /control/v1/tokens": "tokens",
    "GET /control/v1/tokens": "tokens",
    "DELETE /control/v1/tokens/0": "tokens",
    "POST /control/v1/stop": "stop",
}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[MemoryNode]:
    async with memory_node(
        tmp_path / "node", write_roots=[str(tmp_path)], read_roots=[str(tmp_path)]
    ) as node:
        yield node


async def ask(
    node: MemoryNode, call: str, body: object = None, *, token: str | None = None
) -> tuple[int, Any]:
    """Make a call, and hold what is sent and answered against the schema."""
    method, target = call.split(" ")
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()

    def request() -> tuple[int, Any]:
        client = LocalClient(node.private, token)
        answer = client.request(method, target, body=data, timeout_s=30)
        assert answer.headers["cache-control"] == "no-store"
        return answer.status, answer.read_json()

    status, answer = await asyncio.to_thread(request)
    name = re.sub(r"tokens/.*", "tokens/*", call.partition("?")[0])
    if status < 400 and isinstance(body, dict):
        assert complaints(body, SCHEMA[f"{name} request"], SCHEMA) == []
    assert complaints(answer, SCHEMA["error" if status >= 400 else f"{name} answer"], SCHEMA) == []
    return status, answer


async def mint(node: MemoryNode, *scopes: str, **more: object) -> tuple[str, str]:
    status, answer = await ask(node, "POST /control/v1/tokens", {"scopes": list(scopes), **more})
    assert status == 200
    return answer["token"], answer["id"]


# -- tokens


@pytest.mark.seed("S-215")
@pytest.mark.parametrize(("call", "scope"), CALLS.items())
async def test_each_call_wants_its_scope(node: MemoryNode, call: str, scope: str) -> None:
    token, _ = await mint(node, *(other for other in SCOPES if other != scope))
    status, answer = await ask(node, call, {}, token=token)
    assert (status, answer["error"]) == (403, "OutOfScope")
    assert scope in answer["message"]
    assert not node.stopped


def test_no_call_is_forgotten_here(tmp_path: Path) -> None:
    handler: Any = control_handler(MemoryNode(tmp_path, None), None, None)  # type: ignore[arg-type]
    known = {f"{method} {path}" for path, methods in handler._calls.items() for method in methods}
    assert known == {re.sub(r"tokens/.*", "tokens/*", call.partition("?")[0]) for call in CALLS}


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic {token}", "{token}", "Bearer {token}x"])
async def test_without_the_token_nothing_is_answered(node: MemoryNode, header: str) -> None:
    token = (node.private / "control.token").read_text().strip()
    for call in [*CALLS, "GET /", "GET /control/v1/nothing", "OPTIONS /control/v1/status"]:
        reader, writer = await asyncio.open_unix_connection(str(node.private / "control.sock"))
        line = f"Authorization: {header.format(token=token)}\r\n" if header else ""
        writer.write(f"{call} HTTP/1.1\r\nHost: x\r\n{line}Content-Length: 0\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 401 ")
        assert b"www-authenticate: bearer" in head
        writer.close()
    assert not node.stopped


async def test_a_token_is_minted_listed_and_revoked(node: MemoryNode) -> None:
    token, token_id = await mint(node, "wait", "status", seconds=100, label="watcher")
    assert (await ask(node, "GET /control/v1/status", token=token))[0] == 200
    status, answer = await ask(node, "GET /control/v1/tokens")
    assert status == 200
    [listed] = answer["tokens"]
    assert (listed["id"], listed["scopes"], listed["label"]) == (token_id, ["status", "wait"], "watcher")
    assert (await ask(node, f"DELETE /control/v1/tokens/{token_id}")) == (200, {"id": token_id})
    assert (await ask(node, "GET /control/v1/status", token=token))[0] == 401
    assert (await ask(node, f"DELETE /control/v1/tokens/{token_id}"))[0] == 404


@pytest.mark.seed("X-14")
async def test_a_minted_token_survives_a_restart_and_the_master_token_does_not(tmp_path: Path) -> None:
    async with memory_node(tmp_path, servers=None) as node:
        master = (node.private / "control.token").read_text().strip()
        token, _ = await mint(node, "status")
    async with memory_node(tmp_path, servers=None) as node:
        assert (await ask(node, "GET /control/v1/status", token=token))[0] == 200
        assert (await ask(node, "GET /control/v1/status", token=master))[0] == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"scopes": []},
        {"scopes": "status"},
        {"scopes": ["root"]},
        {"scopes": ["status"], "seconds": 0},
        {"scopes": ["status"], "seconds": 366 * 86400 + 1},
        {"scopes": ["status"], "seconds": 1.5},
        {"scopes": ["status"], "label": 7},
        {"scopes": ["status"], "colour": "red"},
        [],
        b"",
        b"{",
        b"\xff",
        b"[" * 60000,
    ],
)
async def test_a_body_that_makes_no_sense_is_refused(node: MemoryNode, body: object) -> None:
    status, answer = await ask(node, "POST /control/v1/tokens", body)
    assert (status, answer["error"]) == (400, "BadRequest")


async def test_a_body_that_is_too_long_is_refused(node: MemoryNode) -> None:
    status, answer = await ask(node, "POST /control/v1/tokens", b" " * 70_000)
    assert (status, answer["error"]) == (413, "TooLarge")


async def test_other_names_and_methods_are_refused(node: MemoryNode) -> None:
    for call, status, code in (
        ("GET /", 404, "NoSuchCall"),
        ("GET /control/v1/status/", 404, "NoSuchCall"),
        ("GET /control/v1/tokens/a/b", 404, "NoSuchCall"),
        ("POST /control/v1/status", 405, "WrongMethod"),
        ("GET /control/v1/stop", 405, "WrongMethod"),
    ):
        answered, answer = await ask(node, call)
        assert (answered, answer["error"]) == (status, code)


# -- waiting


@pytest.mark.seed("S-209")
async def test_waiting_ends_at_once_when_enough_are_connected(node: MemoryNode) -> None:
    assert await ask(node, "GET /control/v1/connections/wait?n=0") == (200, {"connected": 0})
    await node.connect(3)
    assert await ask(node, "GET /control/v1/connections/wait?n=3&timeout=60") == (200, {"connected": 3})


@pytest.mark.seed("S-209")
async def test_waiting_ends_when_the_last_one_connects_or_the_time_is_over(node: MemoryNode) -> None:
    waiting = asyncio.create_task(ask(node, "GET /control/v1/connections/wait?n=2&timeout=60"))
    await asyncio.sleep(0.1)
    await node.connect(1)
    assert await ask(node, "GET /control/v1/connections/wait?n=2&timeout=0.05") == (202, {"connected": 1})
    assert not waiting.done()
    await node.connect(2)
    assert await waiting == (200, {"connected": 2})


@pytest.mark.parametrize(
    "query", ["", "?n=-1", "?n=x", "?n=1&timeout=61", "?n=1&timeout=nan", "?n=1&n=2", "?n=1&m=2"]
)
async def test_a_wait_that_makes_no_sense_is_refused(node: MemoryNode, query: str) -> None:
    status, answer = await ask(node, f"GET /control/v1/connections/wait{query}")
    assert (status, answer["error"]) == (400, "BadRequest")


# -- measuring


@pytest.mark.seed("S-216", "S-217", "S-218")
async def test_memory_is_what_the_kernel_says(node: MemoryNode) -> None:
    _, before = await ask(node, "GET /control/v1/memory")
    held = bytearray(os.urandom(1)) * (100 << 20)
    _, after = await ask(node, "GET /control/v1/memory")
    kernel = process_memory()
    for key in ("VmSize", "VmData"):
        assert after[key] - before[key] >= 90 << 20
    for key in ("VmPeak", "VmSize", "VmData"):
        assert abs(after[key] - int(str(kernel[key]))) < 64 << 20
    assert after["VmPeak"] >= after["VmSize"]
    assert after["source"] == "proc"
    assert after["extra"]["VmRSS"] <= after["extra"]["VmHWM"] <= after["VmPeak"]
    assert held


async def test_servers_are_pinged(node: MemoryNode) -> None:
    assert node.memory is not None
    node.memory.stores["s3"].faults.dead = True
    status, answer = await ask(node, "POST /control/v1/ping-servers", {"count": 3})
    assert status == 200
    assert len(answer["servers"]) == 10
    good, bad = answer["servers"]["s1"], answer["servers"]["s3"]
    assert 0 < good["minimum"] <= good["median"] <= good["maximum"]
    assert (good["failures"], good["nickname"]) == (0, "name1")
    assert (bad["minimum"], bad["median"], bad["maximum"], bad["failures"]) == (None, None, None, 3)
    for count in (0, 21, "x", None):
        assert (await ask(node, "POST /control/v1/ping-servers", {"count": count}))[0] == 400


async def test_speed_is_measured(node: MemoryNode) -> None:
    status, answer = await ask(
        node, "POST /control/v1/speed-test", {"count": 2, "size": 100_000, "kind": "immutable"}
    )
    assert status == 200
    assert len(answer["upload_s"]) == len(answer["download_s"]) == 2
    assert all(seconds > 0 for seconds in answer["upload_s"] + answer["download_s"])
    assert node.memory is not None
    assert len({index for index, _ in node.memory.stores["s0"].shares}) == 2
    assert (await ask(node, "POST /control/v1/speed-test", {"kind": "sdmf"}))[0] == 400


async def test_figures_are_told_as_prometheus_reads_them(node: MemoryNode) -> None:
    await ask(node, "POST /control/v1/upload", b"x" * 1000)
    await ask(node, "GET /control/v1/nothing")
    answer = await asyncio.to_thread(LocalClient(node.private).request, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    text = b"".join(bytes(piece) for piece in answer._pieces()).decode()
    for line in (
        'holdfast_info{version="',
        'holdfast_test{kind="memory"} 7.0',
        'holdfast_servers{state="up"} 10.0',
        'holdfast_server_up{nickname="name1",server="s1"} 1.0',
        'holdfast_transfers{kind="upload"} 0.0',
        'holdfast_control_answers_total{call="/control/v1/upload",status="200"} 1.0',
        'holdfast_control_answers_total{call="",status="404"} 1.0',
        'holdfast_control_file_bytes_total{direction="upload"} 1000.0',
        "process_resident_memory_bytes",
    ):
        assert f"\n{line}" in text, text
    assert "# TYPE holdfast_control_answers_total counter" in text


async def test_stopping_is_answered(node: MemoryNode) -> None:
    assert await ask(node, "POST /control/v1/stop") == (200, {"stopping": True})
    assert node.stopped


# -- form


@pytest.mark.seed("S-219")
async def test_answers_are_as_the_schema_says(node: MemoryNode, tmp_path: Path) -> None:
    _, stored = await ask(node, "POST /control/v1/upload", b"x" * 1000)
    (tmp_path / "file").write_bytes(b"x" * 1000)
    options = {"kind": "immutable", "convergence": "random", "encoding": "1/2/3", "segment-size": 5}
    _, other = await ask(node, "POST /control/v1/upload-file", {"path": str(tmp_path / "file"), **options})
    assert other["shares_needed"] == 1
    path = str(tmp_path / "copy")
    assert await ask(node, "POST /control/v1/download-file", {"uri": stored["uri"], "path": path}) == (
        200,
        {"path": path},
    )


async def test_lines_are_as_the_schema_says(node: MemoryNode) -> None:
    def lines(data: bytes, query: str = "") -> list[Any]:
        client = LocalClient(node.private)
        target = f"/control/v1/upload{query}"
        return list(client.request("POST", target, body=data, accept="application/x-ndjson").lines())

    *progress, last = await asyncio.to_thread(lines, os.urandom(8 << 20))
    for line in progress:
        assert complaints(line, SCHEMA["progress"], SCHEMA) == []
    assert complaints(last, SCHEMA["uploaded"], SCHEMA) == []
    assert node.memory is not None
    for store in list(node.memory.stores.values())[:5]:
        store.faults.dead = True
    *_, last = await asyncio.to_thread(lines, os.urandom(2 << 20))
    assert complaints(last, SCHEMA["error"], SCHEMA) == []


# -- secrets


async def test_neither_capabilities_nor_tokens_are_logged(
    node: MemoryNode, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [(node.private / "control.token").read_text().strip()]
    token, token_id = await mint(node, "status", "upload")
    _, stored = await ask(node, "POST /control/v1/upload", b"x" * 1000)
    secrets += [token, stored["uri"], stored["uri"].split(":")[2]]
    assert node.memory is not None
    for store in node.memory.stores.values():
        store.shares.clear()
    assert (await ask(node, "POST /control/v1/download", {"uri": stored["uri"]}))[0] == 503
    assert (await ask(node, "POST /control/v1/download", {"uri": stored["uri"] + ":x"}))[0] == 400
    await ask(node, "POST /control/v1/download-file", {"uri": stored["uri"], "path": str(tmp_path / "f")})
    await ask(node, "GET /control/v1/memory", token=token)
    await ask(node, f"DELETE /control/v1/tokens/{token_id}")
    await ask(node, "GET /control/v1/status", token=token)
    written = caplog.text + "".join(capfd.readouterr()) + (node.private / "control-tokens.json").read_text()
    for secret in secrets:
        assert secret not in written


async def test_a_defect_is_answered_without_details(
    node: MemoryNode, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ValueError("inner details")

    monkeypatch.setattr(node, "status", fail)
    status, answer = await ask(node, "GET /control/v1/status")
    assert (status, answer["error"]) == (500, "Defect")
    assert "inner" not in answer["message"]
