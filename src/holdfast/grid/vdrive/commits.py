"""What is wanted of several directories, made into one commit, ready to be sent.

Source: docs/spec/vdrive.md, sections 8.4 and 9.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.crypto.vdrive_keys import WriteKeys, enabler_proof, write_enabler
from holdfast.formats.vdrive.head import first_head, head_hash, verified_head
from holdfast.formats.vdrive.sealing import EntrySealer
from holdfast.grid.vdrive.delivery import Parcel
from holdfast.grid.vdrive.journal import JournalHead
from holdfast.grid.vdrive.proofs import ProvenContext
from holdfast.grid.vdrive.signing import HeadWords, SignedChange, signed_change
from holdfast.grid.vdrive.views import CreatePlan, EntryChange, VerifiedHead
from holdfast.interfaces.vdrive import Authority, CommitAnswer, CommitRequest, NewDirectory


@dataclass(frozen=True, slots=True)
class NewOne:
    """A directory that a commit makes.

    Attributes:
        first: its head of version 0.
        change: what gives it its first entries; None if it needs none.
        found: its head, if it turned out to be there.
    """

    keys: WriteKeys = field(repr=False)
    first: VerifiedHead
    change: SignedChange | None
    found: VerifiedHead | None = None

    @property
    def index(self) -> bytes:
        return self.keys.read.index

    @property
    def head(self) -> VerifiedHead:
        return self.change.after.head if self.change is not None else self.found or self.first


@dataclass(frozen=True, slots=True)
class SignedCommit:
    """A commit, and what the directories are once it is made.

    Attributes:
        changes: by index, of directories that were there before.
    """

    parcel: Parcel
    changes: Mapping[bytes, SignedChange]
    created: Sequence[NewOne]

    def journal_heads(self) -> list[JournalHead]:
        """Return all heads in it."""
        heads = [new.first for new in self.created]
        heads += [new.head for new in self.created if new.change is not None]
        heads += [change.after.head for change in self.changes.values()]
        enablers = self.parcel.authority.enablers
        return [JournalHead(h.head.index, h.version, h.head_hash, enablers[h.head.index]) for h in heads]

    def is_answered_by(self, answer: CommitAnswer) -> bool:
        """Tell whether an answer says of each directory just what was signed."""
        told = {(one.index, one.version, one.head_hash) for one in answer.directories}
        heads = [change.after.head for change in self.changes.values()]
        heads += [new.head for new in self.created if new.found is None or new.change is not None]
        return all((head.head.index, head.version, head.head_hash) in told for head in heads)


def new_one(plan: CreatePlan, now: int) -> NewOne:
    """Return what makes a directory, and puts its first entries into it."""
    keys = WriteKeys(plan.write_key)
    signed = first_head(keys)
    index = keys.read.index
    first = VerifiedHead(0, head_hash(signed.head), verified_head(signed, keys.verify_key, index), signed)
    change = None
    if plan.entries:
        empty = ProvenContext(first, None, {}, len(plan.entries))
        change = signed_change(keys, EntrySealer(keys), empty, plan.entries, HeadWords(now=now))
    return NewOne(keys, first, change)


def signed_commit(
    wanted: Sequence[tuple[WriteKeys, EntrySealer, ProvenContext, Sequence[EntryChange]]],
    created: Sequence[NewOne],
    words: HeadWords,
    sid: bytes,
    account: str | None,
) -> SignedCommit:
    """Sign what is wanted of each directory, and add what is to be made."""
    changes = {
        keys.read.index: signed_change(keys, sealer, context, entries, words)
        for keys, sealer, context, entries in wanted
    }
    all_keys = {keys.read.index: keys for keys, *_ in wanted} | {new.index: new.keys for new in created}
    sections = [new.change.section for new in created if new.change is not None]
    sections += [change.section for change in changes.values()]
    request = CommitRequest(tuple(_creation(new, sid) for new in created), tuple(sections))
    return SignedCommit(parcel(request, all_keys, sid, account), changes, created)


def parcel(
    request: CommitRequest,
    keys: Mapping[bytes, WriteKeys],
    sid: bytes,
    account: str | None,
    enablers: Mapping[bytes, bytes] | None = None,
) -> Parcel:
    """Return a commit with what allows it.

    Args:
        keys: by index.
        enablers: of directories whose keys are not at hand.
    """
    own = {index: write_enabler(one.write_key, sid) for index, one in keys.items()}
    shown = Authority(enablers={**(enablers or {}), **own}, account=account if request.creates else None)
    return Parcel(request, shown, keys, sid)


def _creation(new: NewOne, sid: bytes) -> NewDirectory:
    read = new.keys.read
    return NewDirectory(
        new.index,
        read.refresh_id,
        read.verify_key,
        read.commitment,
        new.first.signed,
        enabler_proof(new.keys, sid),
    )
