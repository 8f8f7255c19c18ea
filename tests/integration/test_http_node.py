"""The client of a node's own service, against nodes that lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from holdfast.errors import IncompatiblePeerError, ServerError
from holdfast.grid.http_node import MY_VERSION, HttpNode
from holdfast.interfaces.node import NodeVersions, NoSuchServiceError
from holdfast.interfaces.types import NodeId
from holdfast.node.identity import NodeIdentity, create_node_identity
from holdfast.protocol import node_messages as messages
from holdfast.protocol.node_messages import NodeIds
from holdfast.protocol.nurl import Nurl
from holdfast.wire.http import Request, Response
from holdfast.wire.server import serve, server_ssl_context

CBOR = (("Content-Type", "application/cbor"),)
SECRET = "veryverysecretswissnumswissnum22"


@pytest.fixture
def identity(tmp_path: Path) -> NodeIdentity:
    return create_node_identity(tmp_path / "private")


async def test_a_node_cannot_claim_the_id_of_another(identity: NodeIdentity) -> None:
    other = NodeIds(NodeId(hashlib.sha256(b"another key").digest()), identity.verify_key)
    own = NodeIds(identity.node_id, identity.verify_key)
    claimed = other

    async def answer(request: Request) -> Response:
        return Response(200, CBOR, messages.encode_nodeid(claimed))

    tls = str(identity.tls_path)
    async with serve(answer, "127.0.0.1", 0, server_ssl_context(tls, tls)) as server:
        node = HttpNode(Nurl("pb", identity.spki_hash, "127.0.0.1", server.port, SECRET))
        for call in (node.get_nodeid, node.get_node_id32):
            with pytest.raises(ServerError, match="another node id"):
                await call()
        claimed = own
        assert await node.get_nodeid() == identity.node_id20
        node.close()


@pytest.mark.parametrize("name", ["storage", "../versions", "a/b?c#d", "", "ü"])
async def test_a_name_is_asked_for_as_it_is_and_may_be_unknown(identity: NodeIdentity, name: str) -> None:
    asked: list[str] = []

    async def answer(request: Request) -> Response:
        if request.path == messages.VERSIONS_PATH:
            return Response(200, CBOR, messages.encode_versions(NodeVersions(*MY_VERSION)))
        asked.append(request.path)
        return Response(404)

    tls = str(identity.tls_path)
    async with serve(answer, "127.0.0.1", 0, server_ssl_context(tls, tls)) as server:
        node = HttpNode(Nurl("pb", identity.spki_hash, "127.0.0.1", server.port, SECRET))
        with pytest.raises(NoSuchServiceError):
            await node.get_service(name)
        node.close()

    assert asked[0].startswith(messages.SERVICES_PATH)
    assert asked[0].count("/") == messages.SERVICES_PATH.count("/")


@pytest.mark.seed("S-025")
@pytest.mark.parametrize("versions", [("99.0", "98.0"), ("0.0.1", "0.0.1"), ("not a version", "0.1.0")])
async def test_services_of_an_incompatible_node_are_not_handed_out(
    identity: NodeIdentity, versions: tuple[str, str]
) -> None:
    asked: list[str] = []

    async def answer(request: Request) -> Response:
        asked.append(request.path)
        return Response(200, CBOR, messages.encode_versions(NodeVersions(*versions)))

    tls = str(identity.tls_path)
    async with serve(answer, "127.0.0.1", 0, server_ssl_context(tls, tls)) as server:
        node = HttpNode(Nurl("pb", identity.spki_hash, "127.0.0.1", server.port, SECRET))
        with pytest.raises(IncompatiblePeerError):
            await node.get_service("storage")
        assert await node.get_versions() == versions
        assert set(asked) == {messages.VERSIONS_PATH}
        node.close()
