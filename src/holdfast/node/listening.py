"""The port of a node: listens on the one it has, or picks one and keeps it."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from holdfast.errors import InputError
from holdfast.node.config import NodeSettings
from holdfast.node.ports import ports_to_try, remember_port, remembered_port
from holdfast.wire.http import Handler
from holdfast.wire.server import ServerLimits, serve, server_ssl_context


@asynccontextmanager
async def listening(
    directory: Path, settings: NodeSettings, tls_path: Path, handler: Handler, limits: ServerLimits
) -> AsyncIterator[int]:
    """Serve ``handler`` until the block ends; yield the port, the same at every start.

    Raises:
        InputError: the port cannot be had.
    """
    context = server_ssl_context(str(tls_path), str(tls_path))
    fixed = settings.port or remembered_port(directory)
    async with AsyncExitStack() as stack:
        for port in [fixed] if fixed else ports_to_try():
            try:
                await stack.enter_async_context(serve(handler, settings.host, port, context, limits))
            except OSError as error:
                if error.errno == errno.EADDRINUSE and not fixed:
                    continue
                why = error.strerror or str(error)
                raise InputError(
                    f"{directory.name}: cannot listen on {settings.host} port {port}: {why}"
                ) from error
            if not fixed:
                remember_port(directory, port)
            yield port
            return
        raise InputError(f"{directory.name}: found no free port on {settings.host}; set node.port")
