"""The virtual drive servers that a client is told of by its owner."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from holdfast.errors import ConfigError
from holdfast.node.vdrive_places import VDRIVE_FILE, VdrivePlaces, load_vdrive_places, write_vdrive_places
from holdfast.protocol.nurl import parse_nurl

SWISSNUM = "abcdefghijklmnopqrstuvwx23"
NURL = f"pb://{'A' * 43}@vdrive.example:8443/{SWISSNUM}#v=1"


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    assert load_vdrive_places(tmp_path) == VdrivePlaces()


def test_what_is_written_reads_back_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    places = VdrivePlaces(parse_nurl(NURL), "token2", {b"\x00" * 31 + b"\x01": parse_nurl(NURL)})
    write_vdrive_places(tmp_path, places)
    assert load_vdrive_places(tmp_path) == places
    assert stat.S_IMODE((tmp_path / VDRIVE_FILE).stat().st_mode) == 0o600


def test_secrets_are_not_shown() -> None:
    shown = repr(VdrivePlaces(parse_nurl(NURL), "token2"))
    assert "token2" not in shown
    assert SWISSNUM not in shown


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"service = '{NURL[:-20]}'", "service"),
        ("service = 5", "service must be a NURL"),
        ("account = 'a b'", "account must be a token"),
        ("moved = 1", "moved must be a table"),
        (f"[moved]\nabc = '{NURL}'", "52 letters"),
        (f"[moved]\n{'a' * 52} = 'pb:'", "moved"),
        ("servise = 'x'", "servise: no such setting"),
        ("service", "not TOML"),
    ],
)
def test_what_is_wrong_is_named_without_its_secret(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / VDRIVE_FILE).write_text(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_vdrive_places(tmp_path)
    assert VDRIVE_FILE in str(caught.value)
    assert SWISSNUM not in str(caught.value)
