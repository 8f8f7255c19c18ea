"""The control interface of a node as other programs use it: the calls of the founding
interface, in the form of coroutines.

Source: docs/spec/control-and-introducer.md, section 2.7; docs/spec/seed-map.md, section T.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from holdfast.grid.sources import FileNameSource
from holdfast.node.control import calls
from holdfast.node.control.errors import AlreadyThereError, NotAbsoluteError
from holdfast.node.control.whole_file import open_whole_file
from holdfast.wire.local_client import LocalClient

T = TypeVar("T")


class HttpControlClient:
    """Implements ``interfaces.control.ControlClient`` for the node whose private directory this is.

    A call that is cancelled ends at the node, too.
    """

    def __init__(self, private: Path, token: str | None = None) -> None:
        """``token``: a minted one, in place of the master token."""
        self._private = private
        self._token = token

    async def wait_for_client_connections(self, num_clients: int, timeout: float | None = None) -> int:
        """Return, once that many storage servers are connected, how many are."""
        return await self._run(lambda client: calls.wait_for_connections(client, num_clients, timeout))

    async def upload_from_file_to_uri(self, filename: str, *, on_node: bool = False) -> str:
        """Store the file of this absolute name; return its capability."""
        _check_absolute(filename)
        if on_node:
            result = await self._run(lambda client: calls.upload_file(client, filename))
        else:
            result = await self._run(lambda client: _upload(client, filename))
        return str(result["uri"])

    async def download_from_uri_to_file(
        self, uri: str, filename: str, *, on_node: bool = False, overwrite: bool = False
    ) -> str:
        """Read a file back into the file of this absolute name; return that name."""
        _check_absolute(filename)
        if on_node:
            return await self._run(
                lambda client: calls.download_file(client, uri, filename, overwrite=overwrite)
            )
        return await self._run(lambda client: _download(client, uri, filename, overwrite))

    async def get_memory_usage(self) -> dict[str, int]:
        """Return VmPeak, VmSize and VmData of the node, in bytes; 0 where its system cannot tell."""
        memory = await self._run(lambda client: calls.call(client, "GET", "memory"))
        return {key: int(memory[key]) for key in ("VmPeak", "VmSize", "VmData")}

    async def _run(self, work: Callable[[LocalClient], T]) -> T:
        """Run a blocking call in a thread; when cancelled, end it first."""
        client = LocalClient(self._private, self._token)
        running = asyncio.ensure_future(asyncio.to_thread(work, client))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            client.close()
            await asyncio.wait([running])
            raise


def _check_absolute(filename: str) -> None:
    if not os.path.isabs(filename):
        raise NotAbsoluteError("the name of the file must be absolute")


def _upload(client: LocalClient, filename: str) -> dict[str, object]:
    source = FileNameSource(filename)
    file = source.get_filehandle()
    try:
        return calls.upload(client, file, os.fstat(file.fileno()).st_size)
    finally:
        source.close_filehandle(file)


def _download(client: LocalClient, uri: str, filename: str, overwrite: bool) -> str:
    if not overwrite and os.path.lexists(filename):
        raise AlreadyThereError(f"{filename} exists already")
    with open_whole_file(filename, overwrite=overwrite) as file:
        calls.download(client, uri, file)
    return filename
