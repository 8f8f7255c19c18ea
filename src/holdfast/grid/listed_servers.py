"""Which storage servers a client knows without asking anybody: those on its own list, and those that it
remembers being announced.

What makes an announced server usable is decided in ``announced_servers``; this is a view at one moment.

Source: docs/spec/control-and-introducer.md, sections 3.7 and 3.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from holdfast.grid.announced_servers import MY_VERSION, record_of
from holdfast.grid.announcement_book import AnnouncementBook
from holdfast.grid.announcement_cache import CachedAnnouncement
from holdfast.grid.introducer_client import STORAGE
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.interfaces.introducer import KnownAnnouncement
from holdfast.protocol.nurl import parse_nurl
from holdfast.protocol.server_record import ServerRecord
from holdfast.protocol.versions import compatible

STATIC = "static"


@dataclass(frozen=True, slots=True)
class ListedServer:
    """One server. It holds secrets in its record alone. Times in Unix seconds.

    Attributes:
        addresses: "HOST:PORT" each.
        freshness: static (of the client's own list), fresh or stale.
        expires: when its announcement does; None for a static one.
        last_contact: with the server itself; 0: none remembered.
        record: None if it cannot be used at all.
        reason: why it is not used; empty if it is.
    """

    server_id: str
    nickname: str
    addresses: tuple[str, ...]
    freshness: str
    expires: int | None
    last_contact: int
    record: ServerRecord | None
    reason: str


def listed_servers(
    static: Sequence[ServerRecord],
    remembered: Sequence[CachedAnnouncement],
    settings: IntroducerClientSettings,
    now: float,
) -> list[ListedServer]:
    """Return all servers: static ones in their order, then the others by nickname.

    Of announcements with one TLS key one counts: a fresh one before a stale one, then the one heard first.
    """
    servers = [_static(record) for record in static]
    ids = {record.server_id for record in static}
    keys = {record.nurls[0].spki_hash for record in static}
    announced = []
    for known in _known(remembered, settings, now):
        if known.server_id not in ids:
            server = _announced(known, settings, keys)
            announced.append(server)
            if server.record is not None:
                keys.add(server.record.nurls[0].spki_hash)
    return servers + sorted(announced, key=lambda server: (server.nickname, server.server_id))


def _known(
    remembered: Sequence[CachedAnnouncement], settings: IntroducerClientSettings, now: float
) -> Iterable[KnownAnnouncement]:
    book = AnnouncementBook(settings.forget_after_s)
    book.restore(remembered, now)
    book.advance(now)  # forgets what is too old
    return sorted(book.known(STORAGE, now), key=lambda known: known.freshness != "fresh")


def _static(record: ServerRecord) -> ListedServer:
    addresses = tuple(nurl.address for nurl in record.nurls)
    return ListedServer(record.server_id, record.nickname, addresses, STATIC, None, 0, record, "")


def _announced(known: KnownAnnouncement, settings: IntroducerClientSettings, keys: set[str]) -> ListedServer:
    record, reason = None, ""
    try:
        record = record_of(known, allow_private=settings.allow_private_addresses)
        if record.nurls[0].spki_hash in keys:
            record = None
            raise ValueError("another server has its TLS key")
    except ValueError as error:
        reason = str(error)
    else:
        reason = compatible(MY_VERSION, known.version) or ""
        if not reason and known.freshness != "fresh" and settings.use_stale == "none":
            reason = "its announcement is stale"
    addresses = tuple(parse_nurl(text).address for text in known.nurls)
    return ListedServer(
        known.server_id,
        known.nickname,
        addresses,
        known.freshness,
        known.expires,
        known.contact,
        record,
        reason,
    )
