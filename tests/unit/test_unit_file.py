"""Units of systemd: paths and commands are written as its rules want them, whatever is in them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.unit_file import UnitSettings, quoted_command, quoted_path, unit_text

PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=20)


def split_as_systemd_does(line: str) -> list[str]:
    """Return the words of a setting, unquoted, and with %% read as a percent sign.

    Source: systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers".
    """
    words = []
    for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line):
        word = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        assert re.fullmatch(r"(?:[^%]|%%)*", word), "a specifier"
        words.append(word.replace("%%", "%"))
    return words


def settings(directory: str = "/srv/node", **changes: object) -> UnitSettings:
    values: dict[str, object] = {
        "command": ["/usr/bin/holdfast", "run", directory],
        "writable": [directory],
        "user": "keeper",
    }
    return UnitSettings(**{**values, **changes})  # type: ignore[arg-type]


def line_of(unit: str, key: str) -> str:
    return next(line for line in unit.splitlines() if line.startswith(f"{key}=")).removeprefix(f"{key}=")


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/srv/node", "/srv/node"),
        ("/srv/über-node_1.x", "/srv/über-node_1.x"),
        ("/srv/my node", '"/srv/my node"'),
        ("/srv/100%", "/srv/100%%"),
        ("/srv/%h/$HOME", '"/srv/%%h/$HOME"'),
        ('/srv/a"b', '"/srv/a\\"b"'),
        ("/srv/a\\b", '"/srv/a\\\\b"'),
        ("/srv/it's", '"/srv/it\'s"'),
        ("/srv/a;b", '"/srv/a;b"'),
    ],
)
def test_how_paths_are_written(path: str, written: str) -> None:
    assert quoted_path(path) == written


@given(PRINTABLE)
def test_every_path_is_read_as_it_is(name: str) -> None:
    assert split_as_systemd_does(quoted_path(f"/{name}")) == [f"/{name}"]


@given(st.lists(PRINTABLE.map(lambda name: f"/{name}"), min_size=1, max_size=3))
def test_every_command_is_read_as_it_is(arguments: list[str]) -> None:
    words = split_as_systemd_does(quoted_command(["/usr/bin/holdfast", *arguments]))
    assert [word.replace("$$", "$") for word in words[1:]] == [word.replace("$$", "$") for word in arguments]
    assert words[0] == "/usr/bin/holdfast"


def test_dollar_signs_are_doubled_in_arguments_alone() -> None:
    assert quoted_command(["/opt/$x/holdfast", "run", "/srv/$HOME"]) == '"/opt/$x/holdfast" run "/srv/$$HOME"'


@pytest.mark.parametrize("path", ["/a\nb", "/a\tb", "/\x1b", "/\udcff", "/a\u2028b"])
def test_what_no_unit_can_hold_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        quoted_path(path)


@pytest.mark.parametrize("program", ['/opt/a"b/holdfast', "/opt/it's/holdfast", "/opt/a\\b/holdfast"])
def test_a_program_that_systemd_would_not_start_is_refused(program: str) -> None:
    with pytest.raises(ValueError, match="starts no program"):
        quoted_command([program, "run"])


def test_a_system_unit_locks_the_node_into_its_directory() -> None:
    unit = unit_text(settings(writable=["/srv/node", "/disk/two"]))
    assert line_of(unit, "User") == "keeper"
    assert line_of(unit, "ExecStart") == "/usr/bin/holdfast run /srv/node"
    assert line_of(unit, "Restart") == "on-failure"
    assert line_of(unit, "NoNewPrivileges") == "true"
    assert line_of(unit, "ProtectSystem") == "strict"
    assert line_of(unit, "ReadWritePaths") == "/srv/node /disk/two"
    assert line_of(unit, "RequiresMountsFor") == "/srv/node /disk/two"
    assert line_of(unit, "CapabilityBoundingSet") == ""
    assert line_of(unit, "WantedBy") == "multi-user.target"


def test_the_unit_of_a_user_asks_for_nothing_that_needs_rights() -> None:
    unit = unit_text(settings(user=None, port=443))
    assert "NoNewPrivileges=true" in unit
    assert line_of(unit, "WantedBy") == "default.target"
    for key in ("User", "ProtectSystem", "PrivateTmp", "CapabilityBoundingSet", "AmbientCapabilities"):
        assert f"\n{key}=" not in unit


@pytest.mark.parametrize(
    ("seen", "protect_home", "private_tmp"),
    [
        ({}, "true", "true"),
        ({"directory": "/home/me/node"}, "read-only", "true"),
        ({"directory": "/homes/node"}, "true", "true"),
        ({"readable": ["/root/python"]}, "read-only", "true"),
        ({"command": ["/home/me/bin/holdfast"]}, "read-only", "true"),
        ({"directory": "/tmp/node"}, "true", "false"),
        ({"writable": ["/srv/node", "/var/tmp/incoming"]}, "true", "false"),
    ],
)
def test_what_the_node_needs_is_not_hidden_from_it(
    seen: dict[str, object], protect_home: str, private_tmp: str
) -> None:
    unit = unit_text(settings(**seen))  # type: ignore[arg-type]
    assert (line_of(unit, "ProtectHome"), line_of(unit, "PrivateTmp")) == (protect_home, private_tmp)


@pytest.mark.parametrize(("port", "capability"), [(0, ""), (443, "CAP_NET_BIND_SERVICE"), (1024, "")])
def test_only_a_low_port_needs_a_capability(port: int, capability: str) -> None:
    unit = unit_text(settings(port=port))
    assert line_of(unit, "AmbientCapabilities") == line_of(unit, "CapabilityBoundingSet") == capability


def test_no_line_goes_on_in_the_next() -> None:
    assert not any(line.endswith("\\") for line in unit_text(settings("/srv/node\\")).splitlines())
