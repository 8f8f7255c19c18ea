"""Pages of announcements as they are handed out: each encoded once, however many ask for it.

A page holds at most ``PAGE_SIZE_MAX`` bytes of announcements, so that a thousand slow readers at
once cost megabytes and not gigabytes. Source: docs/spec/control-and-introducer.md, section 3.5.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from functools import cached_property

from holdfast.interfaces.introducer import ANNOUNCEMENTS_PER_PAGE, AnnouncementPage
from holdfast.protocol.introducer_messages import encode_page
from holdfast.servers.introducer.index import AnnouncementIndex, Held

PAGE_SIZE_MAX = 64 * 1024  # bytes; a page with a single announcement may have more
PAGES_MAX = 64  # kept for the next who ask


class ServedPage:
    """One page, as a value and as a message."""

    def __init__(self, page: AnnouncementPage) -> None:
        self.page = page

    @cached_property
    def encoded(self) -> bytes:
        """The message on the wire."""
        return encode_page(self.page)


class Pages:
    """The pages of one introducer, made from its index."""

    def __init__(self, index: AnnouncementIndex, epoch: bytes) -> None:
        self._index = index
        self._epoch = epoch
        self._made: OrderedDict[tuple[frozenset[str], int, int], ServedPage] = OrderedDict()

    def forget(self) -> None:
        """Note that the index has changed."""
        self._made.clear()

    def after(self, services: Collection[str], since: int, limit: int) -> ServedPage:
        """Return the announcements after ``since``, as many as fit."""
        limit = max(1, min(limit, ANNOUNCEMENTS_PER_PAGE))
        key = (frozenset(services), since, limit)
        page = self._made.get(key)
        if page is None:
            page = self._made[key] = ServedPage(self._make(services, since, limit))
            if len(self._made) > PAGES_MAX:
                self._made.popitem(last=False)
        else:
            self._made.move_to_end(key)
        return page

    def _make(self, services: Collection[str], since: int, limit: int) -> AnnouncementPage:
        found = self._index.after(services, since, limit + 1)
        held = _fitting(found[:limit])
        more = len(held) < len(found)
        # With nothing left behind, what came of other services need not be looked at again either.
        cursor = held[-1].cursor if more else max(since, self._index.counter)
        return AnnouncementPage(
            self._epoch, cursor, more, [(one.cursor, one.ann, one.signature) for one in held]
        )


def _fitting(held: list[Held]) -> list[Held]:
    size = 0
    for count, one in enumerate(held):
        size += len(one.ann) + len(one.signature)
        if size > PAGE_SIZE_MAX and count:
            return held[:count]
    return held
