"""Checks of what a server says of entries, against a head that was verified before. Pure arithmetic.

Source: docs/spec/vdrive.md, sections 6.3, 8.5 and 8.6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from holdfast.formats.vdrive.entry import NameEntry, SealedEntry, digests_of
from holdfast.formats.vdrive.page import check_page
from holdfast.formats.vdrive.witness import BadWitnessError, Witness, lookup, value
from holdfast.grid.vdrive.views import VerifiedHead


@dataclass(frozen=True, slots=True)
class ProvenContext:
    """Some slots of a directory at one version: the entries, and the tree that speaks for them.

    Attributes:
        entries: by slot. A slot that the tree tells of and that is not here is free, unless it was opened
            by chance.
        size: slots that were asked for, about.
    """

    head: VerifiedHead
    tree: Witness
    entries: Mapping[bytes, SealedEntry]
    size: int


def prove_context(
    head: VerifiedHead, tree: Witness, entries: Sequence[SealedEntry], slots: Collection[bytes]
) -> ProvenContext:
    """Return a context, if it is the truth about ``slots`` at the version of ``head``.

    Raises:
        BadWitnessError: it is not.
    """
    if value(tree) != head.head.root:
        raise BadWitnessError("the tree of an answer is not the one that was signed")
    check_versions(head, entries)
    digests = {entry.slot: digest for entry, digest in zip(entries, digests_of(entries), strict=True)}
    if len(digests) != len(entries) or not digests.keys() <= set(slots):
        raise BadWitnessError("an answer has entries that were not asked for")
    for slot in slots:
        if lookup(tree, slot) != digests.get(slot):
            raise BadWitnessError("an entry of an answer is not the one that was signed")
    return ProvenContext(head, tree, {entry.slot: entry for entry in entries}, len(slots))


def prove_page(
    head: VerifiedHead,
    tree: Witness,
    entries: Sequence[SealedEntry] | Sequence[NameEntry],
    after: bytes | None,
    end: bytes | None,
) -> None:
    """Raise unless a page has just the entries behind ``after`` up to ``end``, which is the last one's slot.

    Raises:
        BadWitnessError: it has not.
    """
    check_versions(head, entries)
    slots: list[bytes] = [entry.slot for entry in entries]
    leaves = list(zip(slots, digests_of(entries), strict=True))
    check_page(tree, leaves, after=after, next_=end, root=head.head.root)


def check_versions(head: VerifiedHead, entries: Sequence[SealedEntry] | Sequence[NameEntry]) -> None:
    """Raise for an entry that is newer than its directory. A writer must have lied.

    Raises:
        BadWitnessError: there is one.
    """
    versions: list[int] = [entry.version for entry in entries]
    if versions and not 0 < min(versions) <= max(versions) <= head.version:
        raise BadWitnessError("an entry is newer than its directory")
