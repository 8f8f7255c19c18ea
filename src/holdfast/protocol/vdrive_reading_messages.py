"""The messages by which directories are read: entries with their proofs, pages, heads, changes.

That the pieces of an answer fit together is checked by whoever asked: see
``formats.vdrive.witness`` and ``formats.vdrive.page``.

Source: docs/spec/vdrive.md, sections 8.5 to 8.7 and appendix B.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.formats.vdrive.head import SignedHead
from holdfast.interfaces.vdrive import (
    HEADS_MAX,
    PAGE_MAX,
    SLOTS_MAX,
    Changes,
    Context,
    DirectoryInfo,
    HeadRange,
    Page,
)
from holdfast.protocol import message_items as items
from holdfast.protocol.message_items import MalformedMessageError
from holdfast.protocol.vdrive_items import (
    answer_fields,
    decoded_answer,
    digest,
    digest_or_none,
    encoded,
    limited,
    name_entries,
    sealed_entries,
    sealed_entry,
    signed_head,
    slots,
    tree,
    tree_item,
)

# -- a directory


def encode_directory(info: DirectoryInfo) -> bytes:
    return encoded(
        {
            "head": info.head,
            "vk": info.verify_key,
            "rc": info.commitment,
            "state": int(info.condemned),
            "bytes": info.size,
            "lease-expires": info.lease_expires,
        }
    )


def decode_directory(data: bytes) -> DirectoryInfo:
    """Raises MalformedMessageError, as all decoders here do."""
    message = answer_fields(
        decoded_answer(data), "directory", ("head", "vk", "rc", "state", "bytes", "lease-expires")
    )
    state = items.number(message["state"], "state")
    if state > 1:
        raise MalformedMessageError("state: not one of those there are")
    expires = message["lease-expires"]
    return DirectoryInfo(
        head=signed_head(message["head"]),
        verify_key=digest(message["vk"], "vk"),
        commitment=digest(message["rc"], "rc"),
        condemned=state == 1,
        size=items.number(message["bytes"], "bytes"),
        lease_expires=None if expires is None else items.number(expires, "lease-expires"),
    )


# -- some entries


def encode_context_request(wanted: Sequence[bytes]) -> bytes:
    return encoded({"slots": list(wanted)})


def decode_context_request(data: bytes) -> list[bytes]:
    """Return the slots that are asked for.

    Raises:
        MessageLimitError: too many slots.
    """
    message = items.fields(items.decoded(data), "context", ("slots",))
    return [digest(slot, "slot") for slot in limited(message["slots"], "slots", 1, SLOTS_MAX)]


def encode_context(context: Context) -> bytes:
    return encoded(context_item(context))


def decode_context(data: bytes) -> Context:
    return context_of(decoded_answer(data))


def context_item(context: Context) -> dict[str, object]:
    """Return a context as it is part of messages."""
    return {
        "index": context.index,
        "head": context.head,
        "tree": tree_item(context.tree),
        "entries": context.entries,
    }


def context_of(value: object) -> Context:
    message = answer_fields(value, "context", ("index", "head", "tree", "entries"))
    return Context(
        index=digest(message["index"], "index"),
        head=signed_head(message["head"]),
        tree=tree(message["tree"]),
        entries=sealed_entries(message["entries"], SLOTS_MAX),
    )


def encode_child(context: Context) -> bytes:
    """Return the answer that holds the one entry of a context. Without one it is a refusal."""
    (entry,) = context.entries
    return encoded({"head": context.head, "tree": tree_item(context.tree), "entry": entry})


def decode_child(data: bytes, index: bytes) -> Context:
    """Return the entry, for the directory that was asked about."""
    message = answer_fields(decoded_answer(data), "child", ("head", "tree", "entry"))
    entry = sealed_entry(message["entry"])
    return Context(index, signed_head(message["head"]), tree(message["tree"]), (entry,))


# -- listings


def encode_page(page: Page) -> bytes:
    return encoded(
        {
            "head": page.head,
            "tree": tree_item(page.tree),
            "entries": page.entries,
            "next": page.next,
        }
    )


def decode_page(data: bytes, *, names_only: bool) -> Page:
    """Return part of a listing, of the kind that was asked for."""
    message = answer_fields(decoded_answer(data), "page", ("head", "tree", "entries", "next"))
    read_entries = name_entries if names_only else sealed_entries
    return Page(
        head=signed_head(message["head"]),
        tree=tree(message["tree"], of_page=True),
        entries=read_entries(message["entries"], PAGE_MAX),
        next=digest_or_none(message["next"], "next"),
    )


def encode_changes(changes: Changes) -> bytes:
    return encoded(
        {
            "head": changes.head,
            "tree": tree_item(changes.tree),
            "entries": changes.entries,
            "deleted": changes.deleted,
            "next": changes.next,
        }
    )


def decode_changes(data: bytes) -> Changes:
    message = answer_fields(decoded_answer(data), "changes", ("head", "tree", "entries", "deleted", "next"))
    return Changes(
        head=signed_head(message["head"]),
        tree=tree(message["tree"]),
        entries=sealed_entries(message["entries"], PAGE_MAX),
        deleted=slots(message["deleted"], "deleted", PAGE_MAX),
        next=digest_or_none(message["next"], "next"),
    )


# -- heads


def encode_heads(heads: HeadRange) -> bytes:
    return encoded({"heads": heads.heads, "more": heads.more})


def decode_heads(data: bytes) -> HeadRange:
    message = answer_fields(decoded_answer(data), "heads", ("heads", "more"))
    heads = [signed_head(head) for head in items.array(message["heads"], "heads", 0, HEADS_MAX)]
    return HeadRange(tuple(heads), items.truth(message["more"], "more"))


def encode_wait_answer(head: SignedHead) -> bytes:
    return encoded({"head": head})


def decode_wait_answer(data: bytes) -> SignedHead:
    return signed_head(answer_fields(decoded_answer(data), "wait", ("head",))["head"])
