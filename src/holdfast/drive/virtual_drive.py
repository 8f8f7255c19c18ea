"""The virtual drive of a client: from paths to nodes, beginning at the public or the private root.

Each root is looked for in the background until it is known, since its server may be down when
a client starts.

Source: docs/spec/seed-map.md, section R; docs/spec/vdrive.md, section 10.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from holdfast.caps.slots import NodeCap
from holdfast.drive.nodes import Drive
from holdfast.drive.paths import child_at_path, rooted
from holdfast.drive.roots import PrivateRoot, PublicRoot
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.errors import ConfigError, HoldfastError, InputError
from holdfast.interfaces.drive import DirectoryNode, Node, Path
from holdfast.interfaces.virtual_drive import (
    NoGlobalVirtualDriveError,
    NoPrivateVirtualDriveError,
    PublicRootChanged,
)

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0

Report = Callable[[HoldfastError | PublicRootChanged], None]
"""Told why a root is not known yet, whenever it was looked for in vain; and of another public root."""


class VirtualDrive:
    """Paths and roots of one client (S-193 to S-205).

    Attributes:
        drive: makes the nodes.
        public_root_changed: what the server offers in place of the public root that is in use.
    """

    def __init__(
        self,
        drive: Drive,
        *,
        public: PublicRoot | None = None,
        private: PrivateRoot | None = None,
        alias: Callable[[str], NodeCap | str] | None = None,
    ) -> None:
        """
        Args:
            public: None if there is no virtual drive server.
            private: None if this client wants none.
            alias: finds what the user gave a name to; raises what is to be raised for other names.
        """
        self.drive = drive
        self.public_root_changed: PublicRootChanged | None = None
        self._public = public
        self._private = private
        self._alias = alias

    def have_public_root(self) -> bool:
        """Tell whether ``get_public_root`` would succeed at once (S-195)."""
        return self._public is not None and self._public.cap is not None

    async def wait_public_root(self, timeout_s: float) -> bool:
        """Wait until there is a public root, up to ``timeout_s``; tell whether there is."""
        if self._public is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._public.known.wait(), timeout_s)
        return self.have_public_root()

    async def get_public_root(self) -> DirectoryNode:
        """Return the directory that all users of the server share (S-196). The server's operator can read
        and forge it.

        Raises:
            NoGlobalVirtualDriveError: there is none, or the server did not say yet and cannot be asked now.
        """
        if self._public is None:
            raise NoGlobalVirtualDriveError(
                "no virtual drive server is configured, so there is no public root"
            )
        try:
            return self._directory(await self._public.get())
        except HoldfastError as error:
            raise NoGlobalVirtualDriveError(f"there is no public root: {error}") from error

    def have_private_root(self) -> bool:
        """Tell whether ``get_private_root`` would succeed at once (S-197)."""
        return self._private is not None and self._private.cap is not None

    async def get_private_root(self) -> DirectoryNode:
        """Return the directory of this client alone (S-198); it is made when that is possible first.

        Raises:
            NoPrivateVirtualDriveError: there shall be none, or it could not be made yet.
        """
        if self._private is None:
            raise NoPrivateVirtualDriveError("this client is configured to have no private root")
        try:
            return self._directory(await self._private.get())
        except HoldfastError as error:
            raise NoPrivateVirtualDriveError(f"there is no private root yet: {error}") from error

    async def get_node_at_path(self, path: Path, root: DirectoryNode | None = None) -> Node:
        """Return what is at a path (S-199 to S-204).

        Args:
            path: elements, or a text of elements with slashes between, where empty ones do not count. It
                begins at the private root if the first element is ``~``, and in a text without a slash in
                front, at what the user calls NAME if it begins with ``NAME:``. A text that begins with
                ``./`` does neither.
            root: where other paths begin, in place of the public root.

        Raises: as ``get_public_root``, ``get_private_root`` and ``child_at_path``, and
            InputError: there are no such names here.
        """
        place = rooted(path)
        if place.private:
            beginning: Node = await self.get_private_root()
        elif place.alias is not None:
            beginning = self._named(place.alias)
        else:
            beginning = await self.get_public_root() if root is None else root
        return await child_at_path(beginning, place.names)

    async def get_node(self, uri: str) -> Node:
        """Return the node of a capability; nobody is asked (S-205).

        Raises:
            BadCapabilityError: it is malformed.
        """
        return self.drive.node(uri)

    async def look_for_roots(
        self, report: Report, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        """Go on until both roots are known, as far as there shall be any. Meant for the background."""
        await asyncio.gather(
            _persist(self._look_for_public_root, report, sleep),
            _persist(self._look_for_private_root, report, sleep),
        )

    async def _look_for_public_root(self, report: Report) -> None:
        if self._public is not None:
            self.public_root_changed = await self._public.compare()
            if self.public_root_changed is not None:
                report(self.public_root_changed)

    async def _look_for_private_root(self, report: Report) -> None:
        if self._private is not None:
            await self._private.get()

    def _named(self, name: str) -> Node:
        if self._alias is None:
            raise InputError(f"there is nothing called {name!r} here; write ./{name}: if it is a child")
        return self.drive.node(self._alias(name))

    def _directory(self, cap: str) -> DirectoryNode:
        node = self.drive.node(cap)
        if not isinstance(node, StoredDirectoryNode):
            raise ConfigError("the capability that is kept for the root is not that of a directory")
        return node


@asynccontextmanager
async def looking_for_roots(virtual_drive: VirtualDrive, report: Report) -> AsyncIterator[None]:
    """Look for the roots of ``virtual_drive`` in the background, while this is open."""
    task = asyncio.create_task(virtual_drive.look_for_roots(report))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _persist(
    step: Callable[[Report], Awaitable[None]], report: Report, sleep: Callable[[float], Awaitable[object]]
) -> None:
    """Try until it works, more and more seldom."""
    wait_s = RETRY_FIRST_S
    while True:
        try:
            return await step(report)
        except HoldfastError as error:
            report(error)
        except OSError as error:
            report(InputError(f"a private file could not be written: {error.strerror}"))
        await sleep(wait_s)
        wait_s = min(2 * wait_s, RETRY_MAX_S)
