"""The calls of the control interface: who may make them, and where they go.

Source: docs/spec/control-and-introducer.md, section 2.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from holdfast.errors import ConfigError, HoldfastError
from holdfast.node.control.answers import NO_STORE, json_answer, refusal
from holdfast.node.control.arguments import query_arguments
from holdfast.node.control.controlled import ControlledNode
from holdfast.node.control.counts import Counts
from holdfast.node.control.errors import DefectError, NoSuchCallError, UnauthorizedError, WrongMethodError
from holdfast.node.control.long_calls import cancel_when_gone
from holdfast.node.control.paths import PathRules
from holdfast.node.control.token_calls import TokenCalls
from holdfast.node.control.tokens import Grant, Tokens
from holdfast.node.metrics import grid_figures, node_figures, prometheus_text
from holdfast.node.process_memory import process_memory
from holdfast.wire.http import BodyBrokenError, Handler, Request, Response

log = structlog.get_logger(__name__)

BASE = "/control/v1"
METRICS = "/metrics"
ONE_TOKEN = f"{BASE}/tokens/*"  # whatever the id is
CLIENT_CALLS = {  # and the scope each needs
    "upload": "upload",
    "upload-file": "upload-path",
    "download": "download",
    "download-file": "download-path",
    "ping-servers": "debug",
    "speed-test": "debug",
}
SCHEME = "bearer "
SERVERS_MAX = 1_000_000
WAIT_MAX_S = 60.0
WAIT_DEFAULT_S = 30.0
PROMETHEUS_TEXT = (*NO_STORE, ("Content-Type", "text/plain; version=0.0.4; charset=utf-8"))

Call = Callable[[Request, Grant], Awaitable[Response]]


def control_handler(node: ControlledNode, tokens: Tokens, paths: PathRules) -> Handler:
    """Return what answers the requests that reach the control interface of ``node``."""
    counts = Counts()
    own = _NodeCalls(node, counts)
    minting = TokenCalls(tokens)
    calls: dict[str, dict[str, tuple[str, Call]]] = {
        f"{BASE}/status": {"GET": ("status", own.status)},
        METRICS: {"GET": ("status", own.metrics)},
        f"{BASE}/connections/wait": {"GET": ("wait", own.wait)},
        f"{BASE}/memory": {"GET": ("debug", own.memory)},
        f"{BASE}/tokens": {"POST": ("tokens", minting.mint), "GET": ("tokens", minting.all)},
        ONE_TOKEN: {"DELETE": ("tokens", minting.revoke)},
        f"{BASE}/stop": {"POST": ("stop", own.stop)},
    }
    for name, call in _client_calls(node, paths, counts).items():
        calls[f"{BASE}/{name}"] = {"POST": (CLIENT_CALLS[name], call)}
    return ControlHandler(tokens, calls, counts)


def _client_calls(node: ControlledNode, paths: PathRules, counts: Counts) -> dict[str, Call]:
    """Return the calls that need the client side of a node; of one without, they all say so."""
    grid = node.grid
    if grid is None:
        return dict.fromkeys(CLIENT_CALLS, _say_no_client)
    # Servers do without what only clients need.
    from holdfast.node.control.downloads import DownloadCalls
    from holdfast.node.control.measuring import MeasuringCalls
    from holdfast.node.control.uploads import UploadCalls

    uploads = UploadCalls(node, grid, paths, counts)
    downloads = DownloadCalls(grid, paths, counts)
    measuring = MeasuringCalls(node, grid)
    return {
        "upload": uploads.upload,
        "upload-file": uploads.upload_file,
        "download": downloads.download,
        "download-file": downloads.download_file,
        "ping-servers": measuring.ping,
        "speed-test": measuring.speed_test,
    }


async def _say_no_client(request: Request, grant: Grant) -> Response:
    raise ConfigError("this node is no client of a grid, so it stores and reads no files")


class ControlHandler:
    """Lets each request through to the call it names, if its token has the scope."""

    def __init__(
        self, tokens: Tokens, calls: Mapping[str, Mapping[str, tuple[str, Call]]], counts: Counts
    ) -> None:
        self._tokens = tokens
        self._calls = calls
        self._counts = counts

    async def __call__(self, request: Request) -> Response:
        """Answer one request: every refusal, too, is JSON."""
        name = _name_of(request.path)
        response = await self._answer(request, name)
        self._counts.answers[name if name in self._calls else "", response.status] += 1
        return response

    async def _answer(self, request: Request, name: str) -> Response:
        try:
            grant = self._tokens.grant_of(_presented(request))
            methods = self._calls.get(name)
            if methods is None:
                raise NoSuchCallError("there is no such call")
            if request.method not in methods:
                raise WrongMethodError(f"this call wants {' or '.join(methods)}")
            scope, call = methods[request.method]
            grant.require(scope)
            return await call(request, grant)
        except HoldfastError as error:
            return refusal(error)
        except (asyncio.CancelledError, ConnectionError, BodyBrokenError):
            raise
        except Exception:
            log.exception("a call failed inside the node", call=name)
            return refusal(DefectError("this is a defect of the node; its log says where"))


class _NodeCalls:
    """The calls about the node itself."""

    def __init__(self, node: ControlledNode, counts: Counts) -> None:
        self._node = node
        self._counts = counts

    async def status(self, request: Request, _: Grant) -> Response:
        query_arguments(request).finish()
        return json_answer(self._node.status())

    async def metrics(self, request: Request, _: Grant) -> Response:
        figures = [*node_figures(), *self._counts.figures(), *self._node.figures()]
        if self._node.grid is not None:
            figures += grid_figures(self._node.grid)
        return Response(200, PROMETHEUS_TEXT, await asyncio.to_thread(prometheus_text, figures))

    async def wait(self, request: Request, _: Grant) -> Response:
        arguments = query_arguments(request)
        count = arguments.number("n", 0, SERVERS_MAX)
        timeout_s = arguments.seconds("timeout", WAIT_MAX_S, WAIT_DEFAULT_S)
        arguments.finish()
        cancel_when_gone(request)
        connected = await self._node.wait_for_connections(count, timeout_s)
        return json_answer({"connected": connected}, 200 if connected >= count else 202)

    async def memory(self, request: Request, _: Grant) -> Response:
        query_arguments(request).finish()
        return json_answer(process_memory())

    async def stop(self, request: Request, _: Grant) -> Response:
        query_arguments(request).finish()
        log.info("told to stop")
        self._node.stop()
        return json_answer({"stopping": True})


def _name_of(path: str) -> str:
    return ONE_TOKEN if path.rpartition("/")[0] == f"{BASE}/tokens" else path


def _presented(request: Request) -> str:
    values = request.all_headers("authorization")
    if len(values) != 1 or values[0][: len(SCHEME)].lower() != SCHEME:
        raise UnauthorizedError("a token is required: Authorization: Bearer TOKEN")
    return values[0][len(SCHEME) :].strip()
