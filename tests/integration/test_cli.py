"""put, get and check as their users run them: processes, streams, exit statuses. Every
bad input has its own status and one sentence, without a traceback and without a secret.
"""

from __future__ import annotations

import hashlib
import json
import os
import pty
import random
import re
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from holdfast.errors import InputError
from holdfast.grid.settings import EncodingSettings
from holdfast.node.config import NodeSettings
from holdfast.node.creation import create_client_node, create_server_node
from holdfast.node.local_grid import LocalGrid
from holdfast.node.running import running_node
from holdfast.testing.command_line import COMMAND, Outcome, environment, run_holdfast, start_holdfast
from holdfast.testing.warm_grid import WarmGrid

DATA = random.Random(1).randbytes(300_000)
BIG = 60_000_000
KEY, HASH = "a" * 26, "a" * 52


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGrid]:
    """Five servers; any two shares of five give a file back."""
    grid = WarmGrid(tmp_path_factory.mktemp("cli") / "grid")
    try:
        grid.start(5, EncodingSettings(shares_needed=2, happiness=4, shares_total=5))
        yield grid
    finally:
        grid.stop()


@pytest.fixture(autouse=True)
def all_servers_run(grid: LocalGrid) -> Iterator[None]:
    yield
    grid.start()


@pytest.fixture
def holdfast(grid: LocalGrid) -> Callable[..., Outcome]:
    def run(*arguments: str | os.PathLike[str], **options: object) -> Outcome:
        return run_holdfast(*arguments, **{"node": grid.directory, **options})  # type: ignore[arg-type]

    return run


@pytest.fixture(scope="module")
def cap(grid: LocalGrid) -> str:
    stored = run_holdfast("put", "-", stdin=DATA, node=grid.directory)
    assert stored.code == 0, stored.stderr
    return stored.text


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "big"
    path.write_bytes(os.urandom(BIG))
    return path


def check_refusal(outcome: Outcome, code: int, said: str) -> None:
    """One sentence, the right status, nothing on standard output, no secret."""
    assert outcome.code == code, outcome.stderr
    assert re.search(said, outcome.stderr), outcome.stderr
    assert outcome.stdout == b""
    assert "Traceback" not in outcome.stderr
    assert outcome.stderr.startswith("holdfast: ")
    assert outcome.stderr.count("\n") == 1
    check_no_secret(outcome.stderr)


def check_no_secret(text: str) -> None:
    assert not re.search(r"URI:[A-Z0-9-]+:[a-z2-7]", text)
    assert "#v=1" not in text


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


# -- what works


def test_put_prints_the_capability_alone_and_get_gives_the_bytes_back(
    holdfast: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(DATA)
    stored = holdfast("put", tmp_path / "file")
    assert stored.code == 0, stored.stderr
    assert re.fullmatch(rb"URI:CHK:[a-z2-7]{26}:[a-z2-7]{52}:2:5:300000\n", stored.stdout)
    assert "5 shares on 5 servers" in stored.stderr
    check_no_secret(stored.stderr)
    read = holdfast("get", stored.text)
    assert (read.code, read.stdout, read.stderr) == (0, DATA, "")
    to_file = holdfast("get", stored.text, tmp_path / "copy")
    assert (to_file.code, to_file.stdout) == (0, b"")
    assert (tmp_path / "copy").read_bytes() == DATA
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "file"]


def test_the_capability_can_come_from_standard_input(holdfast: Callable[..., Outcome], cap: str) -> None:
    assert holdfast("get", "-", stdin=f"{cap}\n".encode()).stdout == DATA
    assert holdfast("check", "-", stdin=cap.encode()).code == 0


def test_a_file_stored_again_is_found_and_a_random_key_makes_another(
    holdfast: Callable[..., Outcome], cap: str
) -> None:
    again = json.loads(holdfast("put", "--json", stdin=DATA).stdout)
    assert again["uri"] == cap
    assert (again["pushed"], again["found"], again["size"]) == (0, 5, len(DATA))
    other = holdfast("put", "--convergence-secret", "none", stdin=DATA)
    assert other.code == 0
    assert other.text != cap
    assert holdfast("get", other.text).stdout == DATA


def test_a_dry_run_names_the_capability_without_storing(
    holdfast: Callable[..., Outcome], grid: LocalGrid, cap: str
) -> None:
    before = [server.shares for server in grid.status()]
    assert holdfast("put", "--dry-run", stdin=DATA).text == cap
    fresh = holdfast("put", "--dry-run", stdin=DATA + b"x")
    assert fresh.code == 0
    assert json.loads(holdfast("put", "--dry-run", "--json", stdin=DATA + b"x").stdout) == {"uri": fresh.text}
    assert [server.shares for server in grid.status()] == before
    assert holdfast("get", fresh.text).code == 4


def test_a_dry_run_with_a_secret_of_its_own_needs_no_node() -> None:
    dry = run_holdfast("put", "--dry-run", "--convergence-secret", "aa", "--encoding", "1/1/2", stdin=DATA)
    assert dry.code == 0, dry.stderr
    assert dry.text.endswith(":1:2:300000")


def test_encoding_and_segment_size_are_taken(holdfast: Callable[..., Outcome]) -> None:
    stored = holdfast("put", "--encoding", "3/3/4", "--segment-size", "10Ki", "--json", stdin=DATA)
    report = json.loads(stored.stdout)
    assert report["uri"].endswith(":3:4:300000")
    assert sorted(report["shares"]) == ["0", "1", "2", "3"]
    assert holdfast("get", report["uri"]).stdout == DATA


@pytest.mark.parametrize("size", [0, 1, 55, 56])
def test_the_smallest_files(holdfast: Callable[..., Outcome], size: int) -> None:
    stored = holdfast("put", stdin=DATA[:size])
    assert stored.text.startswith("URI:LIT:" if size < 56 else "URI:CHK:")
    assert holdfast("get", stored.text).stdout == DATA[:size]
    assert holdfast("check", stored.text).code == 0


def test_reports_for_programs(holdfast: Callable[..., Outcome], cap: str, tmp_path: Path) -> None:
    checked = json.loads(holdfast("check", "--json", cap).stdout)
    assert checked["healthy"] is checked["recoverable"] is True
    assert (checked["shares_needed"], checked["shares_total"], checked["happiness"]) == (2, 5, 5)
    assert (checked["servers_asked"], checked["servers_known"]) == (5, 5)
    to_file = holdfast("get", "--json", cap, tmp_path / "copy")
    report = json.loads(to_file.stdout)
    assert (report["file"], report["size"]) == (str(tmp_path / "copy"), len(DATA))
    to_stdout = holdfast("get", "--json", cap)
    assert to_stdout.stdout == DATA
    assert json.loads(to_stdout.stderr)["size"] == len(DATA)


def test_check_draws_who_holds_what_and_its_status_tells_health(
    holdfast: Callable[..., Outcome], grid: LocalGrid, cap: str
) -> None:
    for options in ([], ["--verify"]):
        healthy = holdfast("check", cap, *options)
        assert healthy.code == 0, healthy.stderr
        lines = healthy.text.splitlines()
        assert lines[0].startswith("healthy: 5 of 5 shares, any 2 suffice")
        assert [line.split()[0] for line in lines[2:]] == grid.names
        assert healthy.text.count("■") == 5
        check_no_secret(healthy.text + healthy.stderr)
    grid.kill("amber")
    grid.kill("basil")
    worse = holdfast("check", cap)
    assert worse.code == 3
    assert worse.text.startswith("unhealthy, can be read: 3 of 5 shares")
    assert re.search(r"amber .*down: ", worse.text)
    assert holdfast("get", cap).stdout == DATA
    grid.kill("cedar")
    grid.kill("dahlia")
    lost = holdfast("check", cap)
    assert lost.code == 4
    assert lost.text.startswith("cannot be read now: 1 of 5 shares")


def test_verify_finds_a_flipped_bit_and_get_works_around_it(
    holdfast: Callable[..., Outcome], grid: LocalGrid
) -> None:
    stored = json.loads(holdfast("put", "--json", stdin=DATA + b"to be damaged").stdout)
    share = damaged_share(grid, stored["uri"])
    assert holdfast("check", stored["uri"]).code == 0
    verified = holdfast("check", "--verify", stored["uri"])
    assert verified.code == 3
    assert "1 share corrupt" in verified.text
    assert share.parts[len(grid.directory.parts)] in verified.stderr
    assert holdfast("get", stored["uri"]).stdout == DATA + b"to be damaged"


def damaged_share(grid: LocalGrid, uri: str) -> Path:
    """Flip a bit in the middle of a share of the file just stored."""
    shares = [path for path in grid.directory.glob("*/storage/shares/*/*/*") if path.is_file()]
    newest = max(shares, key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    return newest


def test_a_verify_capability_checks_but_does_not_read(holdfast: Callable[..., Outcome], cap: str) -> None:
    verify_cap = verify_capability(cap)
    assert holdfast("check", "--verify", verify_cap).code == 0
    check_refusal(holdfast("get", verify_cap), 7, "cannot read")


def verify_capability(cap: str) -> str:
    from holdfast.caps import parse_cap

    return parse_cap(cap).verify_cap.to_text()  # type: ignore[union-attr]


def test_a_link_is_followed_and_a_device_is_written_not_replaced(
    holdfast: Callable[..., Outcome], cap: str, tmp_path: Path
) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    assert holdfast("get", cap, tmp_path / "link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == DATA
    assert holdfast("get", cap, "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


def test_a_pipe_can_be_stored(holdfast: Callable[..., Outcome], grid: LocalGrid, cap: str) -> None:
    script = f"cat > /dev/null; {' '.join(COMMAND)} put <(head -c 300000 {grid.directory.parent}/data)"
    (grid.directory.parent / "data").write_bytes(DATA + b"more")
    done = subprocess.run(
        ["bash", "-c", script], input=b"", capture_output=True, env=environment(grid.directory), check=False
    )
    assert done.stdout.decode().strip() == cap, done.stderr


def test_help_is_there_for_every_command_and_lists_the_statuses() -> None:
    assert "too few servers" in run_holdfast("--help").text
    for command in ("put", "get", "check", "grid", "demo", "run"):
        shown = run_holdfast(command, "--help")
        assert (shown.code, shown.stderr) == (0, "")
    assert run_holdfast("--version").text.startswith("holdfast ")


def test_a_terminal_sees_a_progress_bar_and_standard_output_the_capability_alone(
    grid: LocalGrid, big_file: Path
) -> None:
    terminal, other_end = pty.openpty()
    command = [*COMMAND, "put", big_file, "--convergence-secret", "none"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=other_end, env=environment(grid.directory)
    ) as process:
        os.close(other_end)
        seen = read_terminal(terminal)
        assert process.stdout is not None
        assert re.fullmatch(rb"URI:CHK:[a-z2-7:]+:2:5:60000000\n", process.stdout.read())
    assert process.returncode == 0
    assert "uploading" in seen
    assert "/60.0" in seen
    assert "5 shares on 5 servers" in seen


def read_terminal(terminal: int) -> str:
    """Return what was drawn on a terminal until its other end is closed."""
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how Linux says that it is closed
            piece = b""
        if not piece:
            os.close(terminal)
            return seen.decode()
        seen += piece


def test_a_terminal_without_the_signs_of_the_picture_gets_others(grid: LocalGrid, cap: str) -> None:
    latin_1 = {**environment(grid.directory), "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([*COMMAND, "check", cap], capture_output=True, env=latin_1, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("latin-1").count("?") == 5


def test_a_name_that_would_steer_the_terminal_is_defused(grid: LocalGrid, cap: str, tmp_path: Path) -> None:
    client = client_like(grid, tmp_path, lambda _, nurl: nurl)
    path = client / "private/servers.yaml"
    path.write_text(path.read_text().replace("nickname: amber", 'nickname: "a\\e[31mb"'))
    assert "a?[31mb" in run_holdfast("check", cap, node=client).text


# -- what does not


@pytest.mark.parametrize(
    ("capability", "said"),
    [
        ("hello", "not a capability"),
        ("", "not a capability"),
        (f"URI:CHK:{KEY}:{HASH}:2:5", "malformed"),
        (f"URI:CHK:{KEY}:{HASH[:40]}", "malformed"),
        (f"URI:CHK:{KEY}:{HASH}:2:5:x", "malformed"),
        (f"URI:CHK:{KEY}:{HASH}:6:5:100", "impossible"),
    ],
)
@pytest.mark.parametrize("command", ["get", "check"])
def test_a_wrong_capability_is_told_apart_by_kind(
    holdfast: Callable[..., Outcome], command: str, capability: str, said: str
) -> None:
    check_refusal(holdfast(command, capability), 7, said)


def test_get_takes_no_directory(holdfast: Callable[..., Outcome]) -> None:
    for capability in (f"URI:DIR2:{KEY}:{HASH}", f"URI:DIR2-CHK:{KEY}:{HASH}:2:5:100"):
        check_refusal(holdfast("get", capability), 7, "is a directory")


def test_a_mutable_file_that_nobody_has_is_not_found(holdfast: Callable[..., Outcome]) -> None:
    check_refusal(holdfast("get", f"URI:SSK:{KEY}:{HASH}"), 4, "share")


def test_no_capability_on_standard_input(holdfast: Callable[..., Outcome]) -> None:
    check_refusal(holdfast("get", "-"), 7, "holds no capability")


def test_a_capability_whose_key_is_wrong_gives_nothing(holdfast: Callable[..., Outcome], cap: str) -> None:
    start = len("URI:CHK:")
    wrong = cap[:start] + ("b" if cap[start] != "b" else "c") + cap[start + 1 :]
    check_refusal(holdfast("get", wrong), 4, "share")


def test_a_capability_whose_hash_is_wrong_gives_nothing(
    holdfast: Callable[..., Outcome], cap: str, tmp_path: Path
) -> None:
    kind, scheme, key, ueb_hash, rest = cap.split(":", 4)
    wrong = ":".join((kind, scheme, key, ("b" if ueb_hash[0] != "b" else "c") + ueb_hash[1:], rest))
    outcome = holdfast("get", wrong, tmp_path / "copy")
    assert outcome.code in (4, 11)
    assert list(tmp_path.iterdir()) == []
    check_no_secret(outcome.stderr)


def test_files_that_cannot_be_read(holdfast: Callable[..., Outcome], tmp_path: Path) -> None:
    check_refusal(holdfast("put", tmp_path / "none"), 5, "none: No such file or directory")
    check_refusal(holdfast("put", tmp_path), 5, "is a directory; give a file")
    (tmp_path / "file").touch()
    check_refusal(holdfast("put", tmp_path / "file" / "below"), 5, "Not a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(holdfast: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o000)
    check_refusal(holdfast("put", tmp_path / "file"), 5, "Permission denied")


def test_targets_that_cannot_be_written(holdfast: Callable[..., Outcome], cap: str, tmp_path: Path) -> None:
    check_refusal(holdfast("get", cap, tmp_path), 5, "is a directory; give a file name")
    check_refusal(holdfast("get", cap, tmp_path / "none" / "copy"), 5, "No such file or directory")


def test_a_full_disk(holdfast: Callable[..., Outcome], cap: str, tmp_path: Path) -> None:
    check_refusal(holdfast("get", cap, "/dev/full"), 5, "No space left on device")
    assert Path("/dev/full").is_char_device()
    (tmp_path / "copy").write_bytes(b"old")
    limited = holdfast("get", cap, tmp_path / "copy", before_start=limit_files_to_100_kB)
    check_refusal(limited, 5, "cannot write .*copy")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def limit_files_to_100_kB() -> None:  # noqa: N802  (kilobytes)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_a_full_disk_behind_standard_output(grid: LocalGrid, cap: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "get", cap],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(grid.directory),
            check=False,
        )
    assert done.returncode == 5
    assert done.stderr == b"holdfast: cannot write: No space left on device\n"


def test_a_file_that_changes_while_it_is_read(
    holdfast: Callable[..., Outcome], big_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "changing"
    path.write_bytes(big_file.read_bytes())
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


def test_no_servers(holdfast: Callable[..., Outcome], grid: LocalGrid, cap: str) -> None:
    grid.stop()
    check_refusal(holdfast("put", stdin=DATA + b"new"), 9, "server")
    check_refusal(holdfast("get", cap), 9, "server")
    check_refusal(holdfast("check", cap), 9, "server")


def test_too_few_servers(holdfast: Callable[..., Outcome], grid: LocalGrid, cap: str) -> None:
    for name in ("amber", "basil", "cedar", "dahlia"):
        grid.kill(name)
    check_refusal(holdfast("put", stdin=DATA + b"few"), 10, "server")
    check_refusal(holdfast("get", cap), 4, "1 .*2|2 .*1")


def test_a_server_with_another_key_gets_nothing(grid: LocalGrid, cap: str, tmp_path: Path) -> None:
    client = client_like(grid, tmp_path, lambda number, nurl: replaced_hash(nurl) if number == 0 else nurl)
    checked = run_holdfast("check", cap, node=client)
    assert checked.code == 3
    assert re.search("(amber|basil|cedar|dahlia|elder) .*key", checked.text)
    assert run_holdfast("get", cap, node=client).stdout == DATA
    everywhere = client_like(grid, tmp_path, lambda _, nurl: replaced_hash(nurl))
    check_refusal(run_holdfast("put", node=everywhere, stdin=DATA), 9, "key")


def client_like(grid: LocalGrid, place: Path, changed: Callable[[int, str], str]) -> Path:
    """Make a client of the grid whose list of servers is changed."""
    directory = place / f"client{len(list(place.iterdir()))}"
    create_client_node(directory, EncodingSettings(shares_needed=2, happiness=4, shares_total=5))
    listed = yaml.safe_load(grid.server_list.read_text())
    for number, entry in enumerate(listed["storage"].values()):
        nurls = entry["ann"]["anonymous-storage-NURLs"]
        entry["ann"]["anonymous-storage-NURLs"] = [changed(number, nurl) for nurl in nurls]
    (directory / "private/servers.yaml").write_text(yaml.safe_dump(listed))
    return directory


def replaced_hash(nurl: str) -> str:
    return re.sub("//[^@]*@", f"//{'A' * 43}@", nurl)


def test_a_bad_entry_of_the_list_is_named_and_the_others_are_used(
    grid: LocalGrid, cap: str, tmp_path: Path
) -> None:
    client = client_like(grid, tmp_path, lambda number, nurl: "nonsense" if number == 0 else nurl)
    read = run_holdfast("get", cap, node=client)
    assert (read.code, read.stdout) == (0, DATA)
    assert re.search("server v0-.*no NURL that can be used", read.stderr)


def test_a_list_of_servers_can_be_toml(grid: LocalGrid, cap: str, tmp_path: Path) -> None:
    listed = yaml.safe_load(grid.server_list.read_text())["storage"]
    create_client_node(tmp_path / "client", EncodingSettings())
    (tmp_path / "client/holdfast.toml").write_text("")
    nurls = [(server, entry["ann"]["anonymous-storage-NURLs"]) for server, entry in listed.items()]
    text = "".join(f'[[server]]\nid = "{server}"\nnurls = {json.dumps(urls)}\n' for server, urls in nurls)
    (tmp_path / "client/private/servers.toml").write_text(text)
    assert run_holdfast("get", cap, node=tmp_path / "client").stdout == DATA


def test_nodes_that_are_none(cap: str, tmp_path: Path) -> None:
    check_refusal(run_holdfast("get", cap), 8, "--node DIR, or the environment variable HOLDFAST_NODE")
    check_refusal(run_holdfast("get", cap, "--node", tmp_path), 8, "neither a client node nor a local grid")
    check_refusal(run_holdfast("put", node=tmp_path / "none"), 8, "does not exist")
    create_client_node(tmp_path / "client", EncodingSettings())
    (tmp_path / "client/private/servers.yaml").write_text("storage: {}\n")
    check_refusal(run_holdfast("put", node=tmp_path / "client", stdin=DATA), 9, "server")
    (tmp_path / "client/private/servers.yaml").write_text("- [nonsense\n")
    check_refusal(run_holdfast("put", node=tmp_path / "client", stdin=DATA), 8, "servers.yaml")
    (tmp_path / "client/holdfast.toml").write_text("[client]\nserver = 'x'\n")
    check_refusal(run_holdfast("put", node=tmp_path / "client"), 8, 'client.server .*did you mean "servers"')


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frobnicate"], "No such command"),
        (["get"], "Missing argument"),
        (["put", "a", "b", "c"], "unexpected extra argument"),
        (["put", "--encoding", "3/7"], "three numbers"),
        (["put", "--encoding", "5/5/4"], "needed <= total"),
        (["put", "--segment-size", "big"], "give bytes"),
        (["put", "--convergence-secret", "!"], "base32"),
        (["put", "--dry-run", "--convergence-secret", "none"], "of no use"),
    ],
)
def test_wrong_use(holdfast: Callable[..., Outcome], arguments: list[str], said: str) -> None:
    check_refusal(holdfast(*arguments), 2, said)


def test_a_capability_in_a_wrong_place_is_not_repeated(holdfast: Callable[..., Outcome], cap: str) -> None:
    check_refusal(holdfast("check", cap, cap), 2, "unexpected extra argument")
    check_refusal(holdfast(cap), 2, "No such command")
    check_refusal(holdfast("put", cap), 5, "No such file")


def test_a_reader_that_goes_away_ends_get_quietly(
    grid: LocalGrid, holdfast: Callable[..., Outcome], big_file: Path
) -> None:
    stored = holdfast("put", big_file)
    process = start_holdfast("get", stored.text, node=grid.directory)
    assert process.stdout is not None
    assert process.stdout.read(10) == big_file.read_bytes()[:10]
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.stdin is not None
    process.stdin.close()


# -- interrupts


def interrupted(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGINT) -> None:
    """Send a signal; the command ends soon, with the status that says so, and in silence."""
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert stderr == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_put_gives_the_space_back(
    grid: LocalGrid, big_file: Path, number: signal.Signals
) -> None:
    before = sum(server.shares for server in grid.status())
    assert not uploads_in_progress(grid)
    process = start_holdfast("put", big_file, "--convergence-secret", "none", node=grid.directory)
    wait_until(lambda: uploads_in_progress(grid))
    interrupted(process, number)
    wait_until(lambda: not uploads_in_progress(grid))
    assert sum(server.shares for server in grid.status()) == before


def uploads_in_progress(grid: LocalGrid) -> list[Path]:
    return [path for path in grid.directory.glob("*/storage/shares/incoming/**/*") if path.is_file()]


def test_a_put_interrupted_while_it_waits_for_its_input(grid: LocalGrid) -> None:
    process = start_holdfast("put", "-", node=grid.directory)
    assert process.stdin is not None
    process.stdin.write(DATA)
    process.stdin.flush()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_get_leaves_nothing_half_written(
    grid: LocalGrid, holdfast: Callable[..., Outcome], big_file: Path, tmp_path: Path, number: signal.Signals
) -> None:
    stored = holdfast("put", big_file)
    (tmp_path / "copy").write_bytes(b"old")
    process = start_holdfast("get", stored.text, tmp_path / "copy", node=grid.directory)
    wait_until(lambda: len(list(tmp_path.iterdir())) > 1 or process.poll() is not None)
    interrupted(process, number)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_get_into_a_pipe_that_nobody_reads_can_be_interrupted(
    grid: LocalGrid, holdfast: Callable[..., Outcome], big_file: Path
) -> None:
    stored = holdfast("put", big_file)
    process = start_holdfast("get", stored.text, node=grid.directory)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.communicate()


@pytest.mark.parametrize("delay_s", [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
def test_an_interrupt_at_any_moment_is_quiet(grid: LocalGrid, cap: str, delay_s: float) -> None:
    process = start_holdfast("check", cap, node=grid.directory)
    wait_until(lambda: catches(process.pid, signal.SIGHUP))
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert stderr == b""
    # Over already, interrupted, or interrupted while the interpreter was leaving.
    assert process.returncode in (0, 130, -signal.SIGINT)


def catches(pid: int, number: int) -> bool:
    """Tell whether a process has a handler for a signal; before that it is not our code that runs."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
    caught = re.search(r"SigCgt:\s*([0-9a-f]+)", text)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


# -- a server in the foreground


def test_run_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    create_server_node(tmp_path / "node", NodeSettings(nickname="alone"))
    process = start_holdfast("run", tmp_path / "node")
    assert process.stderr is not None
    said = process.stderr.readline().decode()
    running = running_node(tmp_path / "node")
    assert running is not None
    assert said == f"holdfast: {tmp_path / 'node'} serves on port {running.port}; Ctrl-C ends it\n"
    check_refusal(run_holdfast("run", tmp_path / "node"), 5, f"in use by process {process.pid}")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 0
    assert running_node(tmp_path / "node") is None


def test_run_refuses_what_is_no_node_or_has_nothing_to_run(tmp_path: Path) -> None:
    check_refusal(run_holdfast("run", tmp_path), 8, "is not a node directory")
    check_refusal(run_holdfast("run", tmp_path / "none"), 8, "is not a node directory")
    assert list(tmp_path.iterdir()) == []
    create_client_node(tmp_path / "client", EncodingSettings())
    (tmp_path / "client/holdfast.toml").write_text("")
    check_refusal(run_holdfast("run", tmp_path / "client"), 8, "no service is enabled")


# -- the library


async def test_the_library_opens_the_same_grid(grid: LocalGrid) -> None:
    import holdfast

    async with holdfast.connect(grid.directory) as client:
        stored = await client.upload(holdfast.DataSource(DATA))
        read = await client.download(stored.uri, holdfast.DataTarget())
    assert hashlib.sha256(read.value).digest() == hashlib.sha256(DATA).digest()
    with pytest.raises(holdfast.ConfigError, match="say which grid"):
        async with holdfast.connect():
            pass
    async with holdfast.connect(servers=grid.server_list) as stranger:
        assert (await stranger.download(stored.uri, holdfast.DataTarget())).value == DATA
        with pytest.raises(InputError):
            await stranger.upload(holdfast.FileNameSource("/none"))
