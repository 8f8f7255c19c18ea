"""What a client knew when it stopped, so that it finds its servers although no introducer answers.

The file is not trusted: each announcement is verified again when it is read. A file that is damaged is put
aside, and the introducers are asked.

Source: docs/spec/control-and-introducer.md, section 3.7 ("Cache").
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from holdfast.formats import cbor
from holdfast.formats.cbor import MalformedCborError
from holdfast.formats.deterministic_cbor import encode
from holdfast.grid.durable_files import replace_file
from holdfast.interfaces.introducer import ANNOUNCEMENT_MAX
from holdfast.protocol.announcement import BadAnnouncementError, SignedAnnouncement, verified_announcement

log = structlog.get_logger(__name__)

CACHED_MAX = 10_000  # announcements
FILE_MAX = CACHED_MAX * (ANNOUNCEMENT_MAX + 64)  # bytes
DAMAGED_SUFFIX = ".damaged"


@dataclass(frozen=True, slots=True)
class CachedAnnouncement:
    """An announcement and its history, in Unix seconds of this machine's clock.

    Attributes:
        last_seen: when an introducer last handed it out.
        contact: of the last authenticated contact with the node itself; 0: never.
    """

    signed: SignedAnnouncement
    first_seen: int
    last_seen: int
    contact: int


class AnnouncementCache:
    """The file ``private/announcements.cbor``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> list[CachedAnnouncement]:
        """Return what can be read and verified. Never raises: without the file there are introducers."""
        try:
            if self._path.stat().st_size > FILE_MAX:
                raise ValueError("it is too large")
            entries = _entries(cbor.decode(self._path.read_bytes()))
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("the cache of announcements cannot be read", reason=error.strerror)
            return []
        except ValueError as error:
            self._put_aside(str(error))
            return []
        cached = [verified for entry in entries if (verified := _verified(entry)) is not None]
        if len(cached) < len(entries):
            log.warning("cached announcements are invalid", count=len(entries) - len(cached))
        return cached

    def save(self, announcements: Iterable[CachedAnnouncement]) -> None:
        """Replace the file.

        Raises:
            OSError: it cannot be written; the old one is still there.
        """
        entries = [
            [*cached.signed.bytes_pair, cached.first_seen, cached.last_seen, cached.contact]
            for cached in announcements
        ]
        replace_file(self._path, encode(entries[:CACHED_MAX]))

    def _put_aside(self, reason: str) -> None:
        aside = self._path.with_name(self._path.name + DAMAGED_SUFFIX)
        log.error("the cache of announcements is damaged; put aside", file=str(aside), reason=reason)
        try:
            os.replace(self._path, aside)
        except OSError as error:
            log.warning("the damaged cache cannot be renamed", reason=error.strerror)


def _entries(item: object) -> list[object]:
    if not isinstance(item, list) or len(item) > CACHED_MAX:
        raise MalformedCborError("it is not a list of announcements")
    return item


def _verified(entry: object) -> CachedAnnouncement | None:
    match entry:
        case [bytes(ann), bytes(signature), int(first_seen), int(last_seen), int(contact)]:
            try:
                return CachedAnnouncement(
                    verified_announcement(ann, signature), first_seen, last_seen, contact
                )
            except BadAnnouncementError:
                return None
    return None
