"""Nodes as JSON, in the form that the web API of Tahoe-LAFS describes them in, which programs know.

Source: docs/spec/web-api.md, section 6.
"""

from __future__ import annotations

from holdfast.caps import MutableReadCap, MutableWriteCap
from holdfast.caps.slots import ListableCap, NodeCap
from holdfast.drive.known_node import KnownNode
from holdfast.formats.directory_metadata import Metadata
from holdfast.interfaces.drive import ListedChild, Node, UnreadableEntry

JsonObject = dict[str, object]
_IMMUTABLE_MARK = "imm."


def child_as_json(child: ListedChild) -> list[object]:
    """Return a child of a directory, with the metadata of its link."""
    return node_as_json(child.node, metadata=child.metadata)


def node_as_json(
    node: Node | UnreadableEntry, *, size: int | None = None, metadata: Metadata | None = None
) -> list[object]:
    """Return a pair: what kind of node it is, and an object that describes it.

    Args:
        size: of a mutable file, if known.
        metadata: of the link that led to it; None: none did.
    """
    described: JsonObject
    if isinstance(node, KnownNode):
        described = _known(node.cap, size)
        kind = "dirnode" if isinstance(node.cap, ListableCap) else "filenode"
    else:
        kind, described = "unknown", _unknown(node)
    if metadata is not None:
        described["metadata"] = dict(metadata)
    return [kind, described]


def _known(cap: NodeCap, size: int | None) -> JsonObject:
    described: JsonObject = {"mutable": cap.mutable}
    if not isinstance(cap, ListableCap):
        described["format"] = _format(cap)
        if not isinstance(cap, MutableReadCap | MutableWriteCap):
            described["size"] = cap.size
        elif size is not None:
            described["size"] = size
    described["ro_uri"] = cap.read_only.to_text()
    if cap.writable:
        described["rw_uri"] = cap.to_text()
    if cap.verify_cap is not None:
        described["verify_uri"] = cap.verify_cap.to_text()
    return described


def _format(cap: NodeCap) -> str:
    if isinstance(cap, MutableReadCap | MutableWriteCap):
        return "SDMF" if cap.format == "SSK" else "MDMF"
    return "CHK"


def _unknown(node: Node | UnreadableEntry) -> JsonObject:
    if isinstance(node, UnreadableEntry):
        return {"error": node.reason}
    strongest, reader = node.get_uri(), node.get_immutable_uri()
    described: JsonObject = {}
    if strongest is not None and strongest != reader:
        described["rw_uri"] = strongest
        described["mutable"] = True
    if reader is not None:
        described["ro_uri"] = reader
        if reader.startswith(_IMMUTABLE_MARK):
            described["mutable"] = False
    return described
