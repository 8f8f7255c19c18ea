"""What a server remembers of directories that were committed to lately, to be ready faster.

The verify key belongs to the index for ever. The rest may be out of date, and only decides what
is looked at first.

Source: docs/spec/vdrive.md, sections 8.4 and 11.4.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, select

from holdfast.interfaces.vdrive import Authority, Committed, Section
from holdfast.interfaces.vdrive_errors import BadWriteEnablerError, NoSuchDirectoryError
from holdfast.servers.vdrive.enrol import enabler_matches
from holdfast.servers.vdrive.tables import directories

KNOWN_MAX = 10_000


@dataclass(slots=True)
class Known:
    """One directory; ``version`` is the highest that is known to have been committed."""

    verify_key: bytes
    enabler_hash: bytes = field(repr=False)
    version: int


class KnownDirectories:
    """The directories used last. On the event loop."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Known] = OrderedDict()

    def verify_keys(self, sections: Iterable[Section], authority: Authority) -> dict[bytes, bytes]:
        """Return the keys of those directories whose enabler is shown, as far as they are known."""
        keys = {}
        for section in sections:
            known = self._known.get(section.index)
            if known and enabler_matches(known.enabler_hash, authority.enablers.get(section.index)):
                keys[section.index] = known.verify_key
        return keys

    def learn(self, found: Mapping[bytes, Known]) -> None:
        """Remember what was looked up."""
        for index, known in found.items():
            self._known[index] = known
            self._known.move_to_end(index)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    def advanced(self, committed: Iterable[Committed]) -> None:
        """Note commits."""
        for one in committed:
            known = self._known.get(one.index)
            if known is not None:
                known.version = max(known.version, one.version)
                self._known.move_to_end(one.index)

    def passed(self, index: bytes, version: int) -> bool:
        """Tell whether a head of this version has been committed, as far as is known."""
        known = self._known.get(index)
        return known is not None and known.version >= version


def look_up(connection: Connection, sections: Sequence[Section], authority: Authority) -> dict[bytes, Known]:
    """Return the directories of these sections, whose enablers must be shown.

    Raises:
        NoSuchDirectoryError: there is none.
        BadWriteEnablerError: an enabler is missing or wrong.
    """
    indices = [section.index for section in sections]
    rows = {row.idx: row for row in connection.execute(_LOOK_UP, {"indices": indices})}
    for index in indices:
        if index not in rows:
            raise NoSuchDirectoryError("this server has no such directory")
        if not enabler_matches(rows[index].we_hash, authority.enablers.get(index)):
            raise BadWriteEnablerError("the write enabler is not that of the directory")
    return {index: Known(row.vk, row.we_hash, row.version) for index, row in rows.items()}


def versions_of(connection: Connection, indices: Sequence[bytes]) -> dict[bytes, int]:
    """Return the current versions of directories; those that are gone are left out."""
    return {row.idx: row.version for row in connection.execute(_LOOK_UP, {"indices": indices})}


_LOOK_UP = select(directories.c.idx, directories.c.vk, directories.c.we_hash, directories.c.version).where(
    directories.c.idx.in_(bindparam("indices", expanding=True))
)
