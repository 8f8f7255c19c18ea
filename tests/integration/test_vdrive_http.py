"""The virtual drive server over real TLS: who may ask, how refusals look, limits, and what is never shown."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import cbor2
import pytest
from sqlalchemy import select

from holdfast.crypto import base32
from holdfast.formats.vdrive.entry import digests_of
from holdfast.formats.vdrive.head import first_head, head_hash, parse_head
from holdfast.formats.vdrive.tree import root_of
from holdfast.grid.vdrive.http_service import HttpVirtualDriveServer
from holdfast.interfaces.vdrive import Authority, CommitRequest
from holdfast.interfaces.vdrive_errors import VdriveRefusalError
from holdfast.protocol import vdrive_calls as calls
from holdfast.protocol import vdrive_headers as headers
from holdfast.protocol.nurl import parse_nurl
from holdfast.protocol.vdrive_commit_messages import encode_commit_request, encode_enrol_request
from holdfast.protocol.vdrive_reading_messages import decode_directory, decode_wait_answer
from holdfast.protocol.vdrive_refusals import decode_absence
from holdfast.servers.vdrive import tables, turn_queue
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.raw_https import RawAnswer, RawConnection
from holdfast.testing.storage_server import FakeClock
from holdfast.testing.vdrive_server import SWISSNUM, ServedVdrive
from holdfast.testing.vdrive_writer import DirectoryWriter
from holdfast.testing.warm_processes import WarmProcess

CBOR = [("Content-Type", "application/cbor")]
LIT = "URI:LIT:mfrggzdfmy"
SECRET = b"lease secret".ljust(32, b".")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedVdrive]:
    """A server whose clock stands still."""
    async with ServedVdrive(tmp_path, clock=FakeClock(), accounts="open") as served:
        yield served


@asynccontextmanager
async def limited(tmp_path: Path, **settings: Any) -> AsyncIterator[ServedVdrive]:
    """A server that limits this machine, too; its clock stands still."""
    async with ServedVdrive(
        tmp_path, clock=FakeClock(), accounts="open", limit_loopback=True, **settings
    ) as served:
        yield served


async def directory(served: ServedVdrive, *names: str) -> DirectoryWriter:
    writer = DirectoryWriter(served.sid, clock=served.clock)
    await served.engine.commit(writer.creation(), writer.authority())
    if names:
        await served.engine.commit(writer.change(dict.fromkeys(names, LIT)), writer.authority())
    return writer


async def get(served: ServedVdrive, path: str, shown: Sequence[tuple[str, str]] = ()) -> RawAnswer:
    return await served.request("GET", path, headers=shown)


async def commit(
    served: ServedVdrive, request: CommitRequest, authority: Authority, shown: Sequence[tuple[str, str]] = ()
) -> RawAnswer:
    lines = [*CBOR, *headers.authority_headers(authority), *shown]
    return await served.request(
        "POST", calls.path(calls.COMMIT), encode_commit_request(request), headers=lines
    )


def code(answer: RawAnswer) -> tuple[int, str]:
    assert answer.header("content-type") == "application/cbor"
    assert answer.header("cache-control") == "no-store"
    return answer.status, cbor2.loads(answer.body)["error"]


# -- who may ask


async def test_whoever_does_not_know_the_secret_learns_nothing(served: ServedVdrive) -> None:
    writer = await directory(served, "child")
    here = calls.path(calls.DESCRIBE, index=writer.index)
    answers = set()
    for swissnum in (None, "w" * len(SWISSNUM), SWISSNUM[:-1], SWISSNUM + "a"):
        for method, path in (
            ("GET", here),
            ("GET", calls.path(calls.DESCRIBE, index=bytes(32))),
            ("GET", "/anything"),
            ("POST", calls.path(calls.COMMIT)),
        ):
            answer = await served.request(method, path, b"x", swissnum=swissnum)
            assert code(answer) == (401, "Unauthorized")
            answers.add(answer.body)
    assert len(answers) == 1
    assert (await get(served, here)).status == 200


async def test_calls_that_do_not_exist(served: ServedVdrive) -> None:
    index = base32.encode(bytes(32))
    for method, path in (
        ("GET", "/vdrive/v1"),
        ("GET", "/vdrive/v1/nothing"),
        ("GET", f"/vdrive/v1/d/{index.upper()}"),
        ("GET", f"/vdrive/v1/d/{index}/"),
        ("GET", f"/vdrive/v1/d/{index[:-1]}b"),  # unused bits that are not zero
        ("DELETE", f"/vdrive/v1/d/{index}"),
        ("GET", calls.path(calls.COMMIT)),
        ("PUT", calls.path(calls.VERSION)),
    ):
        assert code(await served.request(method, path)) == (404, "NotFound")


async def test_requests_that_break_the_protocol(served: ServedVdrive) -> None:
    writer = await directory(served)
    name, slot = base32.encode(writer.index), base32.encode(bytes(32))
    enabler = headers.enabler_header(writer.index, writer.enabler)
    malformed, too_large, no_cbor = (400, "Malformed"), (413, "TooLarge"), (415, "NotCBOR")
    cases: list[tuple[str, str, bytes, list[tuple[str, str]], tuple[int, str]]] = [
        ("GET", "/vdrive/v1/version?x=1", b"", [], malformed),
        ("GET", "/vdrive/v1/version", b"body", [], malformed),
        ("GET", f"/vdrive/v1/d/{name}/c?limit=0", b"", [], malformed),
        ("GET", f"/vdrive/v1/d/{name}/c?limit=5001", b"", [], too_large),
        ("GET", f"/vdrive/v1/d/{name}/c?after=x", b"", [], malformed),
        ("GET", f"/vdrive/v1/d/{name}/c?at=-1", b"", [], malformed),
        ("GET", f"/vdrive/v1/d/{name}/heads", b"", [], malformed),
        ("GET", f"/vdrive/v1/d/{name}/heads?from=2&to=1", b"", [], malformed),
        ("GET", f"/vdrive/v1/d/{name}/wait", b"", [], malformed),
        ("GET", f"/vdrive/v1/d/{name}/wait?version=0&timeout=56", b"", [], too_large),
        ("GET", f"/vdrive/v1/d/{name}/changes", b"", [], malformed),
        ("GET", f"/vdrive/v1/d/{name}/changes?since=5", b"", [], (410, "SnapshotExpired")),
        ("GET", f"/vdrive/v1/d/{slot}", b"", [], (404, "NoSuchDirectory")),
        ("POST", "/vdrive/v1/commit", b"\xa0", [("Content-Type", "text/plain")], no_cbor),
        ("POST", "/vdrive/v1/commit", b"\xa0", [], no_cbor),
        ("POST", "/vdrive/v1/commit", b"\xa0", CBOR, malformed),
        ("POST", "/vdrive/v1/commit", b"\xff", CBOR, malformed),
        ("POST", "/vdrive/v1/commit", cbor2.dumps({"other": 1}), CBOR, malformed),
        ("POST", "/vdrive/v1/commit", cbor2.dumps({"dirs": [0] * 17}), CBOR, too_large),
        ("POST", "/vdrive/v1/commit", b"\xa0", [*CBOR, ("X-Holdfast-Turn", "nonsense")], malformed),
        ("POST", "/vdrive/v1/commit", b"\xa0", [*CBOR, enabler, enabler], malformed),
        ("POST", f"/vdrive/v1/d/{name}/context", cbor2.dumps({"slots": []}), CBOR, malformed),
        ("POST", f"/vdrive/v1/d/{name}/context", bytes(50_000), CBOR, too_large),
        ("POST", f"/vdrive/v1/d/{name}/turn", b"", [], (403, "BadWriteEnabler")),
        ("POST", f"/vdrive/v1/d/{name}/enrol", b"\xa0", [*CBOR, enabler], malformed),
        ("POST", f"/vdrive/v1/lease/{slot}", b"\xa0", CBOR, malformed),
        ("DELETE", f"/vdrive/v1/lease/{slot}", b"", [], malformed),
        ("DELETE", f"/vdrive/v1/lease/{slot}", b"", [lease(SECRET)], (404, "NoSuchDirectory")),
        ("GET", "/vdrive/v1/account", b"", [], (403, "NoAccount")),
        ("GET", "/vdrive/v1/root", b"", [], (404, "NoPublicRoot")),
        ("POST", "/vdrive/v1/import", b"x", CBOR, malformed),
        ("POST", "/vdrive/v1/import", b"x", [], no_cbor),
    ]
    for method, path, body, shown, expected in cases:
        answer = await served.request(method, path, body, headers=shown)
        assert code(answer) == expected, (method, path)


def lease(secret: bytes) -> tuple[str, str]:
    return headers.lease_secret_header(secret)


async def test_a_body_that_is_too_long_is_not_read(served: ServedVdrive) -> None:
    connection = await RawConnection.open(served.port)
    lines = [*served.headers(), *CBOR, ("Content-Length", str(calls.COMMIT_BODY_MAX + 1))]
    connection.send_head("POST", calls.path(calls.COMMIT), lines)
    assert code(await connection.answer()) == (413, "TooLarge")
    await connection.close()


# -- answers


async def test_a_head_that_is_known_is_not_sent_again(served: ServedVdrive) -> None:
    writer = await directory(served, "child")
    path = calls.path(calls.DESCRIBE, index=writer.index)
    answer = await get(served, path)
    tag = answer.header("etag")
    assert tag == headers.entity_tag(head_hash(writer.head.head))
    assert decode_directory(answer.body).head == writer.head
    again = await get(served, path, [("If-None-Match", tag)])
    assert (again.status, again.body, again.header("etag")) == (304, b"", tag)
    await served.engine.commit(writer.change({"another": LIT}), writer.authority())
    assert (await get(served, path, [("If-None-Match", tag)])).status == 200


async def test_that_there_is_no_child_is_proven(served: ServedVdrive) -> None:
    writer = await directory(served, "child")
    path = calls.path(calls.CHILD, index=writer.index, slot=writer.slot("other"))
    answer = await get(served, path)
    assert code(answer) == (404, "NoSuchChild")
    absence = decode_absence(answer.body, writer.index)
    assert absence is not None
    assert absence.head == writer.head
    path = calls.path(calls.CHILD, index=writer.index, slot=writer.slot("child"))
    assert (await get(served, path)).status == 200


async def test_a_conflict_says_what_is_there(served: ServedVdrive) -> None:
    writer = await directory(served, "child")
    late = DirectoryWriter(served.sid, writer.keys.write_key, clock=served.clock)
    late.restore(writer.saved())
    await served.engine.commit(writer.change({"child": LIT}), writer.authority())
    answer = await commit(served, late.change({"child": LIT}), late.authority())
    assert code(answer) == (409, "HeadConflict")
    (context,) = cbor2.loads(answer.body)["detail"]["dirs"]
    assert context["head"] == list(writer.head)
    assert len(context["entries"]) == 1


async def test_who_comes_in_the_turn_of_another_is_told_when_to_come_back(
    served: ServedVdrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_queue, "WAIT_MAX_S", 0.1)
    writer = await directory(served)
    path = calls.path(calls.TURN, index=writer.index)
    shown = [headers.enabler_header(writer.index, writer.enabler)]
    first = await served.request("POST", path, headers=shown)
    assert cbor2.loads(first.body)["ttl"] == 3
    second = await served.request("POST", path, headers=shown)
    assert code(second) == (423, "TurnTaken")
    assert 1 <= int(second.header("retry-after") or 0) <= 4


# -- waiting


async def waiting(served: ServedVdrive, index: bytes, version: int, timeout_s: float) -> RawAnswer:
    path = calls.path(calls.WAIT, index=index)
    return await get(served, f"{path}?version={version}&timeout={timeout_s}")


async def test_who_waits_is_told_of_a_commit_at_once(served: ServedVdrive) -> None:
    writer = await directory(served)
    assert (await waiting(served, writer.index, 0, 0.1)).status == 204
    poll = asyncio.create_task(waiting(served, writer.index, 0, 20))
    await asyncio.sleep(0.2)
    await served.engine.commit(writer.change({"child": LIT}), writer.authority())
    async with asyncio.timeout(1):
        assert decode_wait_answer((await poll).body) == writer.head
    assert (await waiting(served, writer.index, 0, 20)).status == 200  # what came before is told at once
    assert code(await waiting(served, bytes(32), 0, 20)) == (404, "NoSuchDirectory")


async def test_who_waits_holds_no_place_once_gone(served: ServedVdrive) -> None:
    writer = await directory(served)
    polls = [asyncio.create_task(waiting(served, writer.index, 0, 20)) for _ in range(5)]
    await until(lambda: waiters(served).count == 5)
    for poll in polls:
        poll.cancel()
    await until(lambda: waiters(served).count == 0)


async def test_a_server_that_stops_answers_those_who_wait(tmp_path: Path) -> None:
    async with ServedVdrive(tmp_path, accounts="open") as served:
        writer = await directory(served)
        poll = asyncio.create_task(waiting(served, writer.index, 0, 50))
        await until(lambda: waiters(served).count == 1)
    assert (await poll).status == 204


async def test_who_waits_at_another_server_of_the_same_database_is_told_soon(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.new_database()
    async with (
        ServedVdrive(tmp_path, database_url=url, accounts="open") as here,
        ServedVdrive(tmp_path, database_url=url, accounts="open") as there,
    ):
        writer = await directory(here)
        polls = [asyncio.create_task(waiting(there, writer.index, 0, 20)) for _ in range(3)]
        await until(lambda: waiters(there).count == 3)
        await here.engine.commit(writer.change({"child": LIT}), writer.authority())
        async with asyncio.timeout(4):
            for poll in polls:
                assert decode_wait_answer((await poll).body) == writer.head


def waiters(served: ServedVdrive) -> Any:
    return served.engine._waiters


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.02)


# -- limits


async def test_an_address_asks_so_often(tmp_path: Path) -> None:
    async with limited(tmp_path, requests_burst=5) as served:
        answers = [await get(served, calls.path(calls.VERSION)) for _ in range(6)]
        assert [answer.status for answer in answers] == [200] * 5 + [429]
        assert code(answers[-1]) == (429, "TooManyRequests")
        assert answers[-1].header("retry-after") == "1"
        served.clock.now += 1  # type: ignore[attr-defined]  # it is a FakeClock
        assert (await get(served, calls.path(calls.VERSION))).status == 200


async def test_who_guesses_signatures_is_not_listened_to_for_a_minute(tmp_path: Path) -> None:
    async with limited(tmp_path, bad_signatures_per_s=3) as served:
        writer = await directory(served)
        path = calls.path(calls.ENROL, index=writer.index)
        shown = [*CBOR, headers.enabler_header(writer.index, writer.enabler)]
        body = encode_enrol_request(bytes(64))
        for _ in range(4):
            answer = await served.request("POST", path, body, headers=shown)
            assert code(answer) == (422, "BadProof")
        answer = await get(served, calls.path(calls.VERSION))
        assert code(answer) == (429, "TooManyRequests")
        assert int(answer.header("retry-after") or 0) == 60
        served.clock.now += 60  # type: ignore[attr-defined]
        assert (await get(served, calls.path(calls.VERSION))).status == 200


async def test_an_address_waits_in_so_many_places(tmp_path: Path) -> None:
    async with limited(tmp_path, polls_per_address=2) as served:
        writer = await directory(served)
        polls = [asyncio.create_task(waiting(served, writer.index, 0, 20)) for _ in range(2)]
        await until(lambda: waiters(served).count == 2)
        assert code(await waiting(served, writer.index, 0, 20)) == (429, "TooManyRequests")
        await served.engine.commit(writer.change({"child": LIT}), writer.authority())
        assert [(await poll).status for poll in polls] == [200, 200]
        assert (await waiting(served, writer.index, 0, 20)).status == 200


async def test_so_many_long_answers_at_once(tmp_path: Path) -> None:
    async with limited(tmp_path, big_answers_max=1) as served:
        writer = await directory(served, "child")
        held = asyncio.Event()
        page = served.engine.page

        async def slow_page(*args: Any, **kwargs: Any) -> Any:
            await held.wait()
            return await page(*args, **kwargs)

        served.engine.page = slow_page  # type: ignore[method-assign]
        path = calls.path(calls.LIST, index=writer.index)
        big = asyncio.create_task(get(served, f"{path}?limit=5000"))
        small = asyncio.create_task(get(served, f"{path}?limit=1000"))
        await asyncio.sleep(0.3)
        assert code(await get(served, f"{path}?limit=5000")) == (429, "TooManyRequests")
        assert code(await get(served, calls.path(calls.EXPORT, index=writer.index)))[0] == 429
        held.set()
        assert [(await big).status, (await small).status] == [200, 200]
        for _ in range(3):
            assert (await get(served, calls.path(calls.EXPORT, index=writer.index))).status == 200


async def test_this_machine_itself_is_not_limited_by_default(tmp_path: Path) -> None:
    async with ServedVdrive(tmp_path, requests_burst=1, requests_per_s=0.001) as served:
        assert [(await get(served, calls.path(calls.VERSION))).status for _ in range(3)] == [200] * 3


# -- what is never shown (V-18)


@pytest.mark.seed("S-066", "S-070", "X-02")
async def test_neither_database_nor_logs_nor_refusals_hold_what_is_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_queue, "WAIT_MAX_S", 0.1)
    caplog.set_level(logging.DEBUG)
    name, cap = "a telling name", "URI:CHK:tellingtellingtelling"
    async with ServedVdrive(tmp_path, clock=FakeClock()) as served:
        token = await served.new_account()
        writer = DirectoryWriter(served.sid, clock=served.clock)
        authority = writer.authority(token)
        await commit(served, writer.creation(), authority)
        request = CommitRequest((), (writer.section_of([writer.put(name, cap, write=cap)]),))
        assert (await commit(served, request, authority)).status == 200
        await served.engine.renew_lease(writer.refresh_id, SECRET, 1)
        answers = await provoked(served, writer, token)
        assert {answer.status for answer in answers} >= {400, 403, 404, 409, 422, 423}
        files = b"".join(path.read_bytes() for path in (tmp_path / "private").glob("vdrive.sqlite*"))
    files += b"".join(path.read_bytes() for path in (tmp_path / "private").glob("vdrive.sqlite*"))
    keys = [writer.keys.write_key, writer.keys.read.read_key, writer.enabler, SECRET]
    texts = [name, cap, token, SWISSNUM]
    secrets = [*forms(*keys), *(text.encode() for text in texts)]
    logged = caplog.text.encode() + repr([vars(record) for record in caplog.records]).encode()
    told = b"".join(answer.body for answer in answers)
    assert writer.index in files
    for secret in secrets:
        assert secret not in files
    for secret in [*secrets, *forms(writer.index)]:
        assert secret not in logged
        assert secret not in told


def forms(*values: bytes) -> Iterator[bytes]:
    """Yield the values as bytes, and as they could be written."""
    for value in values:
        yield from (value, base32.encode(value).encode(), value.hex().encode(), repr(value)[2:-1].encode())


async def provoked(served: ServedVdrive, writer: DirectoryWriter, token: str) -> list[RawAnswer]:
    """Return refusals of as many kinds as a client can provoke without contexts in them."""
    stranger = DirectoryWriter(served.sid, clock=served.clock)
    saved = writer.saved()
    change = writer.change({"another": LIT})
    writer.restore(saved)
    bad_head = CommitRequest((), (change.sections[0].__class__(writer.index, b"\x80", writer.head),))
    enabler = headers.enabler_header(writer.index, writer.enabler)
    answers = [
        await commit(served, change, Authority({writer.index: stranger.enabler})),
        await commit(served, change, Authority()),
        await commit(served, bad_head, writer.authority()),
        await commit(served, stranger.creation(), stranger.authority(token[::-1])),
        await commit(served, stranger.change({"x": LIT}), stranger.authority()),
        await commit(served, change, writer.authority(), [("X-Holdfast-Write-Enabler", token)]),
        await commit(served, change, writer.authority(), [("X-Holdfast-Turn", f"{token} {token}")]),
        await commit(
            served,
            CommitRequest((writer.genesis(),), ()),
            Authority({writer.index: stranger.enabler}, {}, token),
        ),
        await get(served, calls.path(calls.DESCRIBE, index=stranger.index)),
        await get(served, calls.path(calls.LIST, index=writer.index) + f"?after={token[1:]}"),
        await get(served, calls.path(calls.ACCOUNT), [headers.account_header(token[::-1])]),
        await get(served, calls.path(calls.LEASE_INFO, refresh_id=writer.index), [lease(SECRET)]),
        await get(served, f"/vdrive/v1/{token}"),
        await served.request("POST", calls.path(calls.COMMIT), token.encode(), headers=CBOR),
        await served.request(
            "POST",
            calls.path(calls.ENROL, index=writer.index),
            encode_enrol_request(bytes(64)),
            headers=[*CBOR, enabler],
        ),
        await served.request("GET", calls.path(calls.VERSION), swissnum=SWISSNUM[::-1]),
    ]
    path = calls.path(calls.TURN, index=writer.index)
    answers += [await served.request("POST", path, headers=[enabler]) for _ in range(2)][1:]
    late, fresh = (DirectoryWriter(served.sid, stranger.keys.write_key, clock=served.clock) for _ in range(2))
    await commit(served, fresh.creation(), fresh.authority(token))
    await commit(served, fresh.change({"x": LIT}), fresh.authority())
    conflict = await commit(served, late.change(), late.authority())  # it names no slots
    assert conflict.status == 409
    head = cbor2.loads(conflict.body)
    del head["detail"]  # which is what whoever has the enabler may see
    answers.append(RawAnswer(conflict.status, conflict.headers, cbor2.dumps(head)))
    assert all(answer.status >= 400 for answer in answers)
    return answers


async def test_failures_of_the_database_show_no_values(
    served: ServedVdrive, caplog: pytest.LogCaptureFixture
) -> None:
    writer = await directory(served, "child")
    head = first_head(writer.keys).head

    def broken(connection: Any) -> None:
        row = connection.execute(select(tables.heads).limit(1)).one()
        connection.execute(tables.heads.insert().values(**row._mapping))

    with pytest.raises(VdriveRefusalError) as refused:
        await served.engine.database.write(broken)
    chain: list[str] = []
    error: BaseException | None = refused.value
    while error is not None:
        chain.append(str(error))
        error = error.__cause__ or error.__context__
    shown = " ".join(chain) + caplog.text
    assert writer.index.hex() not in shown
    assert repr(head)[2:40] not in shown


# -- crashes


@contextmanager
def process(directory: Path) -> Iterator[tuple[WarmProcess, str]]:
    """Run a server in a process of its own; give its NURL."""
    with WarmProcess("holdfast.testing.vdrive_server", [directory], stdin=PIPE, stdout=PIPE) as one:
        assert one.stdout is not None
        try:
            yield one, one.stdout.readline().decode().strip()
        finally:
            one.kill()


@pytest.mark.seed("S-083", "X-03")
async def test_what_was_acknowledged_survives_the_death_of_the_server(tmp_path: Path) -> None:
    """V-12 in small: killed three times within some hundred commits."""
    writer: DirectoryWriter | None = None
    pending: CommitRequest | None = None
    for after in (40, 25, 60):
        with process(tmp_path) as (running, nurl):
            sid = parse_nurl(nurl)
            server = HttpVirtualDriveServer([sid])
            if writer is None:
                writer = DirectoryWriter((await server.version()).sid)
                await server.commit(writer.creation(), writer.authority())
            if pending is not None:
                await server.commit(pending, writer.authority())  # it may have been made, or not
            assert (await server.describe(writer.index)).head == writer.head
            for number in range(1000):
                pending = writer.change({f"child {number % 70}": f"{LIT}{number}"})
                if number == after:
                    asyncio.get_running_loop().call_later(0.003, running.send_signal, signal.SIGKILL)
                try:
                    await server.commit(pending, writer.authority())
                except Exception:
                    break
            server.close()
    assert writer is not None
    assert pending is not None
    async with ServedVdrive(tmp_path) as served:
        await served.engine.commit(pending, writer.authority())
        page = await served.engine.page(writer.index)
        leaves = zip((one.slot for one in page.entries), digests_of(page.entries), strict=True)
        assert page.head == writer.head
        assert root_of(list(leaves)) == parse_head(page.head.head).root
        assert list(page.entries) == sorted(writer.entries.values())
