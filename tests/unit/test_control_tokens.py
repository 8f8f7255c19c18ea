"""Tokens of the control interface: what each opens, and for how long."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from holdfast.node.control.errors import (
    BadRequestError,
    NoSuchTokenError,
    OutOfScopeError,
    UnauthorizedError,
)
from holdfast.node.control.tokens import LIFE_MAX_S, SCOPES, Grant, Tokens


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def master_of(private: Path) -> str:
    return (private / "control.token").read_text().strip()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(tmp_path: Path, clock: Clock) -> Tokens:
    return Tokens(tmp_path, clock)


@pytest.fixture
def master(tmp_path: Path, tokens: Tokens) -> Grant:
    return tokens.grant_of(master_of(tmp_path))


def test_the_master_token_opens_everything_until_the_next_start(tmp_path: Path, tokens: Tokens) -> None:
    old = master_of(tmp_path)
    assert len(old) == 52
    assert stat.S_IMODE((tmp_path / "control.token").stat().st_mode) == 0o600
    assert tokens.grant_of(old).scopes == set(SCOPES)
    again = Tokens(tmp_path)
    with pytest.raises(UnauthorizedError):
        again.grant_of(old)
    assert again.grant_of(master_of(tmp_path)).scopes == set(SCOPES)


@pytest.mark.parametrize("text", ["", "x", "a" * 52, "ä", "\udc80"])
def test_another_text_opens_nothing(tokens: Tokens, text: str) -> None:
    with pytest.raises(UnauthorizedError):
        tokens.grant_of(text)


def test_a_minted_token_opens_its_scopes_across_restarts_until_its_end(
    tmp_path: Path, tokens: Tokens, master: Grant, clock: Clock
) -> None:
    text, kept = tokens.mint(master, ["wait", "status"], 60, "monitor")
    for place in (tokens, Tokens(tmp_path, clock)):
        grant = place.grant_of(text)
        assert grant.scopes == {"status", "wait"}
        grant.require("wait")
        with pytest.raises(OutOfScopeError, match="upload"):
            grant.require("upload")
    clock.now += 59
    assert tokens.grant_of(text).expires == kept.expires == 1_000_060
    clock.now += 1
    with pytest.raises(UnauthorizedError):
        tokens.grant_of(text)
    assert tokens.all() == []


def test_only_hashes_are_kept(tmp_path: Path, tokens: Tokens, master: Grant) -> None:
    text, _ = tokens.mint(master, ["status"], 60, "")
    path = tmp_path / "control-tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert text not in path.read_text()
    assert master_of(tmp_path) not in path.read_text()
    assert text not in repr(tokens.all())
    assert json.loads(path.read_text())["tokens"][0]["hash"] not in repr(tokens.all())


def test_nobody_mints_more_than_they_have(tokens: Tokens, master: Grant) -> None:
    text, _ = tokens.mint(master, ["tokens", "status"], 60, "")
    grant = tokens.grant_of(text)
    with pytest.raises(OutOfScopeError):
        tokens.mint(grant, ["status", "upload"], 10, "")
    _, kept = tokens.mint(grant, ["status"], LIFE_MAX_S, "")
    assert kept.expires == grant.expires


def test_a_revoked_token_is_worthless_at_once(tokens: Tokens, master: Grant) -> None:
    text, kept = tokens.mint(master, ["status"], 60, "")
    other, _ = tokens.mint(master, ["wait"], 60, "")
    tokens.revoke(master, kept.id)
    with pytest.raises(UnauthorizedError):
        tokens.grant_of(text)
    assert tokens.grant_of(other).scopes == {"wait"}
    with pytest.raises(NoSuchTokenError):
        tokens.revoke(master, kept.id)


def test_nobody_revokes_what_is_more_powerful(tokens: Tokens, master: Grant) -> None:
    _, strong = tokens.mint(master, ["tokens", "upload"], 60, "")
    weak, _ = tokens.mint(master, ["tokens"], 60, "")
    with pytest.raises(OutOfScopeError):
        tokens.revoke(tokens.grant_of(weak), strong.id)
    assert len(tokens.all()) == 2


@pytest.mark.parametrize(
    ("scopes", "seconds", "label"),
    [
        ([], 60, ""),
        (["everything"], 60, ""),
        (["status"], 0, ""),
        (["status"], LIFE_MAX_S + 1, ""),
        (["status"], 60, "x" * 101),
    ],
)
def test_a_token_that_makes_no_sense_is_not_minted(
    tokens: Tokens, master: Grant, scopes: list[str], seconds: int, label: str
) -> None:
    with pytest.raises(BadRequestError):
        tokens.mint(master, scopes, seconds, label)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"tokens": 1}', '{"tokens": [{"id": "x"}]}', '{"tokens": [1]}', "\udc80"],
)
def test_a_damaged_list_is_put_aside_and_opens_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "control-tokens.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    tokens = Tokens(tmp_path)
    assert tokens.all() == []
    assert (tmp_path / "control-tokens.json.damaged").exists()
    tokens.mint(tokens.grant_of(master_of(tmp_path)), ["status"], 60, "")
    assert len(Tokens(tmp_path).all()) == 1
