"""The calls of a node about itself: paths, and messages from values to CBOR and back.

Source: docs/spec/control-and-introducer.md, section 4.2 and appendix B.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.crypto.signatures import VERIFY_KEY_SIZE
from holdfast.formats import deterministic_cbor
from holdfast.interfaces.node import NodeVersions
from holdfast.interfaces.types import HASH_SIZE, MAX_NURL, NodeId, NodeId20
from holdfast.protocol import message_items as items
from holdfast.protocol.message_items import MalformedMessageError

BASE = "/node/v1"
VERSIONS_PATH = f"{BASE}/versions"
SERVICES_PATH = f"{BASE}/services/"  # and a name
NODEID_PATH = f"{BASE}/nodeid"
ANSWER_MAX = 64 * 1024  # bytes
NO_SUCH_SERVICE = "NoSuchService"

_NODE_ID20_SIZE = 20
_PROTOCOLS_MAX = 100  # major versions of one service


@dataclass(frozen=True, slots=True)
class NodeIds:
    """What a node is known by: the hash of its TLS key, and its verify key of 32 bytes."""

    node_id32: NodeId
    verify_key: bytes

    @property
    def node_id(self) -> NodeId20:
        return NodeId20(self.node_id32[:_NODE_ID20_SIZE])


def service_path(name: str) -> str:
    """Return the path that asks for a service; ``name`` as in announcements, or ``storageserver``."""
    return SERVICES_PATH + name


def encode_versions(versions: NodeVersions) -> bytes:
    """Packages are left out when there are none to tell of."""
    message: dict[str, object] = {
        "versions": [versions.mine, versions.oldest],
        "protocols": {name: list(majors) for name, majors in versions.protocols.items()},
        "features": versions.features,
    }
    if versions.packages:
        message["packages"] = versions.packages
    return deterministic_cbor.encode(message)


def decode_versions(data: bytes) -> NodeVersions:
    """Raises MalformedMessageError, as all decoders here do."""
    parts = items.fields(
        items.decoded(data), "versions", ("versions", "protocols", "features"), ("packages",)
    )
    mine, oldest = items.array(parts["versions"], "versions", 2, 2)
    packages = items.text_map(parts.get("packages", {}), "packages")
    return NodeVersions(
        mine=items.text(mine, "version"),
        oldest=items.text(oldest, "oldest version"),
        protocols={
            name: _majors(majors) for name, majors in items.text_map(parts["protocols"], "protocols").items()
        },
        features=items.text_map(parts["features"], "features"),
        packages={name: items.text(version, "package") for name, version in packages.items()},
    )


def encode_service(nurl: str) -> bytes:
    return deterministic_cbor.encode({"nurl": nurl})


def decode_service(data: bytes) -> str:
    """Return the NURL."""
    nurl = items.text(items.fields(items.decoded(data), "service", ("nurl",))["nurl"], "nurl", MAX_NURL)
    if not nurl:
        raise MalformedMessageError("nurl: empty")
    return nurl


def encode_nodeid(ids: NodeIds) -> bytes:
    return deterministic_cbor.encode({"nodeid": ids.node_id, "nodeid32": ids.node_id32, "vk": ids.verify_key})


def decode_nodeid(data: bytes) -> NodeIds:
    """Return the ids, of which the short one is the beginning of the long one."""
    parts = items.fields(items.decoded(data), "nodeid", ("nodeid", "nodeid32", "vk"))
    node_id32 = NodeId(items.octets(parts["nodeid32"], "nodeid32", HASH_SIZE))
    ids = NodeIds(node_id32, items.octets(parts["vk"], "vk", VERIFY_KEY_SIZE))
    if items.octets(parts["nodeid"], "nodeid", _NODE_ID20_SIZE) != ids.node_id:
        raise MalformedMessageError("nodeid: not the beginning of nodeid32")
    return ids


def _majors(value: object) -> list[int]:
    return [items.number(major, "protocol") for major in items.array(value, "protocols", 1, _PROTOCOLS_MAX)]
