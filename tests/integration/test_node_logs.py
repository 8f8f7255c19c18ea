"""What real nodes write into their logs: as much as they are told to, no more than fits, and no secret."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.errors import HoldfastError
from holdfast.node.introducer_list import write_introducers
from holdfast.node.introducer_nurls import read_introducer_nurls
from holdfast.protocol.nurl import parse_nurl
from holdfast.testing.command_line import Outcome, run_holdfast
from holdfast.testing.hostile_introducer import HostileIntroducer
from holdfast.testing.introducer_suite import AnnouncingNode
from holdfast.testing.node_processes import NodeProcess, NodeProcesses, introducer_of, state_of
from holdfast.wire.local_client import LocalClient

FILE_SIZE = 64 << 10
LEVEL = 'level = "info"'


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcesses]:
    with NodeProcesses(tmp_path_factory.mktemp("logs")) as nodes:
        yield nodes


def levels_and_areas(node: NodeProcess) -> set[tuple[str, str]]:
    """Return level and area, the first name below holdfast, of each line of a node's log."""
    lines = [json.loads(line) for line in node.log.splitlines()]
    return {(line["level"], line["logger"].removeprefix("holdfast.").partition(".")[0]) for line in lines}


def test_areas_have_levels_of_their_own(nodes: NodeProcesses) -> None:
    dead = nodes.introducer("dead")
    dead.start()
    talkative, silent = nodes.client("talkative", [dead]), nodes.client("silent", [dead])
    dead.stop()
    talkative.configure(LEVEL, 'level = "error"')
    talkative.configure("files-kept = 4", 'files-kept = 4\n[logs.levels]\ngrid = "info"')
    silent.configure("files-kept = 4", 'files-kept = 4\n[logs.levels]\nnode = "error"')
    nodes.start(talkative, silent)
    for node in (talkative, silent):
        node.wait_for(lambda status: "refused" in introducer_of(status, "dead")["reason"])
        node.stop()
        assert levels_and_areas(node) == {("info", "grid")}


def test_logs_take_no_more_room_than_they_are_given(nodes: NodeProcesses) -> None:
    crowd = [AnnouncingNode(f"nobody {number}").announce_raw({}) for number in range(3000)]
    with HostileIntroducer(nodes.directory / "hostile", crowd) as hostile:
        client = nodes.client("flooded", [])
        write_introducers(client.private, {"hostile": hostile.nurl})
        client.configure('file-size = "4Mi"', 'file-size = "64Ki"')
        client.configure("files-kept = 4", "files-kept = 2")
        client.start()
        logs = client.directory / "logs"
        client.wait_for(lambda _: hostile.taken == len(crowd))
        client.stop()
    assert sorted(os.listdir(logs)) == ["node.log", "node.log.1", "node.log.2"]
    assert all(path.stat().st_size <= FILE_SIZE for path in logs.iterdir())
    assert all(path.stat().st_mode & 0o077 == 0 for path in [logs, *logs.iterdir()])
    assert "left out" in (logs / "node.log.2").read_text()


def done(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.stderr
    return outcome.text


def test_no_secret_of_a_whole_session_is_in_any_log(nodes: NodeProcesses) -> None:
    introducer = nodes.introducer()
    introducer.configure(LEVEL, 'level = "debug"')
    introducer.start()
    codes = {
        "server": done(run_holdfast("invite", introducer.directory, "--server", "--nickname", "invited")),
        "client": done(run_holdfast("invite", introducer.directory)),
    }
    for name, code in codes.items():
        place = nodes.directory / f"joined-{name}"
        done(run_holdfast("join", "-", place, *join_options(name), stdin=f"{code}\n".encode()))
    used = run_holdfast("join", codes["client"], nodes.directory / "too-late")
    assert used.code != 0
    server, client = nodes.adopt("joined-server"), nodes.adopt("joined-client")
    for node in (server, client):
        node.configure(LEVEL, 'level = "debug"')
    nodes.start(server, client)
    client.wait_for(lambda status: state_of(status, "invited") == "up")

    said = [used.stderr]
    file = nodes.directory / "file"
    file.write_bytes(os.urandom(300_000))
    encoding = ("--encoding", "1/1/1")
    caps = [done(run_holdfast("put", "--node", client.directory, *encoding, file))]
    copy = nodes.directory / "copy"
    done(run_holdfast("get", "--node", client.directory, "-", copy, stdin=f"{caps[0]}\n".encode()))
    assert copy.read_bytes() == file.read_bytes()
    said.append(done(run_holdfast("status", client.directory, "--json")))
    said.append(json.dumps(client.status()))
    minted = client.call("POST", "tokens", {"scopes": ["status"], "seconds": 100, "label": "x"})["token"]
    LocalClient(client.private, minted).request("GET", "/control/v1/status").read_json()

    secrets = [*codes.values(), *caps, minted, *secrets_of(introducer, server, client)]
    secrets += [code.rpartition("/")[2] for code in codes.values()]
    secrets += [cap.split(":")[2] for cap in caps]
    for node in (introducer, server, client):  # and what goes wrong
        LocalClient(node.private, "wrong" + minted).request("GET", "/control/v1/status").close()
    share = next(path for path in (server.directory / "storage/shares").rglob("*") if path.is_file())
    share.write_bytes(share.read_bytes()[:1000])
    said.append(run_holdfast("get", "--node", client.directory, caps[0], "-").stderr)
    server.kill()
    said.append(run_holdfast("get", "--node", client.directory, caps[0], "-").stderr)
    with suppress(HoldfastError):
        client.call("POST", "download", {"uri": caps[0] + "garbled"})
    introducer.stop()
    client.stop()
    said.append(run_holdfast("get", "--node", client.directory, caps[0], "-").stderr)  # without its node

    logs = [path for path in nodes.directory.rglob("logs/*") if path.is_file()]
    assert {path.parent.parent.name for path in logs} >= {"introducer", "joined-server", "joined-client"}
    texts = {str(path): path.read_text() for path in [*logs, *nodes.directory.glob("*.output")]}
    texts |= {f"said {number}": text for number, text in enumerate(said)}
    found = [(name, secret[:6]) for name, text in texts.items() for secret in secrets if secret in text]
    assert found == []
    assert not any("Traceback" in text for text in texts.values())


def join_options(name: str) -> list[str]:
    return ["--host", "127.0.0.1", "--location", "127.0.0.1"] if name == "server" else []


def secrets_of(introducer: NodeProcess, server: NodeProcess, client: NodeProcess) -> list[str]:
    nurls = read_introducer_nurls(introducer.private)
    secrets = [parse_nurl(nurl).swissnum for nurl in (nurls.publish, nurls.subscribe)]
    for node in (introducer, server, client):
        names = ("swissnum", "node-swissnum", "secret", "convergence", "control.token", "node.key")
        paths: list[Path] = [node.private / name for name in names]
        secrets += [path.read_text().strip() for path in paths if path.exists()]
    return secrets
