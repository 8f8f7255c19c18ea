"""A writer of one directory, who knows what is in it, and signs whatever a test wants to commit.

Source: docs/spec/vdrive.md, sections 4 to 6.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence

from holdfast.crypto.sealed_boxes import BoxCipher, BoxField
from holdfast.crypto.vdrive_keys import WriteKeys, enabler_proof, slot_of, write_enabler
from holdfast.formats.vdrive.entry import SealedEntry, digests_of
from holdfast.formats.vdrive.head import SignedHead, first_head, next_head, sign_head
from holdfast.formats.vdrive.operations import Add, Delete, Operation, Replace, encode_operations
from holdfast.formats.vdrive.tree import root_of
from holdfast.interfaces.vdrive import Authority, CommitRequest, NewDirectory, Section

EMPTY_METADATA = b"\xa0"


class DirectoryWriter:
    """Holds the write key of a directory and a copy of its entries, by slot.

    What ``section`` returns is taken as committed at once; ``restore`` undoes that.
    """

    def __init__(
        self, sid: bytes, write_key: bytes | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.sid = sid
        self.clock = clock
        self.keys = WriteKeys(write_key or os.urandom(32))
        self.index = self.keys.read.index
        self.refresh_id = self.keys.read.refresh_id
        self.enabler = write_enabler(self.keys.write_key, sid)
        self.proof = enabler_proof(self.keys, sid)
        self.head = first_head(self.keys)
        self.version = 0
        self.entries: dict[bytes, SealedEntry] = {}
        self._writing = BoxCipher(self.keys.seal_key, self.index)
        self._reading = BoxCipher(self.keys.read.seal_key, self.index)

    # -- what is shown and sent

    def authority(self, account: str | None = None, turn: bytes | None = None) -> Authority:
        """Return what the writer shows beside a commit."""
        turns = {} if turn is None else {self.index: turn}
        return Authority(enablers={self.index: self.enabler}, turns=turns, account=account)

    def genesis(self, lease_s: int | None = None) -> NewDirectory:
        """Return what makes the directory."""
        read = self.keys.read
        return NewDirectory(
            self.index,
            self.refresh_id,
            self.keys.verify_key,
            read.commitment,
            first_head(self.keys),
            self.proof,
            lease_s,
        )

    def creation(self, lease_s: int | None = None) -> CommitRequest:
        """Return the commit that makes the directory."""
        return CommitRequest((self.genesis(lease_s),), ())

    def change(
        self, adds: Mapping[str, str] | None = None, deletes: Sequence[str] = (), at: int | None = None
    ) -> CommitRequest:
        """Return the commit of ``section``."""
        return CommitRequest((), (self.section(adds, deletes, at=at),))

    def section(
        self, puts: Mapping[str, str] | None = None, deletes: Sequence[str] = (), at: int | None = None
    ) -> Section:
        """Return what adds or replaces entries (of a read-only capability each) and deletes others.

        Args:
            at: the writer's clock, Unix seconds.
        """
        operations: list[Operation] = [self.put(name, read) for name, read in (puts or {}).items()]
        for name in deletes:
            entry = self.entries[self.slot(name)]
            operations.append(Delete(entry.slot, entry.version))
        return self.section_of(operations, at=at)

    def section_of(self, operations: Sequence[Operation], at: int | None = None) -> Section:
        """Return the section of these operations."""
        after = self.entries | {
            one.slot: SealedEntry(one.slot, self.version + 1, one.name, one.write, one.read, one.metadata)
            for one in operations
            if not isinstance(one, Delete)
        }
        for one in operations:
            if isinstance(one, Delete):
                after.pop(one.slot, None)
        encoded = encode_operations(operations)
        slots = sorted(after)
        leaves = list(zip(slots, digests_of([after[slot] for slot in slots]), strict=True))
        now = int(self.clock()) if at is None else at
        head = next_head(
            self.head.head,
            root=root_of(leaves),
            count=len(leaves),
            operations=encoded,
            time=now,
            nonce=os.urandom(16),
        )
        self.head, self.entries, self.version = sign_head(self.keys, head), after, self.version + 1
        return Section(self.index, encoded, self.head)

    def put(self, name: str, read: str, write: str | None = None) -> Add | Replace:
        """Return the operation that gives a name these capabilities."""
        slot = self.slot(name)
        boxes = (
            self.seal(slot, "n", name),
            b"" if write is None else self.seal(slot, "w", write),
            self.seal(slot, "r", read),
            self._reading.seal(slot, "m", os.urandom(16), EMPTY_METADATA),
        )
        old = self.entries.get(slot)
        return Add(slot, *boxes) if old is None else Replace(slot, old.version, *boxes)

    # -- what a writer knows

    def slot(self, name: str) -> bytes:
        """Return the slot of a name."""
        return slot_of(self.keys.read.name_key, name)

    def seal(self, slot: bytes, field: BoxField, text: str) -> bytes:
        """Return a box."""
        cipher = self._writing if field == "w" else self._reading
        return cipher.seal(slot, field, os.urandom(16), text.encode())

    def open(self, slot: bytes, field: BoxField, box: bytes) -> str:
        """Return what a box holds."""
        cipher = self._writing if field == "w" else self._reading
        return cipher.open(slot, field, box).decode()

    def saved(self) -> tuple[SignedHead, int, dict[bytes, SealedEntry]]:
        """Return what ``restore`` takes."""
        return self.head, self.version, self.entries

    def restore(self, saved: tuple[SignedHead, int, dict[bytes, SealedEntry]]) -> None:
        """Forget what was signed since."""
        self.head, self.version, self.entries = saved
