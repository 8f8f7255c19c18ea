"""put and get while a node runs: it does the work, and nobody can tell from output, errors or exit
status; whatever becomes of the node, the command ends as it would without one.
"""

from __future__ import annotations

import json
import os
import pty
import random
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.grid.settings import EncodingSettings
from holdfast.node.local_grid import LocalGrid
from holdfast.testing.command_line import environment, run_holdfast
from holdfast.testing.node_processes import NodeProcess
from holdfast.testing.warm_grid import WarmGrid

DATA = random.Random(2).randbytes(200_000)
BIG = 80_000_000
MIB = 1 << 20
KEY, HASH = "a" * 26, "a" * 52
COMMAND = (sys.executable, "-P", "-X", "importtime", "-m", "holdfast.cli.main")
HEAVY = {
    "asyncio",
    "cryptography",
    "dataclasses",
    "holdfast.grid",
    "rich",
    "sqlalchemy",
    "structlog",
    "uvloop",
    "yaml",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. ``loaded``: the names of the modules it used."""

    code: int
    stdout: bytes
    stderr: str
    loaded: frozenset[str]

    @property
    def text(self) -> str:
        return self.stdout.decode().strip()

    @property
    def by_node(self) -> bool:
        """True if the command loaded nothing with which it could have done the work."""
        return not HEAVY & self.loaded


def outcome_of(code: int, stdout: bytes, stderr: bytes) -> Outcome:
    lines = stderr.decode().splitlines(keepends=True)
    said = "".join(line for line in lines if not line.startswith("import time:"))
    loaded = (line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:"))
    return Outcome(code, stdout, said, frozenset(loaded))


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGrid]:
    """Three servers; any two shares of three give a file back."""
    grid = WarmGrid(tmp_path_factory.mktemp("warm") / "grid")
    try:
        grid.start(3, EncodingSettings(shares_needed=2, happiness=3, shares_total=3))
        yield grid
    finally:
        grid.stop()


@pytest.fixture(scope="module")
def kept_node(grid: LocalGrid) -> Iterator[NodeProcess]:
    node = NodeProcess(grid.client_directory)
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
    def run(
        *arguments: str | os.PathLike[str],
        stdin: bytes = b"",
        before_start: Callable[[], None] | None = None,
    ) -> Outcome:
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            env=environment(grid.directory),
            timeout=90,
            preexec_fn=before_start,
            check=False,
        )
        return outcome_of(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "big"
    path.write_bytes(os.urandom(BIG))
    return path


def start(grid: LocalGrid, *arguments: str | os.PathLike[str]) -> subprocess.Popen[bytes]:
    """Start a command with pipes for its three streams."""
    pipe = subprocess.PIPE
    command = [*COMMAND, *arguments]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(grid.directory))


def end_of(process: subprocess.Popen[bytes]) -> Outcome:
    stdout, stderr = process.communicate(timeout=60)
    return outcome_of(process.returncode, stdout, stderr)


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def check_refusal(outcome: Outcome, code: int, said: str) -> None:
    """One sentence, the right status, no secret."""
    assert outcome.code == code, outcome.stderr
    assert re.fullmatch(rf"holdfast: .*{said}.*\n", outcome.stderr), outcome.stderr
    assert not re.search(r"URI:[A-Z0-9-]+:[a-z2-7]", outcome.stderr)


def words(text: str) -> list[str]:
    return sorted(re.findall(r"\w+", text))


def uploads_in_progress(grid: LocalGrid) -> list[Path]:
    return [path for path in grid.directory.glob("*/storage/shares/incoming/**/*") if path.is_file()]


# -- the node does it


def test_the_node_stores_and_reads_while_the_command_loads_next_to_nothing(
    node: NodeProcess, holdfast: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(DATA)
    stored = holdfast("put", tmp_path / "file")
    assert stored.code == 0, stored.stderr
    assert re.fullmatch(rb"URI:CHK:[a-z2-7]{26}:[a-z2-7]{52}:2:3:200000\n", stored.stdout)
    assert re.fullmatch(
        "holdfast: stored 200.0 kB: 3 shares on 3 servers, any 2 give it back; happiness 3, 3 sent, 0 .*\n",
        stored.stderr,
    )
    to_stdout = holdfast("get", stored.text)
    to_file = holdfast("get", "-", tmp_path / "copy", stdin=stored.stdout)
    assert (to_stdout.code, to_stdout.stdout, to_stdout.stderr) == (0, DATA, "")
    assert (to_file.code, to_file.stdout, to_file.stderr) == (0, b"", "")
    assert (tmp_path / "copy").read_bytes() == DATA
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "file"]
    for outcome in (stored, to_stdout, to_file):
        assert outcome.by_node


def test_options_are_those_of_a_put_without_a_node(
    node: NodeProcess, holdfast: Callable[..., Outcome]
) -> None:
    arguments = ("put", "--quiet", "--encoding", "1/2/3", "--segment-size", "64Ki")
    warm = holdfast(*arguments, stdin=DATA)
    keys = [holdfast("put", "-q", "--convergence-secret", "none", stdin=DATA) for _ in range(2)]
    assert all(outcome.by_node for outcome in (warm, *keys))
    assert keys[0].text != keys[1].text
    assert holdfast("get", keys[1].text).stdout == DATA
    node.stop()
    cold = holdfast(*arguments, stdin=DATA)
    assert not cold.by_node
    assert (cold.code, cold.stdout, cold.stderr) == (warm.code, warm.stdout, warm.stderr)


@pytest.mark.parametrize("size", [0, 1, 55, 56, MIB, 3 * MIB + 1])
@pytest.mark.parametrize("stream", [False, True])
def test_every_size_goes_there_and_comes_back(
    node: NodeProcess, holdfast: Callable[..., Outcome], tmp_path: Path, size: int, stream: bool
) -> None:
    data = random.Random(size).randbytes(size)
    (tmp_path / "file").write_bytes(data)
    stored = holdfast("put", "-", stdin=data) if stream else holdfast("put", tmp_path / "file")
    assert stored.by_node, stored.stderr
    assert holdfast("get", stored.text, tmp_path / "copy").by_node
    assert (tmp_path / "copy").read_bytes() == data


def test_a_report_for_programs_is_the_same(node: NodeProcess, holdfast: Callable[..., Outcome]) -> None:
    holdfast("put", stdin=DATA)
    warm = holdfast("put", "--json", stdin=DATA)
    assert warm.by_node
    assert json.loads(warm.stdout)["found"] == 3
    read = holdfast("get", "--json", json.loads(warm.stdout)["uri"])
    assert read.stdout == DATA
    assert sorted(json.loads(read.stderr)["used"]) == ["0", "1"] or len(json.loads(read.stderr)["used"]) == 2
    node.stop()
    assert holdfast("put", "--json", stdin=DATA).stdout == warm.stdout


def test_a_link_stays_one_a_mode_is_kept_and_a_device_is_written(
    node: NodeProcess, holdfast: Callable[..., Outcome], tmp_path: Path
) -> None:
    cap = holdfast("put", stdin=DATA).text
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "real").chmod(0o604)
    (tmp_path / "link").symlink_to("real")
    assert holdfast("get", cap, tmp_path / "link").by_node
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == DATA
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o604
    assert holdfast("get", cap, "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


def test_what_fails_fails_as_without_a_node(
    node: NodeProcess, holdfast: Callable[..., Outcome], grid: LocalGrid, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(DATA)
    cap = holdfast("put", tmp_path / "file").text
    verify = "URI:CHK-Verifier:" + cap.removeprefix("URI:CHK:")
    attempts: list[tuple[str | os.PathLike[str], ...]] = [
        ("get", "nonsense"),
        ("get", ""),
        ("get", "é\udcff"),
        ("get", f"URI:CHK:{KEY}:{HASH}:2:3"),
        ("get", f"URI:CHK:{KEY}:{HASH}:2:3:100"),
        ("get", f"URI:DIR2:{KEY}:{HASH}"),
        ("get", verify),
        ("get", cap[:-1]),
        ("get", "x" * 100_000),
        ("get", cap, tmp_path),
        ("get", cap, tmp_path / "none/file"),
        ("get", cap, "/dev/full"),
        ("get", "-"),
        ("put", tmp_path),
        ("put", tmp_path / "none"),
        ("put", "a\udcff"),
        ("put", "--encoding", "5/5/4", tmp_path / "file"),
        ("put", "--encoding", "1/4/4", tmp_path / "file"),
        ("put", "--segment-size", "1G", tmp_path / "file"),
        ("put", "--convergence-secret", "!", tmp_path / "file"),
    ]
    warm = [holdfast(*arguments) for arguments in attempts]
    node.stop()
    cold = [run_holdfast(*arguments, node=grid.directory) for arguments in attempts]
    for arguments, one, other in zip(attempts, warm, cold, strict=True):
        assert one.code != 0, arguments
        assert (one.code, one.stdout) == (other.code, other.stdout), arguments
        # Which of several servers is named first is chance.
        assert words(one.stderr) == words(other.stderr), arguments
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_servers_that_are_missing_are_missed_alike(
    node: NodeProcess, holdfast: Callable[..., Outcome], grid: LocalGrid
) -> None:
    cap = holdfast("put", stdin=DATA).text
    grid.kill("amber")
    unhappy = holdfast("put", stdin=DATA + b"new")
    check_refusal(unhappy, 10, "server")
    assert unhappy.by_node
    assert holdfast("get", cap).stdout == DATA
    grid.kill("basil")
    lost = holdfast("get", cap)
    check_refusal(lost, 4, "needs 2 shares, 1 ")
    assert (lost.by_node, lost.stdout) == (True, b"")


def test_a_file_that_changes_while_it_is_stored(
    node: NodeProcess, holdfast: Callable[..., Outcome], big_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "changing"
    shutil.copy(big_file, path)
    stop = threading.Event()

    def change() -> None:
        while not stop.wait(0.005):
            os.utime(path)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        check_refusal(holdfast("put", path), 6, "changed while it was read")
    finally:
        stop.set()
        changer.join()


# -- long transfers


def little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (120_000_000, 120_000_000))


def test_a_huge_file_passes_through_a_small_command(
    node: NodeProcess, holdfast: Callable[..., Outcome], tmp_path: Path
) -> None:
    path, copy = tmp_path / "huge", tmp_path / "copy"
    with open(path, "wb") as file:
        file.truncate(200_000_000)
    stored = holdfast("put", path, before_start=little_memory)
    assert (stored.code, stored.by_node) == (0, True), stored.stderr
    read = holdfast("get", stored.text, copy, before_start=little_memory)
    assert (read.code, read.by_node) == (0, True), read.stderr
    assert subprocess.run(["cmp", path, copy], check=False).returncode == 0
    memory = node.call("GET", "memory")
    assert memory["extra"]["VmHWM"] < 400 * MIB


def test_a_pipe_is_stored_and_read_as_it_flows(
    node: NodeProcess, grid: LocalGrid, big_file: Path, tmp_path: Path
) -> None:
    command = " ".join(COMMAND)
    script = f"cat {big_file} | {command} put -q - | {command} get - - 2>/dev/null | cmp - {big_file}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(grid.directory),
        timeout=90,
        check=False,
    )
    assert done.returncode == 0


def test_a_terminal_sees_bars_and_gets_its_cursor_back(
    node: NodeProcess, grid: LocalGrid, big_file: Path
) -> None:
    for number in (None, signal.SIGINT):
        terminal, other_end = pty.openpty()
        command = [
            sys.executable,
            "-P",
            "-m",
            "holdfast.cli.main",
            "put",
            big_file,
            "--convergence-secret",
            "none",
        ]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=other_end, env=environment(grid.directory)
        ) as process:
            os.close(other_end)
            seen = ""
            while piece := read_some(terminal):
                seen += piece
                if number is not None and "uploading" in seen and process.poll() is None:
                    process.send_signal(number)
                    number = None
            assert process.stdout is not None
            stdout = process.stdout.read()
        os.close(terminal)
        assert "uploading" in seen
        assert "/80.0" in seen
        assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l")
        assert process.returncode in (0, 130)
        assert stdout or process.returncode == 130  # with both, it was interrupted while it was leaving


def read_some(terminal: int) -> str:
    """Return what was drawn next; nothing once the other end is closed."""
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:  # how Linux says that it is closed
        return ""


def test_a_reader_that_goes_away_ends_get_quietly(
    node: NodeProcess, grid: LocalGrid, holdfast: Callable[..., Outcome], big_file: Path
) -> None:
    cap = holdfast("put", big_file).text
    process = start(grid, "get", cap)
    assert process.stdout is not None
    assert process.stdout.read(10) == big_file.read_bytes()[:10]
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr is not None
    assert outcome_of(141, b"", process.stderr.read()).stderr == ""
    process.stderr.close()
    wait_until(lambda: not node.status()["transfers"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_get_leaves_nothing_half_written(
    node: NodeProcess,
    grid: LocalGrid,
    holdfast: Callable[..., Outcome],
    big_file: Path,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    cap = holdfast("put", big_file).text
    for _ in range(5):
        (tmp_path / "copy").write_bytes(b"old")
        process = start(grid, "get", cap, tmp_path / "copy")
        wait_until(lambda: len(list(tmp_path.iterdir())) > 1)
        process.send_signal(number)
        ended = end_of(process)
        if ended.code != 0:  # on a busy machine it may be done before the signal comes
            break
    assert (ended.code, ended.stdout, ended.stderr) == (128 + number, b"", "")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    wait_until(lambda: not node.status()["transfers"])


def test_a_get_into_a_pipe_that_nobody_reads_can_be_interrupted(
    node: NodeProcess, grid: LocalGrid, holdfast: Callable[..., Outcome], big_file: Path
) -> None:
    process = start(grid, "get", holdfast("put", big_file).text)
    wait_until(lambda: node.status()["transfers"])
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.communicate()


def test_an_interrupted_put_gives_the_space_back(node: NodeProcess, grid: LocalGrid, big_file: Path) -> None:
    for _ in range(5):
        process = start(grid, "put", big_file, "--convergence-secret", "none")
        wait_until(lambda: uploads_in_progress(grid))
        process.send_signal(signal.SIGINT)
        ended = end_of(process)
        if ended.code != 0:  # on a busy machine it may be done before the signal comes
            break
    assert (ended.code, ended.stdout, ended.stderr) == (130, b"", "")
    wait_until(lambda: not uploads_in_progress(grid))
    wait_until(lambda: not node.status()["transfers"])


def test_a_put_interrupted_while_it_waits_for_its_input(node: NodeProcess, grid: LocalGrid) -> None:
    process = start(grid, "put", "-")
    assert process.stdin is not None
    process.stdin.write(DATA)
    process.stdin.flush()
    wait_until(lambda: node.status()["transfers"])
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.communicate()
    wait_until(lambda: not node.status()["transfers"])


# -- whatever becomes of the node


def test_a_node_that_was_stopped_is_not_missed(node: NodeProcess, holdfast: Callable[..., Outcome]) -> None:
    warm = holdfast("put", "-q", stdin=DATA)
    node.stop()
    cold = holdfast("put", "-q", stdin=DATA)
    assert (warm.by_node, cold.by_node) == (True, False)
    assert (cold.code, cold.stdout, cold.stderr) == (0, warm.stdout, "")
    assert holdfast("get", cold.text).stdout == DATA


def test_the_socket_of_a_killed_node_is_not_waited_for(
    node: NodeProcess, holdfast: Callable[..., Outcome]
) -> None:
    node.kill()
    assert (node.private / "control.sock").is_socket()
    cold = holdfast("put", "-q", stdin=DATA)
    assert (cold.code, cold.by_node, cold.stderr) == (0, False, "")
    assert holdfast("get", cold.text).stdout == DATA


def test_a_node_that_does_not_know_the_token_is_done_without(
    node: NodeProcess, holdfast: Callable[..., Outcome]
) -> None:
    token = node.private / "control.token"
    right = token.read_text()
    try:
        token.write_text("a" * 52 + "\n")
        stored = holdfast("put", "-q", stdin=DATA)
        assert (stored.code, stored.by_node, stored.stderr) == (0, False, "")
        read = holdfast("get", stored.text)
        assert (read.code, read.stdout) == (0, DATA)
        assert re.fullmatch("holdfast: done without the node that runs: .*token.*\n", read.stderr)
    finally:
        token.write_text(right)


def test_a_secret_of_ones_own_is_not_told_to_the_node(
    node: NodeProcess, holdfast: Callable[..., Outcome]
) -> None:
    stored = holdfast("put", "-q", "--convergence-secret", "mfrggzdf", stdin=DATA)
    assert (stored.code, stored.by_node) == (0, False)
    assert holdfast("get", stored.text).stdout == DATA
    assert node.call("GET", "status")["transfers"] == []


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "NoSuchCall"), (400, "BadRequest"), (400, "ConfigError"), (403, "ForeignRequest")],
)
def test_a_node_of_another_version_is_done_without(
    node: NodeProcess, holdfast: Callable[..., Outcome], status: int, code: str
) -> None:
    right = holdfast("put", "-q", stdin=DATA)
    node.stop()
    with answering(node.private / "control.sock", status, {"error": code, "message": "no"}) as asked:
        stored = holdfast("put", "-q", stdin=DATA)
        read = holdfast("get", "-q", right.text)
    assert (stored.code, stored.text, stored.by_node) == (0, right.text, False)
    assert (read.code, read.stdout, read.stderr) == (0, DATA, "")
    assert [line.split()[1].partition("?")[0] for line in asked] == [
        "/control/v1/upload",
        "/control/v1/download",
    ]


def test_a_node_that_cannot_is_not_done_without(node: NodeProcess, holdfast: Callable[..., Outcome]) -> None:
    node.stop()
    answer = {"error": "NoServersError", "message": "no server can be used"}
    with answering(node.private / "control.sock", 503, answer):
        for arguments in (("put", "-"), ("get", "URI:LIT:")):
            refused = holdfast(*arguments)
            check_refusal(refused, 9, "no server can be used")
            assert refused.by_node


@contextmanager
def answering(place: Path, status: int, value: dict[str, str]) -> Iterator[list[str]]:
    """Answer every request at this socket so; give the first lines of the requests."""
    asked: list[str] = []
    body = json.dumps(value).encode()
    place.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen()

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                first = lines.readline().decode()
                if not first:
                    return
                asked.append(first)
                length = 0
                while (line := lines.readline().strip().lower()) != b"":
                    if line.startswith(b"content-length:") and b"download" in first.encode():
                        length = int(line.partition(b":")[2])
                lines.read(length)
                head = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield asked
    finally:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(place))
        server.join()
        listener.close()
        place.unlink()


def test_a_dry_run_is_not_for_the_node(node: NodeProcess, holdfast: Callable[..., Outcome]) -> None:
    dry = holdfast("put", "--dry-run", stdin=DATA)
    assert not dry.by_node
    assert dry.text == holdfast("put", "-q", stdin=DATA).text


@pytest.mark.parametrize("stream", [False, True])
def test_a_node_killed_during_a_put(node: NodeProcess, grid: LocalGrid, big_file: Path, stream: bool) -> None:
    options = ("--convergence-secret", "none")
    process = start(grid, "put", "-" if stream else big_file, *options)
    if stream:
        assert process.stdin is not None
        process.stdin.write(DATA)
        process.stdin.flush()
        wait_until(lambda: node.status()["transfers"])
        node.kill()
        with suppress(BrokenPipeError):
            process.stdin.write(DATA * 20)
    else:
        wait_until(lambda: uploads_in_progress(grid))
        node.kill()
    ended = end_of(process)
    check_refusal(ended, 9, "the node")
    assert ended.stdout == b""
    assert ended.by_node


@pytest.mark.parametrize("to_file", [False, True])
def test_a_node_killed_during_a_get(
    node: NodeProcess,
    grid: LocalGrid,
    holdfast: Callable[..., Outcome],
    big_file: Path,
    tmp_path: Path,
    to_file: bool,
) -> None:
    cap = holdfast("put", big_file).text
    process = start(grid, "get", cap, *([tmp_path / "copy"] if to_file else []))
    if to_file:
        wait_until(lambda: list(tmp_path.iterdir()))
        process.send_signal(signal.SIGSTOP)  # so that it cannot finish before the node is dead
    else:
        wait_until(lambda: select.select([process.stdout], [], [], 0)[0])  # nobody reads the pipe yet
    node.kill()
    process.send_signal(signal.SIGCONT)
    ended = end_of(process)
    check_refusal(ended, 9, "the node")
    assert ended.by_node
    assert list(tmp_path.iterdir()) == []
    if not to_file:
        assert 0 < len(ended.stdout) < BIG
        assert big_file.read_bytes().startswith(ended.stdout)


def test_a_node_that_is_started_again_during_a_get_goes_on(
    node: NodeProcess, grid: LocalGrid, holdfast: Callable[..., Outcome], big_file: Path
) -> None:
    process = start(grid, "get", holdfast("put", big_file).text)
    wait_until(lambda: select.select([process.stdout], [], [], 0)[0])
    node.kill()
    node.start()
    ended = end_of(process)
    assert (ended.code, ended.stderr, ended.by_node) == (0, "", True)
    assert ended.stdout == big_file.read_bytes()
