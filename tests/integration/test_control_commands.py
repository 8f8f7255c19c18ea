"""control and status as their users run them, against nodes that are real processes."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.grid.settings import EncodingSettings
from holdfast.node.config import CONFIG_FILE
from holdfast.node.control.calls import call
from holdfast.node.control.errors import OutOfScopeError, UnauthorizedError
from holdfast.node.creation import create_client_node
from holdfast.node.local_grid import LocalGrid
from holdfast.testing.command_line import COMMAND, Outcome, environment, run_holdfast, start_holdfast
from holdfast.testing.node_processes import NodeProcess
from holdfast.testing.warm_grid import WarmGrid
from holdfast.wire.local_client import LocalClient

DATA = random.Random(3).randbytes(150_000)
BIG = 80_000_000


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGrid]:
    """Three servers; any two shares of three give a file back."""
    grid = WarmGrid(tmp_path_factory.mktemp("control") / "grid")
    try:
        grid.start(3, EncodingSettings(shares_needed=2, happiness=3, shares_total=3))
        yield grid
    finally:
        grid.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the node itself reads and writes files."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def kept_node(grid: LocalGrid, place: Path) -> Iterator[NodeProcess]:
    node = NodeProcess(grid.client_directory)
    for name in ("read-roots", "write-roots"):
        node.configure(f"{name} = []", f'{name} = ["{place}"]')
    try:
        yield node
    finally:
        node.end()


@pytest.fixture
def node(grid: LocalGrid, kept_node: NodeProcess) -> NodeProcess:
    """The client's node, which runs, and sees every server."""
    grid.start()
    if not kept_node.runs:
        kept_node.start()
    kept_node.wait_for(lambda status: sum(one["state"] == "up" for one in status["servers"]) == 3)
    return kept_node


@pytest.fixture
def holdfast(grid: LocalGrid) -> Callable[..., Outcome]:
    def run(*arguments: str | os.PathLike[str], **options: object) -> Outcome:
        return run_holdfast(*arguments, **{"node": grid.directory, **options})  # type: ignore[arg-type]

    return run


def check_refusal(outcome: Outcome, code: int, said: str) -> None:
    """One sentence, the right status, nothing on standard output, no secret."""
    assert outcome.code == code, outcome.stderr
    assert outcome.stdout == b""
    assert re.fullmatch(rf"holdfast: .*(?:{said}).*\n", outcome.stderr), outcome.stderr
    assert not re.search(r"URI:[A-Z0-9-]+:[a-z2-7]", outcome.stderr)


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


# -- control


@pytest.mark.seed("S-209")
def test_wait_returns_once_so_many_servers_are_connected(
    node: NodeProcess, holdfast: Callable[..., Outcome]
) -> None:
    waited = holdfast("control", "wait", "3")
    assert (waited.code, waited.stdout, waited.stderr) == (0, b"3\n", "")
    assert json.loads(holdfast("control", "wait", "0", "--json").stdout) == {"connected": 3}
    check_refusal(
        holdfast("control", "wait", "4", "--timeout", "0.2"), 9, "3 of 4 storage servers are connected"
    )


def test_wait_sees_a_server_come(
    node: NodeProcess, holdfast: Callable[..., Outcome], grid: LocalGrid
) -> None:
    node.stop()
    grid.kill("amber")
    node.start()
    process = start_holdfast("control", "wait", "3", node=grid.directory)
    time.sleep(0.5)
    assert process.poll() is None
    grid.revive("amber")
    assert process.communicate(timeout=60) == (b"3\n", b"")
    assert process.returncode == 0


@pytest.mark.seed("S-210", "S-212")
def test_upload_and_download_print_capability_and_name(
    node: NodeProcess, holdfast: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(DATA)
    stored = holdfast("control", "upload", tmp_path / "file")
    assert (stored.code, stored.stderr) == (0, "")
    assert re.fullmatch(rb"URI:CHK:[a-z2-7]{26}:[a-z2-7]{52}:2:3:150000\n", stored.stdout)
    assert holdfast("control", "upload", "-", stdin=DATA).stdout == stored.stdout
    report = json.loads(holdfast("control", "upload", "--json", tmp_path / "file").stdout)
    assert (report["uri"], report["size"], report["servers"]) == (stored.text, 150_000, 3)
    copy = tmp_path / "copy"
    read = holdfast("control", "download", stored.text, os.path.relpath(copy))
    assert (read.code, read.stdout, read.stderr) == (0, f"{copy}\n".encode(), "")
    assert copy.read_bytes() == DATA
    again = holdfast("control", "download", "-", copy, stdin=stored.stdout)
    check_refusal(again, 5, "exists already")
    replaced = holdfast("control", "download", "-", copy, "--overwrite", "--json", stdin=stored.stdout)
    assert json.loads(replaced.stdout) == {"path": str(copy)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "file"]


@pytest.mark.seed("S-211", "S-214")
def test_the_node_opens_files_itself_only_where_it_may(
    node: NodeProcess, holdfast: Callable[..., Outcome], place: Path, tmp_path: Path
) -> None:
    (place / "file").write_bytes(DATA)
    (tmp_path / "file").write_bytes(DATA)
    stored = holdfast("control", "upload", "--on-node", place / "file")
    assert stored.code == 0, stored.stderr
    check_refusal(
        holdfast("control", "upload", "--on-node", tmp_path / "file"), 5, "does not read or write this file"
    )
    copy = place / "copy"
    copy.unlink(missing_ok=True)
    read = holdfast("control", "download", stored.text, copy, "--on-node")
    assert (read.code, read.text) == (0, str(copy)), read.stderr
    assert copy.read_bytes() == DATA
    check_refusal(holdfast("control", "download", stored.text, copy, "--on-node"), 5, "exists")
    assert holdfast("control", "download", stored.text, copy, "--on-node", "--overwrite").code == 0
    check_refusal(
        holdfast("control", "download", stored.text, tmp_path / "copy", "--on-node"),
        5,
        "does not read or write",
    )


@pytest.mark.seed("S-216")
def test_memory_status_ping_and_speed_test(node: NodeProcess, holdfast: Callable[..., Outcome]) -> None:
    memory = json.loads(holdfast("control", "memory", "--json").stdout)
    assert min(memory[key] for key in ("VmPeak", "VmSize", "VmData")) > 1 << 20
    assert re.search(r"^VmPeak +[0-9.]+ MB$", holdfast("control", "memory").text, re.MULTILINE)
    status = holdfast("control", "status")
    assert json.loads(status.stdout)["pid"] == node.pid
    assert json.loads(holdfast("control", "status", "--json").stdout)["nickname"]
    pinged = holdfast("control", "ping", "--count", "2").text.splitlines()
    assert [line.split()[0] for line in pinged] == ["name", "amber", "basil", "cedar"]
    assert all(re.search(r"(\d+\.\d ms +){3}0$", line) for line in pinged[1:])
    servers = json.loads(holdfast("control", "ping", "--json").stdout)["servers"]
    assert all(one["failures"] == 0 < one["median"] for one in servers.values())
    speed = holdfast("control", "speed-test", "--size", "100k", "--count", "2").text.splitlines()
    assert len(speed) == 2
    assert re.fullmatch(r"100.0 kB: stored in \d\.\d\d s \(.*/s\), read in \d\.\d\d s \(.*/s\)", speed[0])
    measured = json.loads(holdfast("control", "speed-test", "--size", "10k", "--json").stdout)
    assert (measured["size"], len(measured["upload_s"])) == (10_000, 1)


def test_tokens_are_minted_listed_and_revoked(node: NodeProcess, holdfast: Callable[..., Outcome]) -> None:
    minted = holdfast(
        "control", "token", "mint", "--scope", "status", "--scope", "wait", "--label", "a \x1b[31m page"
    )
    assert minted.code == 0, minted.stderr
    found = re.fullmatch(
        r"holdfast: allows status, wait for 60 min; its id is ([0-9a-f]{16})\n", minted.stderr
    )
    assert found
    client = LocalClient(node.private, minted.text)
    assert call(client, "GET", "status")["pid"] == node.pid
    with pytest.raises(OutOfScopeError):
        call(client, "GET", "memory")
    listed = holdfast("control", "token", "list").text
    assert re.search(rf"^{found[1]}  +60 min  status,wait  a \?\[31m page$", listed, re.MULTILINE)
    assert json.loads(holdfast("control", "token", "list", "--json").stdout)["tokens"][0]["id"] == found[1]
    assert minted.text not in listed
    assert holdfast("control", "token", "revoke", found[1]).code == 0
    with pytest.raises(UnauthorizedError):
        call(client, "GET", "status")
    check_refusal(holdfast("control", "token", "revoke", found[1]), 5, "no token of this id")
    check_refusal(holdfast("control", "token", "revoke", "../stop"), 5, "no token|no such call")
    check_refusal(holdfast("control", "token", "mint", "--scope", "everything"), 5, "no such scope")
    short = json.loads(
        holdfast("control", "token", "mint", "--scope", "stop", "--valid", "1m", "--json").stdout
    )
    assert 0 < short["expires"] - time.time() < 70


def test_stop_returns_when_the_node_has_ended(node: NodeProcess, holdfast: Callable[..., Outcome]) -> None:
    stopped = holdfast("control", "stop")
    assert (stopped.code, stopped.stdout, stopped.stderr) == (0, b"", "")
    assert node.wait_until_ended(5) == 0
    check_refusal(holdfast("control", "stop"), 9, "does not run")


@pytest.mark.parametrize(
    "arguments",
    [
        ("control", "wait", "1"),
        ("control", "upload", "-"),
        ("control", "download", "URI:LIT:", "none"),
        ("control", "memory"),
        ("control", "status", "--json"),
        ("control", "ping"),
        ("control", "speed-test"),
        ("control", "token", "list"),
        ("control", "stop"),
        ("status",),
        ("status", "--json"),
    ],
)
def test_a_node_that_does_not_run(arguments: tuple[str, ...], tmp_path: Path) -> None:
    create_client_node(tmp_path / "client", EncodingSettings())
    check_refusal(run_holdfast(*arguments, node=tmp_path / "client"), 9, "client does not run")
    check_refusal(run_holdfast(*arguments, node=tmp_path), 8, f"has neither {CONFIG_FILE} nor")
    check_refusal(run_holdfast(*arguments), 8, "HOLDFAST_NODE")
    assert list((tmp_path / "client").glob("none")) == []


def test_a_token_that_the_node_does_not_know(node: NodeProcess, holdfast: Callable[..., Outcome]) -> None:
    token = node.private / "control.token"
    right = token.read_text()
    try:
        token.write_text("a" * 52 + "\n")
        for arguments in (("control", "status"), ("status",)):
            check_refusal(holdfast(*arguments), 8, "token is wrong")
    finally:
        token.write_text(right)


def test_what_listens_but_is_no_node(tmp_path: Path) -> None:
    create_client_node(tmp_path / "client", EncodingSettings())
    private = tmp_path / "client/private"
    (private / "control.token").write_text("token\n")
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(private / "control.sock"))
    other.listen()
    process = start_holdfast("control", "status", node=tmp_path / "client")
    connection, _ = other.accept()
    connection.recv(10_000)
    connection.sendall(b"220 mail.example ESMTP\r\n")
    connection.close()
    other.close()
    stdout, stderr = process.communicate(timeout=30)
    check_refusal(Outcome(process.returncode, stdout, stderr.decode()), 9, "not the node|broke off")
    # Nothing listens any more, although the socket is there.
    check_refusal(run_holdfast("control", "status", node=tmp_path / "client"), 9, "does not run")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["control", "wait"], "Missing argument"),
        (["control", "wait", "many"], "not a valid integer"),
        (["control", "download", "URI:LIT:", "-"], "holdfast get"),
        (["control", "ping", "--count", "21"], "21"),
        (["control", "speed-test", "--size", "big"], "give bytes"),
        (["control", "token", "mint"], "Missing option"),
        (["control", "token", "mint", "--scope", "status", "--valid", "soon"], "give a number"),
        (["status", "a", "b"], "unexpected extra argument"),
    ],
)
def test_wrong_use(holdfast: Callable[..., Outcome], arguments: list[str], said: str) -> None:
    check_refusal(holdfast(*arguments), 2, said)


def test_a_bad_capability_has_the_status_that_it_always_has(
    node: NodeProcess, holdfast: Callable[..., Outcome], tmp_path: Path
) -> None:
    for cap in ("nonsense", f"URI:DIR2:{'a' * 26}:{'b' * 52}", ""):
        check_refusal(holdfast("control", "download", cap, tmp_path / "copy"), 7, "capability|file")
    check_refusal(
        holdfast("control", "download", f"URI:CHK:{'a' * 26}:{'a' * 52}:2:3:99", tmp_path / "copy"),
        4,
        "share",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["killed", "interrupted"])
def test_a_download_that_is_cut_off_leaves_nothing(
    node: NodeProcess, grid: LocalGrid, holdfast: Callable[..., Outcome], tmp_path: Path, way: str
) -> None:
    (tmp_path / "big").write_bytes(os.urandom(BIG))
    cap = holdfast("control", "upload", tmp_path / "big").text
    process = start_holdfast("control", "download", cap, tmp_path / "copy", node=grid.directory)
    wait_until(lambda: len(list(tmp_path.iterdir())) > 1)
    process.send_signal(signal.SIGSTOP if way == "killed" else signal.SIGINT)
    if way == "killed":
        node.kill()
        process.send_signal(signal.SIGCONT)
    stdout, stderr = process.communicate(timeout=30)
    ended = Outcome(process.returncode, stdout, stderr.decode())
    if way == "killed":
        check_refusal(ended, 9, "node")
    else:
        assert ended == Outcome(130, b"", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big"]


# -- status


def test_status_shows_node_introducer_and_every_server(
    node: NodeProcess, holdfast: Callable[..., Outcome], grid: LocalGrid
) -> None:
    shown = holdfast("status")
    assert (shown.code, shown.stderr) == (0, "")
    assert f"as process {node.pid} · client" in shown.text
    assert "introducer: connected, heard from" in shown.text
    assert "3 of 3 servers up" in shown.text
    for name, server_id in grid.server_ids().items():
        assert re.search(
            rf"{name} +{server_id[3:11]} +up for .* (GB|TB|MB) +0\.1\.0 +\d+ ms +\d+$", shown.text, re.M
        )
    said = json.loads(holdfast("status", grid.client_directory, "--json", node=None).stdout)
    assert (said["pid"], len(said["servers"])) == (node.pid, 3)
    grid.kill("basil")
    node.wait_for(lambda status: any(one["state"] == "down" for one in status["servers"]))
    worse = holdfast("status").text
    assert "2 of 3 servers up" in worse
    assert re.search(r"basil +\w{8} +down for \d+ s: \w+", worse)


def test_status_of_a_storage_server(node: NodeProcess, grid: LocalGrid) -> None:
    shown = run_holdfast("status", grid.directory / "amber")
    assert shown.code == 0, shown.stderr
    assert re.match(r"amber · \w{8} · Holdfast .* · storage on port \d+\n", shown.text)
    assert re.search(r"^storage: \d+ shares, ", shown.text, re.MULTILINE)


def test_status_shows_transfers(node: NodeProcess, grid: LocalGrid, holdfast: Callable[..., Outcome]) -> None:
    process = start_holdfast("put", "-", node=grid.directory)
    try:
        assert process.stdin is not None
        process.stdin.write(DATA)
        process.stdin.flush()
        wait_until(lambda: node.status()["transfers"])
        shown = holdfast("status").text
        assert re.search(r"^transfers\n +upload data .*/s$", shown, re.MULTILINE)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("columns", [40, 79, 100])
def test_no_line_is_wider_than_the_terminal(node: NodeProcess, grid: LocalGrid, columns: int) -> None:
    picture = on_terminal(grid, columns, "status")
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", picture).splitlines()
    assert max(map(len, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    for name in ("amber", "basil", "cedar", "3 of 3 servers up", "up for", "introducer: connected"):
        assert name in text


def on_terminal(grid: LocalGrid, columns: int, *arguments: str) -> str:
    """Return what a command draws on a terminal."""
    terminal, other_end = pty.openpty()
    done = {**environment(grid.directory), "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen([*COMMAND, *arguments], stdout=other_end, env=done) as process:
        os.close(other_end)
        seen = b""
        try:
            while piece := os.read(terminal, 4096):
                seen += piece
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(terminal)
    assert process.returncode == 0
    return seen.decode()


def test_watch_shows_it_again_and_outlives_the_node(node: NodeProcess, grid: LocalGrid) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", *COMMAND[1:], "status", "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(grid.directory),
    )
    assert process.stdout is not None
    for _ in range(2):
        assert until_line(process.stdout, "servers up") == "3 of 3 servers up"
    node.stop()
    assert until_line(process.stdout, "does not run")
    node.start()
    assert until_line(process.stdout, "servers up")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (130, b"")


def test_watch_for_programs_is_a_line_a_second(node: NodeProcess, grid: LocalGrid) -> None:
    process = start_holdfast("status", "--watch", "--json", node=grid.directory)
    assert process.stdout is not None
    for _ in range(2):
        assert json.loads(process.stdout.readline())["pid"] == node.pid
    node.stop()
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 9
    assert b"does not run" in stderr


def until_line(stream: object, said: str) -> str:
    """Return the next line that has ``said`` in it."""
    for line in stream:  # type: ignore[attr-defined]
        if said in line.decode():
            return str(line.decode().strip())
    raise AssertionError(f"the output ended before it said: {said}")
