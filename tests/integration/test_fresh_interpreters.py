"""Commands in interpreters of their own, as users start them: each imports what it needs, whatever its
neighbours import. Other tests run them where everything is imported already.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.grid.settings import EncodingSettings
from holdfast.testing.command_line import run_holdfast
from holdfast.testing.warm_grid import WarmGrid

ENCODING = EncodingSettings(shares_needed=1, happiness=2, shares_total=2)
DATA = bytes(range(256)) * 10
COMMANDS = [
    "create-alias tree",
    "create-alias --kind grid other",
    "mkdir tree:sub",
    "put {file} tree:sub/a",
    "get tree:sub/a {place}/a",
    "ls -l tree:sub",
    "cp tree:sub/a tree:b",
    "cp -r tree: {place}/copy",
    "cp -r {place}/copy other:",
    "mv tree:b tree:c",
    "ln tree:c tree:d",
    "share tree:",
    "rm tree:d",
    "check tree:c",
    "manifest tree:",
    "stats tree:",
    "roots",
    "list-aliases",
    "vdrive head tree:",
    "vdrive ls tree:",
    "debug dump-cap URI:LIT:krugs4zanfzsayjaon2gc2lom4",
    "servers list {grid}",
    "servers freeze {grid}",
    "introducer list {grid}",
    "introducer show-nurl {grid}",
    "invite {grid}",
    "vdrive-server account list {grid}",
    "grid status {grid}",
    "config {grid}/client",
    "systemd-unit {grid}/client",
    "completion bash",
    "create-introducer {place}/introducer",
    "create-node {place}/node",
    "create-client {place}/client",
]


@pytest.mark.timeout(300)
def test_each_command_works_in_an_interpreter_of_its_own(tmp_path: Path) -> None:
    grid = WarmGrid(tmp_path / "grid")
    grid.start(2, ENCODING)
    (tmp_path / "file").write_bytes(DATA)
    try:
        for command in COMMANDS:
            words = [
                word.format(file=tmp_path / "file", place=tmp_path, grid=grid.directory)
                for word in command.split()
            ]
            outcome = run_holdfast(*words, node=grid.directory, fresh=True)
            assert outcome.code == 0, (command, outcome.stderr)
    finally:
        grid.stop()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "copy/sub/a").read_bytes() == DATA
