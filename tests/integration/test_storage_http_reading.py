"""Listing, reading, leases, advisories: rows L, R, E and C of the table.

Each row of ``http_cases`` in the vectors is one test, named by its id; what it must see is the
column "Holdfast" of docs/spec/storage-protocol.md, section 15.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import cbor2
import pytest

from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.storage_bench import (
    CANCEL,
    DATA,
    ENABLER,
    INDEX,
    LEASE,
    MSI,
    RENEW,
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


@case("L-01")
async def list_unknown(bench: Bench) -> None:
    assert await bench.listed() == set()


@case("L-02")
async def list_unfinished(bench: Bench) -> None:
    await bench.allocated({0, 1})
    await bench.write(0, "bytes 0-46/48", DATA[:47])
    assert await bench.listed() == set()


@case("L-03")
async def list_finished(bench: Bench) -> None:
    await bench.store(1, 5)
    answer = await bench.request("GET", f"/storage/v1/immutable/{SI}/shares")
    assert answer.body.hex() == "d90102820105"


@case("L-04")
async def list_mutable_as_immutable(bench: Bench) -> None:
    await bench.slot()
    assert await bench.listed("immutable", MSI) == set()


@case("L-05")
async def list_with_damaged_files(bench: Bench) -> None:
    await bench.store(0, 1, 2, 3)
    place = bench.server.storage / "shares" / SI[:2] / SI
    (place / "1").write_bytes(b"\0\0\0\2")
    (place / "2").write_bytes(b"something else entirely")
    (place / "7").write_bytes(b"never heard of it")
    (place / "notes.txt").write_bytes(b"")
    (place / "3").unlink()
    assert await bench.listed() == {0}
    for number in (1, 2, 3, 7):
        assert (await bench.read(number)).status == 404
    assert await bench.allocated({0, 1, 2, 7}) == ({0}, set())
    assert (place / "7").read_bytes() == b"never heard of it"


# -- read


@case("R-01")
async def read_whole(bench: Bench) -> None:
    await bench.store(0)
    answer = await bench.read(0)
    assert (answer.status, answer.body) == (200, DATA)
    assert answer.header("content-type") == "application/octet-stream"
    await bench.slot(b"hello")
    assert (await bench.read(0, kind="mutable", si=MSI)).body == b"hello"


@case("R-02", "R-03", "R-06")
async def read_range(bench: Bench) -> None:
    await bench.store(0)
    await bench.slot(DATA)
    for kind, si in (("immutable", SI), ("mutable", MSI)):
        for first, last, end in ((0, 9, 10), (40, 100, 48), (0, 47, 48), (47, 47, 48), (5, 2**64 + 9, 48)):
            answer = await bench.read(0, f"bytes={first}-{last}", kind=kind, si=si)
            assert (answer.status, answer.body) == (206, DATA[first:end])
            assert answer.header("content-range") == f"bytes {first}-{end - 1}/48"
            assert answer.header("content-type") == "application/octet-stream"


@case("R-04")
async def read_behind_the_end(bench: Bench) -> None:
    await bench.store(0)
    await bench.slot(DATA)
    for kind, si in (("immutable", SI), ("mutable", MSI)):
        for value in ("bytes=48-60", "bytes=100-200", f"bytes={2**70}-{2**71}"):
            answer = await bench.read(0, value, kind=kind, si=si)
            assert (answer.status, answer.body, answer.header("content-range")) == (204, b"", None)


@case("R-05")
async def read_with_a_bad_range(bench: Bench) -> None:
    await bench.store(0)
    await bench.slot(DATA)
    for kind, si in (("immutable", SI), ("mutable", MSI)):
        for value in (
            "bytes=0-",
            "bytes=-5",
            "bytes=0-3,5-7",
            "bytes=5-3",
            "items=0-5",
            "bytes 0-5",
            "bytes=a-b",
            "",
        ):
            assert (await bench.read(0, value, kind=kind, si=si)).status == 416, value
    assert (await bench.read(0, "bytes=0-3", headers=[("Range", "bytes=5-7")])).status == 416


@case("R-07")
async def read_unknown(bench: Bench) -> None:
    await bench.store(0)
    assert (await bench.read(1)).status == 404
    for kind in ("immutable", "mutable"):
        assert (await bench.read(0, "bytes=0-1", kind=kind, si=MSI)).status == 404


@case("R-08")
async def read_unfinished(bench: Bench) -> None:
    await bench.allocated({0})
    await bench.write(0, "bytes 0-46/48", DATA[:47])
    assert (await bench.read(0)).status == 404
    assert (await bench.read(0, "bytes=0-3")).status == 404


@case("R-09")
async def read_empty(bench: Bench) -> None:
    await bench.done({0: share()})
    answer = await bench.read(0, kind="mutable", si=MSI)
    assert (answer.status, answer.body) == (200, b"")
    assert (await bench.read(0, "bytes=0-9", kind="mutable", si=MSI)).status == 204


@case("R-10")
async def read_the_other_kind(bench: Bench) -> None:
    await bench.store(0)
    await bench.slot()
    assert (await bench.read(0, kind="mutable")).status == 404
    assert (await bench.read(0, si=MSI)).status == 404


@case("R-11")
async def read_whatever_is_accepted(bench: Bench) -> None:
    await bench.store(0)
    assert (await bench.read(0, "bytes=0-9", headers=[("Accept", "application/json")])).status == 206


@case("R-12")
async def read_with_a_secret(bench: Bench) -> None:
    await bench.store(0)
    for secret in (UPLOAD, RENEW, ENABLER):
        assert (await bench.request("GET", f"/storage/v1/immutable/{SI}/0", secrets=[secret])).status == 400


# -- lease


@case("E-01")
async def lease_renewed(bench: Bench) -> None:
    await bench.store(0, 1)
    bench.server.clock.now += 500
    answer = await bench.lease()
    assert (answer.status, answer.body) == (204, b"")
    for number in (0, 1):
        assert await bench.expiries(number) == [bench.month_from_now]


@case("E-02")
async def lease_added(bench: Bench) -> None:
    await bench.store(0, 1)
    await bench.slot()
    new = (("lease-renew-secret", b"N" * 32), CANCEL)
    bench.server.clock.now += 7
    assert (await bench.lease(secrets=new)).status == 204
    assert (await bench.lease(MSI, secrets=new)).status == 204
    for number, index in ((0, INDEX), (1, INDEX), (0, SLOT)):
        assert await bench.expiries(number, index) == [bench.month_from_now - 7, bench.month_from_now]


@case("E-03")
async def lease_not_shortened(bench: Bench) -> None:
    await bench.store(0)
    before = bench.month_from_now
    bench.server.clock.now -= 86400
    assert (await bench.lease()).status == 204
    assert await bench.expiries() == [before]


@case("E-04")
async def lease_of_nothing(bench: Bench) -> None:
    assert (await bench.lease()).status == 404


@case("E-05")
async def lease_of_uploads(bench: Bench) -> None:
    await bench.allocated({0})
    assert (await bench.lease()).status == 404


@case("E-06")
async def lease_with_wrong_secrets(bench: Bench) -> None:
    await bench.store(0)
    for secrets in ((RENEW,), (CANCEL,), (), (RENEW, ("lease-cancel-secret", b"c" * 31)), (*LEASE, UPLOAD)):
        assert (await bench.lease(secrets=secrets)).status == 400
    assert len(await bench.expiries()) == 1


@case("E-07", "E-08", "E-09")
async def lease_on_a_full_server(bench: Bench) -> None:
    await bench.store(0)
    await bench.slot()
    for settings in ({"read_only": True}, {"read_only": False, "capacity": 1}):
        await bench.restart(**settings)
        for n in range(6):
            for si in (SI, MSI):
                assert (
                    await bench.lease(si, secrets=(("lease-renew-secret", bytes([n]) * 32), CANCEL))
                ).status == 204
    assert len(await bench.expiries(0, INDEX)) == len(await bench.expiries(0, SLOT)) == 7


class FullDisk(Disk):
    """A disk on which no transaction finds room any more, once ``full`` is set."""

    full = False

    def commit(self, commit: Callable[[], None]) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        commit()


@case("E-10")
async def lease_on_a_full_disk(bench: Bench) -> None:
    await bench.store(0)
    await bench.server.stop()
    disk = FullDisk(synchronise=False)
    bench.server.disk = disk
    await bench.server.start()
    bench.engine = bench.server.engine
    before = await bench.expiries()
    disk.full = True
    assert (await bench.lease(secrets=(("lease-renew-secret", b"N" * 32), CANCEL))).status == 507
    disk.full = False
    assert await bench.expiries() == before


@case("E-11")
async def lease_with_a_body(bench: Bench) -> None:
    await bench.store(0)
    assert (await bench.lease(body=b"whatever")).status == 204


# -- corruption


@case("C-01")
async def advisory(bench: Bench) -> None:
    await bench.store(0)
    bench.server.clock.now = 1795328727.31235
    for _ in range(2):
        assert await bench.advise({"reason": "block 3\tis\x07wrong\u00e9\n\x1b[0m"}) == 200
    first, second = bench.advisories()
    assert first.name == f"2026-11-22T062527.312350--{SI}-0"
    assert second.name == first.name + "-1"
    assert first.read_text() == (
        f"report: Share Corruption\ntype: immutable\nstorage_index: {SI}\nshare_number: 0\n\n"
        "block 3\tis?wrong\u00e9\n?[0m\n\n"
    )
    assert (await bench.read(0)).body == DATA


@case("C-02")
async def advisory_of_nothing(bench: Bench) -> None:
    assert await bench.advise({"reason": "x"}) == 404
    await bench.allocated({0})
    assert await bench.advise({"reason": "x"}) == 404
    assert bench.advisories() == []


@case("C-03", "C-04")
async def advisory_malformed(bench: Bench) -> None:
    await bench.store(0)
    for message in (
        {"reason": ""},
        {"reason": "x", "more": 1},
        {},
        {"reason": b"x"},
        {"reason": 1},
        b"",
        b"\xff",
    ):
        assert await bench.advise(message) == 400
    assert bench.advisories() == []


@case("C-05")
async def advisory_too_long(bench: Bench) -> None:
    await bench.store(0)
    assert await bench.advise(bytes(32769)) == 413
    longest = cbor2.dumps({"reason": "x" * 32757})
    assert len(longest) == 32768
    assert await bench.advise(longest) == 200


@case("C-06")
async def advisory_in_json(bench: Bench) -> None:
    await bench.store(0)
    assert await bench.advise(b'{"reason": "x"}', headers=[("Content-Type", "application/json")]) == 415


@case("C-07")
async def advisory_without_room(bench: Bench) -> None:
    await bench.store(0)
    (bench.server.storage / "corruption-advisories").write_bytes(b"no directory can be made here")
    assert await bench.advise({"reason": "x"}) == 200


@case("C-08", "C-09")
async def advisory_of_the_other_kind(bench: Bench) -> None:
    await bench.store(0)
    await bench.slot()
    assert await bench.advise({"reason": "x"}, kind="mutable") == 404
    assert await bench.advise({"reason": "x"}, si=MSI) == 404
    assert await bench.advise({"reason": "x"}, kind="mutable", si=MSI) == 200
    assert "type: mutable\n" in bench.advisories()[0].read_text()


# -- the tests


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with ServedStorage(tmp_path, settings=StorageSettings(durability="os")) as server:
        yield Bench(server)


@pytest.mark.seed("S-063")
@pytest.mark.parametrize("case_id", sorted(case.by_id))
async def test_answers_are_those_of_the_table(case_id: str, bench: Bench) -> None:
    await case.by_id[case_id](bench)


def test_every_row_has_its_test() -> None:
    assert case.by_id.keys() == {row for row in ROWS if row[0] in "LREC"}
