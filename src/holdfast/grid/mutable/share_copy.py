"""One copy of a share, on one server: reads records of it, and proves them.

A copy that another writer has replaced since it was found is told from one that is corrupt.

Source: docs/spec/mutable.md, sections 7 and 11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.crypto.hashing import HASH_SIZE
from holdfast.crypto.merkle import leaf_index
from holdfast.errors import CorruptShareError, ServerError
from holdfast.formats.mutable_layout import HEADER_SIZE_MAX, MutableHeader, MutableOffsets, Section
from holdfast.formats.mutable_proof import ShareProof, VersionProof
from holdfast.grid.known_server import KnownServer
from holdfast.grid.mutable.slot_reads import Range, read_share
from holdfast.grid.workers import Workers
from holdfast.interfaces.types import StorageIndex

WHOLE_TREE_MAX = 64 << 10  # bytes; a larger block hash tree is read as it is needed
PROVEN_SEGMENTS_MAX = 8192  # after so many what is known of a large tree is forgotten


class ChangedShareError(ServerError):
    """The share is of another version now than when it was found."""


@dataclass(slots=True, eq=False)
class ShareCopy:
    """A share of a version whose header was verified.

    Attributes:
        head: the bytes of the share that were read when it was found, from its beginning.
    """

    server: KnownServer
    number: int
    header: MutableHeader
    offsets: MutableOffsets
    head: bytes = field(repr=False)
    _proof: ShareProof | None = field(default=None, repr=False)
    _tree_known: bool = False
    _proven: int = 0  # segments, with this proof

    async def records(
        self, index: StorageIndex, version: VersionProof, segments: range, workers: Workers
    ) -> list[memoryview]:
        """Return proven records of successive segments.

        Raises:
            CorruptShareError: they are not the ones that were signed.
            ChangedShareError: the share is not of this version any more.
            ServerError, StorageRefusalError: the server did not do its part.
        """
        if self._proof is None or (not self._tree_known and self._proven > PROVEN_SEGMENTS_MAX):
            self._proof, self._proven = version.share(self.number), 0
        proof = self._proof
        plan, data = self.header.segmentation, self.offsets.data
        begin = data.begin + plan.record_offset(segments[0])
        chain, tree = self.offsets.chain, self.offsets.block_tree
        nodes = self._nodes_needed(proof, segments)
        node_sections = [Section(tree.begin + first, tree.begin + end) for first, end in _runs(nodes)]
        with_chain = [chain] if proof.chain_needed() else []
        content, *rest = await self.sections(
            index, [Section(begin, begin + plan.records_length(segments)), *with_chain, *node_sections]
        )
        records = self._cut(content, segments)
        known = _nodes(rest[len(with_chain) :], nodes)
        stored_chain = rest[0] if with_chain else b""
        try:
            proven = dict(zip(segments, records, strict=True))
            await workers.run(len(content), proof.prove, proven, known, stored_chain)
        except CorruptShareError:
            await self.check_unchanged(index)
            raise
        self._tree_known = tree.size <= WHOLE_TREE_MAX
        self._proven += len(segments)
        return records

    async def leaves(self, index: StorageIndex, version: VersionProof) -> list[bytes]:
        """Return the proven hashes of all records. Raises as ``records``."""
        proof = version.share(self.number)
        tree, chain = await self.sections(index, [self.offsets.block_tree, self.offsets.chain])
        try:
            proof.offer_tree(tree, chain)
            return proof.leaves()
        except CorruptShareError:
            await self.check_unchanged(index)
            raise

    async def sections(self, index: StorageIndex, wanted: Sequence[Section]) -> list[bytes]:
        """Return sections of the share, from what was read before or from the server. Nothing is proven.

        Raises:
            CorruptShareError: the share ends before.
            ChangedShareError, ServerError, StorageRefusalError: as ``records``.
        """
        missing = [section for section in wanted if section.end > len(self.head)]
        ranges: list[Range] = [(section.begin, section.size) for section in missing]
        read = await read_share(self.server.service, index, self.number, ranges) if ranges else []
        fetched = dict(zip(missing, read, strict=True))
        if any(len(part) != section.size for section, part in fetched.items()):
            await self.check_unchanged(index)
            raise CorruptShareError("the share is cut short")
        return [fetched[s] if s in fetched else self.head[s.begin : s.end] for s in wanted]

    async def check_unchanged(self, index: StorageIndex) -> None:
        """Raise ChangedShareError if the share begins differently now."""
        size = min(HEADER_SIZE_MAX, len(self.head))
        (now,) = await read_share(self.server.service, index, self.number, [(0, size)])
        if now != self.head[:size]:
            raise ChangedShareError("its share was changed by another writer")

    def _nodes_needed(self, proof: ShareProof, segments: range) -> list[int]:
        """Return the nodes of the block hash tree to be read: all of a small tree, once."""
        if self.offsets.block_tree.size <= WHOLE_TREE_MAX:
            if self._tree_known:
                return []
            return list(range(self.offsets.block_tree.size // HASH_SIZE))
        count = self.header.segmentation.leaf_count
        own = {leaf_index(count, segment) for segment in segments}
        return sorted({node for segment in segments for node in proof.needed(segment)} - own)

    def _cut(self, data: bytes, segments: range) -> list[memoryview]:
        plan, view = self.header.segmentation, memoryview(data)
        first = plan.record_offset(segments[0])
        begins = [plan.record_offset(segment) - first for segment in segments]
        return [view[b : b + plan.record_length(s)] for b, s in zip(begins, segments, strict=True)]


def _runs(nodes: Sequence[int]) -> list[tuple[int, int]]:
    """Return the bytes of nodes, given ascending, within a stored tree: those of neighbours as one."""
    runs: list[tuple[int, int]] = []
    for node in nodes:
        begin, end = node * HASH_SIZE, (node + 1) * HASH_SIZE
        if runs and runs[-1][1] == begin:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((begin, end))
    return runs


def _nodes(parts: Iterable[bytes], nodes: Sequence[int]) -> Mapping[int, bytes]:
    joined = b"".join(parts)
    return {node: joined[i * HASH_SIZE : (i + 1) * HASH_SIZE] for i, node in enumerate(nodes)}
