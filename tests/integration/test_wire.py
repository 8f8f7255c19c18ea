"""HTTP over pinned TLS, both sides, over real sockets."""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from holdfast.wire import client as client_module
from holdfast.wire.client import Address, ServerConnections
from holdfast.wire.client_connection import BrokenAnswerError
from holdfast.wire.http import FileRange, Request, Response
from holdfast.wire.pinning import WrongKeyError, certificate_spki_hash, pinning_ssl_context
from holdfast.wire.server import Server, ServerLimits, serve, server_ssl_context


class Peer:
    """A certificate on disk and its pin."""

    def __init__(self, directory: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
            .not_valid_after(datetime.datetime(2090, 1, 1, tzinfo=datetime.UTC))
            .sign(key, hashes.SHA256())
        )
        self.certificate, self.key = directory / "c.pem", directory / "k.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self.pin = certificate_spki_hash(certificate.public_bytes(serialization.Encoding.DER))

    def context(self) -> ssl.SSLContext:
        return server_ssl_context(str(self.certificate), str(self.key))


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    return Peer(tmp_path_factory.mktemp("wire"))


async def echo(request: Request) -> Response:
    """Answer with the method, the path and the length of the body."""
    size = 0
    async for piece in request.body.chunks():
        size += len(piece)
    return Response(200, (), f"{request.method} {request.path} {size}".encode())


@asynccontextmanager
async def raw(server: Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=pinning_ssl_context())
    try:
        yield reader, writer
    finally:
        writer.close()


def connections(server: Server, pin: str) -> ServerConnections:
    return ServerConnections([Address("127.0.0.1", server.port)], pin, pinning_ssl_context())


async def get(client: ServerConnections, path: str, sink: memoryview | None = None) -> tuple[int, bytes]:
    answer = await client.request("GET", path, [], None, silence_s=5, body_max=1000, sink=sink)
    return answer.head.status, bytes(answer.body)


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 524_288, 524_289, 5_000_000])
async def test_a_body_arrives_whole_whatever_its_size(peer: Peer, size: int) -> None:
    async with serve(echo, "127.0.0.1", 0, peer.context()) as server:
        client = connections(server, peer.pin)
        for _ in range(2):
            answer = await client.request(
                "POST", "/a", [], [bytes(size // 2), bytes(size - size // 2)], silence_s=5, body_max=100
            )
            assert bytes(answer.body) == b"POST /a %d" % size
        client.close()


async def test_a_chunked_body_arrives_whole_and_its_connection_ends(peer: Peer) -> None:
    async with serve(echo, "127.0.0.1", 0, peer.context()) as server, raw(server) as (reader, writer):
        writer.write(b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"a" * 10, b"b" * 100_000, b"c"):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")
        assert (await reader.read()).endswith(b"POST /c 100011")


async def test_requests_sent_ahead_are_answered_in_order(peer: Peer) -> None:
    async with serve(echo, "127.0.0.1", 0, peer.context()) as server, raw(server) as (reader, writer):
        for i in range(50):
            writer.write(b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" % i)
        for i in range(50):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            body = b"POST /%d 3" % i
            assert await reader.readexactly(len(body)) == body


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000,
        bytes(range(256)) + b"\r\n\r\n",
    ],
)
async def test_a_malformed_head_is_refused_and_the_server_goes_on(peer: Peer, head: bytes) -> None:
    async with serve(echo, "127.0.0.1", 0, peer.context()) as server:
        async with raw(server) as (reader, writer):
            writer.write(head)
            answer = await reader.read()
            assert answer.split()[1] in (b"400", b"431")
        client = connections(server, peer.pin)
        assert (await get(client, "/ok"))[0] == 200
        client.close()


async def test_a_peer_that_leaves_inside_a_body_ends_the_request(peer: Peer) -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def handler(request: Request) -> Response:
        try:
            async for _ in request.body.chunks():
                pass
        except Exception as error:
            seen.put_nowait(type(error).__name__)
            raise
        return Response(200)

    async with serve(handler, "127.0.0.1", 0, peer.context()) as server:
        async with raw(server) as (_, writer):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc")
            await writer.drain()
        async with asyncio.timeout(5):
            assert await seen.get() == "BodyBrokenError"


async def test_silent_peers_are_dropped(peer: Peer) -> None:
    limits = ServerLimits(head_s=0.5, idle_s=0.5, silence_s=0.5)
    async with serve(echo, "127.0.0.1", 0, peer.context(), limits) as server:
        for start in (b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"):
            async with raw(server) as (reader, writer):
                writer.write(start)
                async with asyncio.timeout(5):
                    with suppress(ConnectionError):
                        assert await reader.read() == b""
        await asyncio.sleep(0.1)
        assert not server.connections


async def test_a_file_is_sent_as_it_is_whether_or_not_the_system_has_it_in_memory(
    peer: Peer, tmp_path: Path
) -> None:
    content = os.urandom(5_000_007)
    path = tmp_path / "file"
    path.write_bytes(content)

    async def handler(request: Request) -> Response:
        return Response(206, (), FileRange(os.open(path, os.O_RDONLY), 3, len(content) - 3))

    async with serve(handler, "127.0.0.1", 0, peer.context()) as server:
        client = connections(server, peer.pin)
        for cached in (True, False):
            if not cached:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            got = bytearray(len(content) - 3)
            assert (await get(client, "/", memoryview(got)))[0] == 206
            assert got == content[3:]
        client.close()


async def test_a_reader_that_does_not_read_is_dropped(peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(32 << 20))

    async def handler(request: Request) -> Response:
        return Response(206, (), FileRange(os.open(path, os.O_RDONLY), 0, 32 << 20))

    limits = ServerLimits(silence_s=0.5)
    async with (
        serve(handler, "127.0.0.1", 0, peer.context(), limits) as server,
        raw(server) as (reader, writer),
    ):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(8):
            while server.connections or server.tasks:
                await asyncio.sleep(0.1)


async def test_too_many_connections_are_turned_away_and_others_served(peer: Peer) -> None:
    async with serve(echo, "127.0.0.1", 0, peer.context(), ServerLimits(connections_max=1)) as server:
        client = connections(server, peer.pin)
        assert (await get(client, "/"))[0] == 200
        async with raw(server) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(5):
                assert await reader.read() == b""
        assert (await get(client, "/"))[0] == 200
        client.close()


async def test_a_handler_that_fails_answers_500_without_details(peer: Peer) -> None:
    async def handler(request: Request) -> Response:
        raise ValueError("URI:CHK:secret")

    async with serve(handler, "127.0.0.1", 0, peer.context()) as server:
        client = connections(server, peer.pin)
        assert await get(client, "/") == (500, b"")
        client.close()


async def test_a_stream_is_closed_when_its_reader_leaves(peer: Peer) -> None:
    closed = asyncio.Event()

    async def ticks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"."
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async def handler(request: Request) -> Response:
        return Response(200, (), ticks())

    async with serve(handler, "127.0.0.1", 0, peer.context()) as server:
        async with raw(server) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"1\r\n.\r\n")
        async with asyncio.timeout(5):
            await closed.wait()


async def test_expect_continue_is_honoured(peer: Peer) -> None:
    async with serve(echo, "127.0.0.1", 0, peer.context()) as server, raw(server) as (reader, writer):
        writer.write(b"POST /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(9) == b"POST /e 3"


async def test_an_impostor_gets_no_byte_of_a_request(peer: Peer, tmp_path: Path) -> None:
    requests: list[str] = []

    async def handler(request: Request) -> Response:
        requests.append(request.path)
        return Response(200)

    other = Peer(tmp_path)
    async with serve(handler, "127.0.0.1", 0, other.context()) as server:
        client = connections(server, peer.pin)
        with pytest.raises(WrongKeyError) as error:
            await get(client, "/secret")
        assert error.value.seen == other.pin
        await asyncio.sleep(0.05)
        assert requests == []


def answering(data: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(1)
        writer.close()

    return handle


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(5000),
        b"HTTP/1.1 206 OK\r\nContent-Length: 11\r\n\r\n" + bytes(11),
        b"HTTP/1.1 206 OK\r\nContent-Length: 10\r\n\r\n" + bytes(30),
        b"HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n" + bytes(20) + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_a_lying_server_is_found_out(peer: Peer, answer: bytes) -> None:
    listener = await asyncio.start_server(answering(answer), "127.0.0.1", 0, ssl=peer.context())
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        client = ServerConnections([Address("127.0.0.1", port)], peer.pin, pinning_ssl_context())
        guard = bytearray(b"\x01" * 20)
        with pytest.raises(ConnectionError) as error:
            for _ in range(2):
                await get(client, "/", memoryview(guard)[:10])
                await asyncio.sleep(0.05)
                if not client._idle or not client._idle[-1].usable:
                    raise BrokenAnswerError("found out between requests")
        assert isinstance(error.value, BrokenAnswerError)
        assert guard[10:] == b"\x01" * 10
        client.close()


async def test_a_hung_server_is_given_up(peer: Peer) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    listener = await asyncio.start_server(hang, "127.0.0.1", 0, ssl=peer.context())
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        client = ServerConnections([Address("127.0.0.1", port)], peer.pin, pinning_ssl_context())
        with pytest.raises(TimeoutError):
            await client.request("GET", "/", [], None, silence_s=0.3, body_max=10)
        client.close()


class Stream:
    """A body that is made while it is sent."""

    def __init__(self, pieces: int, piece: bytes, pause_s: float = 0) -> None:
        self._pieces, self._piece, self._pause_s = pieces, piece, pause_s

    @property
    def length(self) -> int:
        return self._pieces * len(self._piece)

    async def pieces(self) -> AsyncIterator[bytes]:
        for _ in range(self._pieces):
            await asyncio.sleep(self._pause_s)
            yield self._piece


async def test_a_server_that_stops_taking_a_stream_is_given_up_however_long_the_stream(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "SENT_BYTES_PER_S_MIN", 1 << 30)

    async def hang(request: Request) -> Response:
        await asyncio.sleep(30)
        return Response(200)

    async with serve(hang, "127.0.0.1", 0, peer.context(), ServerLimits(stop_s=0.1)) as server:
        client = connections(server, peer.pin)
        body = Stream(1 << 20, bytes(1 << 20))
        async with asyncio.timeout(10):
            with pytest.raises(TimeoutError, match="silent"):
                await client.request("POST", "/", [], body, silence_s=0.5, body_max=10, repeatable=False)
        client.close()


async def test_a_source_that_takes_its_time_is_not_the_servers_fault(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "SENT_BYTES_PER_S_MIN", 1 << 30)

    async def take(request: Request) -> Response:
        return Response(200, (), str(len(await request.body.read(1000))).encode())

    async with serve(take, "127.0.0.1", 0, peer.context()) as server:
        client = connections(server, peer.pin)
        body = Stream(2, b"abc", 0.6)
        answer = await client.request("POST", "/", [], body, silence_s=0.25, body_max=10, repeatable=False)
        assert bytes(answer.body) == b"6"
        client.close()


async def test_a_dead_kept_connection_is_replaced_without_anybody_noticing(peer: Peer) -> None:
    limits = ServerLimits(idle_s=0.3)
    async with serve(echo, "127.0.0.1", 0, peer.context(), limits) as server:
        client = connections(server, peer.pin)
        assert (await get(client, "/1"))[0] == 200
        for connection in list(server.connections):
            connection.drop()
        assert (await get(client, "/2"))[0] == 200
        client.close()


async def test_what_must_not_be_repeated_goes_over_a_kept_connection_that_was_used_just_now(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(echo, "127.0.0.1", 0, peer.context()) as server:
        client = connections(server, peer.pin)

        async def post() -> None:
            await client.request("POST", "/", [], [b""], silence_s=5, body_max=100, repeatable=False)

        await get(client, "/")
        await post()
        assert client.idle == 1
        monkeypatch.setattr("holdfast.wire.client.FRESH_S", 0.0)
        await post()
        assert client.idle == 2  # another one was made
        client.close()


async def test_what_must_not_be_repeated_is_sent_once(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def end(request: Request) -> Response:
        seen.append(request.path)
        if request.path == "/last":
            for connection in list(server.connections):
                connection.drop()
        return Response(200, (), b"")

    async with serve(end, "127.0.0.1", 0, peer.context()) as server:
        client = connections(server, peer.pin)
        await get(client, "/first")
        with pytest.raises(ConnectionError):
            await client.request("POST", "/last", [], [b""], silence_s=5, body_max=100, repeatable=False)
        assert seen == ["/first", "/last"]
        client.close()


async def test_the_second_address_of_a_server_is_tried(peer: Peer) -> None:
    async with serve(echo, "127.0.0.1", 0, peer.context()) as server:
        addresses = [Address("127.0.0.1", 1), Address("127.0.0.1", server.port)]
        client = ServerConnections(addresses, peer.pin, pinning_ssl_context())
        assert (await get(client, "/"))[0] == 200
        client.close()


async def test_an_address_that_is_no_name_is_an_error_like_an_unreachable_one(peer: Peer) -> None:
    for host in ("a..b", "x" * 64 + ".example", "%2f", "surely.invalid"):
        client = ServerConnections([Address(host, 1)], peer.pin, pinning_ssl_context())
        with pytest.raises(ConnectionError, match=r"no name of a host|cannot be resolved"):
            await get(client, "/")


async def test_whoever_wants_to_know_hears_when_the_server_ends_a_kept_connection(peer: Peer) -> None:
    async with serve(echo, "127.0.0.1", 0, peer.context()) as server:
        client = connections(server, peer.pin)
        lost = asyncio.Event()
        client.when_lost = lost.set
        await get(client, "/1")
        assert client.idle == 1
        next(iter(server.connections)).drop()
        await asyncio.wait_for(lost.wait(), 5)
        assert client.idle == 0
        await get(client, "/2")
        lost.clear()
        client.close_idle()
        await get(client, "/3")
        client.close()
        await asyncio.sleep(0.05)
        assert not lost.is_set()  # whoever ends a connection knows of it


async def test_idle_connections_can_be_closed_while_others_are_at_work(peer: Peer) -> None:
    gate = asyncio.Event()

    async def slow(request: Request) -> Response:
        if request.path == "/slow":
            await gate.wait()
        return Response(200, (), request.path.encode())

    async with serve(slow, "127.0.0.1", 0, peer.context()) as server:
        client = connections(server, peer.pin)
        working = asyncio.create_task(get(client, "/slow"))
        await get(client, "/quick")
        assert client.idle == 1
        client.close_idle()
        assert client.idle == 0
        gate.set()
        assert await working == (200, b"/slow")
        assert client.idle == 1
        client.close()


async def test_retired_connections_finish_their_requests_and_are_not_kept(peer: Peer) -> None:
    gate = asyncio.Event()

    async def slow(request: Request) -> Response:
        await gate.wait()
        return Response(200, (), b"done")

    async with serve(slow, "127.0.0.1", 0, peer.context()) as server:
        client = connections(server, peer.pin)
        working = asyncio.create_task(get(client, "/"))
        while not server.connections:
            await asyncio.sleep(0.01)
        client.retire()
        gate.set()
        assert await working == (200, b"done")
        assert await get(client, "/later") == (200, b"done")
        assert client.idle == 0
        async with asyncio.timeout(5):
            while server.connections:
                await asyncio.sleep(0.01)


async def test_an_urgent_request_does_not_wait_for_busy_connections(peer: Peer) -> None:
    gate = asyncio.Event()

    async def slow(request: Request) -> Response:
        if request.path == "/slow":
            await gate.wait()
        return Response(200, (), b"")

    async with serve(slow, "127.0.0.1", 0, peer.context()) as server:
        address = [Address("127.0.0.1", server.port)]
        client = ServerConnections(address, peer.pin, pinning_ssl_context(), connections_max=1)
        working = asyncio.create_task(get(client, "/slow"))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(get(client, "/waits"))
        await client.request("GET", "/urgent", [], None, silence_s=5, body_max=10, urgent=True)
        assert not waiting.done()
        gate.set()
        await asyncio.gather(working, waiting)
        client.close()


async def test_many_large_bodies_at_once_share_few_buffers(peer: Peer) -> None:
    limits = ServerLimits(buffers_max=2)
    async with serve(echo, "127.0.0.1", 0, peer.context(), limits) as server:
        client = connections(server, peer.pin)
        answers = await asyncio.gather(
            *(
                client.request("POST", "/m", [], [bytes(3_000_000)], silence_s=20, body_max=100)
                for _ in range(10)
            )
        )
        assert {bytes(a.body) for a in answers} == {b"POST /m 3000000"}
        client.close()
