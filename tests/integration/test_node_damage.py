"""Node directories of which files are missing or damaged: the node says in one sentence which file it is
and what to do, or mends what can be made anew without a loss. It shows neither a traceback nor a secret.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.node.config import ClientConfig, IntroducerConfig, NodeConfig, NodeSettings, StorageConfig
from holdfast.node.introducer_nurls import read_introducer_nurls
from holdfast.protocol.nurl import parse_nurl
from holdfast.testing.node_processes import ONE_OF_ONE, NodeProcess, NodeProcesses
from holdfast.wire.socket_paths import ShortPath

PLANTED = "plantedsecretplantedsecretplant2"
TEXT = f"{PLANTED}!\n".encode()
BINARY = b"\xff\xfe" + PLANTED.encode() + b"\x00\n"
EMPTY = b""
AT_ONCE = 3  # processes

RESTORE = "restore it from a backup of the node directory"
FATAL = {
    "holdfast.toml": ("is not a node directory: it has no holdfast.toml", "is not TOML|is damaged"),
    "port": (None, "write it there again, or remove the file"),
    "private/node.key": (RESTORE, RESTORE),
    "private/node.pem": (RESTORE, RESTORE),
    "private/swissnum": (RESTORE, RESTORE),
    "private/server-seed": (RESTORE, RESTORE),
    "private/permutation-seed": (RESTORE, RESTORE),
    "private/introducer-publish-swissnum": (RESTORE, RESTORE),
    "private/introducer-subscribe-swissnum": (RESTORE, RESTORE),
    "private/node-swissnum": (None, RESTORE),
    "private/secret": (None, RESTORE),
    "private/convergence": (None, RESTORE),
    "private/introducers.toml": (None, "each line must be a name of your own and a NURL"),
    "private/introducer.sqlite": (None, "Restore it, or move it away: a new one is made"),
    "storage/holdfast/storage.db": (None, "once it is moved away, the shares are taken over"),
}
"""What is said where a file is missing, and where it is damaged. None: it is made anew."""

MENDED = (
    "lock",
    "running.json",
    "private/announcements.cbor",
    "private/announcement-seq",
    "private/control-tokens.json",
    "private/control.token",
    "private/control.sock",
    "private/introducer.nurl",
    "private/introducer-subscribe.nurl",
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcesses]:
    with NodeProcesses(tmp_path_factory.mktemp("damage")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def whole(nodes: NodeProcesses) -> NodeProcess:
    """A node with every service, that has run, and was killed."""
    other = nodes.introducer("other-introducer")
    other.start()
    config = NodeConfig(
        node=NodeSettings(nickname="whole"),
        storage=StorageConfig(enabled=True),
        introducer=IntroducerConfig(enabled=True),
        client=ClientConfig(enabled=True, encoding=ONE_OF_ONE),
    )
    whole = nodes.make("whole", config, [other])
    whole.start()
    whole.call("POST", "tokens", {"scopes": ["status"], "seconds": 1000, "label": "a minted one"})
    whole.wait_for(lambda status: status["servers"] and (whole.private / "announcements.cbor").exists())
    whole.kill()
    return whole


@pytest.fixture(scope="module")
def secrets(whole: NodeProcess) -> list[str]:
    """All that may never be shown."""
    names = ["swissnum", "server-seed", "permutation-seed", "secret", "convergence", "node-swissnum"]
    names += ["introducer-publish-swissnum", "introducer-subscribe-swissnum", "control.token", "node.key"]
    known = [(whole.private / name).read_text().strip() for name in names]
    known.append((whole.private / "node.pem").read_text().splitlines()[-2])
    nurls = read_introducer_nurls(whole.private)
    known += [parse_nurl(nurl).swissnum for nurl in (nurls.publish, nurls.subscribe)]
    return [*known, PLANTED]


def copy_of(nodes: NodeProcesses, whole: NodeProcess, name: str) -> NodeProcess:
    """Return the same node in another directory, at any port."""
    copy = nodes.adopt(name)
    shutil.copytree(whole.directory, copy.directory, ignore=shutil.ignore_patterns("*.sock", "logs", "port"))
    return copy


def damage(path: Path, contents: bytes | None) -> None:
    """Let a file hold something else, or be missing."""
    path.unlink(missing_ok=True)
    if contents is not None:
        path.write_bytes(contents)
        path.chmod(0o600)


def log_of(node: NodeProcess) -> list[dict[str, Any]]:
    """Return what a node has logged, if it came so far."""
    return [json.loads(line) for line in node.log.splitlines()]


def shows_nothing(node: NodeProcess, secrets: list[str]) -> None:
    said = node.output + node.log
    assert "Traceback" not in said
    assert "a defect" not in said
    assert [secret for secret in secrets if secret in said] == []


@dataclass(frozen=True)
class Case:
    file: str
    contents: bytes | None
    expected: str

    @property
    def name(self) -> str:
        kind = {None: "missing", TEXT: "text", BINARY: "binary", EMPTY: "empty"}[self.contents]
        return f"{self.file.replace('/', '-')}-{kind}"


def test_a_node_says_which_file_is_missing_or_damaged_and_what_to_do(
    nodes: NodeProcesses, whole: NodeProcess, secrets: list[str]
) -> None:
    cases = [
        Case(file, contents, expected)
        for file, (missing, damaged) in FATAL.items()
        for contents, expected in ((None, missing), (TEXT, damaged), (BINARY, damaged))
        if expected is not None
    ]
    # An empty file is what some crashes leave.
    cases += [
        Case(file, EMPTY, RESTORE) for file in ("private/node.key", "private/node.pem", "private/secret")
    ]

    def outcome(case: Case) -> tuple[int, NodeProcess]:
        node = copy_of(nodes, whole, case.name)
        damage(node.directory / case.file, case.contents)
        node.launch()
        return node.wait_until_ended(), node

    with ThreadPoolExecutor(AT_ONCE) as executor:
        for case, (code, node) in zip(cases, executor.map(outcome, cases), strict=True):
            assert code == 1, case
            lines = node.output.splitlines()
            assert len(lines) == 1, (case, lines)
            assert case.file in lines[0], (case, lines)
            assert re.search(case.expected, lines[0]), (case, lines)
            shows_nothing(node, secrets)
            node.end()


@pytest.mark.parametrize("contents", [None, TEXT, BINARY, EMPTY], ids=["missing", "text", "binary", "empty"])
def test_what_can_be_made_anew_without_a_loss_is_and_the_node_says_so(
    nodes: NodeProcesses, whole: NodeProcess, secrets: list[str], contents: bytes | None, request: Any
) -> None:
    node = copy_of(nodes, whole, f"mended-{request.node.callspec.id}")
    for file in MENDED:
        damage(node.directory / file, contents)
    if contents is not None:  # the socket of a dead process; anything else in its place is not ours to remove
        damage(node.private / "control.sock", None)
        with socket.socket(socket.AF_UNIX) as dead, ShortPath(str(node.private / "control.sock")) as name:
            dead.bind(name)
    node.start()
    node.wait_for(lambda status: [server["state"] for server in status["servers"]] == ["up"])
    assert (node.private / "introducer.nurl").read_text().startswith("pb://")
    if contents is not None:
        warned = "".join(str(line) for line in log_of(node) if line["level"] in ("warning", "error"))
        for file in ("announcements.cbor", "announcement-seq", "control-tokens.json"):
            assert f"/{file}" in warned
        assert (node.private / "announcements.cbor.damaged").read_bytes() == contents
        assert (node.private / "control-tokens.json.damaged").read_bytes() == contents
    assert int((node.private / "announcement-seq").read_text()) > 0
    node.stop()
    shows_nothing(node, secrets)


def test_secrets_of_a_client_that_are_missing_are_made_anew_with_a_warning(
    nodes: NodeProcesses, whole: NodeProcess
) -> None:
    node = copy_of(nodes, whole, "forgetful")
    for name in ("secret", "convergence"):
        damage(node.private / name, None)
    node.start()
    warned = "".join(str(line) for line in log_of(node) if line["level"] == "warning")
    assert "private/secret" in warned
    assert "private/convergence" in warned
    node.stop()


def test_a_server_without_a_list_of_introducers_says_that_nobody_is_told_of_it(nodes: NodeProcesses) -> None:
    node = nodes.server("lonely", [])
    damage(node.private / "introducers.toml", None)
    node.start()
    warned = [line for line in log_of(node) if line["level"] == "warning"]
    assert [line["event"] for line in warned] == ["no introducer is listed; nobody is told of this node"]
    assert warned[0]["file"].endswith("private/introducers.toml")
    node.stop()


def test_a_missing_database_or_catalog_is_made_anew(nodes: NodeProcesses, whole: NodeProcess) -> None:
    node = copy_of(nodes, whole, "bookless")
    for file in ("private/introducer.sqlite", "storage/holdfast/storage.db"):
        for suffix in ("", "-wal", "-shm"):
            damage(node.directory / f"{file}{suffix}", None)
    node.start()
    node.wait_for(lambda status: status["introducer"]["announcements"] >= 2, what="it announces itself again")
    node.stop()


def test_a_directory_that_is_none_or_open_to_others_is_named(
    nodes: NodeProcesses, whole: NodeProcess, secrets: list[str]
) -> None:
    nowhere, open_node = nodes.adopt("nowhere"), copy_of(nodes, whole, "open")
    open_node.private.chmod(0o755)
    (open_node.private / "node.key").chmod(0o644)
    for node, expected in (
        (nowhere, f"{nowhere.directory} is not a node directory"),
        (open_node, f"close it with: chmod 600 {open_node.private / 'node.key'}"),
    ):
        node.launch()
        assert node.wait_until_ended() == 1
        assert expected in node.output
        assert len(node.output.splitlines()) == 1
        shows_nothing(node, secrets)
