"""What a node tells of itself, and to whom: asked in the process, and over pinned HTTPS."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from packaging.version import Version

import holdfast
from holdfast.grid.http_node import HttpNode
from holdfast.interfaces.node import NodeService, NodeVersions, NoSuchServiceError
from holdfast.node.config import NodeConfig, NodeSettings
from holdfast.node.identity import NodeIdentity, create_node_identity, load_node_identity
from holdfast.node.node_service import LocalNode, node_handler, node_of
from holdfast.node.routing import by_prefix
from holdfast.protocol import node_messages as messages
from holdfast.protocol.introducer_calls import authorization_value
from holdfast.protocol.nurl import Nurl, parse_nurl, spki_hash, spki_hash_bytes
from holdfast.protocol.versions import compatible
from holdfast.wire.http import Request, Response
from holdfast.wire.server import serve, server_ssl_context

SWISSNUM = "nodeswissnum"
STORAGE = f"pb://{spki_hash(b'key')}@host.example:1/storageswissnum#v=1"
CONTROL = f"pb://{spki_hash(b'key')}@host.example:1/controlswissnum#v=1"
PRIVATE_NAMES = ["control", "web", "node", "helper", "grid-advice"]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> NodeIdentity:
    return create_node_identity(tmp_path_factory.mktemp("node") / "private")


@pytest.fixture
def local(identity: NodeIdentity) -> LocalNode:
    return node_of(identity, NodeConfig(), {"storage": STORAGE, "control": CONTROL})


@asynccontextmanager
async def _served(node: LocalNode, identity: NodeIdentity) -> AsyncIterator[HttpNode]:
    context = server_ssl_context(identity.tls_path, identity.tls_path)
    handler = by_prefix({"/node": node_handler(node, SWISSNUM)})
    async with serve(handler, "127.0.0.1", 0, context) as server:
        remote = HttpNode(Nurl("pb", identity.spki_hash, "127.0.0.1", server.port, SWISSNUM))
        try:
            yield remote
        finally:
            remote.close()


@pytest.fixture(params=["in the process", "over HTTPS"])
async def node(
    request: pytest.FixtureRequest, local: LocalNode, identity: NodeIdentity
) -> AsyncIterator[NodeService]:
    if request.param == "in the process":
        yield local
        return
    async with _served(local, identity) as remote:
        yield remote


# -- both forms


@pytest.mark.seed("S-023")
async def test_versions_are_a_pair_that_parses_and_begins_with_the_package_version(node: NodeService) -> None:
    mine, oldest = await node.get_versions()
    assert mine == holdfast.__version__
    assert Version(oldest) <= Version(mine)
    document = await node.get_version_document()
    assert (document.mine, document.oldest) == (mine, oldest)
    assert document.protocols == {"node": [1], "storage": [1]}


@pytest.mark.seed("S-025")
async def test_two_nodes_of_this_version_are_compatible(node: NodeService) -> None:
    assert compatible(await node.get_versions(), await node.get_versions()) is None


@pytest.mark.seed("S-028")
@pytest.mark.parametrize("name", ["storage", "storageserver"])
async def test_a_service_is_told_under_its_name_and_that_of_2007(node: NodeService, name: str) -> None:
    assert parse_nurl(await node.get_service(name)).swissnum == "storageswissnum"


@pytest.mark.seed("S-028", "X-15")
@pytest.mark.parametrize(
    "name",
    ["unknown", "vdrive", *PRIVATE_NAMES, "", "STORAGE", "storage/", "../versions", "sto%72age", "\u00e9"],
)
async def test_unknown_disabled_and_private_services_are_none(node: NodeService, name: str) -> None:
    with pytest.raises(NoSuchServiceError) as caught:
        await node.get_service(name)
    assert str(caught.value) == "the node offers no service of this name"


@pytest.mark.seed("S-029", "S-003")
async def test_the_ids_are_those_of_the_tls_key(node: NodeService, identity: NodeIdentity) -> None:
    short, long = await node.get_nodeid(), await node.get_node_id32()
    assert (len(short), len(long)) == (20, 32)
    assert long[:20] == short
    assert long == hashlib.sha256(identity.key_info).digest()
    assert long == spki_hash_bytes(identity.spki_hash)  # what the connection over HTTPS is pinned to


# -- versions and features


@pytest.mark.seed("S-026")
async def test_a_flag_a_peer_does_not_know_reaches_it_and_one_it_misses_is_absent(
    identity: NodeIdentity,
) -> None:
    versions = NodeVersions("0.1.0", "0.1.0", features={"teleport": True})
    told = LocalNode(versions=versions, services={}, spki=identity.key_info, verify_key=identity.verify_key)
    async with _served(told, identity) as remote:
        features = (await remote.get_version_document()).features
    assert features == {"teleport": True}
    assert not features.get("bulk")


@pytest.mark.seed("S-024")
@pytest.mark.parametrize("version", ["", "tomorrow", "9" * 5000])
async def test_a_peer_with_a_version_that_nobody_understands_is_refused(
    identity: NodeIdentity, local: LocalNode, version: str
) -> None:
    versions = NodeVersions(version, "0.1.0")
    strange = LocalNode(
        versions=versions, services={}, spki=identity.key_info, verify_key=identity.verify_key
    )
    async with _served(strange, identity) as remote:
        theirs = await remote.get_versions()
    reason = compatible(await local.get_versions(), theirs)
    assert reason is not None
    assert "the version of the peer" in reason


async def test_packages_are_told_only_if_the_operator_says_so(identity: NodeIdentity) -> None:
    assert node_of(identity, NodeConfig(), {}).versions.packages == {}
    telling = node_of(identity, NodeConfig(node=NodeSettings(announce_packages=True)), {})
    assert {"python", "cryptography"} <= telling.versions.packages.keys()


# -- ids for life


@pytest.mark.seed("S-029", "S-003")
def test_the_ids_survive_a_new_certificate_and_change_with_the_key(tmp_path: Path) -> None:
    before = create_node_identity(tmp_path / "private")
    old = before.tls_path.read_bytes()
    _renew_certificate(before.tls_path)
    assert before.tls_path.read_bytes() != old
    after = load_node_identity(tmp_path / "private")
    assert _ids(after) == _ids(before)
    other = create_node_identity(tmp_path / "other")
    assert _ids(other).node_id32 != _ids(before).node_id32
    assert _ids(other).verify_key != _ids(before).verify_key


def _ids(identity: NodeIdentity) -> messages.NodeIds:
    return node_of(identity, NodeConfig(), {}).ids


def _renew_certificate(path: Path) -> None:
    pem = path.read_bytes()
    key, old = load_pem_private_key(pem, None), x509.load_pem_x509_certificate(pem)
    new = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(key.public_key())
        .serial_number(old.serial_number + 1)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .sign(key, hashes.SHA256())  # type: ignore[arg-type]  # ECDSA, as our certificates are
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(new.public_bytes(Encoding.PEM) + private)


# -- what the answers on the wire look like


class _NoBody:
    length = 0

    async def chunks(self) -> AsyncIterator[memoryview]:
        return
        yield

    async def read(self, limit: int) -> bytes:
        return b""


async def _asked(
    node: LocalNode, path: str, *, method: str = "GET", authorization: str | None = None
) -> Response:
    shown = authorization_value(SWISSNUM) if authorization is None else authorization
    headers = (("authorization", shown),) if shown else ()
    return await node_handler(node, SWISSNUM)(Request(method, path, "", headers, _NoBody()))


@pytest.mark.seed("S-028", "X-15")
async def test_nobody_can_tell_private_names_from_unknown_ones(local: LocalNode) -> None:
    answers = [
        await _asked(local, messages.service_path(name))
        for name in ("unknown", "vdrive", "a/b", *PRIVATE_NAMES)
    ]
    assert len({(answer.status, answer.headers, answer.body) for answer in answers}) == 1
    assert answers[0].status == 404
    assert isinstance(answers[0].body, bytes)
    assert cbor2.loads(answers[0].body)["error"] == "NoSuchService"


@pytest.mark.parametrize(
    "authorization",
    [
        "Holdfast wrong",
        "Holdfast " + SWISSNUM + "x",
        f"Basic {SWISSNUM}",
        SWISSNUM,
        "Holdfast caf\u00e9",
        " ",
    ],
)
async def test_without_the_right_swissnum_nothing_is_told(local: LocalNode, authorization: str) -> None:
    paths = [
        messages.VERSIONS_PATH,
        messages.NODEID_PATH,
        messages.service_path("storage"),
        "/node/v1/nothing",
    ]
    answers = [await _asked(local, path, authorization=authorization) for path in paths]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1


async def test_a_header_that_is_missing_is_a_wrong_one(local: LocalNode) -> None:
    request = Request("GET", messages.VERSIONS_PATH, "", (), _NoBody())
    assert (await node_handler(local, SWISSNUM)(request)).status == 401


@pytest.mark.parametrize(
    "path", ["/node", "/node/v1", "/node/v1/", "/node/v2/versions", "/node/v1/versions/"]
)
async def test_there_are_no_other_calls(local: LocalNode, path: str) -> None:
    assert (await _asked(local, path)).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed(local: LocalNode, method: str) -> None:
    answer = await _asked(local, messages.VERSIONS_PATH, method=method)
    assert answer.status == 405
    assert ("Allow", "GET, HEAD") in answer.headers


@pytest.mark.seed("S-027")
async def test_the_answers_are_those_of_the_specification(local: LocalNode) -> None:
    versions = await _asked(local, "/node/v1/versions")
    assert isinstance(versions.body, bytes)
    assert cbor2.loads(versions.body).keys() == {"versions", "protocols", "features"}
    nodeid = await _asked(local, "/node/v1/nodeid")
    assert isinstance(nodeid.body, bytes)
    assert cbor2.loads(nodeid.body) == {
        "nodeid": local.ids.node_id,
        "nodeid32": local.ids.node_id32,
        "vk": local.verify_key,
    }
    service = await _asked(local, "/node/v1/services/storageserver")
    assert service.body == cbor2.dumps({"nurl": STORAGE})


def test_the_repr_of_a_node_shows_no_nurl(local: LocalNode) -> None:
    assert "swissnum" not in repr(local)
