"""The capabilities of the two roots: how a client comes by them, and keeps them in private files.

A private root is never made twice: of one at a virtual drive server, the capability is on the
disk before the server hears of it, and making the same again changes nothing.

Source: docs/spec/vdrive.md, sections 10.2 and 10.3.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from holdfast.caps import ErroneousCap, UnknownCap, parse_cap
from holdfast.caps.vdrive import VdrivePlace, VdriveReadCap, VdriveWriteCap
from holdfast.drive.vdrive_backing import VdriveClient
from holdfast.errors import ConfigError
from holdfast.grid.durable_files import replace_file
from holdfast.interfaces.vdrive_errors import ServerMisbehavedError
from holdfast.interfaces.virtual_drive import PublicRootChanged

WRITE_KEY_SIZE = 32  # bytes


class CapFile:
    """A file that holds one capability, for its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str | None:
        """Return the capability; None if there is no file.

        Raises:
            ConfigError: the file cannot be read, or holds none. What it holds is not shown.
        """
        try:
            text = self.path.read_text("utf-8").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"{self.path} cannot be read; restore it from a backup") from None
        if isinstance(parse_cap(text), ErroneousCap | UnknownCap):
            raise ConfigError(f"{self.path} holds no capability; restore it from a backup")
        return text

    async def keep(self, cap: str) -> None:
        """Write the capability; when this returns, it will still be there after a loss of power."""
        await asyncio.to_thread(replace_file, self.path, f"{cap}\n".encode("ascii"))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


class RootMaker(Protocol):
    """Makes the private root of one client."""

    async def make(self, pending: CapFile) -> str:
        """Return the capability of the root that was begun before, or else of a new one.

        Args:
            pending: where to keep what is needed to go on if this ends early.
        """
        ...


class VdriveRootMaker:
    """Makes private roots at a virtual drive server."""

    def __init__(self, client: VdriveClient, place: VdrivePlace) -> None:
        """``place``: where new roots are made; one that was begun elsewhere is completed there."""
        self._client = client
        self._place = place

    async def make(self, pending: CapFile) -> str:
        cap = self._begun(pending)
        if cap is None:
            cap = VdriveWriteCap(self._place, secrets.token_bytes(WRITE_KEY_SIZE))
            await pending.keep(cap.to_text())
        await self._client.create(cap.place, cap.write_key)
        return cap.to_text()

    def _begun(self, pending: CapFile) -> VdriveWriteCap | None:
        text = pending.read()
        cap = None if text is None else parse_cap(text)
        if cap is not None and not isinstance(cap, VdriveWriteCap):
            raise ConfigError(f"{pending.path} holds another capability than that of a new private root")
        return cap


class GridRootMaker:
    """Makes private roots in mutable files of the grid."""

    def __init__(self, create_directory: Callable[[], Awaitable[str]]) -> None:
        """``create_directory``: stores an empty directory and returns its capability."""
        self._create_directory = create_directory

    async def make(self, pending: CapFile) -> str:
        return await self._create_directory()


class PrivateRoot:
    """The private root of a client."""

    def __init__(self, path: Path, maker: RootMaker) -> None:
        """``path``: file for its capability; beside it, one with the suffix ``.pending`` while it is made."""
        self._file = CapFile(path)
        self._pending = CapFile(path.with_name(f"{path.name}.pending"))
        self._maker = maker
        self._making = asyncio.Lock()
        self.cap = self._file.read()

    async def get(self) -> str:
        """Return its capability; make it if that was not done yet.

        Raises:
            HoldfastError: it could not be made now. What was begun is completed by another call.
        """
        async with self._making:
            if self.cap is None:
                cap = await self._maker.make(self._pending)
                await self._file.keep(cap)
                self.cap = cap
            self._pending.remove()
            return self.cap


class PublicRoot:
    """The public root of a virtual drive server, as a client knows it."""

    def __init__(self, path: Path, fetch: Callable[[], Awaitable[str]], sid: bytes) -> None:
        """
        Args:
            path: file for its capability.
            fetch: asks the server for it.
            sid: of the server, 32 bytes.
        """
        self._file = CapFile(path)
        self._fetch = fetch
        self._sid = sid
        self._fetching = asyncio.Lock()
        self.cap = self._file.read()
        self.known = asyncio.Event()
        if self.cap is not None:
            self.known.set()

    async def get(self) -> str:
        """Return its capability; ask the server if it is not known yet.

        Raises:
            HoldfastError: the server could not be asked, or offers none.
        """
        async with self._fetching:
            if self.cap is None:
                await self._keep(await self._offered())
            assert self.cap is not None
            return self.cap

    async def compare(self) -> PublicRootChanged | None:
        """Ask the server once more; return what has changed. New locations of the same root are taken over.

        Raises: as ``get``.
        """
        offered = await self._offered()
        async with self._fetching:
            if self.cap is not None and not _same_root(self.cap, offered):
                return PublicRootChanged(self.cap, offered)
            if self.cap != offered:
                await self._keep(offered)
            return None

    async def _offered(self) -> str:
        text = await self._fetch()
        cap = parse_cap(text)
        if not isinstance(cap, VdriveWriteCap | VdriveReadCap) or cap.place.sid != self._sid:
            raise ServerMisbehavedError(
                "the public root that the server offers is not a directory of its own"
            )
        return cap.to_text()

    async def _keep(self, cap: str) -> None:
        await self._file.keep(cap)
        self.cap = cap
        self.known.set()


def _same_root(one: str, other: str) -> bool:
    """Tell whether two capabilities allow the same with the same directory."""
    first, second = parse_cap(one), parse_cap(other)
    if isinstance(first, VdriveWriteCap | VdriveReadCap) and isinstance(
        second, VdriveWriteCap | VdriveReadCap
    ):
        return first.index == second.index and first.writable == second.writable
    return one == other
