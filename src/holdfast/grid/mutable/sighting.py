"""What one operation has seen of a file: the map of its shares, and the copies behind it.

Source: docs/spec/mutable.md, section 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.formats.mutable_layout import MutableHeader
from holdfast.grid.known_server import KnownServer
from holdfast.grid.mutable.share_copy import ShareCopy
from holdfast.planning.server_map import Place, ServerMap

LEADING_SIZE = 75  # bytes of a bad share that are remembered, to be overwritten only if they are still there


@dataclass(slots=True)
class Sighting:
    """The map, and the copies of good shares by place. Changed by surveys, reads and writes.

    Attributes:
        servers: those that can be used, by id, in permuted order.
        heads: the first bytes of good and bad shares, as they were read last.
    """

    servers: Mapping[str, KnownServer]
    map: ServerMap = field(default_factory=ServerMap)
    copies: dict[Place, ShareCopy] = field(default_factory=dict)

    def add(self, copy: ShareCopy) -> None:
        """Take in a share whose header was verified."""
        place = Place(copy.server.id, copy.number)
        if self.map.add(place, copy.header, copy.offsets):
            self.copies[place] = copy

    def mark_bad(self, place: Place, head: bytes) -> None:
        """Note that a share is of no use. ``head``: its first bytes."""
        self.copies.pop(place, None)
        self.map.mark_bad(place, head[:LEADING_SIZE])

    def forget(self, place: Place) -> None:
        """Note that nothing is known of a share any more."""
        self.copies.pop(place, None)
        self.map.forget(place)

    def copies_of(self, version: MutableHeader) -> list[ShareCopy]:
        """Return the copies of a version: by share number, those of servers first in order before others."""
        order = {server: i for i, server in enumerate(self.servers)}
        copies = [
            self.copies[place]
            for place, found in self.map.shares.items()
            if found.header == version and place in self.copies
        ]
        return sorted(copies, key=lambda copy: (copy.number, order.get(copy.server.id, len(order))))
