"""The keys that have announced something, and what the operator has decided about them.

All functions run inside a transaction.

Source: docs/spec/control-and-introducer.md, sections 3.6 and 3.9 (admission).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, bindparam, delete, exists, func, select
from sqlalchemy.dialects.sqlite import insert

from holdfast.protocol.announcement import server_id_of
from holdfast.servers.introducer.index import Name
from holdfast.servers.introducer.settings import DAY_S, IntroducerSettings
from holdfast.servers.introducer.tables import announcements_table, keys_table

KEEP_UNDECIDED_S = 30 * DAY_S  # keys that nothing is announced of any more

Standing = Literal["unknown", "undecided", "admitted", "expelled"]

_STANDINGS: dict[int | None, Standing] = {None: "undecided", 1: "admitted", 0: "expelled"}
_columns = keys_table.c
_standing_of = select(_columns.admitted).where(_columns.vk == bindparam("of_vk"))
_idle = _columns.admitted.is_(None) & ~exists().where(announcements_table.c.vk == _columns.vk)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What an operator may want to know of a key.

    Attributes:
        verify_key: 32 bytes.
        standing: undecided, admitted or expelled. Undecided keys may announce where admission is open.
        first_seen: Unix seconds.
        label: the nickname under which it first announced itself. Nobody vouches for it.
        services: what it announces.
    """

    verify_key: bytes
    standing: Standing
    first_seen: int
    label: str
    services: tuple[str, ...]

    @property
    def server_id(self) -> str:
        return server_id_of(self.verify_key)


class KeyBook:
    """The keys of one introducer."""

    def __init__(self, settings: IntroducerSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock

    def standing(self, connection: Connection, verify_key: bytes) -> Standing:
        """Return how a key stands."""
        row = connection.execute(_standing_of, {"of_vk": verify_key}).one_or_none()
        return "unknown" if row is None else _STANDINGS[row[0]]

    def note(self, connection: Connection, verify_key: bytes, label: str) -> None:
        """Note a key that was unknown. The oldest that nothing is known of but this may have to go for it."""
        idle = connection.scalar(select(func.count()).select_from(keys_table).where(_idle)) or 0
        too_many = idle - self._settings.keys_waiting_max + 1
        if too_many > 0:
            oldest = select(_columns.vk).where(_idle).order_by(_columns.first_seen).limit(too_many)
            connection.execute(delete(keys_table).where(_columns.vk.in_(oldest)))
        self._put(connection, verify_key, label, None)

    def admit(self, connection: Connection, verify_key: bytes) -> None:
        """Let a key announce, known or not."""
        self._decide(connection, verify_key, 1)

    def expel(self, connection: Connection, verify_key: bytes) -> list[Name]:
        """Let a key announce nothing any more; return the names of what it had announced, now deleted."""
        self._decide(connection, verify_key, 0)
        of_key = announcements_table.c.vk == verify_key
        services = connection.scalars(select(announcements_table.c.service).where(of_key)).all()
        connection.execute(delete(announcements_table).where(of_key))
        return [(service, verify_key) for service in services]

    def known(self, connection: Connection) -> list[KnownKey]:
        """Return all keys, those first seen last first."""
        services: defaultdict[bytes, list[str]] = defaultdict(list)
        columns = announcements_table.c
        for service, verify_key in connection.execute(
            select(columns.service, columns.vk).order_by(columns.service)
        ):
            services[verify_key].append(service)
        rows = connection.execute(
            select(_columns.vk, _columns.admitted, _columns.first_seen, _columns.label).order_by(
                _columns.first_seen.desc(), _columns.vk
            )
        )
        return [
            KnownKey(verify_key, _STANDINGS[admitted], first_seen, label, tuple(services[verify_key]))
            for verify_key, admitted, first_seen, label in rows
        ]

    def sweep(self, connection: Connection) -> None:
        """Forget keys that nobody has decided about and that have announced nothing for long."""
        before = self._clock() - KEEP_UNDECIDED_S
        connection.execute(delete(keys_table).where(_idle, _columns.first_seen < before))

    def _decide(self, connection: Connection, verify_key: bytes, admitted: int) -> None:
        if self.standing(connection, verify_key) == "unknown":
            self._put(connection, verify_key, "", admitted)
        else:
            connection.execute(keys_table.update().where(_columns.vk == verify_key).values(admitted=admitted))

    def _put(self, connection: Connection, verify_key: bytes, label: str, admitted: int | None) -> None:
        row = {"vk": verify_key, "first_seen": int(self._clock()), "admitted": admitted, "label": label}
        connection.execute(insert(keys_table).values(row))
