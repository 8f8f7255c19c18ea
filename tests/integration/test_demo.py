"""The demo shows what it promises, and leaves neither process nor file, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.testing.command_line import environment

DEMO = (sys.executable, "-m", "holdfast.cli.demo")


def processes_below(place: Path) -> list[str]:
    """Return the command lines of processes that mention ``place``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(place) in line and "holdfast.node.process" in line:
            found.append(line)
    return found


def start_demo(place: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DEMO, *arguments],
        env={**environment(None), "TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_reads_a_file_back_from_the_three_servers_left_of_ten(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(3_000_000))
    place = tmp_path / "place"
    place.mkdir()
    began = time.monotonic()
    demo = start_demo(place, "--file", file)
    stdout, stderr = demo.communicate(timeout=110)
    assert demo.returncode == 0, stderr
    assert time.monotonic() - began < 60
    assert stdout.count("■") == 10
    assert "URI:CHK:" in stdout
    killed = next(line for line in stdout.splitlines() if line.startswith("Killing 7 of 10 servers"))
    left = next(line for line in stdout.splitlines() if line.startswith("Reading the file back"))
    assert len(killed.split(": ")[1].split(", ")) == 7
    assert len(left.split(": ")[1].split(", ")) == 3
    assert "every byte is the same" in stdout
    assert "  ~/demo/file\n" in stdout
    assert "holdfast grid start" in stdout
    assert stderr == ""
    assert list(place.iterdir()) == []
    assert processes_below(place) == []


@pytest.mark.parametrize(
    ("moment", "delay_s", "number"),
    [
        ("Starting", 0.3, signal.SIGINT),
        ("Storing", 0.2, signal.SIGTERM),
        ("Storing", 0.2, signal.SIGHUP),
        ("Reading", 0.02, signal.SIGINT),
    ],
)
def test_an_interrupt_leaves_nothing(
    tmp_path: Path, moment: str, delay_s: float, number: signal.Signals
) -> None:
    demo = start_demo(tmp_path)
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith(moment):
            break
    time.sleep(delay_s)
    demo.send_signal(number)
    _, stderr = demo.communicate(timeout=60)
    assert demo.returncode == 128 + number, stderr
    assert stderr == ""
    assert list(tmp_path.iterdir()) == []
    assert processes_below(tmp_path) == []


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    demo = start_demo(tmp_path, "--file", tmp_path / "none")
    _, stderr = demo.communicate(timeout=60)
    assert demo.returncode == 5
    assert stderr == f"holdfast: {tmp_path / 'none'} is not a file that can be read\n"
    assert list(tmp_path.iterdir()) == []


def test_its_servers_end_even_when_it_is_killed(tmp_path: Path) -> None:
    demo = start_demo(tmp_path)
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("Storing"):
            break
    assert len(processes_below(tmp_path)) == 11  # with the introducer
    demo.kill()
    demo.communicate()
    deadline = time.monotonic() + 20
    while processes_below(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.05)
