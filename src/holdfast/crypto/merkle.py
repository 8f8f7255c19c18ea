"""Merkle trees: built whole by whoever writes, filled piece by piece by whoever reads.

Nodes are numbered from the root: 0; the children of i are 2i+1 and 2i+2; leaf j of a tree of P (padded)
leaves is node P-1+j.

Source: docs/spec/hashing.md, section 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

from holdfast.crypto.hashing import HASH_SIZE, tagged_hash
from holdfast.crypto.kernel import hash_many, hash_parents
from holdfast.errors import IntegrityError

EMPTY_LEAF_TAG = b"Merkle tree empty leaf"


class BadHashError(IntegrityError):
    """A hash is not the one the tree needs there, or belongs nowhere in the tree."""


class NodeIndexError(BadHashError):
    """A node or leaf number lies outside the tree."""


class NotEnoughHashesError(IntegrityError):
    """A hash cannot be connected to what is trusted."""


def padded_leaf_count(leaves: int) -> int:
    """Return the smallest power of two that is at least ``leaves``. Raises ValueError below 1."""
    if leaves < 1:
        raise ValueError("a tree has at least one leaf")
    return 1 << (leaves - 1).bit_length()


def leaf_index(leaf_count: int, leaf: int) -> int:
    """Return the node number of a leaf, padding leaves included. Raises ValueError if there is none such."""
    padded = padded_leaf_count(leaf_count)
    if not 0 <= leaf < padded:
        raise ValueError(f"a tree of {leaf_count} leaves has no leaf {leaf}")
    return padded - 1 + leaf


def empty_leaf(leaf: int) -> bytes:
    """Return the hash that stands for padding leaf number ``leaf``."""
    return tagged_hash(EMPTY_LEAF_TAG, b"%d" % leaf)


def tree_levels(leaves: Sequence[bytes]) -> list[bytes]:
    """Return the levels of a tree, leaves with their padding first, root last; each joined, 32 bytes a node.

    Raises:
        ValueError: there are no leaves, or one has not 32 bytes.
    """
    padded = padded_leaf_count(len(leaves))
    if not all(len(leaf) == HASH_SIZE for leaf in leaves):
        raise ValueError(f"a leaf of a hash tree has {HASH_SIZE} bytes")
    padding = hash_many(EMPTY_LEAF_TAG, [b"%d" % leaf for leaf in range(len(leaves), padded)])
    levels = [b"".join([*leaves, *padding])]
    while len(levels[-1]) > HASH_SIZE:
        levels.append(hash_parents(levels[-1]))
    return levels


def root_of_leaves(leaves: Sequence[bytes]) -> bytes:
    """Return the root of a tree: what proves a whole range of leaves at once. Raises as ``tree_levels``."""
    return tree_levels(leaves)[-1]


def build_tree(leaves: Sequence[bytes]) -> list[bytes]:
    """Return all 2P-1 nodes, root first, padding included. Raises as ``tree_levels``."""
    nodes = b"".join(reversed(tree_levels(leaves)))
    return [nodes[i : i + HASH_SIZE] for i in range(0, len(nodes), HASH_SIZE)]


class JoinedHashes(Sequence[bytes]):
    """Hashes of 32 bytes, kept as one string: as objects of their own they would need twice the room."""

    def __init__(self, joined: bytes) -> None:
        """Raises ValueError if that is no whole number of hashes."""
        if len(joined) % HASH_SIZE:
            raise ValueError(f"hashes of {HASH_SIZE} bytes are not {len(joined)} bytes long together")
        self.joined = joined

    def __len__(self) -> int:
        return len(self.joined) // HASH_SIZE

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        begin = HASH_SIZE * range(len(self))[index]
        return self.joined[begin : begin + HASH_SIZE]


def build_joined_tree(leaves: Sequence[bytes]) -> JoinedHashes:
    """Return what ``build_tree`` returns, in less room."""
    return JoinedHashes(b"".join(reversed(tree_levels(leaves))))


def uncle_chain(leaf_count: int, leaf: int) -> list[int]:
    """Return the nodes needed beside a leaf to compute the root, from the bottom to the top.

    Raises:
        ValueError: there is no such leaf.
    """
    chain = []
    node = leaf_index(leaf_count, leaf)
    while node > 0:
        chain.append(_sibling(node))
        node = (node - 1) // 2
    return chain


class PartialTree:
    """A tree of which some nodes are known; every known node is connected to the root by checked hashes.

    Set the root first, from a trusted source. ``offer`` takes all it is given, or nothing.
    """

    def __init__(self, leaf_count: int) -> None:
        self._leaf_count = leaf_count
        self._first_leaf = padded_leaf_count(leaf_count) - 1
        self._size = 2 * self._first_leaf + 1
        self._nodes: dict[int, bytes] = {}

    def set_root(self, root: bytes) -> None:
        """Trust ``root``. Raises BadHashError if another one is known, or it has not 32 bytes."""
        if len(root) != HASH_SIZE or self._nodes.get(0, root) != root:
            raise BadHashError("the tree has another root")
        self._nodes[0] = root

    def node(self, index: int) -> bytes | None:
        """Return a node, or None while it is not known."""
        return self._nodes.get(index)

    def leaf(self, leaf: int) -> bytes | None:
        """Return a leaf, or None while it is not known."""
        return self._nodes.get(self._first_leaf + leaf) if leaf >= 0 else None

    def known(self) -> set[int]:
        """Return the numbers of all known nodes."""
        return set(self._nodes)

    def needed(self, leaf: int, with_leaf: bool = True) -> set[int]:
        """Return the nodes still unknown that would prove a leaf. Raises ValueError if there is none such."""
        chain = uncle_chain(self._leaf_count, leaf)
        wanted = {*chain, self._first_leaf + leaf} if with_leaf else set(chain)
        return wanted - self._nodes.keys()

    def offer(
        self, hashes: Mapping[int, bytes] | None = None, leaves: Mapping[int, bytes] | None = None
    ) -> None:
        """Take nodes by number and leaves by leaf number, once they are shown to lead to the root.

        Raises:
            NodeIndexError: a number lies outside the tree.
            BadHashError: a hash contradicts what is known, or another one.
            NotEnoughHashesError: a hash cannot be connected. In all cases the tree is as before.
        """
        new = self._gather(hashes or {}, leaves or {})
        unchecked = set(new)
        for index, value in new.items():
            if self._nodes.get(index, value) != value:
                raise BadHashError(f"node {index} of a hash tree is wrong")
            if index in self._nodes:
                unchecked.discard(index)
        by_level: dict[int, set[int]] = {}
        for index in unchecked:
            by_level.setdefault((index + 1).bit_length(), set()).add(index)
        for level in range(self._size.bit_length(), 1, -1):
            parents = by_level.setdefault(level - 1, set())
            for parent, value in self._parents(by_level.pop(level, set()), new):
                known = self._nodes.get(parent, new.get(parent))
                if known is None:
                    new[parent] = value
                    parents.add(parent)
                elif known != value:
                    raise BadHashError(f"node {parent} of a hash tree is wrong")
        self._nodes.update(new)

    def _gather(self, hashes: Mapping[int, bytes], leaves: Mapping[int, bytes]) -> dict[int, bytes]:
        new = dict(hashes)
        for leaf, value in leaves.items():
            index = self._first_leaf + leaf
            if leaf < 0:
                raise NodeIndexError(f"a hash tree has no leaf {leaf}")
            if new.setdefault(index, value) != value:
                raise BadHashError(f"leaf {leaf} of a hash tree is given twice, and differently")
        for index, value in new.items():
            if not 0 <= index < self._size:
                raise NodeIndexError(f"a hash tree of {self._size} nodes has no node {index}")
            if len(value) != HASH_SIZE:
                raise BadHashError(f"node {index} of a hash tree is not {HASH_SIZE} bytes long")
        return new

    def _parents(self, nodes: set[int], new: Mapping[int, bytes]) -> list[tuple[int, bytes]]:
        """Return the computed parents of ``nodes``, all of one level."""
        parents = sorted({(node - 1) // 2 for node in nodes})
        pairs = []
        for parent in parents:
            for child in (2 * parent + 1, 2 * parent + 2):
                value = self._nodes.get(child, new.get(child))
                if value is None:
                    raise NotEnoughHashesError(f"node {child} of a hash tree is missing")
                pairs.append(value)
        computed = hash_parents(b"".join(pairs)) if pairs else b""
        return [(p, computed[HASH_SIZE * i : HASH_SIZE * (i + 1)]) for i, p in enumerate(parents)]


def _sibling(node: int) -> int:
    return node + 1 if node % 2 else node - 1
