"""Part of a directory's tree, which proves what the whole says of some entries.

Nothing here believes a witness: whoever got one compares its ``value`` with a root that
a writer signed. After that, ``lookup`` tells the truth, and ``apply`` gives the tree that
a change leads to.

Source: docs/spec/vdrive.md, section 6.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias, Union

from holdfast.errors import IntegrityError
from holdfast.formats.vdrive.tree import (
    DEPTH_MAX,
    DIGEST_SIZE,
    EMPTY,
    INNER_KIND,
    LEAF_KIND,
    NODE_SIZE,
    SLOT_SIZE,
    Leaf,
    bit,
    inner_values,
    leaf_values,
)

PAGE: Final = True
"""In a page of a listing: a subtree that is to be computed from the entries of the page."""


class OpenedLeaf(NamedTuple):
    """An entry: its slot and digest, 32 bytes each."""

    slot: bytes
    digest: bytes


class OpenedNode(NamedTuple):
    """An inner node: what is below its bits 0 and 1."""

    zero: Witness
    one: Witness


Witness = Union[None, bytes, OpenedLeaf, OpenedNode, Literal[True]]  # noqa: UP007  (it refers to itself)
"""An empty subtree, one that is not opened (its value, 33 bytes), a leaf, an inner node, or ``PAGE``."""


class BadWitnessError(IntegrityError):
    """A witness is not part of any tree, or not of the one whose root is signed."""


class InsufficientWitnessError(BadWitnessError):
    """A witness does not say anything about a slot: what it lies in is not opened."""


class Place(NamedTuple):
    """Where a subtree is: the bits that lead to it, as a number of ``depth`` bits."""

    depth: int
    bits: int


_NOTHING_COMPUTED: Final[Mapping[Place, bytes]] = MappingProxyType({})
_Level: TypeAlias = list[tuple[int, Witness]]  # of one depth, in order: bits and what is there


def value(witness: Witness, pages: Mapping[Place, bytes] = _NOTHING_COMPUTED) -> bytes:
    """Return the value of the tree that this is part of, 33 bytes.

    Args:
        pages: value of each subtree that is given as ``PAGE``.

    Raises:
        BadWitnessError: no tree has such a part.
    """
    levels: list[_Level] = [[(0, witness)]]
    while halves := _halves(levels[-1]):
        if len(levels) > DEPTH_MAX:
            raise BadWitnessError("a node is opened where slots have no more bits")
        levels.append(halves)
    values: list[bytes] = []
    for depth in reversed(range(len(levels))):
        values = _level_values(depth, levels[depth], values, pages)
    return values[0]


def _halves(level: _Level) -> _Level:
    return [
        half
        for bits, node in level
        if type(node) is OpenedNode
        for half in ((bits << 1, node.zero), (bits << 1 | 1, node.one))
    ]


def _level_values(
    depth: int, level: _Level, below: Sequence[bytes], pages: Mapping[Place, bytes]
) -> list[bytes]:
    """Return the values of what is at ``depth``; ``below`` are those of the halves of its opened nodes."""
    leaves = [node for _, node in level if type(node) is OpenedLeaf]
    of_leaves = iter(leaf_values(leaves))
    of_nodes = iter(inner_values([_joined(*pair) for pair in zip(below[::2], below[1::2], strict=True)]))
    values: list[bytes] = []
    for bits, node in level:
        if node is None:
            values.append(EMPTY)
        elif type(node) is OpenedNode:
            values.append(next(of_nodes))
        elif type(node) is OpenedLeaf:
            _check_leaf(node, depth, bits)
            values.append(next(of_leaves))
        elif type(node) is bytes:
            _check_stub(node)
            values.append(node)
        else:
            found = pages.get(Place(depth, bits))
            if found is None:
                raise BadWitnessError("a subtree is left to a page that there is not")
            values.append(found)
    return values


def _joined(zero: bytes, one: bytes) -> bytes:
    """Return two halves side by side. A subtree with fewer than two entries has none."""
    if (zero == EMPTY and one[:1] != INNER_KIND) or (one == EMPTY and zero[:1] != INNER_KIND):
        raise BadWitnessError("an inner node stands above fewer than two entries")
    return zero + one


def _check_leaf(leaf: OpenedLeaf, depth: int, bits: int) -> None:
    if len(leaf.slot) != SLOT_SIZE or len(leaf.digest) != DIGEST_SIZE:
        raise BadWitnessError("a leaf of the wrong size")
    if int.from_bytes(leaf.slot, "big") >> DEPTH_MAX - depth != bits:
        raise BadWitnessError("a leaf is where its slot does not lead to")


def _check_stub(stub: bytes) -> None:
    if len(stub) != NODE_SIZE or stub[:1] not in (LEAF_KIND, INNER_KIND):
        raise BadWitnessError("a value that no subtree with entries has")


def ends(witness: Witness) -> Iterator[tuple[Place, Witness]]:
    """Yield everything in a witness but opened nodes, in the order of slots.

    Raises:
        BadWitnessError: a node is opened where slots have no more bits.
    """
    ahead: list[tuple[Place, Witness]] = [(Place(0, 0), witness)]
    while ahead:
        place, node = ahead.pop()
        if type(node) is not OpenedNode:
            yield place, node
            continue
        depth, bits = place
        if depth == DEPTH_MAX:
            raise BadWitnessError("a node is opened where slots have no more bits")
        ahead.append((Place(depth + 1, bits << 1 | 1), node.one))
        ahead.append((Place(depth + 1, bits << 1), node.zero))


def lookup(witness: Witness, slot: bytes) -> bytes | None:
    """Return the digest of the entry at ``slot``, or None if the slot is free.

    Raises:
        InsufficientWitnessError: the witness does not tell.
    """
    node, depth = witness, 0
    while type(node) is OpenedNode:
        node = node.one if bit(slot, depth) else node.zero
        depth += 1
    if node is None:
        return None
    if type(node) is OpenedLeaf:
        return node.digest if node.slot == slot else None
    raise InsufficientWitnessError("a witness does not tell of a slot")


def apply(witness: Witness, puts: Iterable[Leaf], deletes: Iterable[bytes]) -> Witness:
    """Return the witness of the tree in which ``puts`` are there, whatever was, and ``deletes`` are not.

    No slot is in both.

    Raises:
        InsufficientWitnessError: a slot of them is not opened.
        KeyError: a slot to be deleted is free.
    """
    # A delete may lift a leaf that is not opened to where a slot of ``puts`` leads.
    for slot, digest in puts:
        witness = put(witness, slot, digest)
    for slot in deletes:
        witness = delete(witness, slot)
    return witness


def put(witness: Witness, slot: bytes, digest: bytes, depth: int = 0) -> Witness:
    """Return the witness of the subtree at ``depth`` with this entry, in place of another of its slot.

    Raises:
        InsufficientWitnessError: its place is not opened.
    """
    if witness is None:
        return OpenedLeaf(slot, digest)
    if type(witness) is OpenedNode:
        zero, one = witness
    elif type(witness) is not OpenedLeaf:
        raise InsufficientWitnessError("a witness does not tell of a slot")
    elif witness.slot == slot:
        return OpenedLeaf(slot, digest)
    else:
        zero, one = (None, witness) if bit(witness.slot, depth) else (witness, None)
    if bit(slot, depth):
        return OpenedNode(zero, put(one, slot, digest, depth + 1))
    return OpenedNode(put(zero, slot, digest, depth + 1), one)


def delete(witness: Witness, slot: bytes, depth: int = 0) -> Witness:
    """Return the witness of the subtree at ``depth`` without the entry at ``slot``.

    Raises:
        InsufficientWitnessError: its place is not opened.
        KeyError: the slot is free.
    """
    if type(witness) is OpenedNode:
        zero, one = witness
        if bit(slot, depth):
            one = delete(one, slot, depth + 1)
        else:
            zero = delete(zero, slot, depth + 1)
        if zero is None and _is_leaf(one):
            return one
        return zero if one is None and _is_leaf(zero) else OpenedNode(zero, one)
    if witness is None or (type(witness) is OpenedLeaf and witness.slot != slot):
        raise KeyError("the slot is free")
    if type(witness) is not OpenedLeaf:
        raise InsufficientWitnessError("a witness does not tell of a slot")
    return None


def _is_leaf(witness: Witness) -> bool:
    """Whether this may stand alone: a leaf, opened or not, or nothing."""
    return (
        witness is None
        or type(witness) is OpenedLeaf
        or (type(witness) is bytes and witness[:1] == LEAF_KIND)
    )
