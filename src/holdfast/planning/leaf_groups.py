"""Which nodes of a stored hash tree to fetch so that the leaf of a segment is
proven, with few requests: all leaves of a group at once, and the top of the tree
once. Everything in between is computed.

Source: docs/spec/hashing.md, section 7; docs/spec/immutable.md, section 11.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.crypto.merkle import BadHashError, build_tree, padded_leaf_count

GROUP_LEAVES = 1024  # a power of two


class LeafGroups:
    """The leaves of one tree, as far as they are proven. ``root`` is trusted."""

    def __init__(self, leaf_count: int, root: bytes) -> None:
        self._padded = padded_leaf_count(leaf_count)
        self._group = min(self._padded, GROUP_LEAVES)
        # Roots of the groups: the leaves of the top of the tree. Known at once if there is one group.
        self._group_roots: list[bytes] | None = [root] if self._group == self._padded else None
        self._root = root
        self._proven: dict[int, list[bytes]] = {}

    def leaf(self, segment: int) -> bytes | None:
        """Return the proven hash of a segment, or None while it is not known."""
        group = self._proven.get(segment // self._group)
        return None if group is None else group[segment % self._group]

    def wanted(self, segments: range) -> set[int]:
        """Return the nodes to fetch before all of ``segments`` are proven; none when they are."""
        nodes: set[int] = set()
        for group in range(segments.start // self._group, (segments.stop - 1) // self._group + 1):
            if group not in self._proven:
                first = self._padded - 1 + group * self._group
                nodes.update(range(first, first + self._group))
        if nodes and self._group_roots is None:
            nodes.update(self._top())
        return nodes

    def take(self, segments: range, nodes: Mapping[int, bytes]) -> None:
        """Prove the leaves of ``segments`` with the nodes that ``wanted`` asked for.

        Raises:
            BadHashError: they do not lead to the root. Nothing of them is kept.
        """
        if not self.wanted(segments):
            return
        roots = self._group_roots
        if roots is None:
            roots = [nodes[i] for i in self._top()]
            if build_tree(roots)[0] != self._root:
                raise BadHashError("the top of a hash tree does not lead to its root")
        proven: dict[int, list[bytes]] = {}
        for group in range(segments.start // self._group, (segments.stop - 1) // self._group + 1):
            if group in self._proven:
                continue
            first = self._padded - 1 + group * self._group
            leaves = [nodes[i] for i in range(first, first + self._group)]
            if build_tree(leaves)[0] != roots[group]:
                raise BadHashError("the leaves of a hash tree do not lead to its root")
            proven[group] = leaves
        self._group_roots = roots
        self._proven.update(proven)

    def forget_before(self, segment: int) -> None:
        """Drop the proven groups that lie wholly before ``segment``, so that memory stays bounded."""
        for group in [g for g in self._proven if (g + 1) * self._group <= segment]:
            del self._proven[group]

    def _top(self) -> range:
        """Return the indexes of the roots of the groups."""
        groups = self._padded // self._group
        return range(groups - 1, 2 * groups - 1)
