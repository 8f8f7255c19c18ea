"""What holds for every request to a storage server: rows G of the table.

Each row of ``http_cases`` in the vectors is one test, named by its id; what it must see is the
column "Holdfast" of docs/spec/storage-protocol.md, section 15.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.storage_bench import (
    CANCEL,
    CBOR,
    DATA,
    MSI,
    RENEW,
    SI,
    UPLOAD,
    Bench,
    Cases,
    decoded,
    share,
)
from holdfast.testing.storage_server import ServedStorage

VECTORS = Path(__file__).parents[1] / "vectors" / "storage.json"
ROWS = {row["id"]: row for row in json.loads(VECTORS.read_text())["http_cases"]}

case = Cases()

ENDPOINTS = (
    ("GET", "/storage/v1/version"),
    ("POST", f"/storage/v1/immutable/{SI}"),
    ("PATCH", f"/storage/v1/immutable/{SI}/0"),
    ("PUT", f"/storage/v1/immutable/{SI}/0/abort"),
    ("GET", f"/storage/v1/immutable/{SI}/shares"),
    ("GET", f"/storage/v1/immutable/{SI}/0"),
    ("POST", f"/storage/v1/immutable/{SI}/0/corrupt"),
    ("POST", f"/storage/v1/mutable/{SI}/read-test-write"),
    ("GET", f"/storage/v1/mutable/{SI}/shares"),
    ("GET", f"/storage/v1/mutable/{SI}/0"),
    ("POST", f"/storage/v1/mutable/{SI}/0/corrupt"),
    ("PUT", f"/storage/v1/lease/{SI}"),
)


@case("G-01")
async def version(bench: Bench) -> None:
    answer = await bench.request("GET", "/storage/v1/version?x=1")
    assert answer.status == 200
    message = decoded(answer)
    inner = message.pop(b"http://allmydata.org/tahoe/protocols/storage/v1")
    assert message.keys() == {b"application-version"}
    assert message[b"application-version"].startswith(b"holdfast/")
    assert inner.keys() == {
        b"maximum-immutable-share-size",
        b"maximum-mutable-share-size",
        b"available-space",
    }
    assert inner[b"available-space"] == inner[b"maximum-immutable-share-size"] > 0


@case("G-02")
async def no_authorization(bench: Bench) -> None:
    for method, path in ENDPOINTS:
        assert (await bench.request(method, path, authorized=False)).status == 401


@case("G-03")
async def wrong_swissnum(bench: Bench) -> None:
    for value in ("Tahoe-LAFS " + "QUJD" * 10, "Tahoe-LAFS ", "", "Tahoe-LAFS QQ"):
        answer = await bench.request(
            "GET", "/storage/v1/version", [("Authorization", value)], authorized=False
        )
        assert answer.status == 401
        assert b"QUJD" not in answer.body


@case("G-04")
async def scheme_spelt_differently(bench: Bench) -> None:
    right = bench.server.authorization[1]
    for value in (right.replace("Tahoe-LAFS", "tahoe-lafs"), right.replace(" ", "  "), right.lower()):
        answer = await bench.request(
            "GET", "/storage/v1/version", [("Authorization", value)], authorized=False
        )
        assert answer.status == 401


@case("G-05")
async def authorization_not_utf8(bench: Bench) -> None:
    value = b"Tahoe-LAFS \xff\xfe\x80"
    answer = await bench.request("GET", "/storage/v1/version", [("Authorization", value)], authorized=False)
    assert answer.status in (400, 401)


@case("G-06")
async def two_authorizations(bench: Bench) -> None:
    answer = await bench.request("GET", "/storage/v1/version", [("Authorization", "Tahoe-LAFS x")])
    assert answer.status in (400, 200)


@case("G-07")
async def unknown_paths(bench: Bench) -> None:
    for path in (
        "/",
        "/storage",
        "/storage/v2/version",
        "/storage/v1/version/",
        "//storage/v1/version",
        f"/storage/v1/immutable/{SI}/",
        f"/storage/v1/immutable/{SI}/0/",
        f"/storage/v1/lease/{SI}/x",
        f"/storage/v1/immutable/{SI}/0/corrupt/x",
        f"/storage/v1/immutable/{SI[:-1]}%61",
    ):
        assert (await bench.request("GET", path)).status == 404


@case("G-08")
async def unknown_path_of_a_stranger(bench: Bench) -> None:
    assert (await bench.request("GET", "/nowhere", authorized=False)).status == 401


@case("G-09")
async def wrong_method(bench: Bench) -> None:
    for path, methods in (
        ("/storage/v1/version", {"GET"}),
        (f"/storage/v1/immutable/{SI}", {"POST"}),
        (f"/storage/v1/immutable/{SI}/0", {"GET", "PATCH"}),
        (f"/storage/v1/mutable/{SI}/0", {"GET"}),
        (f"/storage/v1/lease/{SI}", {"PUT"}),
    ):
        answer = await bench.request("DELETE", path)
        assert answer.status == 405
        assert methods <= set((answer.header("allow") or "").split(", ")) <= methods | {"HEAD"}


@case("G-10")
async def wrong_method_of_a_stranger(bench: Bench) -> None:
    assert (await bench.request("DELETE", "/storage/v1/version", authorized=False)).status == 401


async def no_such_paths(bench: Bench, *segments: str) -> None:
    for segment in segments:
        for method, path in (
            ("GET", f"/storage/v1/immutable/{segment}"),
            ("GET", f"/storage/v1/mutable/{segment}"),
        ):
            assert (await bench.request(method, path)).status == 404, segment


@case("G-11")
async def malformed_index(bench: Bench) -> None:
    for si in (SI[:-1], SI + "a", SI.upper(), SI[:-1] + "1", SI[:-1] + "=", "." * 26):
        await no_such_paths(bench, f"{si}/shares", f"{si}/0")


@case("G-12", "G-13")
async def unused_bits_of_the_index(bench: Bench) -> None:
    for last in "bdcgkfh":
        await no_such_paths(bench, f"{SI[:-1]}{last}/shares", f"{SI[:-1]}{last}/0")


@case("G-14")
async def malformed_share_number(bench: Bench) -> None:
    await bench.store(1)
    await no_such_paths(bench, *(f"{SI}/{n}" for n in ("-1", "+1", "a", "1.0", "0x1", "%31", "1e0", "256")))


@case("G-15")
async def leading_zeros(bench: Bench) -> None:
    await bench.store(7)
    assert (await bench.read(7)).status == 200
    await no_such_paths(bench, f"{SI}/007", f"{SI}/07")


@case("G-16")
async def superfluous_secret(bench: Bench) -> None:
    for path in (
        "/storage/v1/version",
        f"/storage/v1/immutable/{SI}/shares",
        f"/storage/v1/immutable/{SI}/0",
    ):
        answer = await bench.request("GET", path, secrets=(UPLOAD,))
        assert answer.status == 400
        assert b"dXV1" not in answer.body


@case("G-17")
async def unknown_secret(bench: Bench) -> None:
    for value in ("password cGFzcw==", "Upload-Secret dXV1", "upload-secret", "upload-secret  dXV1", ""):
        headers = [CBOR, ("X-Tahoe-Authorization", value)]
        assert (await bench.allocate({0}, secrets=(RENEW, CANCEL), headers=headers)).status == 400
    assert await bench.allocated({0}) == (set(), {0})


@case("G-18", "G-20")
async def acceptable(bench: Bench) -> None:
    for accept in (
        None,
        "application/cbor",
        "application/cbor;q=0.5",
        "*/*",
        "application/*",
        "text/html, */*;q=0.1",
        "application/json, application/cbor",
        "APPLICATION/CBOR; q=1",
        "text/plain;q=0.2,application/*;q=0.001",
    ):
        headers = [("Accept", accept)] if accept is not None else []
        assert (await bench.request("GET", "/storage/v1/version", headers)).status == 200, accept


@case("G-19")
async def not_acceptable(bench: Bench) -> None:
    for accept in (
        "application/json",
        "text/html",
        "application/cbor;q=0",
        "text/*",
        "*/*, application/cbor;q=0",
        "application/cbor;version=2",
        "nonsense",
    ):
        assert (await bench.request("GET", "/storage/v1/version", [("Accept", accept)])).status == 406, accept
    assert (await bench.allocate({0}, headers=[CBOR, ("Accept", "text/html")])).status == 406
    assert await bench.allocated({0}) == (set(), {0})
    assert (await bench.write(0, "bytes 0-47/*", DATA, headers=[("Accept", "text/html")])).status == 406
    assert await bench.listed() == set()
    creation = {0: share(writes=[(0, b"x")])}
    assert (await bench.rtw(creation, headers=[CBOR, ("Accept", "text/html")])).status == 406
    assert await bench.listed("mutable", MSI) == set()


@case("G-21")
async def head(bench: Bench) -> None:
    await bench.store(0)
    for path in (
        "/storage/v1/version",
        f"/storage/v1/immutable/{SI}/0",
        f"/storage/v1/immutable/{SI}/shares",
    ):
        answer, full = await bench.request("HEAD", path), await bench.request("GET", path)
        assert (answer.status, answer.headers) == (full.status, full.headers)
        assert answer.body == b""


# -- the tests


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with ServedStorage(tmp_path, settings=StorageSettings(durability="os")) as server:
        yield Bench(server)


@pytest.mark.seed("S-011")
@pytest.mark.parametrize("case_id", sorted(case.by_id))
async def test_answers_are_those_of_the_table(case_id: str, bench: Bench) -> None:
    await case.by_id[case_id](bench)


def test_every_row_has_its_test() -> None:
    assert case.by_id.keys() == {row for row in ROWS if row[0] in "G"}


def test_no_group_of_rows_is_forgotten() -> None:
    assert {row[0] for row in ROWS} == set("GAWBLRECM")
