"""The calls of the control interface: who may make them, and where they go.

Source: docs/spec/control-and-introducer.md, section 2.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from holdfast.errors import HoldfastError
from holdfast.node.control.answers import json_answer, refusal
from holdfast.node.control.arguments import query_arguments
from holdfast.node.control.controlled import ControlledNode
from holdfast.node.control.downloads import DownloadCalls
from holdfast.node.control.errors import DefectError, NoSuchCallError, UnauthorizedError, WrongMethodError
from holdfast.node.control.long_calls import cancel_when_gone
from holdfast.node.control.paths import PathRules
from holdfast.node.control.tokens import Grant, Tokens
from holdfast.node.control.uploads import UploadCalls
from holdfast.node.process_memory import process_memory
from holdfast.wire.http import BodyBrokenError, Handler, Request, Response

log = structlog.get_logger(__name__)

BASE = "/control/v1"
SCHEME = "bearer "
SERVERS_MAX = 1_000_000
WAIT_MAX_S = 60.0
WAIT_DEFAULT_S = 30.0

Call = Callable[[Request, Grant], Awaitable[Response]]


class ControlHandler:
    """Answers the requests that reach a node's control interface."""

    def __init__(self, node: ControlledNode, tokens: Tokens, paths: PathRules) -> None:
        self._node = node
        self._tokens = tokens
        uploads = UploadCalls(node, paths)
        downloads = DownloadCalls(node, paths)
        self._calls: Mapping[str, Mapping[str, tuple[str, Call]]] = {
            f"{BASE}/status": {"GET": ("status", self._status)},
            f"{BASE}/connections/wait": {"GET": ("wait", self._wait)},
            f"{BASE}/upload": {"POST": ("upload", uploads.upload)},
            f"{BASE}/upload-file": {"POST": ("upload-path", uploads.upload_file)},
            f"{BASE}/download": {"POST": ("download", downloads.download)},
            f"{BASE}/download-file": {"POST": ("download-path", downloads.download_file)},
            f"{BASE}/memory": {"GET": ("debug", self._memory)},
        }

    async def __call__(self, request: Request) -> Response:
        """Answer one request: every refusal, too, is JSON."""
        try:
            grant = self._tokens.grant_of(_presented(request))
            scope, call = self._find(request)
            grant.require(scope)
            return await call(request, grant)
        except HoldfastError as error:
            return refusal(error)
        except (asyncio.CancelledError, ConnectionError, BodyBrokenError):
            raise
        except Exception:
            log.exception("a call failed inside the node", call=request.path)
            return refusal(DefectError("this is a defect of the node; its log says where"))

    def _find(self, request: Request) -> tuple[str, Call]:
        methods = self._calls.get(request.path)
        if methods is None:
            raise NoSuchCallError("there is no such call")
        if request.method not in methods:
            raise WrongMethodError(f"this call wants {' or '.join(methods)}")
        return methods[request.method]

    async def _status(self, request: Request, _: Grant) -> Response:
        query_arguments(request).finish()
        return json_answer(self._node.status())

    async def _wait(self, request: Request, _: Grant) -> Response:
        arguments = query_arguments(request)
        count = arguments.number("n", 0, SERVERS_MAX)
        timeout_s = arguments.seconds("timeout", WAIT_MAX_S, WAIT_DEFAULT_S)
        arguments.finish()
        cancel_when_gone(request)
        connected = await self._node.wait_for_connections(count, timeout_s)
        return json_answer({"connected": connected}, 200 if connected >= count else 202)

    async def _memory(self, request: Request, _: Grant) -> Response:
        query_arguments(request).finish()
        return json_answer(process_memory())


def control_handler(node: ControlledNode, tokens: Tokens, paths: PathRules) -> Handler:
    """Return what answers the requests that reach the control interface of ``node``."""
    return ControlHandler(node, tokens, paths)


def _presented(request: Request) -> str:
    values = request.all_headers("authorization")
    if len(values) != 1 or values[0][: len(SCHEME)].lower() != SCHEME:
        raise UnauthorizedError("a token is required: Authorization: Bearer TOKEN")
    return values[0][len(SCHEME) :].strip()
