"""What changed between two versions of a directory, with its proof.

Each statement is proven by itself. That none is missing is seen by those who know all
entries of the first version, once they have the last page.

Source: docs/spec/vdrive.md, section 8.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from holdfast.formats.vdrive.tree import Leaf, root_of
from holdfast.formats.vdrive.witness import BadWitnessError, Witness, lookup, value


def check_changes(
    witness: Witness,
    written: Sequence[Leaf],
    deleted: Sequence[bytes],
    *,
    after: bytes | None,
    next_: bytes | None,
    root: bytes,
) -> None:
    """Make sure that entries are there, and others are not.

    Args:
        written: slot and digest of those that are said to be there, as they came.
        deleted: slots that are said to be free, as they came.
        after: what was asked for; None for the first page.
        next_: the last slot told of, if more follow.
        root: value of the whole tree, from a head that is verified.

    Raises:
        BadWitnessError: it is not so, or they do not come in the order of slots.
    """
    told = sorted([*(slot for slot, _ in written), *deleted])
    for slots in ([slot for slot, _ in written], deleted):
        if any(slot >= following for slot, following in pairwise(slots)):
            raise BadWitnessError("changes do not ascend, or two are of one slot")
    if told and after is not None and told[0] <= after:
        raise BadWitnessError("changes that were told before")
    if next_ is not None and (not told or told[-1] != next_):
        raise BadWitnessError("changes do not end where their server says")
    if value(witness) != root:
        raise BadWitnessError("changes are not those of the signed state")
    if any(lookup(witness, slot) != digest for slot, digest in written):
        raise BadWitnessError("an entry that is said to be written is not there")
    if any(lookup(witness, slot) is not None for slot in deleted):
        raise BadWitnessError("an entry that is said to be deleted is there")


def changed(
    known: Mapping[bytes, bytes], written: Iterable[Leaf], deleted: Iterable[bytes], root: bytes
) -> dict[bytes, bytes]:
    """Return all entries after all changes, digests by slot.

    Args:
        known: all entries before them.
        root: value of the whole tree after them.

    Raises:
        BadWitnessError: a change is missing.
    """
    entries = {**known, **dict(written)}
    for slot in deleted:
        entries.pop(slot, None)
    if root_of(sorted(entries.items())) != root:
        raise BadWitnessError("a change was left out")
    return entries
