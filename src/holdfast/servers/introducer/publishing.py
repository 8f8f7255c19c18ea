"""What becomes of a published announcement: stored, or why not. Runs in the thread of the database,
one publication after the other, so each sees what the ones before it left behind.

Source: docs/spec/control-and-introducer.md, sections 3.5, 3.6 and 3.9; seed-map S-020.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from holdfast.interfaces.introducer import PublishResult
from holdfast.protocol.announcement import Announcement, SignedAnnouncement
from holdfast.servers.introducer.index import Held, Name
from holdfast.servers.introducer.keys import KeyBook
from holdfast.servers.introducer.refusals import FullError, IntroducerRefusalError, TooManyRequestsError
from holdfast.servers.introducer.settings import HOUR_S, IntroducerSettings
from holdfast.servers.introducer.tables import announcements_table, read_meta, write_meta
from holdfast.servers.limits import TokenBuckets

log = logging.getLogger(__name__)

_columns = announcements_table.c
_is_named = (_columns.service == bindparam("of_service"), _columns.vk == bindparam("of_vk"))
_of_name = select(_columns.seq, _columns.ann, _columns.sig).where(*_is_named)
_delete = delete(announcements_table).where(*_is_named)
_count = select(func.count()).select_from(announcements_table)
_count_of_key = _count.where(_columns.vk == bindparam("of_vk"))
_expired = (
    select(_columns.service, _columns.vk)
    .where(_columns.expires < bindparam("before"))
    .order_by(_columns.expires)
    .limit(bindparam("how_many"))
)
_put_new = insert(announcements_table)
_put = _put_new.on_conflict_do_update(
    index_elements=["service", "vk"],
    set_={
        column.name: _put_new.excluded[column.name]
        for column in announcements_table.columns
        if not column.primary_key
    },
)


@dataclass(slots=True)
class Publication:
    """What one request changed.

    Attributes:
        results: one for each announcement, in order.
        limits: for each announcement the limit that it met, or None.
        stored: in the order of their numbers.
        removed: what had to go to make room.
    """

    results: list[PublishResult] = field(default_factory=list)
    limits: list[IntroducerRefusalError | None] = field(default_factory=list)
    stored: list[Held] = field(default_factory=list)
    removed: list[Name] = field(default_factory=list)


class NotAdmittedError(Exception):
    """The announcer's key may not announce here."""


class Publisher:
    """Decides about announcements whose signatures and proofs have been checked.

    For use from one thread. What a transaction took from the limits stays taken if it fails.
    """

    def __init__(self, settings: IntroducerSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._keys = KeyBook(settings, clock)
        self._changes = TokenBuckets(settings.change_every_s, settings.changes_burst, clock)
        self._new_keys = TokenBuckets(HOUR_S / settings.new_keys_per_hour, settings.new_keys_per_hour, clock)
        self._new_keys_of_address = TokenBuckets(
            HOUR_S / settings.new_keys_per_hour_and_address, settings.new_keys_per_hour_and_address, clock
        )

    def publish(
        self,
        connection: Connection,
        announcements: Sequence[SignedAnnouncement | str],
        source: str,
        address: str | None,
    ) -> Publication:
        """Store what is new.

        Args:
            announcements: each checked, or the reason why it cannot be taken.
            source: where they came from, to be noted.
            address: key by which new keys are counted; None: they are not.
        """
        publication = Publication()
        for signed in announcements:
            limit = None
            if isinstance(signed, str):
                result = PublishResult("refused", reason=signed)
            else:
                try:
                    result = self._publish_one(connection, signed, source, address, publication)
                except NotAdmittedError as error:
                    result = PublishResult("refused", reason=f"NotAdmitted: {error}")
                except IntroducerRefusalError as error:
                    limit = error
                    result = PublishResult("refused", reason=f"{error.code}: {error}")
            publication.results.append(result)
            publication.limits.append(limit)
        return publication

    def _publish_one(
        self,
        connection: Connection,
        signed: SignedAnnouncement,
        source: str,
        address: str | None,
        publication: Publication,
    ) -> PublishResult:
        announcement = signed.announcement
        self._admit(connection, announcement, address)
        older = connection.execute(
            _of_name, {"of_service": announcement.service, "of_vk": announcement.verify_key}
        ).one_or_none()
        if older is not None:
            sequence, ann, signature = older
            if ann == signed.ann:
                return PublishResult("duplicate")
            if announcement.sequence < sequence:
                return PublishResult("stale", current=(ann, signature))
            if announcement.sequence == sequence:
                log.warning(
                    "%s announced two different things under number %d of its service %s",
                    announcement.server_id,
                    sequence,
                    announcement.service,
                )
                return PublishResult("conflict")
        self._check_changes(announcement)
        if older is None:
            self._make_room(connection, announcement, publication)
        self._changes.take((announcement.service, announcement.verify_key))
        publication.stored.append(self._store(connection, signed, source))
        return PublishResult("stored")

    def _admit(self, connection: Connection, announcement: Announcement, address: str | None) -> None:
        """Let only keys through that may announce; note a new one.

        Raises:
            NotAdmittedError: it may not, or not yet.
            TooManyRequestsError: too many new keys have come.
        """
        key = announcement.verify_key
        standing = self._keys.standing(connection, key)
        if standing == "unknown":
            self._count_new_key(address)
            self._keys.note(connection, key, announcement.nickname)
        if standing == "expelled":
            raise NotAdmittedError("the operator has expelled this key")
        if self._settings.admission == "approve" and standing != "admitted":
            raise NotAdmittedError(f"the operator has to admit {announcement.server_id} first")

    def _count_new_key(self, address: str | None) -> None:
        if address is None:  # this machine itself
            return
        wait_s = max(self._new_keys.wait_s(""), self._new_keys_of_address.wait_s(address))
        if wait_s > 0:
            raise TooManyRequestsError("too many new nodes announce themselves", wait_s)
        self._new_keys.take("")
        self._new_keys_of_address.take(address)

    def _check_changes(self, announcement: Announcement) -> None:
        wait_s = self._changes.wait_s((announcement.service, announcement.verify_key))
        if wait_s > 0:
            raise TooManyRequestsError("this announcement changes too often", wait_s)

    def _make_room(
        self, connection: Connection, announcement: Announcement, publication: Publication
    ) -> None:
        """See to it that there is room for one announcement more.

        Raises:
            FullError: there is none.
        """
        of_key = connection.scalar(_count_of_key, {"of_vk": announcement.verify_key}) or 0
        if of_key >= self._settings.services_per_key:
            raise FullError(f"one node can announce {self._settings.services_per_key} services")
        too_many = (connection.scalar(_count) or 0) - self._settings.announcements_max + 1
        if too_many <= 0:
            return
        expired = connection.execute(_expired, {"before": int(self._clock()), "how_many": too_many}).all()
        if len(expired) < too_many:
            raise FullError("this introducer has no room for more announcements")
        for service, verify_key in expired:
            connection.execute(_delete, {"of_service": service, "of_vk": verify_key})
            publication.removed.append((service, verify_key))

    def _store(self, connection: Connection, signed: SignedAnnouncement, source: str) -> Held:
        announcement = signed.announcement
        cursor = int(read_meta(connection, "counter")) + 1
        write_meta(connection, "counter", b"%d" % cursor)
        received = int(self._clock())
        if announcement.withdrawn:
            kept_until = received + self._settings.keep_withdrawn_s
        else:
            kept_until = announcement.expires + self._settings.keep_expired_s
        row = {
            "service": announcement.service,
            "vk": announcement.verify_key,
            "seq": announcement.sequence,
            "ann": signed.ann,
            "sig": signed.signature,
            "cursor": cursor,
            "received": received,
            "expires": announcement.expires,
            "kept_until": int(kept_until),
            "source": source,
        }
        connection.execute(_put, row)
        return Held(
            announcement.service,
            announcement.verify_key,
            signed.ann,
            signed.signature,
            cursor,
            announcement.expires,
        )


def sweep(connection: Connection, now: float) -> list[Name]:
    """Delete the announcements that need not be kept any longer; return their names."""
    gone = [
        (service, verify_key)
        for service, verify_key in connection.execute(
            select(_columns.service, _columns.vk).where(_columns.kept_until < now)
        )
    ]
    connection.execute(delete(announcements_table).where(_columns.kept_until < now))
    return gone
