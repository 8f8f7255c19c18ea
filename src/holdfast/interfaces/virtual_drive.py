"""What goes wrong with the two directories that paths begin at: the public root, which all users of a
virtual drive server share, and the private root of each client.

Source: docs/spec/seed-map.md, section R; docs/spec/vdrive.md, section 10.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.errors import UnavailableError


class NoGlobalVirtualDriveError(UnavailableError, LookupError):
    """There is no public root, or it is not known yet."""


class NoPrivateVirtualDriveError(UnavailableError, LookupError):
    """There is no private root, or it could not be made yet."""


@dataclass(frozen=True, slots=True)
class PublicRootChanged:
    """A server offers another public root than before. The one that is known remains in use until a person
    removes the file that keeps it.

    Attributes:
        known: capability in use.
        offered: capability that the server offers now.
    """

    known: str = field(repr=False)
    offered: str = field(repr=False)
