"""Commands that make, describe and look after nodes, as their users run them: the grid of this
module is made by nothing else. Every bad input has its status and one sentence, and leaves nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import stat
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from holdfast import __version__
from holdfast.errors import ServerError
from holdfast.grid.announcement_cache import AnnouncementCache, CachedAnnouncement
from holdfast.grid.http_introducer import HttpIntroducer
from holdfast.interfaces.introducer import IntroducerVersion
from holdfast.node.config import load_config
from holdfast.node.running import running_node
from holdfast.protocol.announcement import SignedAnnouncement, server_id_of, verified_announcement
from holdfast.protocol.nurl import parse_nurl
from holdfast.protocol.versions import OLDEST_SUPPORTED
from holdfast.testing.command_line import COMMAND, Outcome, run_holdfast, start_holdfast
from holdfast.testing.introducer_suite import AnnouncingNode

DATA = b"kept by nodes that commands made" * 1000
NURL = "pb://" + "A" * 43 + "@introducer.example:3456/swissnumswissnumswissnum#v=1"
OTHER_NURL = NURL.replace("introducer", "second")
STRANGER = "v0-" + "a" * 52


@pytest.fixture(autouse=True)
def not_in_the_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file written by mistake shows in the directory of the test."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


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
    assert "#v=1" not in text.replace("SWISSNUM#v=1", "")
    assert "swissnumswissnum" not in text


def done(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.stderr
    check_no_secret(outcome.stderr)
    return outcome


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def node_id(directory: Path) -> str:
    made = done(run_holdfast("servers", "export", directory, "--tahoe")).text
    return str(next(iter(yaml.safe_load(made)["storage"])))


@contextmanager
def running(directory: Path) -> Iterator[None]:
    """Run a node for the length of a block."""
    process = start_holdfast("run", directory)  # which ends when its standard input is closed
    try:
        wait_until(lambda: running_node(directory) is not None or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        yield
    finally:
        process.communicate(timeout=30)


# -- making nodes


def test_an_introducer_is_made_as_the_options_say(tmp_path: Path) -> None:
    made = done(
        run_holdfast(
            "create-introducer", tmp_path / "new/intro", "--nickname", "garden", "--approve",
            "--location", "garden.example:4567", "--location", "192.0.2.7:4567",
        )
    )  # fmt: skip
    directory = tmp_path / "new/intro"
    assert re.match(rf"{directory} is now an introducer: v0-[a-z2-7]{{52}}\n", made.text)
    assert f"next: holdfast run {directory}" in made.text
    config = load_config(directory)
    assert (config.introducer.enabled, config.introducer.admission) == (True, "approve")
    assert (config.storage.enabled, config.client.enabled) == (False, False)
    assert config.node.nickname == "garden"
    assert (config.node.host, config.node.port) == ("0.0.0.0", 4567)
    assert config.node.location == ("garden.example:4567", "192.0.2.7:4567")
    assert stat.S_IMODE((directory / "private").stat().st_mode) == 0o700
    assert made.stderr == ""


def test_a_node_that_only_this_machine_reaches_is_told_so(tmp_path: Path) -> None:
    made = done(run_holdfast("create-introducer", tmp_path / "intro", "--port", "4000"))
    assert "only programs on this machine will reach it" in made.stderr
    node = load_config(tmp_path / "intro").node
    assert (node.host, node.port, node.location) == ("127.0.0.1", 4000, ())


def test_a_storage_node_is_a_client_too(tmp_path: Path) -> None:
    (tmp_path / "nurl").write_text(f"{OTHER_NURL}\n")
    made = done(
        run_holdfast(
            "create-node", tmp_path / "node", "--introducer", "-", "--introducer", tmp_path / "nurl",
            "--reserved-space", "5Gi", "--encoding", "2/3/4", "--host", "127.0.0.2", "--json",
            stdin=f"{NURL}\n".encode(),
        )
    )  # fmt: skip
    report = json.loads(made.stdout)
    assert (report["directory"], report["services"]) == (str(tmp_path / "node"), ["storage", "client"])
    config = load_config(tmp_path / "node")
    assert (config.storage.enabled, config.storage.reserved_space) == (True, 5 << 30)
    encoding = config.client.encoding
    assert (encoding.shares_needed, encoding.happiness, encoding.shares_total) == (2, 3, 4)
    assert introducers_of(tmp_path / "node") == {"introducer": NURL, "introducer-2": OTHER_NURL}


def introducers_of(directory: Path) -> dict[str, object]:
    return tomllib.loads((directory / "private/introducers.toml").read_text())


@pytest.mark.parametrize("command", [["create-client"], ["create-node", "--no-storage"]])
def test_a_client_serves_nothing(tmp_path: Path, command: list[str]) -> None:
    made = done(run_holdfast(*command, tmp_path / "client", "--nickname", "me", "--introducer", NURL))
    config = load_config(tmp_path / "client")
    assert (config.serves, config.client.enabled, config.node.nickname) == (False, True, "me")
    assert introducers_of(tmp_path / "client") == {"introducer": NURL}
    assert "is now a client: v0-" in made.text
    assert made.stderr == ""


def test_the_same_introducer_twice_is_one(tmp_path: Path) -> None:
    done(run_holdfast("create-client", tmp_path / "client", "--introducer", NURL, "--introducer", NURL))
    assert introducers_of(tmp_path / "client") == {"introducer": NURL}


def test_a_node_without_introducer_is_made_and_told(tmp_path: Path) -> None:
    for command in ("create-client", "create-node"):
        assert "knows no introducer yet" in done(run_holdfast(command, tmp_path / command)).stderr


def test_a_directory_of_an_odd_name_can_be_pasted_from_what_is_said(tmp_path: Path) -> None:
    made = done(run_holdfast("create-introducer", tmp_path / "it's $HOME"))
    command = next(line for line in made.text.splitlines() if line.startswith("next: holdfast run "))
    words = subprocess.run(
        ["bash", "-c", command.replace("next: holdfast run", "printf %s")], capture_output=True, check=True
    )
    assert words.stdout.decode() == str(tmp_path / "it's $HOME")


def test_the_current_directory_can_become_a_node(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    os.chdir(tmp_path / "empty")
    done(run_holdfast("create-client", "."))
    os.chdir("/")
    assert load_config(tmp_path / "empty").client.enabled
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "work"]


@pytest.mark.parametrize("command", ["create-introducer", "create-node", "create-client"])
def test_what_exists_is_never_replaced(tmp_path: Path, command: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "file").write_bytes(b"content")
    check_refusal(run_holdfast(command, tmp_path / "full"), 8, "exists and is not empty")
    check_refusal(run_holdfast(command, tmp_path / "file"), 8, "exists and is not empty")
    check_refusal(run_holdfast(command, tmp_path / "file/below"), 5, "[Nn]ot a directory|File exists")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full", "work"]


LISTENING = [
    (["--port", "70000"], 2, "--port"),
    (["--location", "http://x"], 2, "HOST or HOST:PORT"),
    (["--location", "x:0"], 2, "HOST or HOST:PORT"),
    (["--location", "0.0.0.0:4000"], 2, "every address"),
    (["--host", "0.0.0.0"], 2, "--location"),
]
NAMING = [
    (["--nickname", "x" * 65], 2, "at most 64"),
    (["--nickname", "a\x1b[31m"], 2, "can be shown"),
]
MEETING = [
    (["--introducer", NURL[:-4]], 2, "--introducer: not a NURL"),
    (["--introducer", NURL.replace("pb:", "pb+tor:")], 2, "needs Tor"),
    (["--introducer", "none"], 5, "cannot read none: No such file"),
    (["--introducer", "/"], 5, "cannot read /: Is a directory"),
    (["--introducer", __file__], 5, "does not hold a NURL alone"),
    (["--introducer", "-"], 5, "standard input does not hold a NURL alone"),
    (["--introducer", "-", "--introducer", "-"], 2, "given once"),
    (["--encoding", "4/3/2"], 2, "shares-needed"),
    (["--encoding", "a/b/c"], 2, "three numbers"),
]
STORING = [
    (["--reserved-space", "much"], 2, "5G or 500Gi"),
    (["--no-storage", "--port", "4000"], 2, "serves nothing"),
    (["--no-storage", "--reserved-space", "1G"], 2, "without storage"),
    (["--public-root", "read-only"], 2, "need --vdrive"),
    (["--vdrive", "--public-root", "mine"], 2, "read-write"),
    (["--vdrive", "--database", "postgresql://a:b@h/n"], 8, "password"),
]


@pytest.mark.parametrize(
    ("command", "options", "code", "said"),
    [
        *(("create-introducer", *case) for case in [*NAMING, *LISTENING]),
        *(("create-node", *case) for case in [*NAMING, *LISTENING, *MEETING, *STORING]),
        *(("create-client", *case) for case in [*NAMING, *MEETING]),
    ],
)
def test_options_that_make_no_sense_make_nothing(
    tmp_path: Path, command: str, options: list[str], code: int, said: str
) -> None:
    check_refusal(run_holdfast(command, tmp_path / "new/node", *options), code, said)
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "work").iterdir()) == []


# -- settings


def test_config_shows_what_counts(tmp_path: Path) -> None:
    done(run_holdfast("create-node", tmp_path / "node", "--nickname", "amber", "--reserved-space", "1G"))
    shown = done(run_holdfast("config", tmp_path / "node"))
    values = tomllib.loads(shown.stdout.decode())
    assert values["node"]["nickname"] == "amber"
    assert values["storage"]["reserved-space"] == 10**9
    assert values["introducer-client"]["use-stale"] == "read"
    assert json.loads(done(run_holdfast("config", tmp_path / "node", "--json")).stdout) == values


def test_config_names_what_is_wrong(tmp_path: Path) -> None:
    done(run_holdfast("create-client", tmp_path / "node"))
    file = tmp_path / "node/holdfast.toml"
    text = file.read_text()
    file.write_text(text.replace("use-stale", "use-stail"))
    check_refusal(run_holdfast("config", tmp_path / "node"), 8, 'use-stail .*did you mean "use-stale"')
    file.write_text("[node")
    check_refusal(run_holdfast("config", tmp_path / "node"), 8, "is not TOML")
    check_refusal(run_holdfast("config", tmp_path), 8, "is not a node directory")
    check_refusal(run_holdfast("config", tmp_path / "none"), 8, "is not a node directory")
    check_refusal(run_holdfast("config", file), 8, "cannot be read")


# -- a grid


@dataclass(frozen=True, slots=True)
class MadeGrid:
    """An introducer that admits nobody by itself, two servers and a client; all but the client run."""

    introducer: Path
    servers: tuple[Path, ...]
    client: Path


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeGrid]:
    place = tmp_path_factory.mktemp("made")
    introducer, client, servers = place / "intro", place / "client", (place / "amber", place / "basil")
    done(run_holdfast("create-introducer", introducer, "--nickname", "garden", "--approve"))
    with ExitStack() as stack:
        stack.enter_context(running(introducer))
        nurl = done(run_holdfast("introducer", "show-nurl", introducer)).stdout
        for server in servers:
            options = ("--nickname", server.name, "--introducer", "-", "--encoding", "1/2/2", "--json")
            made = json.loads(done(run_holdfast("create-node", server, *options, stdin=nurl)).stdout)
            done(run_holdfast("introducer", "admit", introducer, made["node_id"]))
            stack.enter_context(running(server))
        subscribe = done(run_holdfast("introducer", "show-nurl", introducer, "--subscribe")).stdout
        done(
            run_holdfast("create-client", client, "--introducer", "-", "--encoding", "1/2/2", stdin=subscribe)
        )
        yield MadeGrid(introducer, servers, client)


def waiting_keys(introducer: Path) -> set[str]:
    shown = json.loads(done(run_holdfast("introducer", "list", introducer, "--json")).stdout)
    assert shown["admission"] == "approve"
    return {key["key"] for key in shown["keys"] if key["standing"] == "waiting"}


def known_keys(introducer: Path) -> dict[str, dict[str, object]]:
    shown = json.loads(done(run_holdfast("introducer", "list", introducer, "--json")).stdout)
    return {key["key"]: key for key in shown["keys"]}


def wait_until_announced(grid: MadeGrid) -> None:
    ids = [node_id(server) for server in grid.servers]
    wait_until(lambda: all(known_keys(grid.introducer)[key]["announcements"] for key in ids))


def test_a_grid_made_by_commands_keeps_a_file(grid: MadeGrid) -> None:
    wait_until_announced(grid)
    stored = done(run_holdfast("put", stdin=DATA, node=grid.client))
    assert run_holdfast("get", stored.text, node=grid.client).stdout == DATA
    assert run_holdfast("get", stored.text, node=grid.servers[0]).stdout == DATA


def test_the_introducer_shows_who_announces_what(grid: MadeGrid) -> None:
    wait_until_announced(grid)
    shown = done(run_holdfast("introducer", "list", grid.introducer)).text
    for server in grid.servers:
        port = running_node(server).port  # type: ignore[union-attr]
        line = next(line for line in shown.splitlines() if line.startswith(node_id(server)))
        assert re.search(
            rf"admitted +{server.name} +\d+ s ago +node at .*, storage at 127.0.0.1:{port}$", line
        )


def test_the_nurls_differ_in_what_they_allow(grid: MadeGrid) -> None:
    publish = parse_nurl(done(run_holdfast("introducer", "show-nurl", grid.introducer)).text)
    subscribe = parse_nurl(done(run_holdfast("introducer", "show-nurl", grid.introducer, "--subscribe")).text)
    assert (publish.address, publish.spki_hash) == (subscribe.address, subscribe.spki_hash)
    assert publish.swissnum != subscribe.swissnum
    assert introducers_of(grid.servers[0]) == {"introducer": publish.to_text()}
    assert introducers_of(grid.client) == {"introducer": subscribe.to_text()}


def test_a_stranger_is_admitted_and_expelled_while_the_introducer_runs(grid: MadeGrid) -> None:
    admitted = done(run_holdfast("introducer", "admit", grid.introducer, STRANGER))
    assert admitted.text == f"{STRANGER} is admitted"
    assert "not tried to announce itself yet" in admitted.stderr
    assert known_keys(grid.introducer)[STRANGER]["standing"] == "admitted"
    assert "it was before" in done(run_holdfast("introducer", "admit", grid.introducer, STRANGER)).stderr
    assert done(run_holdfast("introducer", "expel", grid.introducer, STRANGER)).stderr == ""
    assert known_keys(grid.introducer)[STRANGER]["standing"] == "expelled"


def test_a_server_that_is_expelled_is_announced_no_more(grid: MadeGrid, tmp_path: Path) -> None:
    done(
        run_holdfast(
            "create-node", tmp_path / "cedar", "--introducer", grid.introducer / "private/introducer.nurl"
        )
    )
    with running(tmp_path / "cedar"):
        key = node_id(tmp_path / "cedar")
        wait_until(lambda: key in waiting_keys(grid.introducer))
        done(run_holdfast("introducer", "admit", grid.introducer, key))
    with running(tmp_path / "cedar"):
        wait_until(lambda: known_keys(grid.introducer)[key]["announcements"])
    expelled = done(run_holdfast("introducer", "expel", grid.introducer, key))
    assert "it had announced: node, storage" in expelled.stderr
    assert known_keys(grid.introducer)[key]["announcements"] == []


def test_the_client_lists_what_it_remembers_and_freezes_it(grid: MadeGrid, tmp_path: Path) -> None:
    done(run_holdfast("put", stdin=DATA, node=grid.client))  # so that it has heard
    ids = {node_id(server): server for server in grid.servers}

    def listed() -> dict[str, dict[str, object]]:
        shown = json.loads(done(run_holdfast("servers", "list", grid.client, "--json")).stdout)
        return {server["id"]: server for server in shown["servers"] if server["id"] in ids}

    wait_until(lambda: listed().keys() == ids.keys())
    for server_id, server in listed().items():
        assert (server["nickname"], server["freshness"], server["used"]) == (
            ids[server_id].name,
            "fresh",
            True,
        )
        assert server["addresses"] == [f"127.0.0.1:{running_node(ids[server_id]).port}"]  # type: ignore[union-attr]
    shutil.copytree(grid.client, tmp_path / "client")
    frozen = done(run_holdfast("servers", "freeze", tmp_path / "client"))
    file = tmp_path / "client/private/servers.toml"
    assert re.match(rf"[0-9]+ servers in {file}", frozen.text)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (tmp_path / "client/private/announcements.cbor").unlink()
    (tmp_path / "client/private/introducers.toml").unlink()
    shown = done(run_holdfast("servers", "list", tmp_path / "client")).text
    assert all(
        re.search(rf"{server.name} +static .* {server_id}", shown) for server_id, server in ids.items()
    )
    stored = done(run_holdfast("put", stdin=DATA, node=tmp_path / "client"))
    assert run_holdfast("get", stored.text, node=tmp_path / "client").stdout == DATA


def test_a_server_is_exported_and_imported(grid: MadeGrid, tmp_path: Path) -> None:
    done(run_holdfast("create-client", tmp_path / "client", "--encoding", "1/2/2"))
    for server in grid.servers:
        exported = done(run_holdfast("servers", "export", server, "--tahoe"))
        assert "only clients on this machine" in exported.stderr
        entry = yaml.safe_load(exported.stdout)["storage"][node_id(server)]["ann"]
        assert re.fullmatch(r"pb://[a-z2-7]{32}@/none", entry["anonymous-storage-FURL"])
        (tmp_path / "one.yaml").write_bytes(exported.stdout)
        imported = done(
            run_holdfast("servers", "import", tmp_path / "client", "--tahoe", tmp_path / "one.yaml")
        )
        assert "1 added, 0 changed, 0 as before" in imported.text
    assert stat.S_IMODE((tmp_path / "client/private/servers.yaml").stat().st_mode) == 0o600
    stored = done(run_holdfast("put", stdin=DATA, node=tmp_path / "client"))
    assert run_holdfast("get", stored.text, node=tmp_path / "client").stdout == DATA


def test_the_publish_swissnum_is_rotated_at_the_next_start(tmp_path: Path) -> None:
    introducer, server = tmp_path / "intro", tmp_path / "server"
    done(run_holdfast("create-introducer", introducer))
    with running(introducer):
        old = done(run_holdfast("introducer", "show-nurl", introducer)).stdout
        subscribe = done(run_holdfast("introducer", "show-nurl", introducer, "--subscribe")).stdout
        rotated = done(run_holdfast("introducer", "rotate-swissnum", introducer, "--publish"))
        assert "the next start" in rotated.text
        assert "stop it and start it again" in rotated.stderr
        new = done(run_holdfast("introducer", "show-nurl", introducer)).stdout
        assert new != old
    done(run_holdfast("create-node", server, "--introducer", "-", stdin=new))
    with running(introducer), running(server):
        assert done(run_holdfast("introducer", "show-nurl", introducer)).stdout == new
        assert done(run_holdfast("introducer", "show-nurl", introducer, "--subscribe")).stdout == subscribe
        wait_until(lambda: node_id(server) in known_keys(introducer))
    with running(introducer):
        assert version_by(new).protocol == 1
        with pytest.raises(ServerError, match="does not accept our permission"):
            version_by(old)


def version_by(nurl: bytes) -> IntroducerVersion:
    """Ask an introducer for its version, which whoever knows one of its two secrets may."""

    async def ask() -> IntroducerVersion:
        introducer = HttpIntroducer(parse_nurl(nurl.decode().strip()))
        try:
            return await introducer.version()
        finally:
            introducer.close()

    return asyncio.run(ask())


# -- lists of servers, without a grid


@pytest.fixture
def client(tmp_path: Path) -> Path:
    done(run_holdfast("create-client", tmp_path / "client"))
    return tmp_path / "client"


def remember(client: Path, *announcements: SignedAnnouncement) -> None:
    now = int(time.time())
    cached = [CachedAnnouncement(one, now, now, 0) for one in announcements]
    AnnouncementCache(client / "private/announcements.cbor").save(cached)


def announced(name: str, place: str, issued: int = 0, service: str = "storage") -> SignedAnnouncement:
    """Return an announcement of a node that gives its own version as this one's; issued now by default."""
    node = AnnouncingNode(name)
    issued = issued or node.now
    fields = {2: service, 5: issued, 6: issued + 7 * 86400, 8: name, 9: [__version__, OLDEST_SUPPORTED]}
    return verified_announcement(*node.announce_raw(fields, nurls=[node.nurl(place)]))


def listed(client: Path) -> dict[str, dict[str, object]]:
    shown = json.loads(done(run_holdfast("servers", "list", client, "--json")).stdout)
    assert shown["problems"] == []
    return {server["nickname"]: server for server in shown["servers"]}


def test_what_is_remembered_is_told_apart(client: Path) -> None:
    month_ago = int(time.time()) - 30 * 86400
    remember(
        client,
        announced("good", "8.8.8.9:4000"),
        announced("private", "192.168.1.1:4000"),
        announced("old", "8.8.4.4:4000", issued=month_ago),
        announced("other", "8.8.4.4:4000", service="node"),
    )
    found = listed(client)
    assert {name: (one["freshness"], one["used"]) for name, one in found.items()} == {
        "good": ("fresh", True),
        "private": ("fresh", False),
        "old": ("stale", True),
    }
    assert "private network" in str(found["private"]["reason"])
    frozen = done(run_holdfast("servers", "freeze", client))
    assert frozen.text.startswith("2 servers in ")
    assert re.search(r"left out: v0-\w+ \(private\): .*private network", frozen.stderr)
    assert {name: one["freshness"] for name, one in listed(client).items()} == {
        "good": "static",
        "old": "static",
        "private": "fresh",
    }
    again = done(run_holdfast("servers", "freeze", client))
    assert again.text == frozen.text


def test_a_damaged_cache_is_put_aside_and_told(client: Path) -> None:
    (client / "private/announcements.cbor").write_bytes(b"\xff")
    shown = done(run_holdfast("servers", "list", client))
    assert "was damaged" in shown.stderr
    assert shown.stderr.count("\n") == 1


def test_nothing_known_is_nothing_to_freeze(client: Path) -> None:
    check_refusal(run_holdfast("servers", "freeze", client), 8, "knows no storage servers yet")
    assert not (client / "private/servers.toml").exists()
    assert listed(client) == {}


def test_a_list_that_is_not_in_use_is_not_overwritten(client: Path, tmp_path: Path) -> None:
    write_tahoe(tmp_path / "theirs.yaml", {server_ids(1)[0]: tahoe_entry("one")})
    done(run_holdfast("servers", "import", client, "--tahoe", tmp_path / "theirs.yaml"))
    frozen = done(run_holdfast("servers", "freeze", client))
    assert "servers.yaml is used in its place" in frozen.stderr
    check_refusal(run_holdfast("servers", "freeze", client), 8, "not the list that .* uses")
    settings = client / "holdfast.toml"
    settings.write_text(
        settings.read_text().replace("[client]\n", '[client]\nservers = "private/servers.toml"\n')
    )
    done(run_holdfast("servers", "freeze", client))
    check_refusal(
        run_holdfast("servers", "import", client, "--tahoe", tmp_path / "theirs.yaml"), 8, "to import, let"
    )


def tahoe_entry(
    nickname: str, place: str = "192.0.2.1:4000", changes: Mapping[str, object] | None = None
) -> dict[str, object]:
    ann: dict[str, object] = {
        "nickname": nickname,
        "anonymous-storage-FURL": f"pb://{'a' * 32}@tcp:{place}/swissnum",
        "anonymous-storage-NURLs": [f"pb://{'A' * 43}@{place}/swissnumswissnumswissnum#v=1"],
        "permutation-seed-base32": "aaaa",
        "my-version": "tahoe-lafs/1.20.0",
    }
    ann.update(changes or {})
    return {"ann": {key: value for key, value in ann.items() if value is not None}}


def write_tahoe(file: Path, storage: dict[str, dict[str, object]]) -> None:
    file.write_text(yaml.safe_dump({"storage": storage}))


def server_ids(count: int) -> list[str]:
    return [server_id_of(bytes([number]) * 32) for number in range(count)]


def test_servers_of_tahoe_are_merged_and_the_others_named(client: Path, tmp_path: Path) -> None:
    one, two, three, four = server_ids(4)
    write_tahoe(tmp_path / "theirs.yaml", {one: tahoe_entry("one"), two: tahoe_entry("two")})
    done(run_holdfast("servers", "import", client, "--tahoe", tmp_path / "theirs.yaml"))
    own = client / "private/servers.yaml"
    own.write_text(own.read_text() + "comment-of-ours: kept\n")
    write_tahoe(
        tmp_path / "theirs.yaml",
        {
            one: tahoe_entry("one"),
            two: tahoe_entry("two", "192.0.2.2:4000"),
            three: tahoe_entry("three", changes={"anonymous-storage-NURLs": None}),
            four: tahoe_entry("four"),
        },
    )
    merged = done(run_holdfast("servers", "import", client, "--tahoe", tmp_path / "theirs.yaml", "--json"))
    assert (
        merged.stderr
        == f"holdfast: left out: server {three}: it offers only Foolscap, which Holdfast does not speak\n"
    )
    report = json.loads(merged.stdout)
    assert (report["added"], report["changed"], report["unchanged"]) == ([four], [two], [one])
    assert len(report["left_out"]) == 1
    whole = yaml.safe_load(own.read_text())
    assert whole["comment-of-ours"] == "kept"
    assert whole["storage"][two]["ann"]["my-version"] == "tahoe-lafs/1.20.0"
    assert listed(client)["two"]["addresses"] == ["192.0.2.2:4000"]


def test_the_cache_of_an_introducer_of_tahoe_is_taken_too(client: Path, tmp_path: Path) -> None:
    one, two = server_ids(2)
    cache = [{**tahoe_entry("one"), "key_s": one}, {**tahoe_entry("two"), "key_s": two}]
    (tmp_path / "introducer_default_cache.yaml").write_text(yaml.safe_dump(cache))
    done(run_holdfast("servers", "import", client, "--tahoe", tmp_path / "introducer_default_cache.yaml"))
    assert listed(client).keys() == {"one", "two"}


def test_a_server_seed_that_would_change_is_not_taken(client: Path, tmp_path: Path) -> None:
    (one,) = server_ids(1)
    write_tahoe(tmp_path / "theirs.yaml", {one: tahoe_entry("one")})
    done(run_holdfast("servers", "import", client, "--tahoe", tmp_path / "theirs.yaml"))
    before = (client / "private/servers.yaml").read_bytes()
    changed = tahoe_entry("renamed", changes={"anonymous-storage-FURL": f"pb://{'b' * 32}@/none"})
    write_tahoe(tmp_path / "theirs.yaml", {one: changed})
    refused = run_holdfast("servers", "import", client, "--tahoe", tmp_path / "theirs.yaml")
    assert refused.code == 5
    assert "its server seed is not the one" in refused.stderr
    assert (client / "private/servers.yaml").read_bytes() == before


def test_an_import_takes_over_a_list_in_toml(client: Path, tmp_path: Path) -> None:
    (one,) = server_ids(1)
    remember(client, announced("good", "8.8.8.8:4000"))
    done(run_holdfast("servers", "freeze", client))
    (client / "private/announcements.cbor").unlink()
    write_tahoe(tmp_path / "theirs.yaml", {one: tahoe_entry("one")})
    imported = done(run_holdfast("servers", "import", client, "--tahoe", tmp_path / "theirs.yaml"))
    assert "is read from now on" in imported.stderr
    assert {name: server["freshness"] for name, server in listed(client).items()} == {
        "good": "static",
        "one": "static",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML"),
        ("- 1\n", "is not an announcement"),
        ("other: 1\n", "no map of servers under 'storage'"),
        ("just text\n", "neither a servers.yaml nor"),
        ("", "neither a servers.yaml nor"),
        ("storage: {}\n", "names no server that Holdfast can use"),
        ("x: 2001-99-99\n", "is not YAML|month"),
    ],
)
def test_a_file_that_is_no_list_changes_nothing(client: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "file").write_text(text)
    check_refusal(run_holdfast("servers", "import", client, "--tahoe", tmp_path / "file"), 5, said)
    (tmp_path / "file").write_bytes(b"\xff\xfe\x00")
    check_refusal(run_holdfast("servers", "import", client, "--tahoe", tmp_path / "file"), 5, "is not YAML")
    check_refusal(run_holdfast("servers", "import", client, "--tahoe", tmp_path), 5, "Is a directory")
    check_refusal(run_holdfast("servers", "import", client, "--tahoe", tmp_path / "none"), 5, "No such file")
    assert not (client / "private/servers.yaml").exists()


def test_a_list_of_ours_that_is_wrong_is_not_replaced(client: Path, tmp_path: Path) -> None:
    write_tahoe(tmp_path / "theirs.yaml", {server_ids(1)[0]: tahoe_entry("one")})
    (client / "private/servers.yaml").write_text("a: [")
    for arguments in (
        ("import", client, "--tahoe", tmp_path / "theirs.yaml"),
        ("list", client),
        ("freeze", client),
    ):
        check_refusal(run_holdfast("servers", *arguments), 8, "servers.yaml is not YAML")
    assert (client / "private/servers.yaml").read_text() == "a: ["


# -- directories of another kind


def test_a_directory_of_another_kind(client: Path, tmp_path: Path) -> None:
    done(run_holdfast("create-introducer", tmp_path / "intro"))
    done(run_holdfast("create-node", tmp_path / "node"))
    for arguments in (("show-nurl",), ("list",), ("rotate-swissnum", "--publish")):
        for directory in (client, tmp_path / "node"):
            check_refusal(run_holdfast("introducer", *arguments, directory), 8, "is no introducer")
        check_refusal(run_holdfast("introducer", *arguments, tmp_path / "none"), 8, "is not a node directory")
        check_refusal(run_holdfast("introducer", *arguments, tmp_path), 8, "is not a node directory")
    for command in ("admit", "expel"):
        check_refusal(run_holdfast("introducer", command, client, STRANGER), 8, "is no introducer")
        check_refusal(run_holdfast("introducer", command, tmp_path / "intro", "v0-abc"), 2, "52 characters")
        check_refusal(run_holdfast("introducer", command, tmp_path / "intro"), 2, "KEY")
    check_refusal(run_holdfast("introducer", "show-nurl", tmp_path / "intro"), 8, "never run.* run it once")
    check_refusal(run_holdfast("introducer", "rotate-swissnum", tmp_path / "intro"), 2, "say --publish")
    check_refusal(
        run_holdfast("servers", "export", tmp_path / "node", "--tahoe"), 8, "never run.* run it once"
    )
    check_refusal(run_holdfast("servers", "export", tmp_path / "node"), 2, "say --tahoe")
    check_refusal(run_holdfast("servers", "export", client, "--tahoe"), 8, "is no storage server")
    check_refusal(run_holdfast("servers", "export", tmp_path, "--tahoe"), 8, "is not a node directory")
    for command in ("list", "freeze"):
        check_refusal(run_holdfast("servers", command, tmp_path / "intro"), 8, "is no client")
        check_refusal(run_holdfast("servers", command, tmp_path / "none"), 8, "does not exist")
    check_refusal(run_holdfast("servers", "import", client), 2, "--tahoe")


def test_an_introducer_that_never_ran_knows_nobody_and_can_admit(tmp_path: Path) -> None:
    done(run_holdfast("create-introducer", tmp_path / "intro"))
    shown = done(run_holdfast("introducer", "list", tmp_path / "intro"))
    assert shown.text == "key  standing  nickname  last heard  announces"
    assert "no node has announced itself yet" in shown.stderr
    assert not (tmp_path / "intro/private/introducer.sqlite").exists()
    done(run_holdfast("introducer", "admit", tmp_path / "intro", STRANGER))
    assert known_keys(tmp_path / "intro")[STRANGER]["standing"] == "admitted"
    done(run_holdfast("introducer", "rotate-swissnum", tmp_path / "intro", "--publish"))


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    done(run_holdfast("create-introducer", tmp_path / "intro"))
    (tmp_path / "intro/private/introducer.sqlite").write_bytes(b"no database" * 100)
    for arguments in (("list", tmp_path / "intro"), ("admit", tmp_path / "intro", STRANGER)):
        check_refusal(run_holdfast("introducer", *arguments), 8, "introducer.sqlite is damaged")


# -- systemd and shells


@pytest.mark.parametrize("name", ["node", 'od%d $HOME "quoted" back\\slash\\', "ümläut 'x'"])
@pytest.mark.parametrize("options", [[], ["--user-unit"]])
def test_systemd_accepts_the_unit(tmp_path: Path, name: str, options: list[str]) -> None:
    done(run_holdfast("create-introducer", tmp_path / name))
    printed = done(run_holdfast("systemd-unit", tmp_path / name, *options)).stdout
    (tmp_path / "test.service").write_bytes(printed)
    assert (b"User=" in printed, b"ProtectSystem=strict" in printed) == ((not options,) * 2)
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    verified = subprocess.run(
        ["systemd-analyze", *(["--user"] if options else []), "verify", tmp_path / "test.service"],
        capture_output=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, b"")


def test_the_unit_lets_the_node_write_where_it_must(tmp_path: Path) -> None:
    done(run_holdfast("create-node", tmp_path / "node", "--location", "storage.example:443"))
    (tmp_path / "disk").mkdir()
    (tmp_path / "node/storage").symlink_to(tmp_path / "disk")
    settings = tmp_path / "node/holdfast.toml"
    settings.write_text(settings.read_text().replace("write-roots = []", 'write-roots = ["/srv/incoming"]'))
    unit = done(run_holdfast("systemd-unit", tmp_path / "node")).text
    assert f"ReadWritePaths={tmp_path}/node {tmp_path}/disk /srv/incoming\n" in unit
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in unit
    os.chdir(tmp_path)
    assert done(run_holdfast("systemd-unit", "node")).text == unit


def test_a_unit_for_no_node(tmp_path: Path) -> None:
    check_refusal(run_holdfast("systemd-unit", tmp_path), 8, "is not a node directory")
    done(run_holdfast("create-client", tmp_path / "two\nlines"))
    check_refusal(run_holdfast("systemd-unit", tmp_path / "two\nlines"), 5, "cannot name")


CREATED = ("alias", "introducer", "node", "client")


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    script = done(run_holdfast("completion", "bash"))
    (tmp_path / "script").write_bytes(script.stdout)
    assert subprocess.run(["bash", "-n", tmp_path / "script"], check=False).returncode == 0
    command = tmp_path / "holdfast"
    command.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    typed = "COMP_WORDS=(holdfast create-); COMP_CWORD=1; _holdfast_completion holdfast"
    completed = subprocess.run(
        ["bash", "-c", f'. {tmp_path}/script; {typed}; echo "${{COMPREPLY[@]}}"'],
        capture_output=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
    )
    assert set(completed.stdout.split()) == {f"create-{what}".encode() for what in CREATED}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_too(shell: str) -> None:
    assert "_HOLDFAST_COMPLETE" in done(run_holdfast("completion", shell)).text


def test_completion_for_an_unknown_shell() -> None:
    check_refusal(run_holdfast("completion", "tcsh"), 2, "bash")


@pytest.mark.parametrize(
    "command",
    [
        "create-introducer",
        "create-node",
        "create-client",
        "config",
        "servers",
        "servers list",
        "servers freeze",
        "servers import",
        "servers export",
        "introducer",
        "introducer show-nurl",
        "introducer list",
        "introducer admit",
        "introducer expel",
        "introducer rotate-swissnum",
        "systemd-unit",
        "completion",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    shown = run_holdfast(*command.split(), "--help")
    assert (shown.code, shown.stderr) == (0, "")
    assert "Usage: holdfast" in shown.text
