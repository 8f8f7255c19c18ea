"""check as its users run it, on files and directories of every kind: what it finds, mends and refuses."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.caps import DirectoryCap, parse_cap
from holdfast.crypto import base32
from holdfast.formats.containers import MUTABLE_HEADER_SIZE
from holdfast.grid.settings import EncodingSettings
from holdfast.node.client_node import VERSIONS_FILE
from holdfast.node.creation import create_client_node
from holdfast.node.local_grid import LocalGrid
from holdfast.testing.command_line import Outcome, run_holdfast
from holdfast.testing.stored_shares import stored_shares
from holdfast.testing.warm_grid import WarmGrid

DATA = random.Random(4).randbytes(5000)
FORMATS = ("SDMF", "MDMF")
KEY, HASH = "a" * 26, "a" * 52
Run = Callable[..., Outcome]
Shares = dict[Path, bytes]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGrid]:
    """Four servers; any two shares of four give a file back."""
    grid = WarmGrid(tmp_path_factory.mktemp("check") / "grid")
    try:
        grid.start(4, EncodingSettings(shares_needed=2, happiness=3, shares_total=4))
        yield grid
    finally:
        grid.stop()


@pytest.fixture(scope="module")
def holdfast(grid: LocalGrid) -> Run:
    def run(*arguments: str | os.PathLike[str], **options: object) -> Outcome:
        return run_holdfast(*arguments, **{"node": grid.directory, **options})  # type: ignore[arg-type]

    return run


@pytest.fixture(scope="module")
def stored(holdfast: Run) -> Callable[..., str]:
    """Store something, and return its capability."""

    def store(*arguments: str, data: bytes = DATA) -> str:
        outcome = holdfast(*arguments, stdin=data)
        assert outcome.code == 0, outcome.stderr
        return outcome.text

    return store


@pytest.fixture(scope="module")
def home(stored: Callable[..., str]) -> str:
    """Return an alias with a mutable file, an immutable one, and a directory below it."""
    stored("create-alias", "home", "--kind", "grid")
    stored("put", "-m", "-", "home:changes")
    stored("put", "-", "home:stays")
    stored("put", "-", "home:sub/inner")
    return "home:"


def shares_of(grid: LocalGrid, cap: str) -> Shares:
    """Return the files in which servers hold the shares of a file, with their contents, by number."""
    index = base32.encode(parse_cap(cap).storage_index)  # type: ignore[union-attr,arg-type]
    nodes = [grid.directory / name for name in grid.names]
    return {share.path: share.path.read_bytes() for share in stored_shares(nodes, index)}


def leases(grid: LocalGrid, cap: str) -> list[int]:
    """Return how many leases each share has."""
    index = base32.encode(parse_cap(cap).storage_index)  # type: ignore[union-attr,arg-type]
    nodes = [grid.directory / name for name in grid.names]
    return [len(share.leases()) for share in stored_shares(nodes, index)]


def put_back(grid: LocalGrid, cap: str, shares: Shares) -> None:
    """Give a file old shares, once the last ones are in the servers' files."""
    shares_of(grid, cap)
    for path, content in shares.items():
        path.write_bytes(content)


def flip(path: Path, offset: int) -> None:
    """Damage a byte of what a client stored; ``offset`` may count from the end."""
    content = bytearray(path.read_bytes())
    content[MUTABLE_HEADER_SIZE + offset if offset >= 0 else offset] ^= 1
    path.write_bytes(content)


def forget(grid: LocalGrid) -> None:
    """Let the client forget which versions it has read and written."""
    for path in (grid.client_directory / "private").glob(f"{VERSIONS_FILE}*"):
        path.unlink()


def weakened(cap: str) -> tuple[str, str]:
    """Return the capabilities that read and that verify."""
    parsed = parse_cap(cap)
    return parsed.read_only.to_text(), parsed.verify_cap.to_text()  # type: ignore[union-attr]


def refused(outcome: Outcome, code: int, said: str) -> None:
    """One sentence, the right status, nothing on standard output, no secret."""
    assert (outcome.code, outcome.stdout) == (code, b""), outcome
    assert re.search(said, outcome.stderr), outcome.stderr
    assert outcome.stderr.startswith("holdfast: ")
    assert outcome.stderr.count("\n") == 1
    assert not re.search(r"URI:[A-Z0-9-]+:[a-z2-7]", outcome.stderr)


# -- what is found


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_capability_of_a_mutable_file_shows_who_holds_what(
    holdfast: Run, grid: LocalGrid, stored: Callable[..., str], file_format: str
) -> None:
    cap = stored("put", "--format", file_format)
    for each, option in zip((cap, *weakened(cap)), ("--quiet", "--add-lease", "--verify"), strict=True):
        outcome = holdfast("check", option, each)
        assert (outcome.code, outcome.stderr) == (0, "")
        lines = outcome.text.splitlines()
        assert lines[0].startswith("healthy: version 1, 5.0 kB; 4 of 4 shares, any 2 suffice; happiness 4")
        assert lines[0].endswith("; 4 of 4 servers answered")
        assert [line.split()[0] for line in lines[2:]] == grid.names
        assert outcome.text.count("■") == 4


def test_shares_that_are_gone_and_damaged_ones_are_told_apart(
    holdfast: Run, grid: LocalGrid, stored: Callable[..., str]
) -> None:
    cap = stored("put", "-m")
    gone, damaged, unsigned, _ = shares_of(grid, cap)
    gone.unlink()
    flip(damaged, -1500)  # in what only verification reads
    counted = holdfast("check", cap)
    assert counted.code == 3
    assert counted.text.startswith("unhealthy, can be read: version 1, 5.0 kB; 3 of 4 shares")
    assert "needs repair" in counted.text.splitlines()
    verified = holdfast("check", "--verify", cap)
    assert verified.code == 3
    assert re.match("unhealthy, can be read: .*; 2 of 4 shares.*; 1 share corrupt\n", verified.text)
    assert damaged.relative_to(grid.directory).parts[0] in verified.stderr
    assert verified.stderr.count("\n") == 1
    assert holdfast("get", cap).stdout == DATA
    flip(unsigned, 1)  # in the signed header
    lost = holdfast("check", "--verify", cap)
    assert lost.code == 4
    assert re.match("cannot be read now: .*; 1 of 4 shares.*; 2 shares corrupt\n", lost.text)
    assert "needs repair" not in lost.text


def test_a_file_that_nobody_has_is_no_picture(holdfast: Run) -> None:
    for cap in (f"URI:MDMF-Verifier:{KEY}:{HASH}", f"URI:DIR2:{KEY}:{HASH}"):
        outcome = holdfast("check", cap)
        assert (outcome.code, outcome.stderr) == (4, "")
        assert outcome.text == "cannot be read now: no good share was found; 4 of 4 servers answered"
    assert json.loads(holdfast("check", "--json", f"URI:SSK:{KEY}:{HASH}").stdout)["sequence"] is None


def test_programs_are_told_the_same(holdfast: Run, grid: LocalGrid, stored: Callable[..., str]) -> None:
    cap = stored("put", "--format", "MDMF")
    gone, *there = shares_of(grid, cap)
    gone.unlink()
    outcome = holdfast("check", "--json", cap)
    assert (outcome.code, outcome.stderr) == (3, "")
    value = json.loads(outcome.stdout)
    assert (value["healthy"], value["recoverable"], value["needs_repair"]) == (False, True, True)
    assert sorted(value["shares"]) == [path.name for path in there]
    assert (value["shares_needed"], value["shares_total"], value["happiness"]) == (2, 4, 3)
    assert (value["sequence"], value["size"], value["wrong_shares"]) == (1, len(DATA), 0)
    assert (value["recoverable_versions"], value["unrecoverable_versions"]) == (1, 0)
    assert (value["needs_merge"], value["rolled_back"], value["corrupt"]) == (False, False, [])
    assert (value["servers_asked"], value["servers_known"]) == (4, 4)
    assert "repair" not in value


@pytest.mark.parametrize("directory_format", FORMATS)
def test_directories_are_checked_with_each_of_their_capabilities(
    holdfast: Run, stored: Callable[..., str], directory_format: str
) -> None:
    cap = stored("mkdir", "--format", directory_format)
    for each in (cap, *weakened(cap)):
        outcome = holdfast("check", "--verify", each)
        assert outcome.code == 0, outcome.stderr
        assert outcome.text.startswith("healthy: version 1, ")


def test_immutable_directories_are_checked_as_their_files(
    holdfast: Run, grid: LocalGrid, stored: Callable[..., str]
) -> None:
    file = parse_cap(stored("put", "--convergence-secret", "none"))
    cap = DirectoryCap(file).to_text()  # type: ignore[arg-type]
    for each in (cap, weakened(cap)[1]):
        outcome = holdfast("check", "--verify", each)
        assert outcome.code == 0, outcome.stderr
        assert outcome.text.startswith("healthy: 4 of 4 shares, any 2 suffice")
        refused(holdfast("check", "--repair", each), 7, "never does")
    deadline = time.monotonic() + 20
    while len(shares := shares_of(grid, cap)) < 4:  # at first, small shares are in a log alone
        assert time.monotonic() < deadline
        time.sleep(0.05)
    next(iter(shares)).unlink()
    assert holdfast("check", cap).code == 3


@pytest.mark.parametrize("cap", ["URI:LIT:nbswy3dp", "URI:DIR2-LIT:"])
def test_what_is_in_its_capability_is_healthy_by_nature(holdfast: Run, cap: str) -> None:
    outcome = holdfast("check", "--repair", "--add-lease", cap)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.text == "healthy: the file is inside the capability; no server holds it"
    value = json.loads(holdfast("check", "--verify", "--repair", "--json", cap).stdout)
    assert (value["healthy"], value["repair"]) == (True, None)


def test_paths_lead_to_files_and_directories(holdfast: Run, home: str) -> None:
    for place in (home, f"{home}sub", f"{home}changes"):
        outcome = holdfast("check", place)
        assert outcome.code == 0, outcome.stderr
        assert outcome.text.startswith("healthy: version ")
    assert holdfast("check", f"{home}stays").text.startswith("healthy: 4 of 4 shares")
    directory = holdfast("mkdir", f"{home}sub").text
    assert holdfast("check", f"{directory}/inner").text.startswith("healthy: 4 of 4 shares")
    assert holdfast("check", "-", stdin=f"{directory}\n".encode()).code == 0


def test_what_only_verifies_is_checked_below_a_directory_too(
    holdfast: Run, stored: Callable[..., str], home: str
) -> None:
    for name, arguments in (("of-mutable", ["-m"]), ("of-immutable", [])):
        verify_cap = weakened(stored("put", *arguments))[1]
        stored("ln", f"imm.{verify_cap}", f"{home}{name}")
        outcome = holdfast("check", "--verify", f"{home}{name}")
        assert outcome.code == 0, outcome.stderr
        assert outcome.text.startswith("healthy: ")


def test_the_default_alias_counts_without_an_argument(holdfast: Run, stored: Callable[..., str]) -> None:
    refused(holdfast("check"), 7, "not a capability")
    stored("create-alias", "tahoe", "--kind", "grid")
    assert holdfast("check").text.startswith("healthy: version 1, ")


# -- what is mended


@pytest.mark.parametrize("file_format", FORMATS)
def test_shares_are_made_again_in_the_same_version(
    holdfast: Run, grid: LocalGrid, stored: Callable[..., str], file_format: str
) -> None:
    cap = stored("put", "--format", file_format)
    before = shares_of(grid, cap)
    gone, damaged, *_ = before
    gone.unlink()
    flip(damaged, -1500)
    outcome = holdfast("check", "--repair", cap)
    assert outcome.code == 0, outcome.stderr
    lines = outcome.text.splitlines()
    assert lines[0].startswith("before: unhealthy, can be read: version 1, 5.0 kB; 2 of 4 shares")
    assert lines[1:3] == ["needs repair", "repair: 2 shares made again, in the same version"]
    assert lines[3].startswith("healthy: version 1, 5.0 kB; 4 of 4 shares")
    assert "corrupt" not in lines[3]
    assert damaged.relative_to(grid.directory).parts[0] in outcome.stderr
    after = shares_of(grid, cap)
    assert [content[MUTABLE_HEADER_SIZE:][:5000] for content in after.values()] == [
        content[MUTABLE_HEADER_SIZE:][:5000] for content in before.values()
    ]
    assert holdfast("check", "--verify", cap).code == 0
    again = holdfast("check", "--repair", "--add-lease", cap)
    assert again.text.splitlines()[0] == "repair: nothing was to be done"
    assert shares_of(grid, cap) == after


def test_a_directory_is_mended_by_its_path(holdfast: Run, grid: LocalGrid, home: str) -> None:
    cap = holdfast("mkdir", f"{home}sub").text
    for path in list(shares_of(grid, cap))[:2]:
        path.unlink()
    outcome = holdfast("check", "--repair", "--json", f"{home}sub")
    assert (outcome.code, outcome.stderr) == (0, "")
    value = json.loads(outcome.stdout)
    assert (value["healthy"], len(value["shares"])) == (True, 4)
    repair = value["repair"]
    assert (repair["attempted"], repair["successful"], repair["kept_version"]) == (True, True, True)
    assert (repair["before"]["healthy"], len(repair["before"]["shares"])) == (False, 2)


def test_a_version_that_older_shares_hide_is_made_complete(
    holdfast: Run, grid: LocalGrid, stored: Callable[..., str]
) -> None:
    cap = stored("put", "-m")
    old = shares_of(grid, cap)
    assert stored("put", "-", cap, data=b"new") == cap
    put_back(grid, cap, dict(list(old.items())[:1]))
    outcome = holdfast("check", cap)
    assert outcome.code == 3
    assert outcome.text.splitlines()[1] == (
        "other versions were found, too: 1 that cannot be read; 1 share of theirs"
    )
    assert holdfast("check", "--repair", cap).code == 0
    assert holdfast("get", cap).stdout == b"new"


def test_what_cannot_be_read_is_not_mended(
    holdfast: Run, grid: LocalGrid, stored: Callable[..., str]
) -> None:
    cap = stored("put", "-m")
    for path in list(shares_of(grid, cap))[:3]:
        path.unlink()
    outcome = holdfast("check", "--repair", cap)
    assert outcome.code == 4
    assert outcome.text.splitlines()[0] == "repair: not possible, as no version can be read"
    assert len(shares_of(grid, cap)) == 1


@pytest.mark.parametrize("options", [[], ["--repair"]])
def test_leases_are_added_for_the_client_that_asks(
    holdfast: Run, grid: LocalGrid, stored: Callable[..., str], tmp_path: Path, options: list[str]
) -> None:
    other = tmp_path / "client"
    create_client_node(other, EncodingSettings(shares_needed=2, happiness=3, shares_total=4))
    (other / "private/servers.yaml").write_text(grid.server_list.read_text())
    cap = stored("put", "-m")
    assert holdfast("check", *options, cap, node=other).code == 0
    assert leases(grid, cap) == [1, 1, 1, 1]
    assert holdfast("check", "--add-lease", *options, cap, node=other).code == 0
    assert leases(grid, cap) == [2, 2, 2, 2]


# -- what is refused


def test_a_newer_version_that_cannot_be_read_is_given_up_only_by_force(
    holdfast: Run, grid: LocalGrid, stored: Callable[..., str]
) -> None:
    cap = stored("put", "-m")
    old = shares_of(grid, cap)
    stored("put", "-", cap, data=b"new")
    put_back(grid, cap, dict(list(old.items())[:3]))
    seen = holdfast("check", cap)
    assert seen.code == 4  # it can be read, but something newer is known to have been there
    assert "this version is older than one that was read or written here before" in seen.text
    assert json.loads(holdfast("check", "--json", cap).stdout)["healthy"] is False
    refused(holdfast("check", "--repair", cap), 11, "version 2 was there before")
    forget(grid)
    assert holdfast("check", cap).code == 3
    before = shares_of(grid, cap)
    refused(holdfast("check", "--repair", cap), 13, "version 2 of the file is newer than what can be read")
    assert shares_of(grid, cap) == before
    outcome = holdfast("check", "--repair", "--force", cap)
    assert outcome.code == 0, outcome.stderr
    assert "repair: the contents were written anew, as version 3" in outcome.text.splitlines()
    assert holdfast("get", cap).stdout == DATA


def test_two_versions_of_one_moment_are_merged_by_nobody(
    holdfast: Run, grid: LocalGrid, stored: Callable[..., str]
) -> None:
    cap = stored("put", "-m")
    old = shares_of(grid, cap)
    stored("put", "-", cap, data=b"mine")
    mine = shares_of(grid, cap)
    put_back(grid, cap, old)
    forget(grid)
    stored("put", "-", cap, data=b"thine")
    put_back(grid, cap, dict(list(mine.items())[:2]))
    seen = holdfast("check", cap)
    assert seen.code == 3
    assert seen.text.splitlines()[1:4] == [
        "other versions were found, too: 1 that can be read; 2 shares of theirs",
        "two versions were written at the same time, and neither is newer",
        "needs repair",
    ]
    refused(holdfast("check", "--repair", cap), 13, "merge what they contain, or force")
    assert holdfast("check", "--repair", "--force", cap).code == 0
    assert holdfast("get", cap).stdout in (b"mine", b"thine")


def test_immutable_files_are_refused_before_anything_is_asked(
    holdfast: Run, stored: Callable[..., str], home: str
) -> None:
    cap = stored("put")
    for each in (cap, weakened(cap)[1], f"URI:CHK:{KEY}:{HASH}:2:5:100", f"{home}stays"):
        refused(holdfast("check", "--repair", each), 7, "--repair mends .* that can change")
        refused(holdfast("check", "--add-lease", each), 7, "--add-lease is for .* that can change")


def test_repair_takes_the_capability_to_write(holdfast: Run, stored: Callable[..., str]) -> None:
    for cap in (stored("put", "-m"), stored("mkdir", "--kind", "grid")):
        for weak in weakened(cap):
            refused(
                holdfast("check", "--repair", "--force", weak), 7, "takes a capability that allows writing"
            )


def test_wrong_capabilities_and_places_are_told_apart(holdfast: Run, home: str) -> None:
    for wrong, said in (
        (f"URI:SSK:{KEY}", "malformed"),
        (f"URI:DIR2-CHK:{KEY}:{HASH}:6:5:100", "impossible"),
        (f"URI:CHK-Refresh:{KEY}", "not a capability of a kind Holdfast knows"),
        (f"URI:LATER:{KEY}", "not a capability of a kind Holdfast knows"),
        ("none:", "alias"),
    ):
        refused(holdfast("check", wrong), 7, said)
    refused(holdfast("check", f"{home}none"), 12, "home:none: there is no 'none'")
    assert holdfast("ln", "ro.URI:LATER:abc", f"{home}later").code == 0
    refused(holdfast("check", f"{home}later"), 7, "home:later: this is not a capability of a kind")
    refused(holdfast("check", "--force", home), 2, "--force is for --repair")
