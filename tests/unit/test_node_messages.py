"""What a node says of itself comes back as it was written; anything else is refused in one way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.interfaces.node import NodeVersions
from holdfast.interfaces.types import NodeId
from holdfast.protocol import node_messages as messages
from holdfast.protocol.message_items import MalformedMessageError

IDS = messages.NodeIds(NodeId(bytes(range(32))), b"k" * 32)
NAMES = st.text(max_size=10)
VERSIONS = st.builds(
    NodeVersions,
    mine=NAMES,
    oldest=NAMES,
    protocols=st.dictionaries(NAMES, st.lists(st.integers(0, 9), min_size=1, max_size=3), max_size=3),
    features=st.dictionaries(NAMES, st.booleans() | st.integers(0, 9) | NAMES | st.lists(NAMES), max_size=3),
    packages=st.dictionaries(NAMES, NAMES, max_size=3),
)

# The answers of the first release, as recorded: every later one must understand them.
FIRST_VERSIONS = bytes.fromhex(
    "a3686665617475726573a06876657273696f6e738265302e312e3065302e312e306970726f746f636f6c73a16773746f726167658101"
)
FIRST_SERVICE = bytes.fromhex("a1646e75726c781d70623a2f2f6861736840686f73743a312f73776973736e756d23763d31")
FIRST_NODEID = bytes.fromhex(
    "a362766b58206b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b666e6f64656964540001"
    "02030405060708090a0b0c0d0e0f10111213686e6f6465696433325820000102030405060708090a0b0c0d0e0f101112"
    "131415161718191a1b1c1d1e1f"
)


@given(VERSIONS)
def test_versions_come_back(versions: NodeVersions) -> None:
    assert messages.decode_versions(messages.encode_versions(versions)) == versions


@given(st.text(min_size=1, max_size=1000))
def test_services_come_back(nurl: str) -> None:
    assert messages.decode_service(messages.encode_service(nurl)) == nurl


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_ids_come_back(node_id: bytes, key: bytes) -> None:
    ids = messages.NodeIds(NodeId(node_id), key)
    assert messages.decode_nodeid(messages.encode_nodeid(ids)) == ids


@pytest.mark.seed("S-027")
def test_the_answers_of_the_first_release_are_written_and_understood() -> None:
    first = NodeVersions("0.1.0", "0.1.0", {"storage": [1]})
    assert messages.decode_versions(FIRST_VERSIONS) == first
    assert messages.encode_versions(first) == FIRST_VERSIONS
    nurl = "pb://hash@host:1/swissnum#v=1"
    assert messages.decode_service(FIRST_SERVICE) == nurl
    assert messages.encode_service(nurl) == FIRST_SERVICE
    assert messages.decode_nodeid(FIRST_NODEID) == IDS
    assert messages.encode_nodeid(IDS) == FIRST_NODEID


@pytest.mark.seed("S-026")
def test_unknown_features_are_passed_on_and_absent_ones_are_absent() -> None:
    data = messages.encode_versions(NodeVersions("1", "1", {}, {"teleport": [True, {"speed": 9}]}))
    features = messages.decode_versions(data).features
    assert features["teleport"] == [True, {"speed": 9}]
    assert "bulk" not in features


def test_packages_are_told_only_if_there_are_any() -> None:
    assert "packages" not in cbor2.loads(messages.encode_versions(NodeVersions("1", "1")))
    told = NodeVersions("1", "1", packages={"cryptography": "43"})
    assert cbor2.loads(messages.encode_versions(told))["packages"] == {"cryptography": "43"}


def _versions(**changes: object) -> dict[str, object]:
    return {"versions": ["1", "1"], "protocols": {"storage": [1]}, "features": {}} | changes


def _ids(**changes: object) -> dict[str, object]:
    return {"nodeid": IDS.node_id, "nodeid32": IDS.node_id32, "vk": IDS.verify_key} | changes


Decoder = Callable[[bytes], object]
MALFORMED: dict[str, tuple[Decoder, object]] = {
    "one version": (messages.decode_versions, _versions(versions=["1"])),
    "versions as numbers": (messages.decode_versions, _versions(versions=[1, 1])),
    "no major version": (messages.decode_versions, _versions(protocols={"storage": []})),
    "a major version as text": (messages.decode_versions, _versions(protocols={"storage": ["1"]})),
    "protocols a list": (messages.decode_versions, _versions(protocols=[])),
    "features a list": (messages.decode_versions, _versions(features=["bulk"])),
    "a feature without a name": (messages.decode_versions, _versions(features={1: 1})),
    "packages null": (messages.decode_versions, _versions(packages=None)),
    "a package as number": (messages.decode_versions, _versions(packages={"a": 1})),
    "an unknown key": (messages.decode_versions, _versions(uptime=1)),
    "no NURL": (messages.decode_service, {}),
    "an empty NURL": (messages.decode_service, {"nurl": ""}),
    "a NURL of 1001 characters": (messages.decode_service, {"nurl": "n" * 1001}),
    "a NURL as bytes": (messages.decode_service, {"nurl": b"n"}),
    "an id of 19 bytes": (messages.decode_nodeid, _ids(nodeid=bytes(range(19)))),
    "an id of 31 bytes": (messages.decode_nodeid, _ids(nodeid32=bytes(range(31)))),
    "ids of two nodes": (messages.decode_nodeid, _ids(nodeid=bytes(20))),
    "a short key": (messages.decode_nodeid, _ids(vk=bytes(31))),
    "no key": (messages.decode_nodeid, {"nodeid": IDS.node_id, "nodeid32": IDS.node_id32}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_is_refused(name: str) -> None:
    decode, item = MALFORMED[name]
    with pytest.raises(MalformedMessageError):
        decode(cbor2.dumps(item))


VALID: dict[str, tuple[bytes, Decoder]] = {
    "versions": (FIRST_VERSIONS, messages.decode_versions),
    "service": (FIRST_SERVICE, messages.decode_service),
    "nodeid": (FIRST_NODEID, messages.decode_nodeid),
}


@pytest.mark.parametrize("name", VALID)
@given(data=st.data())
def test_a_damaged_message_does_no_worse_than_be_refused(name: str, data: st.DataObject) -> None:
    encoded, decode = VALID[name]
    damaged = bytearray(encoded)
    begin = data.draw(st.integers(0, len(damaged)))
    damaged[begin : begin + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    for candidate in (bytes(damaged), data.draw(st.binary(max_size=60))):
        with suppress(MalformedMessageError):
            decode(candidate)
