"""From a proven context and the changes wanted, to what is signed and sent; and to the context behind it.

Everything a writer vouches for is derived from what was proven, and from nothing else a server says.

Source: docs/spec/vdrive.md, sections 6.3 to 6.6 and 9.1.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from holdfast.crypto.vdrive_keys import WriteKeys, slot_of
from holdfast.formats.vdrive.entry import SealedEntry, digests_of
from holdfast.formats.vdrive.head import NONCE_SIZE, head_hash, next_head, sign_head
from holdfast.formats.vdrive.operations import Add, Delete, Operation, Replace, encode_operations
from holdfast.formats.vdrive.sealing import NONCES_SIZE, EntrySealer
from holdfast.formats.vdrive.witness import apply, value
from holdfast.grid.vdrive.proofs import ProvenContext
from holdfast.grid.vdrive.views import DeleteEntry, EntryChange, VerifiedHead
from holdfast.interfaces.vdrive import Section


@dataclass(frozen=True, slots=True)
class SignedChange:
    """A section of a commit, and the context of the directory once it is made.

    Attributes:
        slots: those that its operations name.
    """

    section: Section
    after: ProvenContext
    slots: frozenset[bytes]


KEEP: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadWords:
    """What a writer says in a head besides the content.

    Attributes:
        now: Unix seconds.
        heartbeat: as in ``Head``; ``KEEP`` repeats what the head before says.
        disown_base: as in ``Head``.
    """

    now: int
    heartbeat: int | None = KEEP
    disown_base: int | None = None


def signed_change(
    keys: WriteKeys,
    sealer: EntrySealer,
    context: ProvenContext,
    changes: Sequence[EntryChange],
    words: HeadWords,
) -> SignedChange:
    """Seal, apply and sign.

    Args:
        context: tells of every name in ``changes``. Each name is changed once.

    Raises:
        BadChildNameError, ChildFaultError, BadMetadataError: an entry cannot be stored.
        OperationsTooLargeError: there is too much of them.
    """
    operations: list[Operation] = []
    put: dict[bytes, SealedEntry] = {}
    deleted: list[bytes] = []
    version = context.head.version + 1
    for change in changes:
        slot = slot_of(keys.read.name_key, change.name)
        old = context.entries.get(slot)
        if isinstance(change, DeleteEntry):
            if old is not None:
                operations.append(Delete(slot, old.version))
                deleted.append(slot)
            continue
        nonces = os.urandom(NONCES_SIZE)
        entry = sealer.seal(
            change.name, change.child, change.metadata, nonces, version, uniform=change.uniform
        )
        boxes = entry.name, entry.write, entry.read, entry.metadata
        operations.append(Add(slot, *boxes) if old is None else Replace(slot, old.version, *boxes))
        put[slot] = entry
    return _signed(keys, context, operations, put, deleted, words)


def _signed(
    keys: WriteKeys,
    context: ProvenContext,
    operations: Sequence[Operation],
    put: dict[bytes, SealedEntry],
    deleted: Sequence[bytes],
    words: HeadWords,
) -> SignedChange:
    before = context.head
    digests = digests_of(list(put.values()))
    tree = apply(context.tree, list(zip(put, digests, strict=True)), deleted)
    added = sum(isinstance(operation, Add) for operation in operations)
    encoded = encode_operations(operations)
    head = next_head(
        before.signed.head,
        root=value(tree),
        count=before.head.count + added - len(deleted),
        operations=encoded,
        time=words.now,
        nonce=os.urandom(NONCE_SIZE),
        heartbeat=before.head.heartbeat if words.heartbeat == KEEP else words.heartbeat,
        disown_base=words.disown_base,
    )
    signed = sign_head(keys, head)
    verified = VerifiedHead(head.version, head_hash(signed.head), head, signed, before.chain_verified)
    entries = {slot: entry for slot, entry in context.entries.items() if slot not in deleted} | put
    after = replace(context, head=verified, tree=tree, entries=entries)
    return SignedChange(Section(head.index, encoded, signed), after, frozenset((*put, *deleted)))
