"""What an operator looks at and changes in the database of an introducer, which may run meanwhile in
another process: it notices within a second or so.

Everything here blocks.

Source: docs/spec/control-and-introducer.md, sections 3.6 and 3.9 (admission).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from holdfast.errors import UnavailableError
from holdfast.protocol.announcement import BadAnnouncementError, server_id_of, verified_announcement
from holdfast.protocol.nurl import parse_nurl
from holdfast.servers.introducer.keys import KeyBook, Standing
from holdfast.servers.introducer.settings import IntroducerSettings
from holdfast.servers.introducer.tables import announcements_table, open_tables


@dataclass(frozen=True, slots=True)
class ListedAnnouncement:
    """What is announced of one service. Times in Unix seconds.

    Attributes:
        addresses: "HOST:PORT" each; none for what is withdrawn.
        received: when these words came; a node repeats itself in new ones every few days.
    """

    service: str
    nickname: str
    addresses: tuple[str, ...]
    withdrawn: bool
    received: int
    expires: int


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key that has announced something, or that an operator has decided about.

    Attributes:
        nickname: what its node calls itself. Nobody vouches for it.
        first_seen: Unix seconds.
    """

    verify_key: bytes
    standing: Standing
    nickname: str
    first_seen: int
    announcements: tuple[ListedAnnouncement, ...]

    @property
    def server_id(self) -> str:
        return server_id_of(self.verify_key)

    @property
    def last_heard(self) -> int:
        """When it last said something new, in Unix seconds."""
        return max((one.received for one in self.announcements), default=self.first_seen)


def listed_keys(database: Path) -> list[ListedKey]:
    """Return all keys, those first seen last first; none if there is no database yet.

    Raises:
        ConfigError: the database is damaged; the message names it.
        UnavailableError: it cannot be used now.
    """
    if not database.exists():
        return []
    with _transaction(database) as connection:
        known = _key_book().known(connection)
        announced = _announcements(connection)
    return [
        ListedKey(
            key.verify_key,
            key.standing,
            next((one.nickname for one in announced[key.verify_key] if one.nickname), key.label),
            key.first_seen,
            tuple(announced[key.verify_key]),
        )
        for key in known
    ]


def admit_key(database: Path, verify_key: bytes) -> Standing:
    """Let a key announce, known or not, and return how it stood before.

    Raises: as ``listed_keys``.
    """
    keys = _key_book()
    with _transaction(database) as connection:
        before = keys.standing(connection, verify_key)
        keys.admit(connection, verify_key)
    return before


def expel_key(database: Path, verify_key: bytes) -> list[str]:
    """Let a key announce nothing any more; return the services of which announcements were deleted.

    Raises: as ``listed_keys``.
    """
    with _transaction(database) as connection:
        return sorted(service for service, _ in _key_book().expel(connection, verify_key))


def _key_book() -> KeyBook:
    return KeyBook(IntroducerSettings(), time.time)


@contextmanager
def _transaction(database: Path) -> Iterator[Connection]:
    tables = open_tables(database, synchronise=True)
    try:
        with tables.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise UnavailableError(f"the database {database} cannot be used now: {error.orig}") from error
    finally:
        tables.dispose()


def _announcements(connection: Connection) -> defaultdict[bytes, list[ListedAnnouncement]]:
    """Return what each key announces, by service."""
    columns = announcements_table.c
    rows = connection.execute(
        select(
            columns.vk, columns.service, columns.ann, columns.sig, columns.received, columns.expires
        ).order_by(columns.service)
    )
    result: defaultdict[bytes, list[ListedAnnouncement]] = defaultdict(list)
    for verify_key, service, ann, signature, received, expires in rows:
        nickname, addresses, withdrawn = _contents(ann, signature)
        result[verify_key].append(
            ListedAnnouncement(service, nickname, addresses, withdrawn, received, expires)
        )
    return result


def _contents(ann: bytes, signature: bytes) -> tuple[str, tuple[str, ...], bool]:
    try:
        announcement = verified_announcement(ann, signature).announcement
    except BadAnnouncementError:  # stored by a version with other rules
        return "", (), False
    addresses = tuple(parse_nurl(text).address for text in announcement.nurls)
    return announcement.nickname, addresses, announcement.withdrawn
