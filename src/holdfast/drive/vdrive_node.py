"""Directories at a virtual drive server, and what they do otherwise than those of the grid: each is asked
for no more than is needed, several changes at one server are one change, and they can be watched.

Source: docs/spec/vdrive.md, sections 8.7 and 9; docs/spec/seed-map.md, section I.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

from holdfast.crypto.vdrive_keys import log_name
from holdfast.drive import linking, vdrive_linking
from holdfast.drive.node_making import DirectoryKind, NodeMaker, slots_of
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.drive.vdrive_changes import bound_of, is_uniform
from holdfast.drive.vdrive_contents import VdriveContents
from holdfast.drive.vdrive_watching import NamesChanged, watch
from holdfast.formats.directory_entry import DirectoryEntry
from holdfast.formats.directory_metadata import Metadata
from holdfast.formats.vdrive.names import child_name
from holdfast.interfaces.drive import (
    ChildOfWrongTypeError,
    DirectoryNode,
    LinkResult,
    ListedChild,
    MoveResult,
    NewChild,
    Node,
    Replace,
    UnreadableEntry,
)
from holdfast.interfaces.vdrive import OPERATIONS_MAX
from holdfast.planning.directory_changes import Link


class VdriveDirectoryNode(StoredDirectoryNode):
    """A directory at a virtual drive server, held with the right to write or only to read."""

    contents: VdriveContents

    def __init__(self, contents: VdriveContents, maker: NodeMaker) -> None:
        super().__init__(contents.cap, contents, maker, "vdrive")

    # -- looking

    async def iter_unordered(self) -> AsyncIterator[ListedChild]:
        """Yield all children of one version in an order that means nothing. However many there are, only some
        thousands are in memory at a time, and the first come before the last were asked for."""
        async for page in self.contents.pages():
            for entry in page:
                yield self._listed(entry)

    def iter_names(self) -> AsyncIterator[str]:
        """Yield the names of all children of one version, like ``iter_unordered``; a third of the traffic."""
        return self.contents.names()

    async def wait(self, after_version: int, timeout_s: float) -> int | None:
        """Return the version of the directory once it is above ``after_version``; None if it does not become
        so in ``timeout_s`` seconds."""
        return await self.contents.directory.wait(after_version, timeout_s)

    def watch(self) -> AsyncGenerator[NamesChanged, None]:
        """Yield the names that are set or deleted from now on, soon after it happens; without end. To leave
        off, close it (``aclosing``)."""
        return watch(self.contents.directory)

    # -- linking

    async def set_children(self, children: Mapping[str, NewChild], *, replace: Replace = False) -> LinkResult:
        """Link several nodes, up to 1000 in one change if they do not come with very much metadata; see
        ``DirectoryNode.set_children``."""
        links = [
            Link(child_name(name), slots_of(child.node), child.metadata) for name, child in children.items()
        ]
        self.contents.check_writable()

        async def make(some: Sequence[Link]) -> None:
            await self.make_links(some, replace)

        return LinkResult(atomic=await vdrive_linking.in_parts(links, make) <= 1)

    # -- what concerns several directories

    async def create_subdirectory(
        self,
        name: str,
        children: Mapping[str, NewChild] | None = None,
        *,
        kind: DirectoryKind | None = None,
        replace: Replace = False,
        metadata: Metadata | None = None,
        uniform: bool | None = None,
    ) -> StoredDirectoryNode:
        """Make a directory with these children, and link it. At a virtual drive server both is one change;
        if there are more than 1000 children, it is linked when all of them are in it.

        Args:
            kind: that of this directory, if it is not given.
            uniform: let nobody see without keys which children of the new directory can be written; whoever
                comes to it through this link keeps to that. None: as in this directory.

        Raises: as ``set_node`` and ``Drive.create_directory``.
        """
        if kind not in (None, "vdrive"):
            return await super().create_subdirectory(
                name, children, kind=kind, replace=replace, metadata=metadata
            )
        self.contents.check_writable()
        children = children or {}
        uniform = self.contents.uniform if uniform is None else uniform
        if len(children) > OPERATIONS_MAX:
            await linking.check_place(self, name, replace, None)
        now = self._maker.now()
        cap = await vdrive_linking.create_below(
            self.contents, name, children, now=now, replace=replace, metadata=metadata, uniform=uniform
        )
        node = self._maker.directory(cap)
        assert isinstance(node, VdriveDirectoryNode)
        node.contents.uniform = uniform
        return node

    async def create_unlinked(self, children: Mapping[str, NewChild] | None = None) -> StoredDirectoryNode:
        """Make a directory at the same server that is linked nowhere."""
        contents = self.contents
        cap = await vdrive_linking.new_directory(contents.client, contents.cap.place, children or {})
        return self._maker.directory(cap)

    async def move_child_to(
        self,
        name: str,
        new_parent: DirectoryNode,
        new_name: str | None = None,
        *,
        replace: Replace = False,
    ) -> MoveResult:
        """Move a child; at one server that is one change. See ``DirectoryNode.move_child_to``."""
        if not isinstance(new_parent, VdriveDirectoryNode) or not self._shares_changes_with(new_parent):
            return await super().move_child_to(name, new_parent, new_name, replace=replace)
        self.contents.check_writable()
        new_parent.contents.check_writable()
        new_name = name if new_name is None else new_name
        if new_parent.contents.cap.index == self.contents.cap.index:
            await self._rename(name, new_name, replace)
        else:
            now = self._maker.now()
            await vdrive_linking.move(
                self.contents, name, new_parent.contents, new_name, now=now, replace=replace
            )
        return MoveResult(atomic=True)

    async def pin(self, name: str) -> None:
        """Note with a link to a directory at a virtual drive server which version of that is seen now.

        Whoever comes there through the link believes in nothing older from then on (7.5).

        Raises:
            NoSuchChildError, UnreadableChildError: there is no such child.
            ChildOfWrongTypeError: it is something else.
            NotMutableError: this node only reads.
        """
        self.contents.check_writable()
        child = await self.get(name)
        if not isinstance(child, VdriveDirectoryNode):
            raise ChildOfWrongTypeError(name)
        await vdrive_linking.pin(self.contents, name, child.contents)

    def _child(self, entry: DirectoryEntry) -> Node | UnreadableEntry:
        node = super()._child(entry)
        if isinstance(node, VdriveDirectoryNode):
            node.contents.uniform |= is_uniform(entry)
            bound = bound_of(entry)
            if bound is not None:
                node.contents.expect(bound)
        return node

    def _shares_changes_with(self, other: VdriveDirectoryNode) -> bool:
        """Tell whether one change can concern both directories."""
        here, there = self.contents, other.contents
        return here.cap.place.sid == there.cap.place.sid and here.client is there.client

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.cap.kind} {log_name(self.contents.cap.index)}>"
