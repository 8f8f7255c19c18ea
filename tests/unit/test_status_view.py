"""The picture of a running node: every fact is in it, at every width of a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from holdfast.cli.status_view import status_view

NOW = 1_800_000_000.0
WIDTHS = [30, 40, 60, 79, 80, 100, 200]


def server(name: str, state: str = "up", **more: object) -> dict[str, object]:
    return {
        "id": f"v0-{name * 3}xxxxxxxxxxxx",
        "nickname": name,
        "state": state,
        "reason": "answers",
        "since": NOW - 3 * 3600,
        "addresses": ["127.0.0.1:1"],
        "version": "holdfast/0.1.0",
        "available_space": 1_200_000_000_000,
        "latency_s": 0.0034,
        "errors": 7,
        "uploads": True,
        **more,
    }


STATUS: dict[str, Any] = {
    "nickname": "quill",
    "node_id": "v0-abcdefghijklmnop",
    "version": "0.1.0",
    "pid": 1234,
    "uptime_s": 7300,
    "services": ["storage", "client"],
    "port": 3457,
    "introducers": [
        {"petname": "home", "connected": True, "reason": "answers", "last_contact": NOW - 12},
        {"petname": "away", "connected": False, "reason": "no route", "last_contact": NOW - 7300},
        {"petname": "gone", "connected": False, "reason": "", "last_contact": 0},
    ],
    "servers": [
        server("basil", "down", reason="connection refused", available_space=None, latency_s=None),
        server("amber"),
        server("cedar", "unknown", reason="", since=0, version="", available_space=None, latency_s=None),
        server("dahlia", "incompatible", reason="upgrade the server"),
        server("elder", uploads=False),
    ],
    "transfers": [
        {"id": 1, "kind": "upload", "name": "a.mp4", "done": 62, "total": 100, "rate": 48_100_000.0},
        {"id": 2, "kind": "check", "name": "abcdefgh", "done": 0, "total": 0, "rate": 0.0},
    ],
    "storage": {"shares": 12, "bytes": 3_400_000, "available_space": 9_000_000_000, "read_only": False},
    "introducer": {"announcements": 5, "waiting_polls": 3},
}


def drawn(status: dict[str, Any], width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(status_view(status, NOW, width))
    return file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_every_fact_is_shown_and_no_line_is_too_long(width: int) -> None:
    picture = drawn(STATUS, width)
    assert max(map(len, picture.splitlines())) <= width
    text = " ".join(picture.split())
    for fact in ("quill", "abcdefgh", "0.1.0", "1234", "3457", "2 h", "home: connected", "12 s ago"):
        assert fact in text
    for fact in ("amber", "ambe", "1.2 TB", "3 ms", "2 of 5 servers up", "a.mp4", "62 %", "48.1 MB/s"):
        assert fact in text


def test_a_wide_terminal_shows_states_with_reason_and_since_when() -> None:
    lines = {line.split()[0]: line for line in drawn(STATUS, 120).splitlines() if line.strip()}
    assert "down for 3 h: connection refused" in lines["basil"]
    assert "up for 3 h" in lines["amber"]
    assert "not tried yet" in lines["cedar"]
    assert "incompatible for 3 h: upgrade the server" in lines["dahlia"]
    assert "only read from" in lines["elder"]
    assert "not connected, heard from 2 h ago: no route" in lines["away:"]
    assert "never heard from" in lines["gone:"]
    assert lines["storage:"] == "storage: 12 shares, 3.4 MB, 9.0 GB free"
    assert lines["introducer:"] == "introducer: 5 announcements, 3 waiting polls"
    assert lines["amber"].split()[-3:] == ["3", "ms", "7"]


def test_servers_are_shown_by_name() -> None:
    shown = [line.split()[0] for line in drawn(STATUS, 120).splitlines() if line.rstrip().endswith(" 7")]
    assert shown == ["amber", "basil", "cedar", "dahlia", "elder"]


def test_a_node_that_says_little_is_shown_too() -> None:
    assert drawn({"nickname": "memory"}, 80).startswith("memory · ")
    assert "0 of 0 servers up" in drawn({"services": ["client"], "servers": []}, 80)


@pytest.mark.parametrize("width", [40, 120])
@given(name=st.text(min_size=1, max_size=80))
def test_names_steer_neither_terminal_nor_layout(width: int, name: str) -> None:
    status = {
        **STATUS,
        "nickname": name,
        "servers": [server("amber", nickname=name, reason=name, version=name)],
    }
    picture = drawn(status, width)
    assert all(character.isprintable() or character == "\n" for character in picture)
    marked = drawn({**STATUS, "nickname": "[bold]x[/bold]"}, 120)
    assert "[bold]x[/bold]" in marked
