"""Mutable slots: rows M of the table.

Each row of ``http_cases`` in the vectors is one test, named by its id; what it must see is the
column "Holdfast" of docs/spec/storage-protocol.md, section 15.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cbor2
import pytest

from holdfast.crypto import base32
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.storage_bench import (
    CANCEL,
    ENABLER,
    LEASE,
    MSI,
    RENEW,
    RTW,
    SI,
    SLOT,
    UPLOAD,
    Bench,
    Cases,
    share,
)
from holdfast.testing.storage_server import ServedStorage

VECTORS = Path(__file__).parents[1] / "vectors" / "storage.json"
ROWS = {row["id"]: row for row in json.loads(VECTORS.read_text())["http_cases"]}

case = Cases()

CREATE = {0: share([(0, 1, b"")], [(0, b"hello")])}


@case("M-01", "M-02")
async def create_slot(bench: Bench) -> None:
    assert await bench.done(CREATE) == (True, {})
    assert await bench.done(CREATE) == (False, {0: []})
    assert await bench.slot_data() == b"hello"


@case("M-03")
async def read_slot(bench: Bench) -> None:
    await bench.slot()
    answer = await bench.done({}, [(0, 100), (1, 4), (1, 5), (5, 1)])
    assert answer == (True, {0: [b"hello", b"ello", b"ello", b""]})


@case("M-04")
async def read_empty_slot(bench: Bench) -> None:
    answer = await bench.rtw({}, [(0, 100)])
    assert (answer.status, answer.body) == (200, cbor2.dumps({"success": True, "data": {}}))
    assert await bench.listed("mutable", MSI) == set()


@case("M-05")
async def another_write_enabler(bench: Bench) -> None:
    await bench.slot()
    other = (("write-enabler", b"W" * 32), RENEW, CANCEL)
    for vectors in ({}, {0: share(writes=[(0, b"HELLO")])}, {9: share(writes=[(0, b"x")])}):
        answer = await bench.rtw(vectors, [(0, 5)], secrets=other)
        assert (answer.status, answer.body) == (401, b"")
    assert (await bench.rtw(body=b"nonsense", secrets=other)).status == 401
    assert await bench.slot_data() == b"hello"
    assert await bench.listed("mutable", MSI) == {0}


@case("M-06")
async def one_test_of_two_fails(bench: Bench) -> None:
    await bench.slot(b"zero", 0)
    await bench.slot(b"one", 1)
    vectors = {0: share([(0, 4, b"zero")], [(0, b"ZERO")]), 1: share([(0, 3, b"two")], [(0, b"ONE")])}
    assert (await bench.done(vectors))[0] is False
    assert (await bench.slot_data(0), await bench.slot_data(1)) == (b"zero", b"one")


@case("M-07", "M-08")
async def tests_are_cut_at_the_end(bench: Bench) -> None:
    await bench.slot()
    assert (await bench.done({0: share([(0, 50, b"hello")])}))[0] is True
    assert (await bench.done({0: share([(0, 3, b"hello")])}))[0] is False
    assert (await bench.done({0: share([(0, 2**64 - 1, b"hello")])}))[0] is True


@case("M-09", "M-10", "M-11", "M-12")
async def holes_and_lengths(bench: Bench) -> None:
    await bench.slot(b"secret")
    await bench.done({0: share(writes=[(10, b"end")])})
    assert await bench.slot_data() == b"secret\0\0\0\0end"
    await bench.done({0: share(new_length=3)})
    assert await bench.slot_data() == b"sec"
    await bench.done({0: share(new_length=20)})
    assert await bench.slot_data() == b"sec"
    await bench.done({0: share(writes=[(5, b"x")])})
    assert await bench.slot_data() == b"sec\0\0x"


@case("M-13")
async def writes_in_order(bench: Bench) -> None:
    await bench.done({0: share(writes=[(0, b"aaaa"), (2, b"bb"), (1, b"c")])})
    assert await bench.slot_data() == b"acbb"


@case("M-14", "M-15")
async def deletion(bench: Bench) -> None:
    await bench.slot()
    await bench.slot(number=1)
    assert (await bench.done({0: share(new_length=0), 1: share(writes=[(0, b"x")], new_length=0)}))[0]
    assert await bench.listed("mutable", MSI) == set()
    place = bench.server.storage / "shares" / MSI[:2]
    assert place.is_dir()
    assert not (place / MSI).exists()
    assert (await bench.done({7: share(new_length=0)}))[0]


@case("M-16")
async def creation_of_an_empty_share(bench: Bench) -> None:
    assert (await bench.done({3: share()}))[0]
    assert await bench.listed("mutable", MSI) == {3}
    assert await bench.slot_data(3) == b""


@case("M-17")
async def write_enabler_forgotten(bench: Bench) -> None:
    await bench.slot()
    assert (await bench.done({0: share(new_length=0)}))[0]
    other = (("write-enabler", b"W" * 32), RENEW, CANCEL)
    assert (await bench.done(CREATE, secrets=other))[0]
    assert (await bench.rtw({})).status == 401


@case("M-18")
async def too_many_vectors(bench: Bench) -> None:
    assert (await bench.rtw({0: share([(0, 1, b"")] * 31)})).status == 400
    assert (await bench.rtw({}, [(0, 1)] * 31)).status == 400
    assert (await bench.rtw({n: share() for n in range(257)})).status == 400
    assert (await bench.done({0: share([(0, 1, b"")] * 30)}, [(0, 1)] * 30))[0]


@case("M-19")
async def many_writes(bench: Bench) -> None:
    writes = [(n * 3, b"abc") for n in range(1000)]
    assert (await bench.done({0: share(writes=writes)}))[0]
    assert await bench.slot_data() == b"abc" * 1000


@case("M-20", "M-21", "M-22")
async def malformed_vectors(bench: Bench) -> None:
    good = share([(0, 1, b"")], [(0, b"x")])
    vectors: Any
    for vectors in (
        {"0": good},
        {-1: good},
        {256: good},
        {0: {**good, "write": [{"offset": 0, "data": "text"}]}},
        {0: {"test": [], "write": []}},
        {0: {**good, "new-length": False}},
        {0: {**good, "new-length": -1}},
        {0: {**good, "write": [{"offset": -1, "data": b"x"}]}},
        {0: {**good, "write": [{"offset": 2**64, "data": b"x"}]}},
        {0: {**good, "test": [{"offset": 0, "size": 1, "specimen": b"", "operator": b"eq"}]}},
        {0: {**good, "test": [{"offset": 0, "size": 1}]}},
    ):
        assert (await bench.rtw(vectors)).status == 400, vectors
    for body in (b"", cbor2.dumps({"test-write-vectors": {}}), cbor2.dumps([])):
        assert (await bench.rtw(body=body)).status == 400
    assert await bench.listed("mutable", MSI) == set()


@case("M-23")
async def wrong_secrets_for_a_slot(bench: Bench) -> None:
    for secrets in (LEASE, (ENABLER,), (*RTW, UPLOAD), (("write-enabler", b"w" * 31), RENEW, CANCEL)):
        assert (await bench.rtw(CREATE, secrets=secrets)).status == 400
    assert await bench.listed("mutable", MSI) == set()


@case("M-24")
async def slot_in_json(bench: Bench) -> None:
    assert (await bench.rtw(body=b"{}", headers=[("Content-Type", "application/json")])).status == 415


@case("M-25")
async def too_large_a_slot(bench: Bench) -> None:
    await bench.slot()
    await bench.restart(maximum_mutable_share_size=100)
    grow = {0: share(writes=[(0, b"HELLO")]), 1: share(writes=[(100, b"x")])}
    assert (await bench.rtw(grow)).status == 413
    await bench.restart(maximum_mutable_share_size=2**40, capacity=50)
    grow = {0: share(writes=[(0, b"HELLO")]), 1: share(writes=[(0, bytes(46))])}
    assert (await bench.rtw(grow)).status == 507
    assert (await bench.rtw({0: share(writes=[(2**39, b"x")])})).status == 507
    assert await bench.listed("mutable", MSI) == {0}
    assert await bench.slot_data() == b"hello"
    assert (await bench.done({1: share(writes=[(0, bytes(45))])}))[0]


@case("M-26")
async def slot_where_immutable_shares_are(bench: Bench) -> None:
    await bench.store(0)
    for vectors in ({}, {5: share(writes=[(0, b"x")])}):
        assert (await bench.rtw(vectors, si=SI)).status == 409
    other = base32.encode(b"one more index..")
    await bench.allocated({0}, si=other)
    assert (await bench.rtw(CREATE, si=other)).status == 409


@case("M-27", "M-28", "M-29")
async def read_only_slots(bench: Bench) -> None:
    await bench.slot()
    await bench.restart(read_only=True)
    assert (await bench.rtw({1: share(writes=[(0, b"x")])})).status == 507
    assert (await bench.rtw({0: share(writes=[(4, b"oooo")])})).status == 507
    assert await bench.slot_data() == b"hello"
    for n in range(6):
        new = (ENABLER, ("lease-renew-secret", bytes([n]) * 32), CANCEL)
        assert (await bench.done({0: share(writes=[(0, b"jelly")])}, secrets=new))[0]
    assert await bench.slot_data() == b"jelly"
    assert len(await bench.expiries(0, SLOT)) == 7


@case("M-30")
async def list_unknown_slot(bench: Bench) -> None:
    assert await bench.listed("mutable", MSI) == set()


@case("M-31")
async def list_immutable_as_mutable(bench: Bench) -> None:
    await bench.store(0)
    assert await bench.listed("mutable", SI) == set()


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
    assert case.by_id.keys() == {row for row in ROWS if row[0] in "M"}
