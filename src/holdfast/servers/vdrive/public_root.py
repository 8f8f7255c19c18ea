"""The root that all users of a server share, if its operator wants one.

Its write key lies on the server, alone of all directories: the operator can read and forge it.

Source: docs/spec/vdrive.md, sections 8.3 and 10.2; seed-map S-064, S-065, X-09.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, insert, select, update

from holdfast.caps.vdrive import VdrivePlace, VdriveReadCap, VdriveWriteCap
from holdfast.crypto import base32
from holdfast.crypto.vdrive_keys import WriteKeys, stored_enabler, write_enabler
from holdfast.errors import ConfigError
from holdfast.formats.vdrive.head import first_head, head_hash
from holdfast.formats.vdrive.tree import EMPTY
from holdfast.servers.vdrive import accounts, tables
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.servers.vdrive.tables import LIVE, directories, heads, meta

KEY_FILE = "public_root.key"
KEY_SIZE = 32  # bytes
META_KEY = "public-root"  # its value: the index of the root
OTHERS = 0o077


def prepare(connection: Connection, settings: VdriveServerSettings, now: int) -> WriteKeys | None:
    """Return the keys of the public root, which is made if it is missing; None if none is offered.

    Raises:
        ConfigError: the file of its key is missing, damaged, or holds the key of another one.
    """
    if settings.public_root == "none":
        return None
    path = settings.private / KEY_FILE
    account = tables.accounts.c.id  # whose row is locked: another process may do the same
    connection.execute(select(account).where(account == accounts.PUBLIC_ROOT_ACCOUNT).with_for_update())
    recorded: bytes | None = connection.scalar(select(meta.c.value).where(meta.c.key == META_KEY))
    keys = load_key(settings.private)
    if keys is None:
        if recorded is not None:
            raise ConfigError(
                f"{path} is missing; restore it from a backup: users hold on to the root they know"
            )
        keys = make_key(settings.private)
    index = keys.read.index
    if recorded is None:
        connection.execute(insert(meta).values(key=META_KEY, value=index))
    elif recorded != index:
        raise ConfigError(f"{path} is not the key of the public root that the database knows")
    enabler = stored_enabler(write_enabler(keys.write_key, settings.sid))
    this = update(directories).where(directories.c.idx == index)
    changed = connection.execute(this.values(pinned=True, we_hash=enabler, state=LIVE, condemned_at=None))
    if changed.rowcount == 0:
        _create(connection, keys, enabler, now)
    return keys


def _create(connection: Connection, keys: WriteKeys, enabler: bytes, now: int) -> None:
    head = first_head(keys)
    accounts.charge(
        connection, accounts.PUBLIC_ROOT_ACCOUNT, dirs=1, entries=0, bytes=accounts.DIRECTORY_SIZE
    )
    row = insert(directories).values(
        idx=keys.read.index,
        rid=keys.read.refresh_id,
        vk=keys.verify_key,
        rc=keys.read.commitment,
        we_hash=enabler,
        account_id=accounts.PUBLIC_ROOT_ACCOUNT,
        version=0,
        head_hash=head_hash(head.head),
        root=EMPTY,
        entry_count=0,
        byte_count=accounts.DIRECTORY_SIZE,
        pinned=True,
        state=LIVE,
        created_at=now,
        modified_at=now,
    )
    key = connection.execute(row).inserted_primary_key
    assert key is not None
    first = {"dir_id": key[0], "version": 0, "head": head.head, "sig": head.signature, "committed_at": now}
    connection.execute(insert(heads).values(first))


def load_key(private: Path) -> WriteKeys | None:
    """Return the keys of the public root; None if there is no file of them.

    Raises:
        ConfigError: the file is damaged, unreadable, or open to other users. It names the file.
    """
    path = private / KEY_FILE
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if mode & OTHERS:
        raise ConfigError(f"{path} is open to other users of this machine; close it with: chmod 600 {path}")
    with suppress(ValueError):
        key = base32.decode(text.decode("ascii"))
        if len(key) == KEY_SIZE:
            return WriteKeys(key)
    raise ConfigError(f"{path} is damaged; restore it from a backup of the node directory")


def make_key(private: Path) -> WriteKeys:
    """Return the keys of the public root, made and stored for good if there were none."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{KEY_FILE}.", suffix=".new", dir=private)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(base32.encode(secrets.token_bytes(KEY_SIZE)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was faster
            os.link(temporary, private / KEY_FILE)
    finally:
        Path(temporary).unlink(missing_ok=True)
    keys = load_key(private)
    assert keys is not None, "it was just written"
    return keys


def capability(settings: VdriveServerSettings, keys: WriteKeys) -> str:
    """Return what is handed out: the capability of the strength that is set, with the current hints."""
    place = VdrivePlace(settings.sid, settings.swissnum, settings.hints)
    if settings.public_root == "read-write":
        return VdriveWriteCap(place, keys.write_key).to_text()
    return VdriveReadCap(place, keys.read.read_key, keys.verify_key).to_text()
