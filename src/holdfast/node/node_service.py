"""What a node tells its peers of itself: versions, services, ids; and the network side of that.

A peer learns of a service only what it may use. Whether a name is unknown, switched off or private
cannot be told from the answer.

Source: docs/spec/control-and-introducer.md, section 4; docs/spec/seed-map.md, section C.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

import holdfast
from holdfast.interfaces.node import NodeVersions, NoSuchServiceError
from holdfast.interfaces.types import NodeId, NodeId20
from holdfast.node.config import NodeConfig
from holdfast.node.identity import NodeIdentity
from holdfast.protocol import node_messages as messages
from holdfast.protocol.introducer_calls import presented_swissnum
from holdfast.protocol.introducer_messages import encode_error
from holdfast.protocol.node_messages import NO_SUCH_SERVICE, NodeIds
from holdfast.protocol.versions import OLDEST_SUPPORTED
from holdfast.wire.http import Handler, Request, Response

TOLD_SERVICES = frozenset(("storage", "vdrive", "introducer"))
"""The only names ever confirmed. Those of private interfaces are not among them."""

ALIASES = {"storageserver": "storage"}  # as nodes of 2007 called it
PROTOCOL_MAJOR = 1  # of every service
PACKAGES = ("cbor2", "cryptography", "httptools", "SQLAlchemy", "uvloop")

_HEADERS = (("Content-Type", "application/cbor"), ("Cache-Control", "no-store"))
_METHODS = frozenset(("GET", "HEAD"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalNode:
    """Implements ``interfaces.node.NodeService`` for the node of this process.

    Attributes:
        services: NURL by name, of what peers may be told. Names outside TOLD_SERVICES are not told anyway.
        spki: the SubjectPublicKeyInfo, DER, of the TLS key.
        verify_key: 32 bytes.
    """

    versions: NodeVersions
    services: Mapping[str, str] = field(repr=False)
    spki: bytes
    verify_key: bytes

    @property
    def ids(self) -> NodeIds:
        return NodeIds(NodeId(hashlib.sha256(self.spki).digest()), self.verify_key)

    async def get_versions(self) -> tuple[str, str]:
        return self.versions.mine, self.versions.oldest

    async def get_version_document(self) -> NodeVersions:
        return self.versions

    async def get_service(self, name: str) -> str:
        plain = ALIASES.get(name, name)
        nurl = self.services.get(plain) if plain in TOLD_SERVICES else None
        if nurl is None:
            raise NoSuchServiceError("the node offers no service of this name")
        return nurl

    async def get_nodeid(self) -> NodeId20:
        return self.ids.node_id

    async def get_node_id32(self) -> NodeId:
        return self.ids.node_id32


def node_of(identity: NodeIdentity, config: NodeConfig, services: Mapping[str, str]) -> LocalNode:
    """Return what the node with this identity tells; ``services`` is where its own are, by name."""
    versions = NodeVersions(
        mine=holdfast.__version__,
        oldest=OLDEST_SUPPORTED,
        protocols={name: [PROTOCOL_MAJOR] for name in ("node", *sorted(TOLD_SERVICES & services.keys()))},
        packages=_packages() if config.node.announce_packages else {},
    )
    return LocalNode(
        versions=versions, services=services, spki=identity.key_info, verify_key=identity.verify_key
    )


def node_handler(node: LocalNode, swissnum: str) -> Handler:
    """Return what answers the requests of those who know ``swissnum``."""
    expected = _digest(swissnum)

    async def answer(request: Request) -> Response:
        # Digests of one length, so that the time says nothing of the length of the secret either.
        shown = _digest(presented_swissnum(request.header("authorization")) or "")
        if not hmac.compare_digest(shown, expected):
            return _refused(401, "Unauthorized", "the secret shown is not one of this node")
        if request.method not in _METHODS:
            return _refused(405, "MethodNotAllowed", "only GET is possible here", (("Allow", "GET, HEAD"),))
        return await _answer(node, request.path)

    return answer


async def _answer(node: LocalNode, path: str) -> Response:
    if path == messages.VERSIONS_PATH:
        return Response(200, _HEADERS, messages.encode_versions(await node.get_version_document()))
    if path == messages.NODEID_PATH:
        return Response(200, _HEADERS, messages.encode_nodeid(node.ids))
    if not path.startswith(messages.SERVICES_PATH):
        return _refused(404, "NotFound", "there is no such call")
    try:
        nurl = await node.get_service(path.removeprefix(messages.SERVICES_PATH))
    except NoSuchServiceError as error:
        return _refused(404, NO_SUCH_SERVICE, str(error))
    return Response(200, _HEADERS, messages.encode_service(nurl))


def _refused(status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(status, _HEADERS + headers, encode_error(code, message))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()


def _packages() -> dict[str, str]:
    """Return the versions of what the node runs on, as far as it is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
