"""What a change of directories is planned on, what it consists of, and what came of it.

Source: docs/spec/vdrive.md, section 9.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from holdfast.caps.slots import ChildSlots
from holdfast.formats.directory_metadata import Metadata
from holdfast.formats.vdrive.head import Head, SignedHead
from holdfast.formats.vdrive.names import child_name
from holdfast.formats.vdrive.open_entry import OpenEntry


class VerifiedHead(NamedTuple):
    """A head that a writer signed, and that agrees with what was seen before.

    Attributes:
        head_hash: 32 bytes.
        chain_verified: every head since the first one seen here is known to follow the one before.
    """

    version: int
    head_hash: bytes
    head: Head
    signed: SignedHead
    chain_verified: bool = True


class EntriesView:
    """Some names of a directory at one version, proven."""

    def __init__(self, version: int, entries: Mapping[str, OpenEntry | None]) -> None:
        """``entries``: for each name asked for, in its normal form, what it leads to."""
        self.version = version
        self._entries = entries

    def get(self, name: str) -> OpenEntry | None:
        """Return the entry of this name; None if there is none.

        Raises:
            KeyError: this name was not asked for, so nothing is known of it.
            BadChildNameError: it cannot be that of a child.
        """
        return self._entries[child_name(name)]


@dataclass(frozen=True, slots=True)
class PutEntry:
    """Let a name lead to a child, whatever it leads to now.

    Attributes:
        uniform: whether there is a write capability cannot be seen without keys (5.3).
    """

    name: str
    child: ChildSlots
    metadata: Metadata
    uniform: bool = False


@dataclass(frozen=True, slots=True)
class DeleteEntry:
    """Let a name lead to nothing."""

    name: str


EntryChange: TypeAlias = PutEntry | DeleteEntry
Plan: TypeAlias = Callable[[Sequence[EntriesView]], Sequence[Sequence[EntryChange]]]
"""From what is there to what is to be changed, for each directory. It may be asked again, when others were
faster, and raises to give up."""


@dataclass(frozen=True, slots=True)
class CreatePlan:
    """A directory to be made in the same change.

    Attributes:
        write_key: 32 bytes, which nobody had before; the same again does no harm.
        entries: up to 1000.
    """

    write_key: bytes = field(repr=False)
    entries: Sequence[PutEntry] = ()


class ChangeResult(NamedTuple):
    """What a change led to.

    Attributes:
        heads: of each directory that was to be changed, in order, then of each that was made.
        changed: False if there was nothing to do.
    """

    heads: tuple[VerifiedHead, ...]
    changed: bool

    @property
    def versions(self) -> tuple[int, ...]:
        """Versions of the directories, in the order of ``heads``."""
        return tuple(head.version for head in self.heads)
