"""Tokens: who may do what through the control interface.

The master token is made anew at each start, and opens everything. Others are minted with
fewer scopes and an end; of them only hashes are kept.

Source: docs/spec/control-and-introducer.md, sections 2.2 and 2.3.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog

from holdfast.crypto import base32
from holdfast.node.control.errors import BadRequestError, NoSuchTokenError, OutOfScopeError, UnauthorizedError
from holdfast.node.private_files import write_private_file
from holdfast.wire.local_client import TOKEN_FILE

log = structlog.get_logger(__name__)

MINTED_FILE = "control-tokens.json"
TOKEN_SIZE = 32  # bytes
SCOPES = (
    "status",
    "wait",
    "upload",
    "download",
    "upload-path",
    "download-path",
    "debug",
    "tokens",
    "stop",
)
LIFE_DEFAULT_S = 3600
LIFE_MAX_S = 366 * 86400
TOKENS_MAX = 1000
LABEL_MAX = 100  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What the holder of a token may do, until ``expires`` (Unix seconds; None: while the node runs)."""

    scopes: frozenset[str]
    expires: int | None

    def require(self, scope: str) -> None:
        """Raise OutOfScopeError unless this allows ``scope``."""
        if scope not in self.scopes:
            raise OutOfScopeError(f"the token has not the scope {scope}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MintedToken:
    """What is kept of a minted token."""

    id: str
    hash: str = field(repr=False)  # SHA-256 of the text, hexadecimal
    scopes: tuple[str, ...]
    label: str
    expires: int  # Unix seconds


class Tokens:
    """The tokens of one running node. All methods may be called from any thread; some write a file."""

    def __init__(self, private: Path, clock: Callable[[], float] = time.time) -> None:
        """Make a new master token and write it where clients look for it; the one before opens nothing."""
        self._path = private / MINTED_FILE
        self._clock = clock
        self._lock = threading.Lock()
        master = _new_token()
        self._master_hash = _hash(master)
        self._minted = {token.id: token for token in _load(self._path)}
        write_private_file(private / TOKEN_FILE, master + "\n")

    def grant_of(self, presented: str) -> Grant:
        """Return what the holder of this text may do.

        Raises:
            UnauthorizedError: it is no token, or one that is expired or revoked.
        """
        presented_hash = _hash(presented)
        if hmac.compare_digest(presented_hash, self._master_hash):
            return Grant(scopes=frozenset(SCOPES), expires=None)
        for token in list(self._minted.values()):
            if hmac.compare_digest(presented_hash, token.hash) and self._clock() < token.expires:
                return Grant(scopes=frozenset(token.scopes), expires=token.expires)
        raise UnauthorizedError("this token is wrong, expired or revoked")

    def mint(
        self, grant: Grant, scopes: Collection[str], seconds: int, label: str
    ) -> tuple[str, MintedToken]:
        """Return a new token and what is kept of it. It can do no more than ``grant``, nor for longer.

        Raises:
            OutOfScopeError: ``grant`` lacks one of the scopes.
            BadRequestError: a scope is unknown, or there are too many tokens.
        """
        for scope in scopes:
            if scope not in SCOPES:
                raise BadRequestError(f"no such scope: {scope[:50]!r}; there are {', '.join(SCOPES)}")
            grant.require(scope)
        if not scopes or not 1 <= seconds <= LIFE_MAX_S or len(label) > LABEL_MAX:
            raise BadRequestError(
                f"a token needs a scope, 1 to {LIFE_MAX_S} seconds, at most {LABEL_MAX} characters of label"
            )
        expires = int(self._clock()) + seconds
        token = _new_token()
        minted = MintedToken(
            id=secrets.token_hex(8),
            hash=_hash(token),
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            label=label,
            expires=expires if grant.expires is None else min(expires, grant.expires),
        )
        with self._lock:
            if len(self._valid()) >= TOKENS_MAX:
                raise BadRequestError(f"there are {TOKENS_MAX} tokens already; revoke some")
            self._keep([*self._valid(), minted])
        return token, minted

    def all(self) -> list[MintedToken]:
        """Return the minted tokens that are valid."""
        with self._lock:
            return self._valid()

    def revoke(self, grant: Grant, token_id: str) -> None:
        """Make a token worthless at once.

        Raises:
            NoSuchTokenError: there is none of this id.
            OutOfScopeError: it can do what ``grant`` cannot.
        """
        with self._lock:
            valid = self._valid()
            found = next((token for token in valid if token.id == token_id), None)
            if found is None:
                raise NoSuchTokenError("there is no token of this id")
            for scope in found.scopes:
                grant.require(scope)
            self._keep([token for token in valid if token is not found])

    def _valid(self) -> list[MintedToken]:
        now = self._clock()
        return [token for token in self._minted.values() if now < token.expires]

    def _keep(self, tokens: list[MintedToken]) -> None:
        text = json.dumps({"tokens": [asdict(token) for token in tokens]}, indent=1)
        write_private_file(self._path, text + "\n")
        self._minted = {token.id: token for token in tokens}


def _new_token() -> str:
    return base32.encode(secrets.token_bytes(TOKEN_SIZE))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _load(path: Path) -> list[MintedToken]:
    """Read the minted tokens. A damaged file is put aside: its tokens are as good as revoked."""
    try:
        values = json.loads(path.read_text("utf-8"))
        return [_checked(value) for value in values["tokens"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        aside = path.with_name(path.name + ".damaged")
        os.replace(path, aside)
        log.warning("the list of tokens is damaged; all of them are revoked", file=str(aside), why=str(error))
        return []


def _checked(value: dict[str, object]) -> MintedToken:
    texts = {name: value[name] for name in ("id", "hash", "label")}
    scopes, expires = value["scopes"], value["expires"]
    if (
        not all(isinstance(text, str) for text in texts.values())
        or not isinstance(scopes, list)
        or not set(scopes) <= set(SCOPES)
        or not isinstance(expires, int)
    ):
        raise ValueError("an entry is not as it must be")
    return MintedToken(
        id=str(texts["id"]),
        hash=str(texts["hash"]),
        scopes=tuple(scopes),
        label=str(texts["label"]),
        expires=expires,
    )
