"""An introducer that answers whatever a test wants, over real connections and under a key of its own; and
a listener that notes whether anything is said to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from ssl import SSLContext, SSLObject, SSLSocket
from types import TracebackType
from typing import Self

from holdfast.interfaces.introducer import (
    ANNOUNCEMENTS_PER_PAGE,
    AnnouncementPage,
    IntroducerVersion,
    PublishResult,
    SignedBytes,
)
from holdfast.node.identity import create_node_identity
from holdfast.protocol import introducer_calls as calls
from holdfast.protocol import introducer_messages as messages
from holdfast.protocol.introducer_calls import AnnouncementsQuery
from holdfast.testing.threaded_loop import ThreadedLoop
from holdfast.wire.http import Request, Response
from holdfast.wire.server import serve, server_ssl_context

HOST = "127.0.0.1"
EPOCH = bytes(range(16))
HEADERS = (("Content-Type", "application/cbor"),)
NEWS_POLL_S = 0.05

Answer = Callable[[AnnouncementsQuery], Response]
"""What an introducer answers to a question for announcements."""


class HostileIntroducer:
    """Serves while its block runs. What is published it takes, and hands on to nobody.

    Attributes:
        pairs: what it hands out, in this order, checked by nobody. More may be appended at any time.
        answer: in place of ``pairs``, if given.
        asked: how often it was asked for announcements.
        taken: how many of ``pairs`` the client has dealt with, as its last question says.
    """

    def __init__(
        self, directory: Path, pairs: Sequence[SignedBytes] = (), answer: Answer | None = None
    ) -> None:
        self.pairs = list(pairs)
        self.answer = answer
        self.asked = 0
        self.taken = 0
        self.port = 0
        self._identity = create_node_identity(directory)
        self._stack = AsyncExitStack()

    @property
    def nurl(self) -> str:
        return f"pb://{self._identity.spki_hash}@{HOST}:{self.port}/hostilehostilehostile#v=1"

    def __enter__(self) -> Self:
        self._loop = ThreadedLoop()
        tls = str(self._identity.tls_path)
        serving = serve(self._handle, HOST, 0, server_ssl_context(tls, tls))
        self.port = self._loop.run(self._stack.enter_async_context(serving)).port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._stack.aclose())
        self._loop.close()

    async def _handle(self, request: Request) -> Response:
        if request.path == calls.ANNOUNCEMENTS_PATH:
            self.asked += 1
            query = calls.parse_announcements_query(request.query)
            return await self._page(query) if self.answer is None else self.answer(query)
        if request.path == calls.PUBLISH_PATH:
            published = messages.decode_publish_request(await request.body.read(calls.BODY_MAX))
            return cbor(messages.encode_publish_answer([PublishResult("stored")] * len(published)))
        return cbor(messages.encode_version(IntroducerVersion(1, "0.1.0", "0.1.0", EPOCH, bytes(32))))

    async def _page(self, query: AnnouncementsQuery) -> Response:
        since = self.taken = query.since if query.epoch == EPOCH else 0
        try:
            async with asyncio.timeout(query.wait_s):
                while query.wait_s and since >= len(self.pairs):  # noqa: ASYNC110  (tests append to a list)
                    await asyncio.sleep(NEWS_POLL_S)
        except TimeoutError:
            pass
        return cbor(messages.encode_page(page_of(self.pairs, since)))


def page_of(pairs: Sequence[SignedBytes], since: int) -> AnnouncementPage:
    """Return the page that begins behind ``since`` of all that is handed out."""
    some = pairs[since : since + ANNOUNCEMENTS_PER_PAGE]
    end = since + len(some)
    numbered = [(since + i + 1, *pair) for i, pair in enumerate(some)]
    return AnnouncementPage(EPOCH, end, end < len(pairs), numbered)


def cbor(body: bytes) -> Response:
    """Return a good answer with this body."""
    return Response(200, HEADERS, body)


class Eavesdropper:
    """Listens at a port under a TLS key of its own, says nothing, and notes what it is told.

    Attributes:
        callers: connections that began a handshake. Whoever sees the wrong key leaves before its end.
        heard: all that was said to it.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self.callers = 0
        self.heard = b""
        self._port = port
        self._tls = str(create_node_identity(directory).tls_path)

    def __enter__(self) -> Self:
        self._loop = ThreadedLoop()
        context = server_ssl_context(self._tls, self._tls)
        context.sni_callback = self._greeted
        listening = asyncio.start_server(self._listen, HOST, self._port, ssl=context)
        self._server = self._loop.run(listening)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call(self._server.close)
        self._loop.close()

    def _greeted(self, connection: SSLObject | SSLSocket, name: str | None, context: SSLContext) -> None:
        self.callers += 1

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                self.heard += data
        except OSError:
            pass
        finally:
            writer.transport.abort()
