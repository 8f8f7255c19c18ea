"""Aliases, and how an argument names a place on the grid or a local path."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.caps import DirectoryCap, ImmutableReadCap, MutableWriteCap
from holdfast.cli.path_arguments import (
    BadPathError,
    GridPath,
    LocalPath,
    parse_copy_path,
    parse_grid_path,
)
from holdfast.errors import ConfigError, InputError, NotCapableError, WrongCapabilityTypeError
from holdfast.node.aliases import (
    Aliases,
    AliasNameError,
    AliasTakenError,
    UnknownAliasError,
    check_alias_name,
    listable_directory,
)

CAP = DirectoryCap(MutableWriteCap("SSK", b"w" * 16, b"f" * 32))
READ_ONLY = CAP.read_only
FILE = ImmutableReadCap(b"k" * 16, b"u" * 32, 3, 10, 1000)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return tmp_path / "private"


@pytest.fixture
def aliases(private: Path) -> Aliases:
    return Aliases(private)


def write(private: Path, text: str) -> None:
    private.mkdir(exist_ok=True)
    (private / "aliases").write_bytes(text.encode())


# -- the file


def test_without_a_file_there_are_no_aliases(aliases: Aliases) -> None:
    assert aliases.read() == {}
    with pytest.raises(UnknownAliasError, match="there is no alias work; see list-aliases, create-alias"):
        aliases.directory("work")


def test_an_alias_is_kept_in_a_file_that_only_its_owner_reads(aliases: Aliases, private: Path) -> None:
    aliases.add("work", CAP)
    aliases.add("read", READ_ONLY)
    assert (private / "aliases").read_text() == f"work: {CAP.to_text()}\nread: {READ_ONLY.to_text()}\n"
    assert stat.S_IMODE((private / "aliases").stat().st_mode) == 0o600
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert aliases.directory("work") == CAP
    assert aliases.directory("read") == READ_ONLY
    assert os.listdir(private) == ["aliases"]


def test_comments_blank_lines_and_a_last_line_without_its_end_survive(
    aliases: Aliases, private: Path
) -> None:
    before = f"# mine ä\r\n\n  old :  {CAP.to_text()}  "
    write(private, before)
    aliases.add("new", READ_ONLY)
    assert (private / "aliases").read_bytes().decode() == f"{before}\nnew: {READ_ONLY.to_text()}\n"
    assert list(aliases.read()) == ["old ", "new"]


def test_of_two_lines_for_a_name_the_later_one_counts(aliases: Aliases, private: Path) -> None:
    write(private, f"work: nonsense\nwork: {CAP.to_text()}\n")
    assert aliases.directory("work") == CAP


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no colon", r"aliases, line 2: this should be NAME: CAPABILITY"),
        (": URI:DIR2:x:y", r"aliases, line 2: this should be NAME: CAPABILITY"),
        ("work: nonsense", r"aliases, line 2: this is not a capability"),
        ("work: URI:DIR2:short:y", r"aliases, line 2: the capability is malformed"),
        ("work:", r"aliases, line 2: this is not a capability"),
        (f"work: {FILE.to_text()}", r"aliases, line 2: this is the capability of a file"),
        (f"work: {CAP.verify_cap.to_text()}", r"aliases, line 2: this capability only verifies"),  # type: ignore[union-attr]
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_line(
    aliases: Aliases, private: Path, line: str, said: str
) -> None:
    write(private, f"# first\n{line}\nfine: {CAP.to_text()}\n")
    with pytest.raises(ConfigError, match=said):
        aliases.directory("work")


def test_a_wrong_capability_does_not_disturb_the_other_aliases(aliases: Aliases, private: Path) -> None:
    write(private, f"work: nonsense\nfine: {CAP.to_text()}\n")
    assert aliases.directory("fine") == CAP
    aliases.add("more", CAP)


def test_a_file_that_is_no_text_is_damaged(aliases: Aliases, private: Path) -> None:
    private.mkdir()
    (private / "aliases").write_bytes(b"work: \xff\n")
    with pytest.raises(ConfigError, match="not a text"):
        aliases.read()


def test_a_name_that_exists_is_refused_and_nothing_changes(aliases: Aliases, private: Path) -> None:
    aliases.add("work", CAP)
    before = (private / "aliases").read_bytes()
    with pytest.raises(AliasTakenError, match="an alias work already"):
        aliases.add("work", READ_ONLY)
    assert (private / "aliases").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "needs a name"),
        ("a:b", "colons"),
        ("a b", "spaces"),
        ("a\nb", "spaces"),
        ("a\x1b", "cannot be seen"),
        ("a/b", "slashes"),
        ("#a", "comment"),
        ("URI", "capabilities begin with it"),
        ("imm.URI", "capabilities begin with it"),
    ],
)
def test_a_name_that_could_not_be_used_is_refused(aliases: Aliases, name: str, said: str) -> None:
    with pytest.raises(AliasNameError, match=said):
        aliases.add(name, CAP)
    assert not aliases.path.exists()


def test_aliases_added_at_the_same_time_are_all_kept(private: Path) -> None:
    names = [f"alias{number}" for number in range(16)]
    threads = [threading.Thread(target=Aliases(private).add, args=(name, CAP)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Aliases(private).read()) == sorted(names)


def test_what_cannot_be_written_is_named(aliases: Aliases, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("a file")
    with pytest.raises((InputError, ConfigError), match="private/aliases"):
        aliases.add("work", CAP)


def test_an_unknown_name_that_may_be_a_piece_of_a_capability_is_not_repeated(aliases: Aliases) -> None:
    with pytest.raises(UnknownAliasError) as caught:
        aliases.directory("a" * 26)
    assert "aaa" not in str(caught.value)


def test_an_alias_stands_for_a_directory_that_can_be_listed() -> None:
    assert listable_directory(f" {CAP.to_text()}\n") == CAP
    with pytest.raises(WrongCapabilityTypeError):
        listable_directory(FILE.to_text())
    with pytest.raises(NotCapableError):
        listable_directory(CAP.verify_cap.to_text())  # type: ignore[union-attr]


@given(st.text(max_size=12))
def test_every_name_that_is_taken_can_be_used_in_arguments(name: str) -> None:
    try:
        check_alias_name(name)
    except AliasNameError:
        return
    assert parse_grid_path(f"{name}:a/b") == GridPath(name, None, "a/b")


# -- arguments


@pytest.mark.parametrize(
    ("argument", "place"),
    [
        ("work:", GridPath("work", None, "")),
        ("work:a/b", GridPath("work", None, "a/b")),
        ("  work:a/b ", GridPath("work", None, "a/b")),
        ("work:a:b", GridPath("work", None, "a:b")),
        ("a", GridPath(None, None, "a")),
        ("", GridPath(None, None, "")),
        ("foo/bar:7", GridPath(None, None, "foo/bar:7")),
        (":a", GridPath("", None, "a")),
        ("URI:DIR2:x:y", GridPath(None, "URI:DIR2:x:y", "")),
        ("URI:DIR2:x:y/sub/f", GridPath(None, "URI:DIR2:x:y", "sub/f")),
        ("URI:DIR2:x:y:./sub/f", GridPath(None, "URI:DIR2:x:y", "sub/f")),
        ("ro.URI:DIR2:x:y/f", GridPath(None, "ro.URI:DIR2:x:y", "f")),
        ("imm.URI:LIT:", GridPath(None, "imm.URI:LIT:", "")),
        ("uri:x", GridPath("uri", None, "x")),
    ],
)
def test_places_on_the_grid(argument: str, place: GridPath) -> None:
    assert parse_grid_path(argument) == place


@pytest.mark.parametrize(
    ("argument", "names"),
    [("work:", []), ("work:a", ["a"]), ("work:a/", ["a"]), ("work:a/b", ["a", "b"]), ("URI:DIR2:x:y/", [])],
)
def test_the_names_of_a_path(argument: str, names: list[str]) -> None:
    assert parse_grid_path(argument).names == names


@pytest.mark.parametrize("argument", ["work:/", "work:/a", "work:a//b", "work:a//", "URI:DIR2:x:y//a"])
def test_a_path_with_an_empty_name_is_refused(argument: str) -> None:
    with pytest.raises(BadPathError):
        _ = parse_grid_path(argument).names


def test_a_place_below_another() -> None:
    assert parse_grid_path("work:").below("x").path == "x"
    assert parse_grid_path("work:a").below("x").path == "a/x"
    assert parse_grid_path("work:a/").below("x").path == "a/x"


def test_a_place_is_shown_without_its_capability() -> None:
    for argument in ("URI:DIR2:secret:hash/sub/f", "URI:CHK:secret:hash"):
        place = parse_grid_path(argument)
        assert "secret" not in f"{place} {place!r}"
    assert str(parse_grid_path("URI:DIR2:secret:hash/sub/f")) == "URI:DIR2:.../sub/f"
    assert str(parse_grid_path("work:sub")) == "work:sub"
    assert str(parse_grid_path("sub")) == "sub"


def test_in_copies_what_has_no_alias_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_copy_path("file") == LocalPath("file")
    assert parse_copy_path("./a:b") == LocalPath("./a:b")
    assert parse_copy_path("~/a") == LocalPath("/home/me/a")
    assert parse_copy_path("a/~") == LocalPath("a/~")
    assert parse_copy_path(" a ") == LocalPath(" a ")
    assert parse_copy_path("-") == LocalPath("-")
    assert parse_copy_path("work:~") == GridPath("work", None, "~")
    assert parse_copy_path("URI:DIR2:x:y") == GridPath(None, "URI:DIR2:x:y", "")


def test_a_drive_is_local_where_there_are_drives() -> None:
    assert parse_copy_path("c:file", drives=True) == LocalPath("c:file")
    assert parse_copy_path("cc:file", drives=True) == GridPath("cc", None, "file")
    assert parse_copy_path("1:file", drives=True) == GridPath("1", None, "file")
    assert parse_copy_path("c:file", drives=False) == GridPath("c", None, "file")


NAMES = st.text(st.characters(exclude_characters="/:", exclude_categories=["Cs"]), min_size=1).map(
    lambda name: f"x{name}x"
)


@given(st.one_of(st.none(), NAMES), st.lists(NAMES, max_size=5), st.booleans())
def test_what_is_written_is_read_back(alias: str | None, names: list[str], slash: bool) -> None:
    path = "/".join(names) + ("/" if slash and names else "")
    place = parse_grid_path(path if alias is None else f"{alias}:{path}")
    assert (place.alias, place.cap, place.names) == (alias, None, names)
    assert place.trailing_slash is (slash and bool(names))


@given(NAMES, st.lists(NAMES, min_size=1, max_size=5), st.sampled_from(["/", ":./"]))
def test_a_capability_and_a_path_are_told_apart(fields: str, names: list[str], mark: str) -> None:
    place = parse_grid_path(f"URI:DIR2:{fields}:{fields}{mark}{'/'.join(names)}")
    assert (place.cap, place.names) == (f"URI:DIR2:{fields}:{fields}", names)


@given(st.text())
def test_no_argument_is_beyond_reading(argument: str) -> None:
    place = parse_grid_path(argument)
    assert argument.strip(" ").endswith(place.path)
    assert (parse_copy_path(argument) == place) is (place.alias is not None or place.cap is not None)
