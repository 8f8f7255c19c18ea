"""What the messages of a virtual drive server have in common: signed heads, entries, and
witnesses, to CBOR and back.

Requests may hold nothing but what their rule says; answers may hold further keys, which
are not looked at. Thousands of entries are checked at a time, hence the plain conditions.

Source: docs/spec/vdrive.md, sections 3.2, 6.3, 8.1 and appendix B.
"""

from __future__ import annotations

from collections.abc import Collection

import cbor2

from holdfast.formats import cbor
from holdfast.formats.vdrive.entry import NameEntry, SealedEntry
from holdfast.formats.vdrive.head import HASH_SIZE, HEAD_SIZE_MAX, SignedHead
from holdfast.formats.vdrive.tree import DEPTH_MAX, DIGEST_SIZE, NODE_SIZE, SLOT_SIZE
from holdfast.formats.vdrive.witness import PAGE, OpenedLeaf, OpenedNode, Witness
from holdfast.protocol import message_items as items
from holdfast.protocol.message_items import INTEGER_END, MalformedMessageError

SIGNATURE_SIZE = 64  # bytes
BOX_MAX = 8100  # bytes of any sealed field

_AROUND_TREE = 8  # levels of a message that a tree stands in, and of what stands in it
_ANSWER_ITEMS_MAX = 2_000_000
_LEAF, _NODE = 1, 2


class MessageLimitError(MalformedMessageError):
    """A message holds more than the protocol allows at a time."""


def encoded(message: object) -> bytes:
    """Return a message as bytes."""
    return cbor2.dumps(message)


def decoded_answer(data: bytes) -> object:
    """Return the one item in ``data``, which may hold a tree.

    Raises:
        MalformedMessageError: as do all functions here that take values apart.
    """
    try:
        return cbor.decode(data, depth_max=DEPTH_MAX + _AROUND_TREE, items_max=_ANSWER_ITEMS_MAX)
    except cbor.MalformedCborError as error:
        raise MalformedMessageError(f"malformed CBOR: {error}") from None
    except RecursionError:
        raise MalformedMessageError("malformed CBOR: nested too deep") from None


def answer_fields(value: object, name: str, required: Collection[str]) -> dict[str, object]:
    """Return a map that has all of the required keys; it may have others."""
    if not isinstance(value, dict) or not set(required) <= value.keys():
        raise MalformedMessageError(f"{name}: not a map with the right keys")
    return value


def limited(value: object, name: str, least: int, most: int) -> list[object]:
    """Return an array of a request; one that is too long is told from other nonsense."""
    if isinstance(value, list) and len(value) > most:
        raise MessageLimitError(f"{name}: more than {most}")
    return items.array(value, name, least, most)


# -- heads


def signed_head(value: object) -> SignedHead:
    head, signature = items.array(value, "head", 2, 2)
    return SignedHead(
        items.octets(head, "head", 1, HEAD_SIZE_MAX), items.octets(signature, "signature", SIGNATURE_SIZE)
    )


def digest(value: object, name: str) -> bytes:
    """Return 32 bytes: an index, a slot, a hash or a key."""
    return items.octets(value, name, HASH_SIZE)


def digest_or_none(value: object, name: str) -> bytes | None:
    return None if value is None else digest(value, name)


# -- entries


def sealed_entry(value: object) -> SealedEntry:
    if type(value) is not list or len(value) != 6:
        raise MalformedMessageError("entry: not an array of 6 items")
    slot, version, name, write, read, metadata = value
    if not (
        _is_place(slot, version) and _is_box(name) and _is_box(write) and _is_box(read) and _is_box(metadata)
    ):
        raise MalformedMessageError("entry: one of its items is not what it should be")
    return SealedEntry(slot, version, name, write, read, metadata)


def name_entry(value: object) -> NameEntry:
    if type(value) is not list or len(value) != 4:
        raise MalformedMessageError("entry: not an array of 4 items")
    slot, version, name, body = value
    if not (_is_place(slot, version) and _is_box(name) and type(body) is bytes and len(body) == DIGEST_SIZE):
        raise MalformedMessageError("entry: one of its items is not what it should be")
    return NameEntry(slot, version, name, body)


def sealed_entries(value: object, most: int) -> tuple[SealedEntry, ...]:
    return tuple([sealed_entry(entry) for entry in items.array(value, "entries", 0, most)])


def name_entries(value: object, most: int) -> tuple[NameEntry, ...]:
    return tuple([name_entry(entry) for entry in items.array(value, "entries", 0, most)])


def slots(value: object, name: str, most: int) -> tuple[bytes, ...]:
    return tuple([digest(slot, name) for slot in items.array(value, name, 0, most)])


def _is_place(slot: object, version: object) -> bool:
    return (
        type(slot) is bytes and len(slot) == SLOT_SIZE and type(version) is int and 0 <= version < INTEGER_END
    )


def _is_box(value: object) -> bool:
    return type(value) is bytes and len(value) <= BOX_MAX


# -- trees


def tree_item(witness: Witness) -> object:
    """Return a witness as it travels."""
    if isinstance(witness, OpenedNode):
        return _NODE, tree_item(witness.zero), tree_item(witness.one)
    if isinstance(witness, OpenedLeaf):
        return _LEAF, witness.slot, witness.digest
    return witness


def tree(value: object, *, of_page: bool = False) -> Witness:
    """Return a witness; subtrees may be left to a page only in a listing."""
    if value is None:
        return None
    if type(value) is bytes and len(value) == NODE_SIZE:
        return value
    if type(value) is list and len(value) == 3 and type(value[0]) is int:
        kind, first, second = value
        if kind == _NODE:
            return OpenedNode(tree(first, of_page=of_page), tree(second, of_page=of_page))
        if kind == _LEAF:
            return OpenedLeaf(digest(first, "tree"), digest(second, "tree"))
    if value is True and of_page:
        return PAGE
    raise MalformedMessageError("tree: not a node of one")
