"""Where the control interface listens: a Unix socket that only the node's user can
reach, and the loopback address if so configured.

Source: docs/spec/control-and-introducer.md, section 2.2.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from holdfast.errors import ConfigError, InputError
from holdfast.node.config import ControlConfig
from holdfast.node.control.answers import refusal
from holdfast.node.control.errors import ForeignRequestError
from holdfast.node.private_files import OTHERS, write_private_file
from holdfast.wire.http import Handler, Request, Response
from holdfast.wire.local_client import SOCKET_FILE, URL_FILE
from holdfast.wire.server import ServerLimits, serve_local
from holdfast.wire.socket_paths import ShortPath

LOOPBACK = "127.0.0.1"
# A dead client of this machine is known at once; one that only pauses may take its time.
# A transfer seldom ends in the few seconds that a stopping node has, so it is not waited for long.
LIMITS = ServerLimits(connections_max=200, buffers_max=8, silence_s=86400, stop_s=1)
ROOT = 0


@asynccontextmanager
async def serve_control(directory: Path, handler: Handler, config: ControlConfig) -> AsyncIterator[None]:
    """Serve ``handler`` until the block ends, for the node whose private directory this is.

    Raises:
        ConfigError: the directory is open to other users.
        InputError: another process serves there, or the socket cannot be made.
    """
    _check_closed(directory)
    users = {os.geteuid(), ROOT} if config.allow_root else {os.geteuid()}
    with _unix_socket(directory / SOCKET_FILE) as place:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(serve_local(_for_users(handler, users), place, LIMITS))
            if config.tcp:
                await stack.enter_async_context(_serve_loopback(directory, handler))
            yield


def _check_closed(directory: Path) -> None:
    if directory.stat().st_mode & OTHERS:
        raise ConfigError(
            f"{directory} is open to other users of this machine; close it with: chmod 700 {directory}"
        )


def _for_users(handler: Handler, users: set[int]) -> Handler:
    """Let in what comes from these users. The file's mode says the same; a second lock costs little."""

    async def guarded(request: Request) -> Response:
        if request.peer_user is not None and request.peer_user not in users:
            return refusal(ForeignRequestError("the node belongs to another user"))
        if request.header("origin") is not None:
            return refusal(ForeignRequestError("browsers are not let in"))
        return await handler(request)

    return guarded


@asynccontextmanager
async def _serve_loopback(directory: Path, handler: Handler) -> AsyncIterator[None]:
    """Listen on the loopback address, at any port, and write down which.

    What a browser can be made to send comes with an Origin, or with the name under which the browser knows
    this address, and is refused.
    """
    host = ""

    async def guarded(request: Request) -> Response:
        if request.header("origin") is not None or request.all_headers("host") != [host]:
            return refusal(ForeignRequestError("browsers, and other names of this address, are not let in"))
        return await handler(request)

    place = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    place.bind((LOOPBACK, 0))
    async with serve_local(guarded, place, LIMITS) as server:
        host = f"{LOOPBACK}:{server.port}"
        with _url_file(directory / URL_FILE, f"http://{host}\n"):
            yield


@contextmanager
def _url_file(path: Path, text: str) -> Iterator[None]:
    write_private_file(path, text)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """Bind a socket that only its user can connect to; remove its file in the end."""
    _remove_stale(path)
    place = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with ShortPath(str(path)) as name:
            place.bind(name)
        path.chmod(0o600)  # until here the directory has guarded it
    except OSError as error:
        place.close()
        raise InputError(f"cannot listen at {path}: {error.strerror or error}") from error
    made = path.stat().st_ino
    try:
        yield place
    finally:
        place.close()
        if path.exists() and path.stat().st_ino == made:
            path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove what a dead process left."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path} is in the way of the control interface; remove it")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with ShortPath(str(path)) as name:
            probe.connect(name)
    except OSError:
        path.unlink()
        return
    finally:
        probe.close()
    raise InputError(f"another process listens at {path}; stop that first")
