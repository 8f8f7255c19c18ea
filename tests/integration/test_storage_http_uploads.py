"""Allocating, writing, aborting: rows A, W and B of the table.

Each row of ``http_cases`` in the vectors is one test, named by its id; what it must see is the
column "Holdfast" of docs/spec/storage-protocol.md, section 15.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import cbor2
import pytest

from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.raw_https import RawAnswer, RawConnection
from holdfast.testing.storage_bench import (
    ALLOCATE,
    CANCEL,
    CBOR,
    DATA,
    ENABLER,
    INDEX,
    MSI,
    RENEW,
    SI,
    UPLOAD,
    Bench,
    Cases,
    Secret,
    required,
    tagged,
)
from holdfast.testing.storage_server import ServedStorage

VECTORS = Path(__file__).parents[1] / "vectors" / "storage.json"
ROWS = {row["id"]: row for row in json.loads(VECTORS.read_text())["http_cases"]}

case = Cases()


@case("A-01")
async def allocate_new(bench: Bench) -> None:
    assert await bench.allocated({1, 3, 7}) == (set(), {1, 3, 7})


@case("A-02")
async def allocate_again(bench: Bench) -> None:
    await bench.allocated({1, 3, 7})
    await bench.write(1, "bytes 0-15/*", DATA[:16])
    assert await bench.allocated({1, 3, 7}) == (set(), {1, 3, 7})
    assert required(await bench.write(1, "bytes 16-31/*", DATA[16:32])) == [(32, 48)]
    assert bench.engine.reserved_bytes == 3 * 48


@case("A-03")
async def allocate_what_another_sends(bench: Bench) -> None:
    await bench.allocated({1, 3, 7})
    assert await bench.allocated({1, 3, 7}, secrets=(RENEW, CANCEL, ("upload-secret", b"x"))) == (
        set(),
        set(),
    )


@case("A-04")
async def allocate_more(bench: Bench) -> None:
    await bench.store(1, 2)
    assert await bench.allocated({1, 9}) == ({1, 2}, {9})


@case("A-05")
async def allocate_nothing(bench: Bench) -> None:
    await bench.store(1)
    bench.server.clock.now += 1000
    other = (("lease-renew-secret", b"R" * 32), CANCEL, UPLOAD)
    assert await bench.allocated(set(), secrets=other) == ({1}, set())
    assert await bench.expiries(1) == [bench.month_from_now - 1000, bench.month_from_now]
    assert await bench.allocated(set()) == ({1}, set())
    assert await bench.expiries(1) == [bench.month_from_now] * 2


@case("A-06")
async def allocate_as_far_as_there_is_room(bench: Bench) -> None:
    await bench.restart(capacity=60)
    assert await bench.allocated({2, 5}) == (set(), {2})


@case("A-07")
async def allocate_without_room(bench: Bench) -> None:
    choices: list[dict[str, Any]] = [
        {"capacity": 47},
        {"read_only": True, "capacity": None},
        {"read_only": False, "reserved_space": 2**62},
    ]
    for settings in choices:
        await bench.restart(**settings)
        assert await bench.allocated({0}) == (set(), set())


@case("A-08")
async def allocate_renews_on_a_full_server(bench: Bench) -> None:
    await bench.store(0)
    choices: list[dict[str, Any]] = [{"read_only": True}, {"read_only": False, "capacity": 48}]
    for position, settings in enumerate(choices):
        await bench.restart(**settings)
        new = (("lease-renew-secret", bytes([position]) * 32), CANCEL, UPLOAD)
        assert await bench.allocated({0, 1}, secrets=new) == ({0}, set())
        assert len(await bench.expiries()) == 2 + position


@case("A-09", "A-10", "A-11", "A-13", "A-14", "A-16", "A-17")
async def allocate_malformed(bench: Bench) -> None:
    good = {"share-numbers": tagged({0}), "allocated-size": 48}
    message: Any
    for message in (
        {**good, "share-numbers": [0]},
        {**good, "share-numbers": tagged(range(257))},
        {**good, "share-numbers": tagged({256})},
        {**good, "share-numbers": tagged({2**64})},
        {**good, "share-numbers": tagged({-1})},
        {"share-numbers": tagged({0})},
        {"allocated-size": 48},
        {**good, "extra": 1},
        {**good, "allocated-size": -1},
        {**good, "allocated-size": 48.0},
        {**good, "allocated-size": 2**64},
        {**good, "allocated-size": True},
        {b"share-numbers": tagged({0}), b"allocated-size": 48},
        [],
    ):
        assert (await bench.allocate((), body=cbor2.dumps(message))).status == 400, message
    for body in (b"", b"\xff", b"hello", cbor2.dumps(good) + b"\0", cbor2.dumps(good)[:-1]):
        assert (await bench.allocate((), body=body)).status == 400, body
    assert bench.engine.reserved_bytes == 0


@case("A-12")
async def allocate_a_number_twice(bench: Bench) -> None:
    assert await bench.allocated([4, 4, 4]) == (set(), {4})
    assert bench.engine.reserved_bytes == 48


@case("A-15")
async def allocate_size_zero(bench: Bench) -> None:
    assert (await bench.allocate({0}, 0)).status == 400


@case("A-18")
async def allocate_with_a_long_body(bench: Bench) -> None:
    assert (await bench.allocate((), body=bytes(8193))).status == 413
    body = cbor2.dumps({"share-numbers": tagged({0}), "allocated-size": 48})
    assert (await bench.allocate((), body=body + bytes(8192 - len(body)))).status == 400
    connection = await RawConnection.open(bench.server.port)
    headers = bench.server.headers([CBOR, ("Transfer-Encoding", "chunked")], ALLOCATE)
    connection.send_head("POST", f"/storage/v1/immutable/{SI}", headers)
    connection.send(b"2001\r\n" + bytes(8193) + b"\r\n0\r\n\r\n")
    assert (await connection.answer()).status == 413
    await connection.close()


@case("A-19")
async def allocate_in_json(bench: Bench) -> None:
    for kind in ("application/json", "text/plain", "application/cbor2"):
        assert (await bench.allocate({0}, headers=[("Content-Type", kind)])).status == 415
    assert bench.engine.reserved_bytes == 0


@case("A-20")
async def allocate_without_a_type(bench: Bench) -> None:
    assert await bench.allocated({0}, headers=()) == (set(), {0})
    parameter = [("Content-Type", "Application/CBOR; x=y")]
    assert await bench.allocated({1}, headers=parameter) == (set(), {1})


@case("A-21")
async def allocate_with_wrong_secrets(bench: Bench) -> None:
    for secrets in (
        (RENEW, CANCEL),
        (RENEW, UPLOAD),
        (CANCEL, UPLOAD),
        (),
        (*ALLOCATE, ENABLER),
        (*ALLOCATE, UPLOAD),
        (("lease-renew-secret", b"r" * 31), CANCEL, UPLOAD),
        (RENEW, ("lease-cancel-secret", b"c" * 33), UPLOAD),
        (RENEW, CANCEL, ("upload-secret", b"")),
        (RENEW, CANCEL, ("upload-secret", b"u" * 65)),
    ):
        assert (await bench.allocate({0}, secrets=secrets)).status == 400
    joined = [CBOR, ("X-Tahoe-Authorization", "lease-cancel-secret Y2Nj, upload-secret dXV1")]
    assert (await bench.allocate({0}, secrets=(RENEW,), headers=joined)).status == 400
    assert bench.engine.reserved_bytes == 0


@case("A-22")
async def allocate_where_mutable_shares_are(bench: Bench) -> None:
    await bench.slot()
    assert (await bench.allocate({5}, si=MSI)).status == 409
    assert (await bench.allocate((), si=MSI, body=b"")).status == 409
    assert bench.engine.reserved_bytes == 0


# -- write


@case("W-01", "W-02", "W-03", "W-06")
async def write_in_parts(bench: Bench) -> None:
    await bench.allocated({0})
    first = await bench.write(0, "bytes 0-15/48", DATA[:16])
    assert (first.status, required(first)) == (200, [(16, 48)])
    last = await bench.write(0, "bytes 32-47/48", DATA[32:])
    assert (last.status, required(last)) == (200, [(16, 32)])
    again = await bench.write(0, "bytes 0-15/48", DATA[:16])
    assert (again.status, required(again)) == (200, [(16, 32)])
    middle = await bench.write(0, "bytes 16-31/48", DATA[16:32])
    assert (middle.status, required(middle)) == (201, [])
    assert (await bench.read(0)).body == DATA


@case("W-04")
async def write_overlapping(bench: Bench) -> None:
    await bench.allocated({0})
    await bench.write(0, "bytes 0-15/48", DATA[:16])
    answer = await bench.write(0, "bytes 8-23/48", DATA[8:24])
    assert (answer.status, required(answer)) == (200, [(24, 48)])


@case("W-05")
async def write_other_bytes(bench: Bench) -> None:
    size = 300_000
    data = bytes(range(256)) * 1200
    await bench.allocated({0}, size)
    await bench.write(0, "bytes 200000-200009/*", data[200000:200010])
    clash = data[:200_005] + b"?" + data[200_006:size]
    answer = await bench.write(0, f"bytes 0-{size - 1}/*", clash)
    assert (answer.status, answer.body) == (409, b"")
    # Nothing of it is stored: other bytes may still be written everywhere else.
    answer = await bench.write(0, "bytes 0-9/*", b"0123456789")
    assert required(answer) == [(10, 200_000), (200_010, size)]
    small = await bench.write(0, "bytes 5-14/*", b"x" * 10)
    assert small.status == 409
    rest = await bench.write(0, f"bytes 10-{size - 1}/*", data[10:size])
    assert rest.status == 201
    assert (await bench.read(0)).body == b"0123456789" + data[10:size]


@case("W-07")
async def write_to_a_finished_share(bench: Bench) -> None:
    await bench.store(0)
    assert (await bench.write(0, "bytes 0-47/48", DATA)).status == 404
    assert (await bench.write(0, "bytes 0-47/48", bytes(48))).status == 404
    assert (await bench.read(0)).body == DATA


@case("W-08")
async def write_without_upload(bench: Bench) -> None:
    assert (await bench.write(0, "bytes 0-47/48", DATA)).status == 404
    await bench.allocated({0, 1})
    await bench.engine.abort(INDEX, 0, UPLOAD[1])
    assert (await bench.write(0, "bytes 0-47/48", DATA)).status == 404
    bench.server.clock.now += 1801
    await bench.engine.step()
    assert (await bench.write(1, "bytes 0-47/48", DATA)).status == 404
    assert bench.engine.reserved_bytes == 0


@case("W-09")
async def write_with_another_secret(bench: Bench) -> None:
    await bench.allocated({0})
    for secret in (b"u" * 19, b"v" * 20, b"u"):
        assert (
            await bench.write(0, "bytes 0-47/48", DATA, secrets=[("upload-secret", secret)])
        ).status == 401
    assert required(await bench.write(0, "bytes 0-0/48", DATA[:1])) == [(1, 48)]


@case("W-10")
async def write_without_secret(bench: Bench) -> None:
    await bench.allocated({0})
    assert (await bench.write(0, "bytes 0-47/48", DATA, secrets=())).status == 400


@case("W-11")
async def write_without_total(bench: Bench) -> None:
    await bench.allocated({0})
    assert (await bench.write(0, "bytes 0-15/*", DATA[:16])).status == 200


@case("W-12", "W-13")
async def write_with_a_bad_range(bench: Bench) -> None:
    await bench.allocated({0})
    for value in (
        None,
        "items 0-15/48",
        "bytes=0-15/48",
        "bytes 0-15",
        "bytes 15-0/48",
        "bytes */48",
        "bytes 0-/48",
        "bytes -5/48",
        "bytes a-b/48",
        "bytes 0-15/-1",
        "",
        "bytes 0-15/48, 16-20/48",
    ):
        assert (await bench.write(0, value, DATA[:16])).status == 416, value
    twice = [("Content-Range", "bytes 0-15/48")]
    assert (await bench.write(0, "bytes 0-15/48", DATA[:16], headers=twice)).status == 416
    assert required(await bench.write(0, "bytes 0-0/48", DATA[:1])) == [(1, 48)]


@case("W-14")
async def write_beyond_the_end(bench: Bench) -> None:
    await bench.allocated({0})
    assert (await bench.write(0, "bytes 40-48/*", bytes(9))).status == 416
    assert (await bench.write(0, f"bytes {2**64}-{2**64}/*", b"x")).status == 416
    assert required(await bench.write(0, "bytes 0-0/48", DATA[:1])) == [(1, 48)]


@case("W-15")
async def write_with_another_total(bench: Bench) -> None:
    await bench.allocated({0})
    assert (await bench.write(0, "bytes 0-15/47", DATA[:16])).status == 416
    assert required(await bench.write(0, "bytes 0-0/48", DATA[:1])) == [(1, 48)]


@case("W-16", "W-17")
async def write_a_body_of_another_length(bench: Bench) -> None:
    await bench.allocated({0})
    for body in (DATA[:15], DATA[:17], b""):
        assert (await bench.write(0, "bytes 0-15/48", body)).status == 400
        assert (await chunked_write(bench, "bytes 0-15/48", body)).status == 400
    big = 200_000
    await bench.allocated({1}, big)
    for length in (big - 20_001, big - 19_999):
        answer = await chunked_write(bench, f"bytes 0-{big - 20_001}/*", bytes(length), number=1)
        assert answer.status == 400
    assert required(await bench.write(0, "bytes 0-0/48", DATA[:1])) == [(1, 48)]
    assert required(await bench.write(1, "bytes 0-0/*", DATA[:1])) == [(1, big)]


async def chunked_write(bench: Bench, content_range: str, body: bytes, number: int = 0) -> RawAnswer:
    connection = await RawConnection.open(bench.server.port)
    try:
        lines = [("Content-Range", content_range), ("Transfer-Encoding", "chunked")]
        headers = bench.server.headers(lines, (UPLOAD,))
        connection.send_head("PATCH", f"/storage/v1/immutable/{SI}/{number}", headers)
        for start in range(0, len(body), 7000):
            piece = body[start : start + 7000]
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
        return await connection.answer()
    finally:
        await connection.close()


@case("W-18")
async def write_in_chunks(bench: Bench) -> None:
    await bench.allocated({0})
    assert (await chunked_write(bench, "bytes 0-15/48", DATA[:16])).status == 200
    assert (await chunked_write(bench, "bytes 16-47/48", DATA[16:])).status == 201
    assert (await bench.read(0)).body == DATA


@case("W-19")
async def write_and_break_off(bench: Bench) -> None:
    size = 400_000
    await bench.allocated({0}, size)
    connection = await RawConnection.open(bench.server.port)
    lines = [("Content-Range", f"bytes 0-{size - 1}/*"), ("Content-Length", str(size))]
    connection.send_head("PATCH", f"/storage/v1/immutable/{SI}/0", bench.server.headers(lines, (UPLOAD,)))
    connection.send(bytes(300_000))
    await connection.writer.drain()
    await asyncio.sleep(0.1)
    await connection.close()
    answer = await bench.write(0, "bytes 0-3/*", b"abcd")
    assert required(answer) == [(4, size)]


@case("W-20")
async def write_from_eight_sides(bench: Bench) -> None:
    data = bytes(range(256)) * 4000
    piece = len(data) // 8
    await bench.allocated({0}, len(data))

    async def part(number: int) -> int:
        begin = number * piece
        body = data[begin : begin + piece]
        return (await bench.write(0, f"bytes {begin}-{begin + piece - 1}/*", body)).status

    assert sorted(await asyncio.gather(*(part(n) for n in range(8)))) == [200] * 7 + [201]
    assert (await bench.read(0)).body == data


@case("W-21")
async def write_with_any_type(bench: Bench) -> None:
    await bench.allocated({0})
    for position, kind in enumerate(("application/json", "x", "application/cbor")):
        headers = [("Content-Type", kind)]
        answer = await bench.write(
            0, f"bytes {position}-{position}/*", DATA[position : position + 1], headers=headers
        )
        assert answer.status == 200


@case("W-22")
async def write_with_two_faults(bench: Bench) -> None:
    await bench.allocated({0})
    assert (await bench.write(0, None, DATA, secrets=[("upload-secret", b"wrong")])).status == 416


# -- abort


async def abort(bench: Bench, secrets: Sequence[Secret] = (UPLOAD,), body: bytes = b"") -> int:
    return (
        await bench.request("PUT", f"/storage/v1/immutable/{SI}/0/abort", (), body, secrets=secrets)
    ).status


@case("B-01")
async def abort_in_progress(bench: Bench) -> None:
    await bench.allocated({0})
    await bench.write(0, "bytes 0-15/48", DATA[:16])
    assert await abort(bench, body=b"ignored") == 200
    assert bench.engine.reserved_bytes == 0
    assert list((bench.server.storage / "shares" / "incoming").iterdir()) == []
    assert await bench.allocated({0}, 10) == (set(), {0})


@case("B-02")
async def abort_with_another_secret(bench: Bench) -> None:
    await bench.allocated({0})
    assert await abort(bench, [("upload-secret", b"wrong")]) == 401
    assert (await bench.write(0, "bytes 0-47/48", DATA)).status == 201


@case("B-03")
async def abort_finished(bench: Bench) -> None:
    await bench.store(0)
    answer = await bench.request("PUT", f"/storage/v1/immutable/{SI}/0/abort", secrets=(UPLOAD,))
    assert answer.status == 405
    assert (await bench.read(0)).body == DATA


@case("B-04")
async def abort_unknown(bench: Bench) -> None:
    assert await abort(bench) == 404
    await bench.allocated({0})
    assert await abort(bench) == 200
    assert await abort(bench) == 404


@case("B-05")
async def abort_without_secret(bench: Bench) -> None:
    await bench.allocated({0})
    assert await abort(bench, ()) == 400


# -- the tests


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with ServedStorage(tmp_path, settings=StorageSettings(durability="os")) as server:
        yield Bench(server)


@pytest.mark.seed("S-007", "S-008", "S-047", "S-057", "S-058", "S-059", "S-060", "X-12")
@pytest.mark.parametrize("case_id", sorted(case.by_id))
async def test_answers_are_those_of_the_table(case_id: str, bench: Bench) -> None:
    await case.by_id[case_id](bench)


def test_every_row_has_its_test() -> None:
    assert case.by_id.keys() == {row for row in ROWS if row[0] in "AWB"}
