"""Who pays for directories: accounts, their tokens, and what they may use up.

The counters of an account change only by updates that carry the limit in their condition, so that
no two commits together can pass it. A token is kept as its hash.

Source: docs/spec/vdrive.md, sections 13.1 and 13.2.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, insert, or_, select, update
from sqlalchemy.exc import IntegrityError as RowExistsError

from holdfast.crypto import base32
from holdfast.crypto.vdrive_keys import tagged
from holdfast.errors import InputError
from holdfast.interfaces.vdrive import AccountState, Counts
from holdfast.interfaces.vdrive_errors import NotAuthorisedToCreateError, QuotaExceededError
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.servers.vdrive.tables import accounts

COMMON_ACCOUNT = 0  # of all who have no token, where that is allowed
PUBLIC_ROOT_ACCOUNT = -1
DIRECTORY_SIZE = 1000  # bytes that a directory counts for, beside its entries
ENTRY_SIZE = 200  # bytes that an entry counts for, beside its boxes
TOKEN_SIZE = 32  # bytes
LABEL_MAX = 100  # characters


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account just made; the token is shown this once."""

    id: int
    token: str = field(repr=False)


class StoredAccount(NamedTuple):
    """An account, as its operator sees it."""

    id: int
    state: AccountState
    disabled: bool
    created_at: int


def prepare(connection: Connection, settings: VdriveServerSettings, now: int) -> None:
    """Make the accounts that belong to nobody, and give them the limits that are set."""
    open_ = Counts(settings.open_directories, settings.open_entries, settings.open_bytes)
    root = Counts(1, settings.public_root_entries, settings.public_root_bytes)
    _keep(connection, COMMON_ACCOUNT, "without token", open_, now)
    _keep(connection, PUBLIC_ROOT_ACCOUNT, "public root", root, now)


def add(connection: Connection, label: str, allowed: Counts, now: int) -> NewAccount:
    """Make an account.

    Raises:
        InputError: the label is empty or too long, or a limit is less than 0.
    """
    if not 0 < len(label) <= LABEL_MAX:
        raise InputError(f"the label of an account has 1 to {LABEL_MAX} characters")
    if min(allowed) < 0:
        raise InputError("limits of an account are not less than 0")
    token = base32.encode(secrets.token_bytes(TOKEN_SIZE))
    row = insert(accounts).values(**_values(label, allowed, now), token_hash=stored_token(token))
    key = connection.execute(row).inserted_primary_key
    assert key is not None
    return NewAccount(key[0], token)


def change(
    connection: Connection, account_id: int, *, allowed: Counts | None = None, disabled: bool | None = None
) -> bool:
    """Give an account other limits, close it for new directories, or open it; False if there is none."""
    values: dict[str, object] = {} if allowed is None else dict(_limits(allowed))
    if disabled is not None:
        values["disabled"] = disabled
    if not values:
        raise InputError("nothing of the account is to be changed")
    done = connection.execute(update(accounts).where(accounts.c.id == account_id).values(values))
    return done.rowcount == 1


def all_accounts(connection: Connection) -> Sequence[StoredAccount]:
    """Return all accounts, those that belong to nobody first."""
    rows = connection.execute(select(*_STATE, *_REST).order_by(accounts.c.id)).all()
    return [StoredAccount(row.id, _state(row), row.disabled, row.created_at) for row in rows]


def account_of(connection: Connection, token: str | None, settings: VdriveServerSettings) -> int:
    """Return the id of the account that directories made with ``token`` are charged to.

    Raises:
        NotAuthorisedToCreateError: the token is unknown, its account is closed, or it takes a token.
    """
    if token is None:
        if settings.accounts == "token":
            raise NotAuthorisedToCreateError("directories can be made here only with the token of an account")
        return COMMON_ACCOUNT
    found: int | None = connection.scalar(
        select(accounts.c.id).where(
            accounts.c.token_hash == stored_token(token), accounts.c.disabled.is_(False)
        )
    )
    if found is None:
        raise NotAuthorisedToCreateError("this server has no account of this token")
    return found


def state_of(connection: Connection, token: str) -> AccountState:
    """Return the limits and the use of the account of ``token``, closed or not.

    Raises:
        NotAuthorisedToCreateError: the token is unknown.
    """
    query = select(*_STATE).where(accounts.c.token_hash == stored_token(token))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotAuthorisedToCreateError("this server has no account of this token")
    return _state(row)


def charge(connection: Connection, account_id: int, *, dirs: int, entries: int, bytes: int) -> None:  # noqa: A002
    """Add to what an account uses; less than nothing gives back.

    Only what grows is held against its limit, so that an account which is over one (its operator has
    lowered it, say) can always be made smaller.

    Raises:
        QuotaExceededError: a limit would be passed; nothing was added.
    """
    if not (dirs or entries or bytes):
        return
    more = {"account": account_id, "dirs": dirs, "entries": entries, "bytes": bytes}
    if connection.execute(_CHARGE, more).rowcount == 0:
        raise QuotaExceededError("the account that this directory is charged to is full")


def entry_size(boxes: Sequence[bytes]) -> int:
    """Return what an entry counts for, given its four boxes."""
    return ENTRY_SIZE + sum(map(len, boxes))


def stored_token(token: str) -> bytes:
    """Return what is kept of a token: its hash, 32 bytes."""
    return tagged("account-store", token.encode("utf-8", "surrogatepass"))


_STATE = (
    accounts.c.label,
    accounts.c.max_dirs,
    accounts.c.max_entries,
    accounts.c.max_bytes,
    accounts.c.used_dirs,
    accounts.c.used_entries,
    accounts.c.used_bytes,
)
_COUNTERS = [
    (accounts.c[f"used_{name}"], accounts.c[f"max_{name}"], bindparam(name, type_=BigInteger))
    for name in ("dirs", "entries", "bytes")
]
_CHARGE = (  # built once, for each commit needs it
    update(accounts)
    .where(
        accounts.c.id == bindparam("account"),
        *[or_(more <= 0, used + more <= allowed) for used, allowed, more in _COUNTERS],
    )
    .values({used: used + more for used, _, more in _COUNTERS})
)
_REST = (accounts.c.id, accounts.c.disabled, accounts.c.created_at)


def _keep(connection: Connection, account_id: int, label: str, allowed: Counts, now: int) -> None:
    known = update(accounts).where(accounts.c.id == account_id).values(_limits(allowed))
    if connection.execute(known).rowcount == 0:
        try:
            with connection.begin_nested():
                connection.execute(insert(accounts).values(id=account_id, **_values(label, allowed, now)))
        except RowExistsError:  # another process made it meanwhile
            connection.execute(known)


def _limits(allowed: Counts) -> dict[str, object]:
    return {
        "max_dirs": allowed.directories,
        "max_entries": allowed.entries,
        "max_bytes": allowed.size,
    }


def _values(label: str, allowed: Counts, now: int) -> dict[str, object]:
    unused = {"used_dirs": 0, "used_entries": 0, "used_bytes": 0}
    return {"label": label, **_limits(allowed), **unused, "disabled": False, "created_at": now}


def _state(row: Sequence[Any]) -> AccountState:
    label, *counts = row[:7]
    return AccountState(label, Counts(*counts[:3]), Counts(*counts[3:]))
