"""What a virtual drive server does: it keeps directories that it cannot read.

The engine of the server and the client that speaks to one over HTTPS are both a
``VirtualDriveServer``. Whoever calls one trusts nothing that it answers: heads are
signed, and every statement about entries comes with a proof.

Source: docs/spec/vdrive.md, sections 8, 12 and 13.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from holdfast.formats.vdrive.entry import NameEntry, SealedEntry
from holdfast.formats.vdrive.head import SignedHead
from holdfast.formats.vdrive.witness import Witness
from holdfast.interfaces.vdrive_choices import AccountsMode, PublicRootMode

OPERATIONS_MAX = 1000  # in one directory and one commit
DIRECTORIES_MAX = 16  # in one commit
SLOTS_MAX = 1000  # in one request
PAGE_DEFAULT = 1000  # entries
PAGE_MAX = 5000
HEADS_MAX = 1000
WAIT_MAX_S = 55.0
CLOCK_SKEW_S = 3600


class VdriveVersion(NamedTuple):
    """What a server says of itself.

    Attributes:
        sid: 32 bytes, the SHA-256 of its TLS key.
        limits: by name, as in section 3.2.
    """

    protocol: int
    limits: Mapping[str, int]
    public_root: PublicRootMode
    accounts: AccountsMode
    features: tuple[str, ...]
    version: str
    oldest: str
    sid: bytes


@dataclass(frozen=True, slots=True)
class NewDirectory:
    """A directory to be made; every field but the last is bound to the others by hashes and signatures.

    Attributes:
        head: of version 0.
        proof: that a writer of this directory chose the enabler, 64 bytes.
        lease_s: seconds of the first lease; None for what the server thinks right.
    """

    index: bytes
    refresh_id: bytes
    verify_key: bytes
    commitment: bytes
    head: SignedHead
    proof: bytes
    lease_s: int | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """What a commit changes in one directory.

    Attributes:
        operations: deterministic CBOR, see ``formats.vdrive.operations``.
    """

    index: bytes
    operations: bytes
    head: SignedHead


class CommitRequest(NamedTuple):
    """One change, of one or several directories, made as a whole or not at all."""

    creates: tuple[NewDirectory, ...]
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Authority:
    """What whoever changes something shows beside the change.

    Attributes:
        enablers: write enabler, 32 bytes, by the index of its directory.
        turns: turn, 16 bytes, by index.
        account: token of the account that directories are charged to.
    """

    enablers: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    turns: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    account: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Committed:
    """A directory as a commit left it."""

    index: bytes
    version: int
    head_hash: bytes


class CommitAnswer(NamedTuple):
    """What was done; ``time`` is the server's clock, Unix seconds."""

    directories: tuple[Committed, ...]
    time: int


class DirectoryInfo(NamedTuple):
    """A directory, as far as its server knows it.

    Attributes:
        condemned: it is to be deleted, for want of leases.
        size: bytes charged.
        lease_expires: Unix seconds of the last lease; None if there is none.
    """

    head: SignedHead
    verify_key: bytes
    commitment: bytes
    condemned: bool
    size: int
    lease_expires: int | None


@dataclass(frozen=True, slots=True)
class Context:
    """Some entries at the current version, and the proof for each slot asked for, present or absent."""

    index: bytes
    head: SignedHead
    tree: Witness
    entries: tuple[SealedEntry, ...]


class Page(NamedTuple):
    """Part of a listing, in the order of slots.

    Attributes:
        next: the last slot delivered, if more follow.
    """

    head: SignedHead
    tree: Witness
    entries: tuple[SealedEntry, ...] | tuple[NameEntry, ...]
    next: bytes | None


class HeadRange(NamedTuple):
    """Successive heads; ``more`` if those asked for do not end here."""

    heads: tuple[SignedHead, ...]
    more: bool


class Changes(NamedTuple):
    """What differs between two versions, in the order of slots.

    Attributes:
        entries: written since, and still there.
        deleted: slots that were taken and are free now.
        next: the last slot told of, if more follow.
    """

    head: SignedHead
    tree: Witness
    entries: tuple[SealedEntry, ...]
    deleted: tuple[bytes, ...]
    next: bytes | None


class Turn(NamedTuple):
    """The right to be the only one to commit, for a while.

    Attributes:
        turn: 16 bytes.
        ttl_s: seconds.
    """

    turn: bytes
    ttl_s: int


class LeaseInfo(NamedTuple):
    """Leases of a directory; ``expires`` is that of the latest, Unix seconds."""

    expires: int | None
    leases: int


class Counts(NamedTuple):
    """Of an account, allowed or used; ``size`` in bytes."""

    directories: int
    entries: int
    size: int


class AccountState(NamedTuple):
    """An account."""

    label: str
    allowed: Counts
    used: Counts


class VirtualDriveServer(Protocol):
    """A server of encrypted directories.

    Every method raises a ``VdriveRefusalError`` of ``interfaces.vdrive_errors`` for what the server refuses,
    ServerError if it is gone, hung, or breaks the protocol.
    """

    async def version(self) -> VdriveVersion:
        """Return what the server says of itself (8.2)."""
        ...

    async def public_root(self) -> str:
        """Return the capability of the root that all share (8.3).

        Raises:
            NoPublicRootError: there is none.
        """
        ...

    async def commit(self, request: CommitRequest, authority: Authority) -> CommitAnswer:
        """Make one change (8.4). The same request may be sent again until an answer comes.

        Raises:
            HeadConflictError: another change came first; it holds what is needed to try again at once.
            VdriveRefusalError: the others of section 8.4.
        """
        ...

    async def describe(self, index: bytes) -> DirectoryInfo:
        """Return what the server knows of a directory (8.5)."""
        ...

    async def child(self, index: bytes, slot: bytes) -> Context:
        """Return one entry; without entries, a proof that there is none (8.5)."""
        ...

    async def context(self, index: bytes, slots: Sequence[bytes]) -> Context:
        """Return the entries of up to ``SLOTS_MAX`` slots, with one proof for all (8.5)."""
        ...

    async def page(
        self,
        index: bytes,
        *,
        at: int | None = None,
        after: bytes | None = None,
        limit: int = PAGE_DEFAULT,
        names_only: bool = False,
    ) -> Page:
        """Return part of a listing (8.6).

        Args:
            at: version to list; None for the current one.
            after: the last slot already received.

        Raises:
            SnapshotExpiredError: this version is no longer kept.
        """
        ...

    async def heads(self, index: bytes, first: int, last: int) -> HeadRange:
        """Return heads of versions ``first`` to ``last``, both included (8.7).

        Raises:
            HistoryPrunedError: the server no longer has them.
        """
        ...

    async def wait(self, index: bytes, version: int, timeout_s: float) -> SignedHead | None:
        """Return the current head once its version exceeds ``version``; None after ``timeout_s`` (8.7)."""
        ...

    async def changes(
        self,
        index: bytes,
        since: int,
        *,
        at: int | None = None,
        after: bytes | None = None,
        limit: int = PAGE_DEFAULT,
    ) -> Changes:
        """Return what differs between version ``since`` and the current one, or ``at`` (8.7).

        Raises:
            SnapshotExpiredError: what was deleted since is no longer known.
        """
        ...

    async def turn(self, enablers: Mapping[bytes, bytes]) -> Turn:
        """Ask to be the only one to commit for a moment (8.8), to all of some directories or to none.

        Args:
            enablers: by the indices of the directories, 1 to 16.

        Raises:
            TurnTakenError: it is somebody else's turn.
        """
        ...

    async def enrol(self, index: bytes, enabler: bytes, proof: bytes) -> None:
        """Register the enabler that a writer has for this server (8.9)."""
        ...

    async def renew_lease(self, refresh_id: bytes, secret: bytes, seconds: int) -> int:
        """Renew or add the lease of ``secret``; return when it expires, Unix seconds (12.1)."""
        ...

    async def cancel_lease(self, refresh_id: bytes, secret: bytes) -> None:
        """Cancel the lease of ``secret`` and no other (12.1)."""
        ...

    async def lease_info(self, refresh_id: bytes, secret: bytes) -> LeaseInfo:
        """Return how long the directory is kept (12.1)."""
        ...

    async def account(self, token: str) -> AccountState:
        """Return the limits and the use of an account (13.2)."""
        ...

    def export(self, index: bytes) -> AsyncIterator[bytes]:
        """Yield the directory at one version as a bundle (14.4)."""
        ...

    async def import_bundle(
        self, index: bytes, bundle: AsyncIterator[bytes], enabler: bytes, proof: bytes, account: str | None
    ) -> Committed:
        """Take a directory from a bundle (14.4).

        Raises:
            DirectoryExistsError: there is another history of it here.
        """
        ...
