"""Each call of the storage protocol has one path, one set of secrets, and one way to write them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import base32, lease_secrets, mutable_hashes
from holdfast.interfaces.storage_errors import BadRequestError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol import storage_calls as calls

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "storage.json").read_text())
INDEX = StorageIndex(bytes(range(16)))
INDEX_TEXT = base32.encode(INDEX)

PATHS = {
    calls.VERSION: calls.version_path(),
    calls.ALLOCATE: calls.allocate_path(INDEX),
    calls.WRITE: calls.share_path(INDEX, 255),
    calls.READ_IMMUTABLE: calls.share_path(INDEX, 255),
    calls.ABORT: calls.abort_path(INDEX, 255),
    calls.LIST_IMMUTABLE: calls.list_immutable_path(INDEX),
    calls.ADVISE_IMMUTABLE: calls.advise_immutable_path(INDEX, 255),
    calls.READ_TEST_WRITE: calls.read_test_write_path(INDEX),
    calls.LIST_MUTABLE: calls.list_mutable_path(INDEX),
    calls.READ_MUTABLE: calls.mutable_share_path(INDEX, 255),
    calls.ADVISE_MUTABLE: calls.advise_mutable_path(INDEX, 255),
    calls.LEASE: calls.lease_path(INDEX),
}


@pytest.mark.parametrize("endpoint", calls.ENDPOINTS, ids=lambda e: e.name)
def test_the_path_of_every_call_leads_back_to_it(endpoint: calls.Endpoint) -> None:
    match = calls.match_path(PATHS[endpoint])
    assert match is not None
    assert match.endpoints[endpoint.method] is endpoint
    assert match.index == (None if endpoint is calls.VERSION else INDEX)
    assert match.number == (255 if "{number}" in endpoint.pattern else None)


def test_reading_and_writing_a_share_are_two_methods_of_one_path() -> None:
    match = calls.match_path(calls.share_path(INDEX, 0))
    assert match is not None
    assert set(match.endpoints) == {"GET", "PATCH"}


@pytest.mark.seed("S-005")
@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_an_index_of_another_length_is_no_path(size: int) -> None:
    assert calls.match_path(f"/storage/v1/immutable/{base32.encode(bytes(size))}/shares") is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/storage/v1/version/",
        "//storage/v1/version",
        "/storage/v2/version",
        f"/storage/v1/immutable/{INDEX_TEXT}/",
        f"/storage/v1/immutable/{INDEX_TEXT.upper()}/shares",
        f"/storage/v1/immutable/{'a' * 25}/shares",
        f"/storage/v1/immutable/{'a' * 27}/shares",
        f"/storage/v1/immutable/{INDEX_TEXT[:-1]}b/shares",  # bits that should be zero are not
        f"/storage/v1/immutable/{INDEX_TEXT}/shares\n",
        f"/storage/v1/immutable/{INDEX_TEXT}/../{INDEX_TEXT}/shares",
        f"/storage/v1/immutable/%61{INDEX_TEXT[1:]}/shares",
        f"/storage/v1/immutable/{INDEX_TEXT}/256",
        f"/storage/v1/immutable/{INDEX_TEXT}/01",
        f"/storage/v1/immutable/{INDEX_TEXT}/-1",
        f"/storage/v1/immutable/{INDEX_TEXT}/+1",
        f"/storage/v1/immutable/{INDEX_TEXT}/\u0661",
        f"/storage/v1/mutable/{INDEX_TEXT}",
        f"/storage/v1/lease/{INDEX_TEXT}/0",
    ],
)
def test_other_spellings_are_no_paths(path: str) -> None:
    assert calls.match_path(path) is None


@given(st.text(max_size=80))
def test_no_path_makes_matching_fail(path: str) -> None:
    calls.match_path(path)
    calls.match_path(f"/storage/v1/immutable/{path}")


@pytest.mark.parametrize("vector", VECTORS["authorization"]["swissnum"], ids=lambda v: v["swissnum"])
def test_the_authorization_header_is_that_of_the_vectors(vector: dict[str, str]) -> None:
    assert calls.authorization_value(vector["swissnum"]) == vector["header"]


@pytest.mark.parametrize("vector", VECTORS["authorization"]["secrets"], ids=lambda v: v["header"])
def test_secrets_are_written_and_read_as_in_the_vectors(vector: dict[str, str]) -> None:
    kind, secret = vector["kind"], bytes.fromhex(vector["secret_hex"])
    assert calls.secret_header(kind, secret) == vector["header"]
    assert calls.parse_secret_headers([vector["header"]], frozenset((kind,))) == {kind: secret}


@pytest.mark.parametrize("vector", VECTORS["authorization"]["rejected_400"], ids=lambda v: v["why"])
@pytest.mark.parametrize("kind", calls.SECRET_SIZES)
def test_malformed_secrets_are_refused_and_not_repeated(vector: dict[str, str], kind: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        calls.parse_secret_headers([vector["header"]], frozenset((kind,)))
    text = vector["header"].partition(" ")[2]
    assert not text or text not in str(caught.value)


LEASE_HEADERS = [
    calls.secret_header(calls.LEASE_RENEW, b"r" * 32),
    calls.secret_header(calls.LEASE_CANCEL, b"c" * 32),
]


def test_secrets_come_in_any_order() -> None:
    expected = {calls.LEASE_RENEW: b"r" * 32, calls.LEASE_CANCEL: b"c" * 32}
    assert calls.parse_secret_headers(LEASE_HEADERS, calls.LEASE.secrets) == expected
    assert calls.parse_secret_headers(LEASE_HEADERS[::-1], calls.LEASE.secrets) == expected
    assert calls.parse_secret_headers([], calls.VERSION.secrets) == {}


@pytest.mark.parametrize(
    ("values", "endpoint"),
    [
        pytest.param(LEASE_HEADERS[:1], calls.LEASE, id="missing"),
        pytest.param(LEASE_HEADERS, calls.VERSION, id="superfluous"),
        pytest.param([*LEASE_HEADERS, LEASE_HEADERS[0]], calls.LEASE, id="twice"),
        pytest.param([", ".join(LEASE_HEADERS)], calls.LEASE, id="joined"),
        pytest.param(
            [f"upload-secret {base64.b64encode(bytes(65)).decode()}"], calls.WRITE, id="long upload secret"
        ),
        pytest.param(["upload-secret eA==\n"], calls.WRITE, id="newline"),
        pytest.param(["upload-secret e A=="], calls.WRITE, id="space"),
        pytest.param(["upload-secret eA==eA=="], calls.WRITE, id="padding inside"),
    ],
)
def test_exactly_the_required_secrets_are_taken(values: list[str], endpoint: calls.Endpoint) -> None:
    with pytest.raises(BadRequestError):
        calls.parse_secret_headers(values, endpoint.secrets)


@given(st.sampled_from(sorted(calls.SECRET_SIZES)), st.data())
def test_secrets_come_through(kind: str, data: st.DataObject) -> None:
    least, most = calls.SECRET_SIZES[kind]
    secret = data.draw(st.binary(min_size=least, max_size=most))
    assert calls.parse_secret_headers([calls.secret_header(kind, secret)], frozenset((kind,))) == {
        kind: secret
    }


@pytest.mark.parametrize("vector", VECTORS["lease_secrets"], ids=lambda v: v["storage_index_b32"])
def test_lease_secrets_are_those_of_the_vectors(vector: dict[str, str]) -> None:
    secret, index, seed = (
        base32.decode(vector[key]) for key in ("lease_secret_b32", "storage_index_b32", "server_seed_b32")
    )
    client = lease_secrets.client_renewal_secret(secret)
    file = lease_secrets.file_renewal_secret(client, index)
    bucket = lease_secrets.bucket_renewal_secret(file, seed)
    assert [client.hex(), file.hex(), bucket.hex()] == [
        vector[f"{level}_renew_hex"] for level in ("client", "file", "bucket")
    ]
    client = lease_secrets.client_cancel_secret(secret)
    file = lease_secrets.file_cancel_secret(client, index)
    bucket = lease_secrets.bucket_cancel_secret(file, seed)
    assert [client.hex(), file.hex(), bucket.hex()] == [
        vector[f"{level}_cancel_hex"] for level in ("client", "file", "bucket")
    ]


@pytest.mark.parametrize("vector", VECTORS["write_enablers"], ids=lambda v: v["writekey_b32"])
def test_write_enablers_are_those_of_the_vectors(vector: dict[str, str]) -> None:
    master = mutable_hashes.write_enabler_master(base32.decode(vector["writekey_b32"]))
    enabler = mutable_hashes.write_enabler(master, base32.decode(vector["server_seed_b32"]))
    assert (master.hex(), enabler.hex()) == (vector["master_hex"], vector["write_enabler_hex"])
