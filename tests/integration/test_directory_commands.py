"""Aliases, directories and copies as their users run them: commands, streams, exit statuses; directories at
a virtual drive server, but where a test says otherwise."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from holdfast.grid.settings import EncodingSettings
from holdfast.node.local_grid import LocalGrid
from holdfast.testing.command_line import Outcome, run_here, run_holdfast, start_holdfast
from holdfast.testing.warm_grid import WarmGrid

DATA = random.Random(2).randbytes(30_000)
MORE = random.Random(3).randbytes(40_000)
Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGrid]:
    """Four servers; any two shares of four give a file back."""
    grid = WarmGrid(tmp_path_factory.mktemp("directories") / "grid")
    try:
        grid.start(4, EncodingSettings(shares_needed=2, happiness=3, shares_total=4))
        yield grid
    finally:
        grid.stop()


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
def kind() -> str:
    """Return where the directories of a test are; some tests are parametrised by it."""
    return "vdrive"


both_kinds = pytest.mark.parametrize("kind", ["vdrive", "grid"])


@pytest.fixture
def here(request: pytest.FixtureRequest, does: Run, kind: str) -> str:
    """Return an alias of the test's own."""
    name = "t" + str(abs(hash(request.node.name)))[:12]
    does("create-alias", "--kind", kind, name)
    return f"{name}:"


def refused(outcome: Outcome, code: int, said: str) -> None:
    """One sentence, the right status, nothing on standard output, no secret."""
    assert (outcome.code, outcome.stdout) == (code, b""), outcome
    assert re.search(said, outcome.stderr), outcome.stderr
    assert outcome.stderr.startswith("holdfast: ")
    assert outcome.stderr.count("\n") == 1
    no_secret(outcome.stderr)


def no_secret(text: str) -> None:
    assert not re.search(r"URI:[A-Z0-9-]+:[a-z2-7]{20}", text), text


def show(root: Path) -> dict[str, object]:
    return {path.name: show(path) if path.is_dir() else path.read_bytes() for path in sorted(root.iterdir())}


def write(root: Path, **files: bytes) -> None:
    for name, data in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


# -- aliases and directories


def test_an_alias_is_made_listed_and_shared_with_others(grid: LocalGrid, does: Run, fails: Run) -> None:
    assert does("create-alias", "work:").stdout == b"Alias 'work' created\n"
    path = grid.client_directory / "private" / "aliases"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listed = json.loads(does("list-aliases", "--json").stdout)["work"]
    assert listed["readwrite"].startswith("URI:DIR:")
    assert listed["readonly"].startswith("URI:DIR-RO:")
    assert f"work: {listed['readonly']}" in does("list-aliases", "--readonly-uri").text
    refused(fails("create-alias", "work"), 12, "an alias work already")
    refused(fails("create-alias", "a:b"), 5, "colons")
    added = does("add-alias", "guest", "-", stdin=listed["readonly"].encode())
    assert added.stdout == b"Alias 'guest' added\n"
    does("put", "-", "work:f", stdin=DATA)
    assert does("get", "guest:f").stdout == DATA
    refused(fails("put", "-", "guest:g", stdin=DATA), 7, "")
    refused(fails("mkdir", "guest:d"), 7, "")
    refused(fails("rm", "guest:f"), 7, "")
    refused(fails("add-alias", "file", does("put", "-", stdin=DATA).text), 7, "a file")
    refused(fails("ls", "nobody:"), 7, "no alias nobody")
    refused(fails("ls"), 7, "alias tahoe")


@both_kinds
def test_directories_are_made_with_those_above_and_once(here: str, kind: str, does: Run, fails: Run) -> None:
    cap = does("mkdir", f"{here}a/b/c").text
    assert cap.startswith("URI:DIR2:" if kind == "grid" else "URI:DIR:")
    assert does("mkdir", f"{here}a/b/c").text == cap
    assert does("ls", f"{here}a").stdout == b"b\n"
    assert does("mkdir").text.startswith("URI:DIR:")
    assert does("mkdir", "--kind", "grid").text.startswith("URI:DIR2:")
    assert does("mkdir", "--format", "mdmf").text.startswith("URI:DIR2-MDMF:")
    refused(fails("mkdir", "--format", "mdmf", "--kind", "vdrive"), 2, "need --kind grid")
    does("put", "-", f"{here}a/f", stdin=b"1")
    refused(fails("mkdir", f"{here}a/f"), 12, "'f' is not a directory")
    refused(fails("mkdir", f"{here}a/f/x"), 12, "'f' is not a directory")
    assert does("ls", cap).stdout == b""


@both_kinds
def test_a_listing_shows_kinds_sizes_and_capabilities(here: str, does: Run, fails: Run) -> None:
    fixed = does("put", "-", f"{here}fixed", stdin=DATA).text
    changing = does("put", "-m", "-", f"{here}changing", stdin=DATA).text
    does("mkdir", f"{here}sub")
    lines = does("ls", "-lF", here).text.split("\n")
    assert [re.sub(r"\w{3} \d\d \d\d:\d\d ", "", line).split() for line in lines] == [
        ["-rw-", "?", "changing*"],
        ["-r--", "30000", "fixed"],
        ["drwx", "-", "sub/"],
    ]
    assert does("ls", "--uri", f"{here}fixed").text == f"fixed {fixed}"
    kind, described = json.loads(does("ls", "--json", here).stdout)
    assert (kind, sorted(described["children"])) == ("dirnode", ["changing", "fixed", "sub"])
    assert described["children"]["changing"][1]["rw_uri"] == changing
    kind, described = json.loads(does("ls", "--json", f"{here}changing").stdout)
    assert (kind, described["size"], described["format"]) == ("filenode", 30000, "SDMF")
    assert does("ls", "-l", changing).text.startswith("-rw- 30000 -")
    refused(fails("ls", f"{here}nothing"), 12, "there is no 'nothing'")
    refused(fails("ls", f"{here}fixed/x"), 12, "'fixed' is not a directory")
    refused(fails("ls", f"{here}/fixed"), 5, "slash")


# -- files by path


def test_a_file_is_stored_read_and_replaced_by_path(here: str, does: Run, fails: Run, tmp_path: Path) -> None:
    write(tmp_path, f=DATA)
    first = does("put", tmp_path / "f", f"{here}d/e/f")
    assert first.text.startswith("URI:CHK:")
    no_secret(first.stderr)
    second = json.loads(does("put", "--json", "-", f"{here}d/e/f", stdin=MORE).stdout)
    assert second["uri"] != first.text
    assert does("get", f"{here}d/e/f").stdout == MORE
    assert does("get", f"{here}d/e/f", tmp_path / "copy").stdout == b""
    assert (tmp_path / "copy").read_bytes() == MORE
    report = json.loads(does("get", "--json", f"{here}d/e/f", tmp_path / "copy").stdout)
    assert (report["size"], len(report["used"])) == (len(MORE), 2)
    refused(fails("put", "-", f"{here}d/e", stdin=DATA), 12, "is a directory")
    refused(fails("put", "-", here, stdin=DATA), 12, "is a directory")
    refused(fails("get", f"{here}d/e", tmp_path / "copy"), 7, "is a directory; copy it with")
    assert (tmp_path / "copy").read_bytes() == MORE


def test_parts_of_files_of_every_kind_are_read(here: str, does: Run) -> None:
    fixed = does("put", "-", f"{here}fixed", stdin=DATA).text
    changing = does("put", "--format", "MDMF", "-", f"{here}changing", stdin=DATA).text
    part = ("--offset", "1000", "--size", "20")
    for place in (fixed, f"{here}fixed", changing, f"{here}changing"):
        assert does("get", *part, place).stdout == DATA[1000:1020]
    assert does("get", "--offset", "29990", "--size", "1Ki", fixed).stdout == DATA[29990:]
    assert does("get", "--offset", "1M", f"{here}fixed").stdout == b""


@pytest.mark.parametrize("file_format", ["SDMF", "MDMF"])
def test_a_mutable_file_keeps_its_capability(
    here: str, does: Run, fails: Run, file_format: str, tmp_path: Path
) -> None:
    made = json.loads(does("put", "--json", "--format", file_format, "-", f"{here}m", stdin=DATA).stdout)
    cap = made["uri"]
    assert made == {"uri": cap, "format": file_format, "new": True}
    assert does("put", "-", f"{here}m", stdin=MORE).text == cap
    assert does("get", cap).stdout == MORE
    assert does("put", "-", cap, stdin=b"short").text == cap
    assert does("get", f"{here}m").stdout == b"short"
    read_only = json.loads(does("ls", "--json", f"{here}m").stdout)[1]["ro_uri"]
    assert does("get", read_only).stdout == b"short"
    refused(fails("put", "-", read_only, stdin=DATA), 7, "read-only")
    write(tmp_path, m=b"copied")
    does("cp", tmp_path / "m", f"{here}m")
    assert does("get", cap).stdout == b"copied"


def test_a_mutable_file_of_a_given_key_has_a_capability_known_beforehand(
    does: Run, fails: Run, tmp_path: Path
) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (tmp_path / "key").write_bytes(pem)
    with_key = ("put", "--mutable", "--private-key-path", tmp_path / "key")
    known = run_holdfast(*with_key, "--dry-run")
    assert known.code == 0, known.stderr
    assert fails("get", known.text).code == 4
    assert does(*with_key, "-", stdin=DATA).text == known.text
    assert does("get", known.text).stdout == DATA
    refused(fails(*with_key, "-", stdin=MORE), 13, "")
    assert does("get", known.text).stdout == DATA
    refused(fails("put", "--private-key-path", tmp_path / "key", stdin=DATA), 2, "add --mutable")
    refused(fails("put", "--mutable", "--dry-run"), 2, "--private-key-path")
    refused(fails("put", "-m", "--segment-size", "1Ki"), 2, "immutable files")
    refused(fails("put", "--dry-run", "-", "work:f"), 2, "dry run")


# -- entries


@both_kinds
def test_entries_are_linked_moved_and_removed(here: str, does: Run, fails: Run) -> None:
    cap = does("put", "-", f"{here}f", stdin=DATA).text
    does("mkdir", f"{here}d/e")
    assert does("ln", f"{here}f", f"{here}d/").stdout == b"OK\n"
    assert does("ln", "-", f"{here}g", stdin=cap.encode()).stdout == b"OK\n"
    assert does("mv", f"{here}g", f"{here}d/e/h").stdout == b"OK\n"
    assert does("mv", f"{here}d/f", f"{here}d/renamed").stdout == b"OK\n"
    assert does("ls", f"{here}d").stdout == b"e\nrenamed\n"
    assert does("ls", here).stdout == b"d\nf\n"
    assert does("get", f"{here}d/e/h").stdout == DATA
    refused(fails("mv", f"{here}f", f"{here}d"), 12, "'d'")
    refused(fails("mv", f"{here}d", f"{here}d/e/x"), 5, "inside it")
    refused(fails("mv", f"{here}none", f"{here}x"), 12, "there is no 'none'")
    refused(fails("ln", cap, f"{here}d/"), 5, "no name")
    assert does("mv", f"{here}d/e/h", here).stdout == b"OK\n"
    assert does("rm", f"{here}h").stdout == b"OK\n"
    refused(fails("unlink", f"{here}h"), 12, "there is no 'h'")
    refused(fails("unlink", here), 5, "path")
    assert does("unlink", f"{here}d").stdout == b"OK\n"
    assert does("ls", here).stdout == b"f\n"


def test_everything_below_a_directory_is_shown_and_counted(here: str, does: Run, fails: Run) -> None:
    fixed = does("put", "-", f"{here}d/fixed", stdin=DATA).text
    does("put", "-", f"{here}d/small", stdin=b"1234")
    does("ln", f"{here}d", f"{here}d/again")
    lines = does("manifest", here).stdout.decode().splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["", "d", "d/fixed", "d/small"]
    assert lines[2].startswith(fixed)
    assert len(does("manifest", "-s", here).text.split()) == 1
    units = [json.loads(line) for line in does("manifest", "--raw", here).stdout.splitlines()]
    assert [unit["type"] for unit in units] == ["directory", "directory", "file", "file", "stats"]
    counts = json.loads(does("stats", "--raw", here).stdout)
    assert counts == units[-1]["stats"]
    assert (counts["count-directories"], counts["count-files"]) == (2, 2)
    assert "size-immutable-files: 30000    (30.00 kB, 29.30 kiB)" in does("stats", here).text
    refused(fails("manifest", f"{here}d/fixed"), 12, "is not a directory")


# -- copies


@both_kinds
def test_a_tree_goes_to_the_grid_and_comes_back(here: str, does: Run, tmp_path: Path) -> None:
    write(tmp_path, dir__f=DATA, dir__same=DATA, dir__e__g=b"1", dir__e__m=MORE, g=b"g")
    (tmp_path / "dir" / "empty").mkdir()
    copied = does("cp", "-r", tmp_path / "dir", tmp_path / "g", f"{here}dd")
    assert copied.stdout == b"Success: files copied\n"
    assert does("ls", f"{here}dd").stdout == b"dir\ng\n"
    does("cp", "-r", f"{here}dd", tmp_path / "back")
    assert show(tmp_path / "back") == {"dd": {"dir": show(tmp_path / "dir"), "g": b"g"}}
    does("cp", "-r", here, tmp_path / "root")
    assert show(tmp_path / "root") == show(tmp_path / "back")
    assert does("cp", f"{here}dd/g", tmp_path / "one").stdout == b"Success: file copied\n"
    assert (tmp_path / "one").read_bytes() == b"g"
    assert does("cp", "-q", tmp_path / "g", f"{here}dd/new").stdout == b""
    does("cp", "-r", f"{here}dd/dir", f"{here}other")
    does("cp", "-r", f"{here}other/dir", tmp_path / "third")
    assert show(tmp_path / "third") == {"dir": show(tmp_path / "dir")}
    write(tmp_path, dir__new=b"new", dir__f=b"changed")
    does("cp", "-r", tmp_path / "dir", f"{here}dd")
    does("cp", "-r", "--caps-only", f"{here}dd/dir", tmp_path / "caps")
    assert (tmp_path / "caps" / "dir" / "new").read_bytes() == b"URI:LIT:nzsxo"
    assert sorted(show(tmp_path / "caps")["dir"]) == ["e", "empty", "f", "new", "same"]  # type: ignore[call-overload]


def test_copies_that_make_no_sense_are_refused_before_anything_is_made(
    here: str, does: Run, fails: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, **{"12:30": b""})
    refused(fails("cp", "12:30", here), 7, "no alias 12; .*; the local file of that name is ./12:30")
    (tmp_path / "12:30").unlink()
    write(tmp_path, dir__f=DATA, g=b"g")
    does("put", "-", f"{here}file", stdin=b"old")
    refused(fails("cp", tmp_path / "dir", f"{here}x"), 5, "--recursive")
    refused(fails("cp", tmp_path / "g", f"{here}x/"), 5, "ends with a slash")
    refused(fails("cp", tmp_path / "none", f"{here}x"), 5, "none: No such file")
    refused(fails("cp", f"{here}none", tmp_path / "x"), 12, "there is no 'none'")
    refused(fails("cp", "-r", tmp_path / "dir", f"{here}file"), 5, "is a file")
    refused(fails("cp", "URI:LIT:gi", here), 5, "has no name")
    refused(fails("cp", "--caps-only", tmp_path / "g", here), 2, "--caps-only")
    assert does("ls", here).stdout == b"file\n"
    assert show(tmp_path) == {"dir": {"f": DATA}, "g": b"g"}


def test_what_lies_behind_links_out_of_the_tree_is_named_and_left_out(
    here: str, does: Run, fails: Run, tmp_path: Path
) -> None:
    write(tmp_path, dir__f=DATA, secret=b"secret")
    (tmp_path / "dir" / "out").symlink_to("../secret")
    (tmp_path / "dir" / "inside").symlink_to("f")
    (tmp_path / "dir" / "dangling").symlink_to("none")
    outcome = fails("cp", "-r", tmp_path / "dir", here)
    assert outcome.code == 5
    assert "out is not copied: the link leads out" in outcome.stderr
    assert "not everything could be copied" in outcome.stderr
    assert does("ls", f"{here}dir").stdout == b"f\ninside\n"


def test_an_interrupted_copy_leaves_whole_files_only(
    grid: LocalGrid, here: str, does: Run, tmp_path: Path
) -> None:
    size = 30_000_000
    write(tmp_path, big__a=os.urandom(size), big__b=os.urandom(size))
    does("cp", "-r", tmp_path / "big", here)
    process = start_holdfast("cp", "-r", f"{here}big", tmp_path / "copy", node=grid.directory)
    while process.poll() is None and not list(tmp_path.glob("copy/big/.holdfast-*")):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    for path in tmp_path.glob("copy/big/*"):
        assert path.stat().st_size == size
        assert not path.name.startswith(".")
