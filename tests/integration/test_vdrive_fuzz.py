"""V-29: requests to the virtual drive server, damaged in every way: never a failure inside, and what is
refused has changed nothing."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from holdfast.protocol import vdrive_calls as calls
from holdfast.protocol import vdrive_headers as headers
from holdfast.protocol import vdrive_queries as queries
from holdfast.protocol.introducer_calls import authorization_value
from holdfast.protocol.vdrive_commit_messages import encode_commit_request, encode_enrol_request
from holdfast.protocol.vdrive_reading_messages import encode_context_request
from holdfast.protocol.vdrive_service_messages import encode_lease_request
from holdfast.servers.vdrive import tables, turn_queue
from holdfast.servers.vdrive.handler import vdrive_handler
from holdfast.testing.vdrive_server import SWISSNUM, ServedVdrive
from holdfast.testing.vdrive_writer import DirectoryWriter
from holdfast.wire.http import BodyTooLargeError, Handler, Request

LIT = "URI:LIT:mfrggzdfmy"
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**63,
    2**64,
    1.5,
    b"",
    bytes(31),
    bytes(32),
    bytes(33),
    "",
    "x",
    [],
    {},
)


class Body:
    """A body that is there already."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.length: int | None = len(data)

    async def chunks(self) -> AsyncIterator[memoryview]:
        for start in range(0, len(self.data), 1000):
            yield memoryview(self.data)[start : start + 1000]

    async def read(self, limit: int) -> bytes:
        if len(self.data) > limit:
            raise BodyTooLargeError
        return self.data


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    query: str = ""
    shown: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def request(self) -> Request:
        lines = tuple((name.lower(), value) for name, value in self.shown)
        return Request(self.method, self.path, self.query, lines, Body(self.body), "127.0.0.1")


class Target:
    """A server with two directories, and a good request for each of its calls."""

    def __init__(self, served: ServedVdrive, token: str) -> None:
        self.served = served
        self.token = token
        self.handler: Handler = vdrive_handler(served.engine, SWISSNUM)
        self.writer = DirectoryWriter(served.sid)
        self.bundle = b""

    async def prepare(self) -> None:
        engine = self.served.engine
        await engine.commit(self.writer.creation(), self.writer.authority(self.token))
        names = [f"child {number}" for number in range(5)]
        await engine.commit(self.writer.change(dict.fromkeys(names, LIT)), self.writer.authority())
        self.bundle = b"".join([piece async for piece in engine.export(self.writer.index)])

    def calls(self) -> list[Call]:
        index, refresh_id = self.writer.index, self.writer.refresh_id
        saved = self.writer.saved()
        change = encode_commit_request(self.writer.change({"new": LIT}, deletes=["child 1"]))
        self.writer.restore(saved)
        fresh = DirectoryWriter(self.served.sid)
        creation = encode_commit_request(fresh.creation())
        enabler = headers.enabler_header(index, self.writer.enabler)
        proof = headers.proof_header(index, self.writer.proof)
        account = headers.account_header(self.token)
        lease = headers.lease_secret_header(bytes(32))
        slot = self.writer.slot("child 0")

        def call(
            endpoint: calls.Endpoint, query: str = "", *shown: tuple[str, str], body: bytes = b""
        ) -> Call:
            path = calls.path(endpoint, index=index, slot=slot, refresh_id=refresh_id)
            typed = (("Content-Type", calls.MEDIA_TYPE),) if body else ()
            allowed = ("Authorization", authorization_value(SWISSNUM))
            return Call(endpoint.method, path, query, (allowed, *typed, *shown), body)

        fresh_enabler = headers.enabler_header(fresh.index, fresh.enabler)
        return [
            call(calls.VERSION),
            call(calls.ROOT),
            call(calls.COMMIT, "", enabler, account, body=change),
            call(calls.COMMIT, "", fresh_enabler, account, body=creation),
            call(calls.DESCRIBE),
            call(calls.CHILD),
            call(calls.CONTEXT, body=encode_context_request([slot])),
            call(calls.LIST, queries.page_query(queries.PageQuery(at=1, after=slot, limit=3))),
            call(calls.HEADS, queries.heads_query(queries.HeadsQuery(0, 1))),
            call(calls.WAIT, queries.wait_query(queries.WaitQuery(0, 0.001))),
            call(calls.CHANGES, queries.changes_query(queries.ChangesQuery(0, limit=2))),
            call(calls.TURN, "", enabler),
            call(calls.ENROL, "", enabler, body=encode_enrol_request(self.writer.proof)),
            call(calls.EXPORT),
            call(calls.IMPORT, "", enabler, proof, account, body=self.bundle),
            call(calls.RENEW_LEASE, "", lease, body=encode_lease_request(10**6)),
            call(calls.CANCEL_LEASE, "", lease),
            call(calls.LEASE_INFO, "", lease),
            call(calls.ACCOUNT, "", account),
        ]

    async def send(self, call: Call) -> int:
        """Return the status of the answer; whatever fails inside fails the test."""
        response = await self.handler(call.request())
        if not isinstance(response.body, bytes):
            assert isinstance(response.body, AsyncIterator)
            async for _ in response.body:
                pass
        return response.status

    async def state(self) -> bytes:
        """Return a digest of everything that is stored but rows nobody can find any more."""
        return await self.served.engine.database.read(_digest)


def _digest(connection: Connection) -> bytes:
    digest = hashlib.sha256()
    seen = connection.scalars(
        select(tables.directories.c.id).where(tables.directories.c.state < tables.STAGED)
    ).all()
    for table in tables.metadata.sorted_tables:
        query = select(table).order_by(*table.primary_key)
        if "dir_id" in table.c:
            query = query.where(table.c.dir_id.in_(seen))
        elif table is tables.directories:
            query = query.where(table.c.id.in_(seen))
        digest.update(repr(connection.execute(query).all()).encode())
    return digest.digest()


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def target(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    stack = AsyncExitStack()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turn_queue, "WAIT_MAX_S", 0.01)  # turns are taken, and never given back
        target = runner.run(_start(stack, tmp_path_factory.mktemp("fuzz")))
        yield target
        runner.run(stack.aclose())


async def _start(stack: AsyncExitStack, directory: Path) -> Target:
    served = await stack.enter_async_context(ServedVdrive(directory, listening=False))
    target = Target(served, await served.new_account())
    await target.prepare()
    return target


@given(seed=st.integers(0, 2**32))
def test_damaged_requests_fail_nothing_and_change_nothing(
    runner: asyncio.Runner, target: Target, seed: int
) -> None:
    runner.run(_send_damaged(target, random.Random(seed)))


async def _send_damaged(target: Target, chance: random.Random) -> None:
    before = await target.state()
    for call in target.calls():
        damaged = call
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            damaged = chance.choice(DAMAGES)(damaged, chance)
        status = await target.send(damaged)
        assert 200 <= status < 500, (status, damaged)
        after = await target.state()
        if status >= 400:
            assert after == before, damaged
        before = after


def test_undamaged_requests_are_answered(runner: asyncio.Runner, target: Target) -> None:
    """Else the test above would prove nothing."""

    async def statuses() -> list[int]:
        return [await target.send(call) for call in target.calls()]

    found = runner.run(statuses())
    root = 1  # there is none
    assert found[root] == 404
    refused = [status for place, status in enumerate(found) if status >= 400 and place != root]
    assert set(refused) <= {409, 410, 423}  # what an earlier request has taken
    assert len(refused) <= 4


# -- ways to damage a request


def other_method(call: Call, chance: random.Random) -> Call:
    return replace(call, method=chance.choice(("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH")))


def damaged_path(call: Call, chance: random.Random) -> Call:
    return replace(call, path=_damaged_text(call.path, chance))


def damaged_query(call: Call, chance: random.Random) -> Call:
    query = call.query or chance.choice(("at=1", "limit=5", "version=1", "from=1", "since=0"))
    numbers = ("0", "-1", "99999999999999999999", "9223372036854775807", "1e3", "", "%00", "٣")
    if "=" in query and chance.random() < 0.7:
        fields = query.split("&")
        place = chance.randrange(len(fields))
        fields[place] = fields[place].partition("=")[0] + "=" + chance.choice(numbers)
        return replace(call, query="&".join(fields))
    return replace(call, query=_damaged_text(query, chance))


def damaged_header(call: Call, chance: random.Random) -> Call:
    shown = list(call.shown)
    place = chance.randrange(len(shown))
    name, value = shown[place]
    match chance.randrange(4):
        case 0:
            del shown[place]
        case 1:
            shown.append((name, value))
        case 2:
            shown[place] = (name, _damaged_text(value, chance))
        case _:
            shown[place] = (chance.choice((*headers.SECRET_HEADERS, "If-None-Match")), value)
    return replace(call, shown=tuple(shown) or call.shown)


def damaged_bytes(call: Call, chance: random.Random) -> Call:
    body = bytearray(call.body)
    match chance.randrange(4):
        case 0 if body:
            body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        case 1:
            del body[chance.randrange(len(body) + 1) :]
        case 2:
            body += chance.randbytes(chance.randrange(1, 20))
        case _:
            body[:] = chance.randbytes(chance.randrange(40))
    return replace(call, body=bytes(body))


def damaged_message(call: Call, chance: random.Random) -> Call:
    """Change one value in the body, wherever it stands."""
    try:
        message = cbor2.loads(call.body)
    except Exception:
        return damaged_bytes(call, chance)
    return replace(call, body=cbor2.dumps(_damaged_value(message, chance)))


def _damaged_value(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        changed = dict(value)
        if chance.random() < 0.1:
            changed[chance.choice(("other", 99))] = changed.pop(key)
        else:
            changed[key] = _damaged_value(value[key], chance)
        return changed
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [*value[:place], _damaged_value(value[place], chance), *value[place + 1 :]]
    if isinstance(value, bytes) and chance.random() < 0.5:
        return _damaged_inside(value, chance)
    if isinstance(value, list) and chance.random() < 0.3:
        return value * 20
    return chance.choice(VALUES)


def _damaged_inside(value: bytes, chance: random.Random) -> bytes:
    """Change what a byte string holds, be it CBOR, as operations and heads are."""
    try:
        return cbor2.dumps(_damaged_value(cbor2.loads(value), chance))
    except Exception:
        return value[: chance.randrange(len(value) + 1)] + chance.randbytes(chance.randrange(4))


def _damaged_text(text: str, chance: random.Random) -> str:
    place = chance.randrange(len(text) + 1)
    piece = chance.choice(("", "a", "A", "/", "..", "%2e", " ", "=", ":", "\x7f", "é", text[:5], "z" * 300))
    return text[:place] + piece + text[place + chance.randrange(3) :]


DAMAGES: tuple[Callable[[Call, random.Random], Call], ...] = (
    other_method,
    damaged_path,
    damaged_query,
    damaged_header,
    damaged_header,
    damaged_bytes,
    damaged_message,
    damaged_message,
    damaged_message,
)
