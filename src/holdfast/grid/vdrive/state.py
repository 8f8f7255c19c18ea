"""What all nodes and tasks of a client share about one directory. It holds no key.

Source: docs/spec/vdrive.md, sections 7 and 9.1.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from weakref import WeakValueDictionary

from holdfast.caps.vdrive import VdrivePlace
from holdfast.formats.vdrive.head import SignedHead
from holdfast.formats.vdrive.witness import InsufficientWitnessError, lookup
from holdfast.grid.vdrive.memory import KnownHead
from holdfast.grid.vdrive.proofs import ProvenContext
from holdfast.grid.vdrive.views import VerifiedHead

CHAIN_KEPT = 4096  # versions whose hashes are kept after a walk
HEADS_KEPT = 8  # heads whose signatures need not be checked again
DIRECTORIES_KEPT = 1024
SLOTS_CACHED = 20_000  # of all directories together; a slot takes about a kilobyte
SLOTS_CACHED_OF_ONE = 64  # of one directory; each change computes the values of all that is opened


class DirectoryState:
    """Attributes:
    index: of the directory, 32 bytes.
    place: where it was addressed last.
    checking: held while the head of an answer is compared with memory.
    chain: hash by version, of some versions known to be on the chain that memory ends in.
    context: the last one that was proven, with what was committed on it since.
    """

    def __init__(self, index: bytes, place: VdrivePlace) -> None:
        self.index = index
        self.place = place
        self.checking = asyncio.Lock()
        self.chain: OrderedDict[int, bytes] = OrderedDict()
        self.context: ProvenContext | None = None
        self._heads: OrderedDict[SignedHead, VerifiedHead] = OrderedDict()

    def verified(self, signed: SignedHead) -> VerifiedHead | None:
        """Return the head if its signature was checked not long ago."""
        return self._heads.get(signed)

    def add_verified(self, head: VerifiedHead) -> None:
        self._heads[head.signed] = head
        if len(self._heads) > HEADS_KEPT:
            self._heads.popitem(last=False)

    def link(self, hashes: Mapping[int, bytes]) -> None:
        """Note that heads are on the chain."""
        self.chain.update(hashes)
        while len(self.chain) > CHAIN_KEPT:
            self.chain.popitem(last=False)


class DirectoryStates:
    """The states of the directories a client uses; those used last keep their contexts."""

    def __init__(self) -> None:
        self._all: WeakValueDictionary[bytes, DirectoryState] = WeakValueDictionary()
        self._recent: OrderedDict[bytes, DirectoryState] = OrderedDict()
        self._sizes: OrderedDict[bytes, int] = OrderedDict()  # of contexts, the one used last at the end
        self._cached = 0

    def get(self, index: bytes, place: VdrivePlace) -> DirectoryState:
        """Return the state of a directory, whoever else uses it."""
        state = self._all.get(index)
        if state is None:
            state = DirectoryState(index, place)
            self._all[index] = state
        state.place = place
        self._recent[index] = state
        self._recent.move_to_end(index)
        if len(self._recent) > DIRECTORIES_KEPT:
            self._recent.popitem(last=False)
        return state

    def context_for(
        self, state: DirectoryState, slots: Collection[bytes], known: KnownHead | None
    ) -> ProvenContext | None:
        """Return the context at hand, if it tells of all these slots at the newest version that is known."""
        context = state.context
        if context is None or known is None or known.head_hash != context.head.head_hash:
            return None
        try:
            for slot in slots:
                if lookup(context.tree, slot) is not None and slot not in context.entries:
                    return None
        except InsufficientWitnessError:
            return None
        self._sizes.move_to_end(state.index)
        return context

    def cache(self, state: DirectoryState, context: ProvenContext | None) -> None:
        """Keep a context, and no more of them than there is room for."""
        self._cached -= self._sizes.pop(state.index, 0)
        state.context = context if context is None or context.size <= SLOTS_CACHED_OF_ONE else None
        if state.context is None:
            return
        self._sizes[state.index] = state.context.size
        self._cached += state.context.size
        while self._cached > SLOTS_CACHED:
            index, size = self._sizes.popitem(last=False)
            self._cached -= size
            evicted = self._all.get(index)
            if evicted is not None:
                evicted.context = None
