"""A local grid: real processes that start together, keep their addresses, and can be
killed, revived and started again after anything.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import InputError, UnavailableError
from holdfast.grid.announcement_cache import AnnouncementCache, CachedAnnouncement
from holdfast.grid.settings import EncodingSettings
from holdfast.node import local_grid
from holdfast.node.config import NodeSettings, load_config
from holdfast.node.local_grid import LocalGrid
from holdfast.node.running import process_of, running_node
from holdfast.testing.command_line import COMMAND, environment, run_holdfast
from holdfast.testing.warm_grid import WarmGrid


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[LocalGrid]:
    grid = WarmGrid(tmp_path / "grid")
    yield grid
    if grid.exists:
        grid.stop()


@pytest.fixture
def usual_grid(tmp_path: Path) -> Iterator[LocalGrid]:
    """One whose nodes are started as those of users are."""
    grid = LocalGrid(tmp_path / "grid", attached=True)
    yield grid
    if grid.exists:
        grid.stop()


def ports(grid: LocalGrid) -> list[int | None]:
    return [server.port for server in grid.status()]


def states(grid: LocalGrid) -> list[str]:
    return [server.state for server in grid.status()]


def wait_until(condition, seconds: float = 15) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def test_it_starts_as_separate_processes_that_a_client_knows(usual_grid: LocalGrid) -> None:
    grid, heard = usual_grid, list[str]()
    grid.start(3, on_running=heard.append)
    servers = grid.status()
    assert sorted(heard) == [server.name for server in servers] == ["amber", "basil", "cedar"]
    assert states(grid) == ["running"] * 3
    assert len({server.pid for server in servers}) == len({server.port for server in servers}) == 3
    assert all(os.getsid(server.pid or 0) == server.pid for server in servers)
    listed = grid.server_list.read_text()
    for server in servers:
        running = running_node(grid.directory / server.name)
        assert running is not None
        assert all(nurl in listed for nurl in running.nurls)
        assert f"127.0.0.1:{server.port}/" in running.nurls[0]


def test_its_secrets_are_closed_to_other_users(grid: LocalGrid) -> None:
    grid.start(1)
    for path in grid.directory.rglob("*"):
        if path.parent.name == "private" or path.name == "running.json":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        if path.is_dir() and path.parent == grid.directory:
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path


def test_logs_hold_neither_nurl_nor_swissnum(grid: LocalGrid) -> None:
    grid.start(1)
    swissnum = (grid.directory / "amber/private/swissnum").read_text().strip()
    logs = "".join(path.read_text() for path in (grid.directory / "amber/logs").iterdir())
    assert "serving" in logs
    assert swissnum not in logs


def test_starting_again_changes_nothing_and_a_grid_can_grow_but_not_shrink(grid: LocalGrid) -> None:
    grid.start(2)
    before = grid.status()
    grid.start(2)
    grid.start()
    assert grid.status() == before
    grid.start(3)
    assert grid.status()[:2] == before
    assert states(grid) == ["running"] * 3
    assert len(grid.server_ids()) == 3
    with pytest.raises(InputError, match="can grow, not shrink"):
        grid.start(1)


def test_addresses_and_identities_stay_over_stop_kill_and_start(grid: LocalGrid) -> None:
    grid.start(2)
    before, ids = ports(grid), grid.server_ids()
    listed = grid.server_list.read_bytes()
    grid.kill("amber")
    assert states(grid) == ["stopped", "running"]
    grid.revive("amber")
    assert ports(grid) == before
    grid.stop()
    assert states(grid) == ["stopped", "stopped"]
    assert ports(grid) == [None, None]
    grid.start()
    assert (ports(grid), grid.server_ids()) == (before, ids)
    assert grid.server_list.read_bytes() == listed


def test_it_starts_after_all_processes_died_at_once_leaving_stale_files(grid: LocalGrid) -> None:
    grid.start(2)
    before = ports(grid)
    for server in grid.status():
        os.kill(server.pid or 0, signal.SIGKILL)
    wait_until(lambda: states(grid) == ["stopped", "stopped"])
    assert (grid.directory / "amber/running.json").exists()
    again = WarmGrid(grid.directory)  # its servers end with it
    again.start()
    assert ports(grid) == before


def test_a_start_that_was_interrupted_can_be_completed(
    grid: LocalGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = local_grid.create_server_node

    def interrupted(directory: Path, settings: NodeSettings, **others: Any) -> None:
        if settings.nickname == "basil":
            raise KeyboardInterrupt
        create(directory, settings, **others)

    monkeypatch.setattr(local_grid, "create_server_node", interrupted)
    with pytest.raises(KeyboardInterrupt):
        grid.start(2)
    monkeypatch.undo()
    assert states(grid) == ["stopped", "stopped"]
    grid.start()
    assert states(grid) == ["running", "running"]


def test_a_port_taken_by_another_program_is_named_and_the_others_run(grid: LocalGrid) -> None:
    grid.start(2)
    port = grid.status()[0].port
    grid.kill("amber")
    taker = subprocess.Popen(
        [sys.executable, "-c", TAKE_PORT.format(port=port)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert taker.stdout is not None
    taker.stdout.readline()
    try:
        with pytest.raises(UnavailableError, match=rf"amber did not start: .*port {port}"):
            grid.start()
        assert states(grid) == ["stopped", "running"]
    finally:
        taker.kill()
        taker.communicate()
    grid.start()
    assert states(grid) == ["running", "running"]


TAKE_PORT = """
import socket
taken = socket.socket()
taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
taken.bind(("127.0.0.1", {port}))
taken.listen()
print("taken", flush=True)
input()
"""


def test_a_client_learns_of_the_servers_from_the_introducer_and_remembers_them(grid: LocalGrid) -> None:
    grid.start(3)
    assert not (grid.client_directory / "private/servers.yaml").exists()
    known = {entry.signed.announcement.server_id for entry in remembered(grid, "storage")}
    assert known == set(grid.server_ids().values())
    grid.kill("introducer")
    assert grid.introducer_status().state == "stopped"
    grid.kill("basil")
    grid.start()
    assert states(grid) == ["running"] * 3
    assert grid.introducer_status().state == "running"


def remembered(grid: LocalGrid, service: str) -> list[CachedAnnouncement]:
    entries = AnnouncementCache(grid.client_directory / "private/announcements.cbor").load()
    return [entry for entry in entries if entry.signed.announcement.service == service]


def test_without_its_introducer_the_grid_starts_and_says_so(grid: LocalGrid) -> None:
    grid.start(2)
    grid.stop()
    (grid.directory / "introducer/private/node.key").write_text("nonsense")
    with pytest.raises(UnavailableError, match=r"introducer did not start: .*node\.key is damaged"):
        grid.start()
    assert states(grid) == ["running"] * 2


def test_a_damaged_identity_stops_that_server_with_the_name_of_the_file(grid: LocalGrid) -> None:
    grid.start(1)
    grid.stop()
    (grid.directory / "amber/private/server-seed").write_text("nonsense!")
    with pytest.raises(UnavailableError, match=r"amber did not start: .*private/server-seed is damaged"):
        grid.revive("amber")


def test_only_one_process_runs_a_node(grid: LocalGrid) -> None:
    grid.start(1)
    second = subprocess.run(
        [sys.executable, "-m", "holdfast.node.process", grid.directory / "amber"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert f"in use by process {process_of(grid.directory / 'amber')}" in second.stderr
    assert states(grid) == ["running"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_stops_cleanly_on_a_signal(grid: LocalGrid, number: signal.Signals) -> None:
    grid.start(1)
    os.kill(grid.status()[0].pid or 0, number)
    wait_until(lambda: states(grid) == ["stopped"])
    assert not (grid.directory / "amber/running.json").exists()
    assert '"stopped"' in (grid.directory / "amber/logs/node.log").read_text()


def test_attached_servers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from holdfast.node.local_grid import LocalGrid
grid = LocalGrid(Path({str(tmp_path / "grid")!r}), attached=True)
grid.start(1)
print("started", flush=True)
input()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    grid = LocalGrid(tmp_path / "grid")
    assert states(grid) == ["running"]
    parent.kill()
    parent.communicate()
    wait_until(lambda: states(grid) == ["stopped"])


def test_names_and_places_that_make_no_sense_are_refused(grid: LocalGrid, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no grid"):
        grid.status()
    with pytest.raises(InputError, match="holds no grid"):
        grid.start()
    with pytest.raises(InputError, match="1 to 256"):
        grid.start(0)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(InputError, match="is not empty"):
        LocalGrid(tmp_path / "full").start(1)
    (tmp_path / "a-file").touch()
    with pytest.raises(InputError, match="cannot make a grid"):
        LocalGrid(tmp_path / "a-file").start(1)
    grid.start(1)
    with pytest.raises(InputError, match="no server is called nobody; there are: amber"):
        grid.kill("nobody")
    with pytest.raises(InputError, match="amber is running"):
        grid.revive("amber")
    grid.kill("amber")
    with pytest.raises(InputError, match="amber is not running"):
        grid.kill("amber")


def test_the_client_gets_the_encoding_asked_for_or_one_that_fits(grid: LocalGrid, tmp_path: Path) -> None:
    grid.start(2, EncodingSettings(shares_needed=1, happiness=2, shares_total=4))
    encoding = load_config(grid.client_directory).client.encoding
    assert (encoding.shares_needed, encoding.happiness, encoding.shares_total) == (1, 2, 4)
    with pytest.raises(InputError, match="change its encoding in"):
        grid.start(2, EncodingSettings())
    assert local_grid.default_encoding(5).happiness == 5
    assert local_grid.default_encoding(50) == EncodingSettings()


def test_ten_servers_start_fast(usual_grid: LocalGrid) -> None:
    began = time.monotonic()
    usual_grid.start(10)
    assert time.monotonic() - began < 15  # about 2 s on two idle processors


def test_the_command_leaves_servers_that_outlive_it(tmp_path: Path) -> None:
    directory = tmp_path / "grid"
    started = run_holdfast(
        "grid", "start", directory, "--servers", "2", "--needed", "1", "--total", "2", "--json"
    )
    try:
        assert started.code == 0, started.stderr
        servers = json.loads(started.stdout)["servers"]
        assert [server["state"] for server in servers] == ["running", "running"]
        table = run_holdfast("grid", "status", directory).text.splitlines()
        assert [line.split()[0] for line in table] == ["name", "introducer", "amber", "basil"]
        assert str(servers[0]["pid"]) in table[2]
        assert run_holdfast("grid", "kill", directory, "amber").code == 0
        again = run_holdfast("grid", "kill", directory, "amber")
        assert (again.code, again.stderr) == (5, "holdfast: amber is not running\n")
        assert run_holdfast("grid", "revive", directory, "amber").code == 0
        assert run_holdfast("grid", "status", tmp_path / "none").code == 5
    finally:
        assert run_holdfast("grid", "stop", directory).code == 0
    assert LocalGrid(directory).status()[0].state == "stopped"


def test_a_start_with_its_output_read_to_the_end_does_not_hang(tmp_path: Path) -> None:
    """The servers must not inherit the streams of the command."""
    try:
        subprocess.run(
            [*COMMAND, "grid", "start", tmp_path / "grid", "--servers", "1"],
            capture_output=True,
            timeout=60,
            env=environment(None),
            check=True,
        )
    finally:
        LocalGrid(tmp_path / "grid").stop()
