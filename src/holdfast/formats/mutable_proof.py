"""Proves records of a mutable file: from the record up the block hash tree of its share, whose root is a leaf
of the share hash tree, whose root is signed.

A block hash tree that is consistent in itself proves nothing; nothing is taken from one before its root is
tied to the signed root hash. What was proven once need not be fetched again.

Source: docs/spec/mutable.md, sections 3.5 to 3.7 and 7 (step 6).
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.hashing import HASH_SIZE
from holdfast.crypto.kernel import hash_many
from holdfast.crypto.merkle import PartialTree
from holdfast.errors import CorruptShareError, IntegrityError
from holdfast.formats.mutable_encoding import BLOCK_TAG
from holdfast.formats.mutable_layout import MutableHeader
from holdfast.formats.share_hash_chain import parse_chain


class VersionProof:
    """The share hash tree of one version, as far as it is known."""

    def __init__(self, header: MutableHeader) -> None:
        """``header``: one whose signature was right."""
        self.header = header
        self._tree = PartialTree(header.shares_total)
        self._tree.set_root(header.root_hash)

    def share(self, number: int) -> ShareProof:
        """Begin to prove records of a share. Each copy of a share gets a proof of its own.

        Raises:
            CorruptShareError: there is no such share.
        """
        if not 0 <= number < self.header.shares_total:
            raise CorruptShareError(f"share number {number} does not belong to the file")
        return ShareProof(self, number, self._tree)


class ShareProof:
    """The block hash tree of one copy of a share, as far as it is proven."""

    def __init__(self, version: VersionProof, number: int, share_tree: PartialTree) -> None:
        self.number = number
        self._segmentation = version.header.segmentation
        self._share_tree = share_tree
        self._block_tree = PartialTree(self._segmentation.leaf_count)

    def chain_needed(self) -> bool:
        """Tell whether the share hash chain is still to be offered."""
        return bool(self._share_tree.needed(self.number, with_leaf=False))

    def needed(self, segment: int) -> set[int]:
        """Return the nodes of the block hash tree that a record of ``segment`` cannot be proven without."""
        return self._block_tree.needed(segment, with_leaf=False)

    def offer_tree(self, block_tree: bytes, chain: bytes = b"") -> None:
        """Take a whole block hash tree, as stored, and a share hash chain, as stored.

        Raises:
            CorruptShareError: they do not lead to the signed root hash; nothing of them is remembered.
        """
        if len(block_tree) != self._segmentation.block_tree_size:
            raise CorruptShareError("corruption in the block hash tree: impossible length")
        nodes = {
            begin // HASH_SIZE: block_tree[begin : begin + HASH_SIZE]
            for begin in range(0, len(block_tree), HASH_SIZE)
        }
        self._offer(nodes, {}, chain)

    def prove(
        self,
        records: Mapping[int, Buffer],
        nodes: Mapping[int, bytes] | None = None,
        chain: bytes = b"",
    ) -> None:
        """Return if each record is right. The first time for a share a chain is needed, unless there is none.

        Args:
            records: by segment, as stored: in MDMF with the salt.
            nodes: of the block hash tree, by number; at least those that ``needed`` tells.
            chain: the share hash chain, as stored.

        Raises:
            CorruptShareError: a record, or what should prove it, is wrong; or something is missing.
        """
        for segment, record in records.items():
            if not 0 <= segment < self._segmentation.segment_count:
                raise CorruptShareError(f"the file has no segment {segment}")
            if memoryview(record).nbytes != self._segmentation.record_length(segment):
                raise CorruptShareError(f"the share's record of segment {segment} has a wrong length")
        hashes = hash_many(BLOCK_TAG, list(records.values()))
        self._offer(nodes or {}, dict(zip(records, hashes, strict=True)), chain)

    def leaves(self) -> list[bytes]:
        """Return the proven hash of each record, in order. Raises CorruptShareError unless all are known."""
        leaves = [self._block_tree.leaf(segment) for segment in range(self._segmentation.segment_count)]
        known = [leaf for leaf in leaves if leaf is not None]
        if len(known) != len(leaves):
            raise CorruptShareError("the block hash tree of the share is not known completely")
        return known

    def _offer(self, nodes: Mapping[int, bytes], leaves: Mapping[int, bytes], chain: bytes) -> None:
        try:
            hashes = parse_chain(chain, self._segmentation.shares_total)
            tree = self._block_tree
            if tree.node(0) is None:
                # A tree without a root computes one. It counts only if the share hash tree has it as a leaf.
                tree = PartialTree(self._segmentation.leaf_count)
                tree.offer(nodes, leaves)
            root = tree.node(0)
            if root is None:
                return
            self._share_tree.offer(hashes, {self.number: root})
            if tree is self._block_tree:
                tree.offer(nodes, leaves)
            self._block_tree = tree
        except CorruptShareError:
            raise
        except IntegrityError as error:
            raise CorruptShareError(f"share {self.number} is not what was signed: {error}") from error
