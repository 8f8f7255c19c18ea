"""Drives kept safe: frozen, bundled and backed up to a grid, and back again when their server is gone for
good; commands and nodes as their users run them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.node.config import (
    ClientConfig,
    NodeConfig,
    NodeSettings,
    VdriveConfig,
    VdriveServerConfig,
    load_config,
)
from holdfast.node.identity import load_node_identity
from holdfast.node.introducer_nurls import nurls_of
from holdfast.testing.command_line import Outcome, run_here
from holdfast.testing.node_processes import ONE_OF_ONE, NodeProcess, NodeProcesses

DATA = b"data of a file" * 100

Run = Callable[..., Outcome]


class World:
    """A grid of one storage server, and what is made in it."""

    def __init__(self, nodes: NodeProcesses) -> None:
        self.nodes = nodes
        self.introducer = nodes.introducer()
        self.introducer.start()
        self.storage = nodes.server("storage", [self.introducer])
        self.storage.start()

    def service(self, name: str) -> NodeProcess:
        """Return a virtual drive server, made and running."""
        server = VdriveServerConfig(enabled=True, accounts="open")
        config = NodeConfig(
            node=NodeSettings(nickname=name),
            client=ClientConfig(enabled=True, encoding=ONE_OF_ONE),
            vdrive_server=server,
        )
        node = self.nodes.make(name, config, [self.introducer])
        node.start()
        return node

    def client(self, name: str, service: NodeProcess | None = None) -> NodeProcess:
        """Return a client that makes its directories at ``service``."""
        config = NodeConfig(
            node=NodeSettings(nickname=name),
            client=ClientConfig(enabled=True, encoding=ONE_OF_ONE),
            vdrive=VdriveConfig(enabled=True),
        )
        node = self.nodes.make(name, config, [self.introducer])
        if service is not None:
            (node.private / "vdrive.toml").write_text(f'service = "{nurl_of(service)}"\n')
        return node


def nurl_of(service: NodeProcess) -> str:
    """Return the NURL of a virtual drive server that runs."""
    swissnum = (service.private / "vdrive-swissnum").read_text().strip()
    config = load_config(service.directory)
    return nurls_of(load_node_identity(service.private), config.node, service.port, swissnum)[0]


def lose(service: NodeProcess) -> None:
    """Let a node be gone for good, with all that it had."""
    service.kill()
    shutil.rmtree(service.directory)


def does(node: NodeProcess, *arguments: str | os.PathLike[str], code: int = 0, stdin: bytes = b"") -> Outcome:
    outcome = run_here(*arguments, node=node.directory, stdin=stdin)
    assert outcome.code == code, (arguments, outcome)
    return outcome


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with NodeProcesses(tmp_path_factory.mktemp("keeping")) as nodes:
        yield World(nodes)


def test_a_lost_service_is_survived_by_what_was_frozen_and_by_bundles(world: World, tmp_path: Path) -> None:
    first = world.service("first")
    client = world.client("client", first)
    does(client, "create-alias", "docs")
    for place in ("docs:top", "docs:a/b/inner"):
        does(client, "put", "-", place, stdin=DATA + place.encode())
    does(client, "put", "--format", "sdmf", "-", "docs:a/mutable", stdin=DATA)
    does(client, "mkdir", "--kind", "grid", "docs:grid")
    does(client, "put", "-", "docs:grid/x", stdin=DATA)
    write_cap = json.loads(does(client, "list-aliases", "--json").stdout)["docs"]["readwrite"]
    read_cap = json.loads(does(client, "list-aliases", "--json").stdout)["docs"]["readonly"]

    frozen = does(client, "vdrive", "snapshot", "--freeze", "--deep", "docs:").text
    assert frozen.startswith("URI:DIR2-CHK:")
    assert does(client, "vdrive", "snapshot", "--freeze", "--deep", "--quiet", read_cap).text == frozen
    shallow = does(client, "vdrive", "snapshot", "--freeze", "docs:", code=3)
    assert "--deep" in shallow.stderr
    catalogue = does(client, "vdrive", "snapshot", "--bundle", "--deep", read_cap).text
    again = json.loads(
        does(
            client, "vdrive", "snapshot", "--bundle", "--deep", "--json", "docs:", "--since", catalogue
        ).stdout
    )
    assert (again["cap"], again["bundles"], again["new"]) == (catalogue, 3, 0)
    does(client, "vdrive", "export", read_cap, "-o", tmp_path / "root.bundle")
    does(client, "put", "-", "docs:later", stdin=b"later")

    lose(first)
    reader = world.client("reader")
    assert does(reader, "get", f"{frozen}/a/b/inner").stdout == DATA + b"docs:a/b/inner"
    assert does(reader, "get", f"{frozen}/a/mutable").stdout == DATA
    assert does(reader, "ls", frozen).text.split("\n") == ["a", "grid", "top"]

    second = world.service("second")
    to = nurl_of(second)
    (client.private / "vdrive.toml").write_text(f'service = "{to}"\n')
    made = does(client, "vdrive", "restore", catalogue, write_cap, "--to", to, "--redirect")
    assert "3 directories are there" in made.stderr
    assert does(client, "ls", "docs:").text.split("\n") == [
        "a",
        "grid",
        "later",
        "top",
    ]  # as it was, and more
    assert does(client, "get", "docs:a/b/inner").stdout == DATA + b"docs:a/b/inner"
    does(client, "put", "-", "docs:a/b/new", stdin=b"new")
    assert does(reader, "ls", made.text).text.split("\n") == ["a", "grid", "later", "top"]
    moved = f'[moved]\n{write_cap.split(":")[2]} = "{to}"\n'
    (reader.private / "vdrive.toml").write_text(moved)
    assert does(reader, "get", f"{read_cap}/a/b/new").stdout == b"new"

    copy = does(client, "mkdir").text
    assert copy.startswith("URI:DIR:")
    does(client, "cp", "-r", "--quiet", frozen, copy)
    assert does(client, "get", f"{copy}/a/mutable").stdout == DATA
    does(client, "vdrive", "import", write_cap, tmp_path / "root.bundle", "--to", to, code=13)
    lose(second)


def test_a_bundle_proves_what_it_holds_and_follows_what_is_there(world: World, tmp_path: Path) -> None:
    first = world.service("alone")
    client = world.client("owner", first)
    cap = does(client, "mkdir").text
    other = does(client, "mkdir").text
    does(client, "put", "-", f"{cap}/one", stdin=DATA)
    verify = json.loads(does(client, "ls", "--json", cap).stdout)[1]["verify_uri"]
    does(client, "vdrive", "export", verify, "-o", tmp_path / "one")
    does(client, "put", "-", f"{cap}/two", stdin=DATA)
    does(client, "vdrive", "export", cap, "-o", tmp_path / "two")
    whole = (tmp_path / "one").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-3])
    (tmp_path / "changed").write_bytes(whole.replace(b"holdfast-vdrive", b"holdfist-vdrive"))

    second = world.service("elsewhere")
    to = nurl_of(second)
    for bad in ("cut", "changed"):
        assert "bundle" in does(client, "vdrive", "import", cap, tmp_path / bad, "--to", to, code=11).stderr
    does(client, "vdrive", "import", other, tmp_path / "one", "--to", to, code=11)
    behind = does(client, "vdrive", "import", cap, tmp_path / "one", "--to", to)
    assert "vdrive heal" in behind.stderr
    reader = world.client("guest", second)
    assert does(reader, "ls", behind.text).text == "one"
    forward = does(client, "vdrive", "import", cap, tmp_path / "two", "--to", to)
    assert forward.text == behind.text
    assert does(reader, "ls", forward.text).text.split("\n") == ["one", "two"]
    lose(first)
    lose(second)


def test_a_running_node_takes_snapshots_and_links_them(world: World) -> None:
    first = world.service("regular")
    client = world.client("keeper", first)
    does(client, "create-alias", "docs")
    does(client, "put", "-", "docs:a/x", stdin=DATA)
    does(client, "mkdir", "~/Snapshots")
    with open(client.directory / "holdfast.toml", "a") as file:
        file.write('[vdrive.snapshot.daily]\npath = "docs:"\n')
        file.write('[vdrive.snapshot.safe]\npath = "docs:"\nkind = "bundle"\nevery = "1h"\n')
    client.start()
    deadline = time.monotonic() + 30
    while len(does(client, "ls", "~/Snapshots").text.splitlines()) < 2:
        assert time.monotonic() < deadline, client.log
        time.sleep(0.1)
    found = {one["name"]: one for one in json.loads(does(client, "vdrive", "snapshots", "--json").stdout)}
    assert found.keys() == {"daily", "safe"}
    assert does(client, "get", f"~/Snapshots/{found['daily']['linked']}/a/x").stdout == DATA
    client.stop()
    client.start()
    lose(first)
    write_cap = json.loads(does(client, "list-aliases", "--json").stdout)["docs"]["readwrite"]
    second = world.service("standby")
    does(client, "vdrive", "restore", found["safe"]["cap"], write_cap, "--to", nurl_of(second), "--redirect")
    assert does(client, "get", "docs:a/x").stdout == DATA
    again = json.loads(does(client, "vdrive", "snapshots", "--json").stdout)
    assert again == list(found.values())  # those were fresh
    assert "daily" in does(client, "vdrive", "snapshots").text
    client.stop()
    lose(second)


def test_a_server_that_lost_everything_but_its_keys_is_restored_and_healed(
    world: World, tmp_path: Path
) -> None:
    service = world.service("operated")
    with open(service.directory / "holdfast.toml", "a") as file:
        file.write('[vdrive-server.backup]\nevery = "1h"\n')
    token = run_here("vdrive-server", "account", "add", service.directory, "--label", "amber").text
    ann, bob = world.client("ann", service), world.client("bob", service)
    for client in (ann, bob):
        with open(client.private / "vdrive.toml", "a") as file:
            file.write(f'account = "{token}"\n')
    does(ann, "create-alias", "shared")
    does(ann, "put", "-", "shared:a/before", stdin=DATA)
    cap = json.loads(does(ann, "list-aliases", "--json").stdout)["shared"]["readwrite"]
    nurl = does(ann, "vdrive-server", "nurl", service.directory).text
    assert nurl == nurl_of(service)

    first = does(ann, "vdrive-server", "backup", service.directory)
    assert first.text.startswith("2 directories, 2 of them stored now")
    assert "backup.cap" in first.stderr
    does(bob, "put", "-", f"{cap}/bob1", stdin=b"1")
    assert does(ann, "vdrive-server", "backup", service.directory).text.startswith(
        "2 directories, 1 of them stored"
    )
    does(ann, "put", "-", "shared:late-ann", stdin=b"ann")
    does(bob, "put", "-", f"{cap}/late-bob", stdin=b"bob")

    backup_cap = (service.private / "backup.cap").read_text()
    service.kill()
    for path in service.private.glob("vdrive.sqlite*"):
        path.unlink()
    restored = does(ann, "vdrive-server", "restore", "-", service.directory, stdin=backup_cap.encode())
    assert restored.text == "2 directories restored"
    assert (
        "holds directories"
        in does(
            ann, "vdrive-server", "restore", "-", service.directory, stdin=backup_cap.encode(), code=5
        ).stderr
    )
    service.start()
    assert does(ann, "ls", "shared:").text.split("\n") == ["a", "bob1", "late-ann"]
    assert does(bob, "ls", cap).text.split("\n") == ["a", "bob1", "late-ann", "late-bob"]
    assert does(ann, "get", "shared:a/before").stdout == DATA
    does(bob, "mkdir")  # the account is there again
    service.wait_for(lambda status: "the backup is up to date" in service.log, what="a backup")
    service.stop()
    assert "all is well" in does(ann, "vdrive-server", "check", service.directory).text
