"""Virtual drives as their users have them: a grid of processes, and the commands of its clients."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.caps.parsing import parse_cap
from holdfast.caps.vdrive import VdriveWriteCap
from holdfast.grid.settings import EncodingSettings
from holdfast.interfaces.drive import NewChild
from holdfast.node.config import NodeSettings, VdriveServerConfig
from holdfast.node.creation import create_client_node, create_introducer
from holdfast.node.introducer_nurls import read_introducer_nurls
from holdfast.node.local_grid import LocalGrid
from holdfast.node.wiring import open_drive
from holdfast.testing.command_line import Outcome, run_here, start_holdfast
from holdfast.testing.node_processes import NodeProcess
from holdfast.testing.stored_shares import stored_shares

DATA = random.Random(4).randbytes(20_000)
Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGrid]:
    grid = LocalGrid(tmp_path_factory.mktemp("vdrives") / "grid", attached=True)
    try:
        grid.start(2, EncodingSettings(shares_needed=1, happiness=1, shares_total=2))
        yield grid
    finally:
        grid.stop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """An introducer that is a virtual drive server for those with an account, with a public root."""
    directory = tmp_path_factory.mktemp("guarded") / "introducer"
    vdrive = VdriveServerConfig(enabled=True, accounts="token", public_root="read-write")
    create_introducer(directory, NodeSettings(nickname="guarded"), vdrive=vdrive)
    node = NodeProcess(directory)
    try:
        node.start()
        yield node
    finally:
        node.end()


@pytest.fixture
def fails(grid: LocalGrid) -> Run:
    def run(*arguments: str | os.PathLike[str], **options: object) -> Outcome:
        return run_here(*arguments, **{"node": grid.directory, **options})  # type: ignore[arg-type]

    return run


@pytest.fixture
def does(fails: Run) -> Run:
    """Run a command that has to succeed."""

    def run(*arguments: str | os.PathLike[str], **options: object) -> Outcome:
        outcome = fails(*arguments, **options)
        assert outcome.code == 0, (arguments, outcome.stderr)
        return outcome

    return run


@pytest.fixture
def here(request: pytest.FixtureRequest, does: Run) -> str:
    """Return an alias of the test's own."""
    name = "v" + str(abs(hash(request.node.name)))[:12]
    does("create-alias", name)
    return f"{name}:"


def refused(outcome: Outcome, code: int, said: str) -> None:
    assert (outcome.code, outcome.stdout) == (code, b""), outcome
    assert re.search(said, outcome.stderr), outcome.stderr
    assert not re.search(r"URI:[A-Z0-9-]+:[a-z2-7]{20}", outcome.stderr), outcome.stderr


def client_of(introducer: NodeProcess, directory: Path) -> Path:
    create_client_node(
        directory, introducers={"guarded": read_introducer_nurls(introducer.private).subscribe}
    )
    return directory


# -- the client's own service and roots


@pytest.mark.seed("S-195", "S-198", "S-201")
def test_the_private_root_is_made_once_and_is_at_the_service_that_was_announced(
    grid: LocalGrid, does: Run, fails: Run, tmp_path: Path
) -> None:
    write = tmp_path / "f"
    write.write_bytes(DATA)
    does("put", write, "~/docs/f")
    private = grid.client_directory / "private"
    root = (private / "my_vdrive.uri").read_text()
    assert stat.S_IMODE((private / "my_vdrive.uri").stat().st_mode) == 0o600
    assert (private / "vdrive.toml").read_text().count("pb://") == 1
    assert does("ls", "~").stdout == does("ls", "~:").stdout == does("ls", root).stdout == b"docs\n"
    assert does("get", "~:docs/f").stdout == DATA
    does("mv", "~/docs/f", "~/g")
    does("cp", "~:g", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == DATA
    does("rm", "~:g")
    assert (private / "my_vdrive.uri").read_text() == root
    refused(fails("create-alias", "~"), 5, "private root")
    refused(fails("ls", "~x/y"), 7, "alias")
    refused(fails("ls", "/home/somebody"), 5, "write ~: for the private root")


@pytest.mark.seed("S-198")
def test_several_programs_that_need_the_root_at_once_make_one(
    grid: LocalGrid, does: Run, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(grid.client_directory, mine, ignore=shutil.ignore_patterns("my_vdrive*", "roots.uri"))

    def directories() -> int:
        counts = json.loads(does("vdrive-server", "account", "list", grid.directory, "--json").stdout)
        return sum(count["used"]["directories"] for count in counts)

    before = directories()
    started = [start_holdfast("mkdir", f"~/d{number}", node=mine) for number in range(4)]
    for process in started:
        _, stderr = process.communicate(timeout=90)
        assert process.returncode == 0, stderr
    assert does("ls", "~", node=mine).text.split() == ["d0", "d1", "d2", "d3"]
    assert directories() == before + 5
    assert not (mine / "private" / "my_vdrive.uri.pending").exists()


def test_entries_move_between_kinds_and_within_one_by_one_change(does: Run, fails: Run, here: str) -> None:
    does("create-alias", "old-kind", "--kind", "grid")
    does("put", "-", "old-kind:d/f", stdin=DATA)
    does("mv", "old-kind:d", f"{here}from-the-grid")
    assert does("get", f"{here}from-the-grid/f").stdout == DATA
    does("mkdir", f"{here}a/x")
    does("mkdir", f"{here}b")
    versions = [
        json.loads(does("vdrive", "head", "--json", f"{here}{name}").stdout)["version"] for name in "ab"
    ]
    does("mv", f"{here}a/x", f"{here}b/y")
    after = [json.loads(does("vdrive", "head", "--json", f"{here}{name}").stdout)["version"] for name in "ab"]
    assert after == [version + 1 for version in versions]
    does("mv", f"{here}b", "old-kind:b")
    assert does("ls", "old-kind:b").text == "y"
    refused(fails("mv", f"{here}a", f"{here}a/inside"), 5, "inside it")


@pytest.mark.seed("S-193")
def test_a_client_without_a_virtual_drive_works_on_capabilities(
    grid: LocalGrid, does: Run, here: str, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(grid.client_directory, plain, ignore=shutil.ignore_patterns("*.uri", "vdrive*", "*.sock"))
    config = (plain / "holdfast.toml").read_text().split("[vdrive]")[0]
    (plain / "holdfast.toml").write_text(config)
    does("mkdir", f"{here}sub")
    cap = does("share", "--writable", here).text
    assert does("ls", cap, node=plain).stdout == b"sub\n"
    assert does("mkdir", f"{cap}/sub/more", node=plain).text.startswith("URI:DIR:")
    assert does("mkdir", node=plain).text.startswith("URI:DIR2:")
    refused(run_here("ls", "~", node=plain), 9, "no virtual drive")
    refused(run_here("mkdir", "--kind", "vdrive", node=plain), 9, "no virtual drive server is known")
    assert not (plain / "private" / "vdrive.toml").exists()


@pytest.mark.seed("S-194")
async def test_the_virtual_drive_is_got_by_its_name(grid: LocalGrid) -> None:
    async with open_drive(grid.directory) as client:
        assert client.get_service_named("vdrive") is client.vdrive
        assert client.vdrive is not None
        root = await client.vdrive.get_private_root()
        assert await client.vdrive.get_node_at_path("~") == root


def test_directories_take_an_account_where_the_server_wants_one(
    guarded: NodeProcess, does: Run, tmp_path: Path
) -> None:
    node = client_of(guarded, tmp_path / "client")
    assert run_here("mkdir", "--kind", "vdrive", node=node).code == 9
    refused(run_here("ls", "~", node=node), 9, "an account")
    made = json.loads(
        does(
            "vdrive-server", "account", "add", guarded.directory, "--label", "Ann", "--dirs", "2", "--json"
        ).stdout
    )
    (node / "private" / "vdrive.toml").write_text(f'account = "{made["token"]}"\n')
    assert does("ls", "~", node=node).stdout == b""
    used = json.loads(does("vdrive", "account", "--json", node=node).stdout)
    assert (used["label"], used["directories"]) == ("Ann", {"used": 1, "allowed": 2})
    does("mkdir", "~/sub", node=node)
    full = run_here("mkdir", "~/more", node=node)
    refused(full, 9, "full")
    listed = does("vdrive-server", "account", "list", guarded.directory).text
    assert re.search(r"Ann +2 of 2 ", listed)
    does("vdrive-server", "account", "disable", guarded.directory, str(made["id"]))
    refused(run_here("mkdir", "--kind", "vdrive", node=node), 7, "account")
    does("put", "-", "~/sub/f", stdin=b"what is there can be changed", node=node)
    refused(run_here("vdrive-server", "account", "disable", guarded.directory, "999"), 5, "no account 999")
    refused(run_here("vdrive-server", "account", "add", guarded.directory, "--label", "x" * 101), 5, "label")
    assert made["token"] not in guarded.log


def test_who_is_invited_gets_an_account(guarded: NodeProcess, does: Run, tmp_path: Path) -> None:
    code = json.loads(does("invite", guarded.directory, "--nickname", "bob", "--json").stdout)
    code = next(value for value in code.values() if isinstance(value, str) and "/" in value)
    does("join", code, tmp_path / "bob")
    places = tmp_path / "bob" / "private" / "vdrive.toml"
    assert stat.S_IMODE(places.stat().st_mode) == 0o600
    assert does("mkdir", "~/x", node=tmp_path / "bob").text.startswith("URI:DIR:")
    assert "invited: bob" in does("vdrive-server", "account", "list", guarded.directory).text


@pytest.mark.seed("S-196", "S-202")
def test_a_running_client_finds_both_roots_and_says_so(
    guarded: NodeProcess, does: Run, tmp_path: Path
) -> None:
    made = json.loads(
        does("vdrive-server", "account", "add", guarded.directory, "--label", "Cy", "--json").stdout
    )
    node = NodeProcess(client_of(guarded, tmp_path / "client"))
    (node.private / "vdrive.toml").write_text(f'account = "{made["token"]}"\n')
    try:
        node.start()
        status = node.wait_for(lambda status: status["roots"] == {"private": True, "public": True})
        (service,) = status["vdrives"]
        assert (service["nickname"], service["own"], service["accounts"]) == ("guarded", True, "token")
        assert guarded.status()["vdrive"] == {"accounts": "token", "public_root": "read-write"}
        shown = does("status", node.directory).text
        assert "private root, public root" in shown
        assert "new directories go there" in shown
        assert made["token"] not in json.dumps(status) + node.log
    finally:
        node.end()
    shared = (node.private / "global_root.uri").read_text().strip()
    does("put", "-", f"{shared}/for-all", stdin=b"hello", node=node.directory)
    other = client_of(guarded, tmp_path / "other")
    assert does("get", f"{shared}/for-all", node=other).stdout == b"hello"


# -- huge directories


def test_a_huge_directory_is_listed_as_it_comes(grid: LocalGrid, does: Run, here: str) -> None:
    cap = does("share", "--writable", here).text

    async def fill() -> None:
        async with open_drive(grid.directory) as client:
            child = NewChild(client.drive.node("URI:LIT:ba"))
            directory = client.drive.node(cap)
            assert directory.kind == "directory"
            await directory.set_children({f"n{number:05}": child for number in range(5200)})

    asyncio.run(fill())
    listed = does("ls", here)
    assert sorted(listed.text.split("\n")) == [f"n{number:05}" for number in range(5200)]
    assert "too many" in listed.stderr
    kind, described = json.loads(does("ls", "--json", here).stdout)
    assert (kind, len(described["children"])) == ("dirnode", 5200)
    assert len(does("vdrive", "ls", here).text.split("\n")) == 5200
    checked = json.loads(does("check", "--verify", "--json", here).stdout)
    assert (checked["entries"], checked["verified"], checked["unreadable"]) == (5200, True, 0)


# -- versions


def test_two_people_compare_what_their_server_shows_them(does: Run, fails: Run, here: str) -> None:
    does("mkdir", f"{here}a")
    first = does("vdrive", "head", here).text
    does("mkdir", f"{here}b")
    second = does("vdrive", "head", here).text
    assert second != first
    for seen in (first, second):
        assert does("vdrive", "head", here, "--check", seen).text == second
    version, characters = first.split(":")
    refused(fails("vdrive", "head", here, "--check", f"{version}:{characters[::-1]}"), 11, "two histories")
    refused(fails("vdrive", "head", here, "--check", f"99:{characters}"), 11, "hides or has lost")
    refused(fails("vdrive", "head", here, "--check", "nonsense"), 2, "VERSION:CHARACTERS")
    assert does("vdrive", "ls", here, "--at", version).text == "a"
    assert sorted(does("vdrive", "ls", here).text.split()) == ["a", "b"]
    refused(fails("vdrive", "ls", here, "--at", "99"), 13, "")
    refused(fails("vdrive", "head", "URI:LIT:ba"), 7, "not a directory at a virtual drive server")
    told = json.loads(does("vdrive", "head", "--json", here).stdout)
    assert (str(told["version"]), told["entries"], told["followed"]) == (second.split(":")[0], 2, True)


def test_changes_are_shown_while_they_happen(grid: LocalGrid, does: Run, here: str) -> None:
    watching = start_holdfast("vdrive", "watch", here, node=grid.directory)
    try:
        assert watching.stdout is not None
        deadline = time.monotonic() + 60
        lines: list[bytes] = []
        while not lines and time.monotonic() < deadline:  # once it watches, it tells of a change
            does("mkdir", f"{here}first")
            does("rm", f"{here}first")
            os.set_blocking(watching.stdout.fileno(), False)
            lines += [line for line in [watching.stdout.readline()] if line]
        assert lines, "nothing was told"
        assert lines[0] in (b"+ first\n", b"- first\n")
    finally:
        watching.kill()
        watching.communicate()


def test_versions_are_pinned_promised_and_given_back(does: Run, fails: Run, here: str) -> None:
    does("mkdir", f"{here}a/b")
    assert does("vdrive", "pin", f"{here}a").text == "1 link pinned"
    assert does("vdrive", "pin", "--deep", here).text == "2 links pinned"
    refused(fails("vdrive", "pin", here), 2, "--deep")
    does("vdrive", "heartbeat", f"{here}a", "--once", "--every", "1h")
    assert json.loads(does("vdrive", "head", "--json", f"{here}a").stdout)["heartbeat"] == 3600
    does("vdrive", "heartbeat", f"{here}a", "--end")
    assert json.loads(does("vdrive", "head", "--json", f"{here}a").stdout)["heartbeat"] is None
    reading = does("share", f"{here}a").text
    refused(fails("vdrive", "heartbeat", reading, "--once"), 7, "read-only")
    refused(fails("vdrive", "heartbeat", here, "--every", "1s"), 2, "at least")
    healed = json.loads(does("vdrive", "heal", "--json", here).stdout)
    assert (healed["missing"], healed["resent"], healed["disowned"]) == (None, [], False)
    refused(fails("vdrive", "heal", "--disown", reading), 7, "")
    assert "healthy" in does("check", "--repair", here).text
    refused(fails("check", "--repair", "--force", here), 7, "vdrive heal --disown")


@pytest.mark.seed("X-16")
def test_a_directory_is_taken_apart_by_who_holds_a_key_and_by_who_holds_none(
    grid: LocalGrid, does: Run, fails: Run, here: str
) -> None:
    does("put", "-", f"{here}secret-name", stdin=b"x")
    held = does("share", "--writable", here).text
    cap = parse_cap(held)
    assert isinstance(cap, VdriveWriteCap)
    whole = [json.loads(line) for line in does("vdrive", "dump", here).stdout.splitlines()]
    assert [line.get("name") for line in whole] == [None, "secret-name"]
    sealed = does("vdrive", "dump", cap.verify_cap.to_text()).stdout
    assert b"secret-name" not in sealed
    blind = [json.loads(line) for line in sealed.splitlines()]
    kept = [
        json.loads(line)
        for line in does("vdrive-server", "dump", grid.directory, blind[0]["index"]).stdout.splitlines()
    ]
    assert kept[1]["digest"] == blind[1]["digest"] == whole[1]["digest"]
    assert kept[0]["head"] == blind[0]["head"]
    assert json.loads(does("check", "--verify", "--json", cap.verify_cap.to_text()).stdout)["healthy"]
    refused(fails("vdrive", "ls", cap.verify_cap.to_text()), 7, "")
    refused(fails("vdrive-server", "dump", grid.directory, "nonsense!"), 5, "52 letters")
    refused(fails("vdrive-server", "dump", grid.directory, "aaaaaaaa"), 4, "no directory")
    assert "all is well" in does("vdrive-server", "check", grid.directory).text
    refused(fails("vdrive-server", "check", grid.client_directory), 8, "is no virtual drive server")


@pytest.mark.seed("X-16")
def test_capabilities_and_shares_are_taken_apart(
    grid: LocalGrid, does: Run, fails: Run, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(random.Random(5).randbytes(400_000))
    fixed = does("put", tmp_path / "large").text
    parts = json.loads(does("debug", "dump-cap", "-", stdin=fixed.encode()).stdout)
    assert (parts["kind"], parts["size"], parts["shares_needed"]) == ("CHK", 400_000, 1)
    (share, *_) = (grid.directory / grid.names[0]).glob(f"storage/shares/??/{parts['storage_index']}/*")
    dumped = json.loads(does("debug", "dump-share", share).stdout)
    assert dumped["container"] == "immutable"
    assert dumped["share"]["extension_block"]["size"] == "400000"
    changing = does("put", "-m", tmp_path / "large").text
    parts = json.loads(does("debug", "dump-cap", changing).stdout)
    assert (parts["kind"], parts["writable"]) == ("SSK", True)
    (stored,) = stored_shares([grid.directory / grid.names[0]], parts["storage_index"])
    dumped = json.loads(does("debug", "dump-share", stored.path).stdout)
    assert (dumped["container"], dumped["share"]["sequence"], dumped["share"]["format"]) == (
        "mutable",
        1,
        "SDMF",
    )
    assert json.loads(does("debug", "dump-cap", parts["refresh_cap"]).stdout)["kind"] == "SSK-Refresh"
    refused(fails("debug", "dump-cap", "URI:CHK:nonsense"), 7, "")
    refused(fails("debug", "dump-cap", "nonsense"), 7, "")
    refused(fails("debug", "dump-share", tmp_path / "large"), 11, "no share")
    refused(fails("debug", "dump-share", tmp_path / "nothing"), 5, "cannot be read")


# -- sharing, leases


@pytest.mark.seed("S-095")
def test_what_is_shared_only_reads_unless_more_is_asked_for(does: Run, fails: Run, here: str) -> None:
    does("put", "-", f"{here}d/f", stdin=DATA)
    given = does("share", f"{here}d").text
    assert given.startswith("URI:DIR-RO:")
    assert does("get", f"{given}/f").stdout == DATA
    refused(fails("put", "-", f"{given}/g", stdin=DATA), 7, "")
    refused(fails("share", "--writable", given), 7, "no more to give")
    assert does("share", "--writable", f"{here}d").text.startswith("URI:DIR:")
    assert does("share", f"{here}d/f").text.startswith("URI:CHK:")


@pytest.mark.seed("S-100")
def test_leases_are_renewed_by_who_can_read_nothing(
    grid: LocalGrid, does: Run, fails: Run, here: str, tmp_path: Path
) -> None:
    does("put", "-", f"{here}d/f", stdin=DATA)
    does("put", "-m", "-", f"{here}d/m", stdin=DATA)
    does("put", "-", f"{here}d/small", stdin=b"in the capability itself")
    listed = does("manifest", "--refresh-cap", here).stdout
    assert sorted(line.split(b":")[1] for line in listed.split()) == [
        b"CHK-Refresh",
        b"DIR-Refresh",
        b"DIR-Refresh",
        b"SSK-Refresh",
    ]
    manifest = tmp_path / "home.manifest"
    manifest.write_bytes(b"# of the directory at home\n\n" + listed)
    renewer = tmp_path / "renewer"
    shutil.copytree(
        grid.client_directory, renewer, ignore=shutil.ignore_patterns("*.uri", "secret", "aliases")
    )
    index = json.loads(does("vdrive", "dump", here).stdout.splitlines()[0])["index"]

    def leases() -> int:
        dumped = does("vdrive-server", "dump", grid.directory, index).stdout.splitlines()[0]
        return len(json.loads(dumped)["leases"])

    before = leases()
    done = json.loads(does("renew", "--manifest", tmp_path, "--json", node=renewer).stdout)
    assert done == {"renewed": 4, "partly": 0, "cancelled": 0, "failed": []}
    assert leases() == before + 1
    for cap in listed.decode().split():
        for command in (("get",), ("stats",), ("vdrive", "ls"), ("vdrive", "dump"), ("check",)):
            refused(run_here(*command, cap, node=renewer), 7 if command != ("stats",) else 12, "")
    fewer = tmp_path / "fewer"
    fewer.write_bytes(b"")
    done = json.loads(does("renew", "--manifest", fewer, "--cancel", manifest, "--json", node=renewer).stdout)
    assert done["cancelled"] == 2
    assert leases() == before
    fewer.write_text("URI:CHK-Refresh:" + "a" * 26)
    gone = fails("renew", "--manifest", fewer)
    assert (gone.code, gone.text) == (3, "0 leases renewed")
    assert "no server holds shares of it" in gone.stderr
    fewer.write_text(f"{listed.decode().split()[0]}\nURI:CHK:nonsense\n")
    refused(fails("renew", "--manifest", fewer), 5, "line 2")
    refused(fails("renew", "--manifest", tmp_path / "nothing"), 5, "cannot be read")


# -- recovery


def test_a_client_that_is_lost_comes_back_by_one_line(
    grid: LocalGrid, does: Run, fails: Run, here: str, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(grid.client_directory, mine, ignore=shutil.ignore_patterns("*.uri", "aliases"))
    does("create-alias", "docs", node=mine)
    does("create-alias", "old", "--kind", "grid", node=mine)
    does("put", "-", "docs:letters/f", stdin=DATA, node=mine)
    does("put", "-", "old:g", stdin=DATA, node=mine)
    does("put", "-", "~/h", stdin=DATA, node=mine)
    assert "no recovery line yet" in does("roots", node=mine).stderr
    shown = does("roots", "--recovery", node=mine)
    assert "whoever has it" in shown.stderr
    assert shown.stdout.startswith(b"hfr1-")
    assert shown.stdout.count(b"\n") == 1
    assert does("roots", "--recovery", node=mine).stdout == shown.stdout
    does("create-alias", "later", node=mine)
    does("create-alias", "gone", node=mine)
    does("remove-alias", "gone", node=mine)
    refused(fails("remove-alias", "gone", node=mine), 7, "no alias gone")
    convergence = (mine / "private" / "convergence").read_text().strip()
    listed = does("list-aliases", node=mine).stdout
    shutil.rmtree(mine)

    back = tmp_path / "back"
    told = json.loads(does("recover", "--json", back, stdin=shown.stdout).stdout)
    assert told["aliases"] == ["docs", "later", "old"]
    assert told["private_root"]
    assert told["unreadable"] == []
    assert does("list-aliases", node=back).stdout == listed
    for place in ("docs:letters/f", "old:g", "~/h"):
        assert does("get", place, node=back).stdout == DATA
    assert (back / "private" / "convergence").read_text().strip() == convergence
    assert stat.S_IMODE((back / "private").stat().st_mode) == 0o700
    assert does("roots", "--recovery", node=back).stdout == shown.stdout
    assert "brings all of these back" in does("roots", node=back).stderr
    refused(fails("recover", back, stdin=shown.stdout), 8, "not an empty directory")
    wrong = shown.stdout.replace(b"-", b"", 3)
    refused(fails("recover", tmp_path / "other", stdin=wrong[:40]), 7, "recovery line")
    refused(fails("recover", tmp_path / "other", stdin=b""), 7, "no recovery line")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back"]


def test_clients_of_one_line_take_nothing_from_each_other(grid: LocalGrid, does: Run, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    shutil.copytree(grid.client_directory, mine, ignore=shutil.ignore_patterns("*.uri", "aliases"))
    line = does("roots", "--recovery", node=mine).stdout
    does("recover", other, stdin=line)
    for node in (mine, other):
        does("create-alias", "work", node=node)
        does("put", "-", "work:f", stdin=node.name.encode(), node=node)
        does("roots", node=node)
    private = mine / "private" / "aliases"
    private.write_text(private.read_text() + private.read_text().replace("work:", "a name of old times:"))
    does("roots", node=mine)

    back = tmp_path / "back"
    told = json.loads(does("recover", "--json", back, stdin=line).stdout)
    assert (told["aliases"], told["unreadable"]) == (["work", "work.2"], ["alias:a name of old times"])
    assert does("get", "work:f", node=back).stdout == b"mine"
    assert does("get", "work.2:f", node=back).stdout == b"other"
    does("remove-alias", "work", node=other)
    assert json.loads(does("recover", "--json", tmp_path / "again", stdin=line).stdout)["aliases"] == ["work"]
