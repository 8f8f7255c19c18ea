"""What directories of all kinds do alike, wherever their entries are: looking up, listing, and every
change that stays within one directory.

What takes more than one step (adding files, making directories, moving) is in ``linking``.

Source: docs/spec/seed-map.md, section I; docs/spec/directories.md, section 7.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, Literal

from holdfast.caps.slots import ChildFaultError, NodeCap
from holdfast.drive import linking, traversal
from holdfast.drive.directory_contents import DirectoryContents, listing
from holdfast.drive.known_node import KnownNode
from holdfast.drive.node_making import DirectoryKind, NodeMaker, linkable, slots_of
from holdfast.drive.paths import child_at_path
from holdfast.drive.traversal import TreeWalk, WalkState
from holdfast.formats.directory_entry import DirectoryEntry
from holdfast.formats.directory_metadata import Metadata
from holdfast.formats.directory_names import normalised
from holdfast.formats.directory_table import DirectoryTable
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.settings import EncodingSettings
from holdfast.interfaces.drive import (
    DirectoryNode,
    Expected,
    FileNode,
    LinkResult,
    ListedChild,
    ManifestItem,
    MoveResult,
    NewChild,
    Node,
    NodeT,
    Path,
    Replace,
    UnreadableChildError,
    UnreadableEntry,
)
from holdfast.interfaces.transfer import AsyncUploadable, Uploadable
from holdfast.planning import directory_changes
from holdfast.planning.deep_stats import DeepStats
from holdfast.planning.directory_changes import Link


class StoredDirectoryNode(KnownNode):
    """A directory whose entries are somewhere.

    Attributes:
        contents: its entries.
        own_kind: of directories that are made in this one without saying of which kind.
    """

    kind: Final = "directory"

    def __init__(
        self, cap: NodeCap, contents: DirectoryContents, maker: NodeMaker, own_kind: DirectoryKind
    ) -> None:
        super().__init__(cap)
        self.contents = contents
        self.own_kind = own_kind
        self._maker = maker

    # -- looking

    async def list(
        self, *, on_error: Literal["keep", "raise"] = "keep"
    ) -> Mapping[str, Node | UnreadableEntry]:
        """Return all children by name; see ``DirectoryNode.list``."""
        children = {entry.name: self._child(entry) for entry in await listing(self.contents)}
        if on_error == "raise":
            for name, child in children.items():
                _readable(name, child)
        return children

    async def iter_children(self) -> AsyncIterator[ListedChild]:
        """Yield all children of one version, in the order of their names."""
        for entry in await listing(self.contents):
            yield self._listed(entry)

    async def get(self, name: str) -> Node:
        """Return one child; see ``DirectoryNode.get``."""
        entry = directory_changes.existing_entry(await self.contents.read_entry(name), name)
        return _readable(entry.name, self._child(entry))

    async def get_listed(self, name: str) -> ListedChild:
        """Return one child with its metadata and version."""
        return self._listed(directory_changes.existing_entry(await self.contents.read_entry(name), name))

    async def has_child(self, name: str) -> bool:
        """Tell whether there is an entry of this name, readable or not."""
        return name in await self.contents.read_entry(name)

    async def get_child_at_path(self, path: Path) -> Node:
        """Return what a path leads to; see ``DirectoryNode.get_child_at_path``."""
        return await child_at_path(self, path)

    # -- linking

    async def set_uri(
        self,
        name: str,
        child_uri: str,
        *,
        replace: Replace = False,
        expect: Expected | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Link what a capability stands for; see ``DirectoryNode.set_uri``."""
        self.contents.check_writable()
        await self.make_links([Link(name, linkable(child_uri), metadata, expect)], replace)

    async def set_node(
        self,
        name: str,
        child: NodeT,
        *,
        replace: Replace = False,
        expect: Expected | None = None,
        metadata: Metadata | None = None,
    ) -> NodeT:
        """Link a node, and return it."""
        await self.make_links([Link(name, slots_of(child), metadata, expect)], replace)
        return child

    async def set_children(self, children: Mapping[str, NewChild], *, replace: Replace = False) -> LinkResult:
        """Link several nodes in one change: all of them or none."""
        links = [Link(name, slots_of(child.node), child.metadata) for name, child in children.items()]
        await self.make_links(links, replace)
        return LinkResult(atomic=True)

    async def make_links(self, links: Sequence[Link], replace: Replace) -> None:
        """Make links in one change. Raises as ``directory_changes.set_entries``; what is known, at once."""
        self.contents.check_writable()
        for link in links:
            if link.child.fault is not None:
                raise ChildFaultError(link.child.fault)
        now = self._maker.now()

        def plan(table: DirectoryTable, first_attempt: bool) -> DirectoryTable:
            return directory_changes.set_entries(
                table, links, now, replace=replace, first_attempt=first_attempt
            )

        await self.contents.change([link.name for link in links], plan)

    async def set_metadata(self, name: str, metadata: Metadata) -> None:
        """Give a link other metadata; see ``DirectoryNode.set_metadata``."""
        self.contents.check_writable()
        now = self._maker.now()
        await self.contents.change(
            [name], lambda table, first: directory_changes.set_metadata(table, name, metadata, now)
        )

    async def delete(
        self,
        name: str,
        *,
        must_exist: bool = True,
        must_be_directory: bool = False,
        must_be_file: bool = False,
    ) -> None:
        """Remove a link; see ``DirectoryNode.delete``."""
        self.contents.check_writable()

        def plan(table: DirectoryTable, first_attempt: bool) -> DirectoryTable:
            return directory_changes.delete_entry(
                table,
                name,
                must_exist=must_exist,
                must_be_directory=must_be_directory,
                must_be_file=must_be_file,
                first_attempt=first_attempt,
            )[0]

        await self.contents.change([name], plan)

    # -- what takes several steps

    async def add_file(
        self,
        name: str,
        uploadable: Uploadable | AsyncUploadable,
        *,
        replace: Replace = False,
        expect: Expected | None = None,
        metadata: Metadata | None = None,
        encoding: EncodingSettings | None = None,
        progress: ProgressCallback | None = None,
    ) -> FileNode:
        """Store an immutable file and link it; see ``DirectoryNode.add_file``."""
        await linking.check_place(self, name, replace, expect)
        node = await self._maker.upload(uploadable, encoding=encoding, progress=progress)
        return await self.set_node(name, node, replace=replace, expect=expect, metadata=metadata)

    async def create_empty_directory(
        self, name: str, *, replace: Replace = False, metadata: Metadata | None = None
    ) -> StoredDirectoryNode:
        """Make a directory of the same kind as this one, and link it."""
        return await self.create_subdirectory(name, replace=replace, metadata=metadata)

    async def create_subdirectory(
        self,
        name: str,
        children: Mapping[str, NewChild] | None = None,
        *,
        kind: DirectoryKind | None = None,
        replace: Replace = False,
        metadata: Metadata | None = None,
    ) -> StoredDirectoryNode:
        """Make a directory of any kind with these children, and link it.

        If linking fails, it remains where it was made, without a link.

        Args:
            kind: that of this directory, if it is not given.

        Raises: as ``set_node`` and ``Drive.create_directory``.
        """
        await linking.check_place(self, name, replace, None)
        directory = await self._maker.create_directory(kind or self.own_kind, children or {})
        return await self.set_node(name, directory, replace=replace, metadata=metadata)

    async def create_unlinked(self, children: Mapping[str, NewChild] | None = None) -> StoredDirectoryNode:
        """Make a directory of the same kind as this one, and in the same place, that is linked nowhere.

        Raises: as ``Drive.create_directory``.
        """
        return await self._maker.create_directory(self.own_kind, children or {})

    async def move_child_to(
        self,
        name: str,
        new_parent: DirectoryNode,
        new_name: str | None = None,
        *,
        replace: Replace = False,
    ) -> MoveResult:
        """Move a child; within one directory that is one change. See ``DirectoryNode.move_child_to``."""
        new_name = name if new_name is None else new_name
        if new_parent == self:
            await self._rename(name, new_name, replace)
            return MoveResult(atomic=True)
        await linking.move(self, name, new_parent, new_name, replace)
        return MoveResult(atomic=False)

    async def _rename(self, name: str, new_name: str, replace: Replace) -> None:
        self.contents.check_writable()
        if normalised(name) == normalised(new_name):
            return
        now = self._maker.now()

        def plan(table: DirectoryTable, first_attempt: bool) -> DirectoryTable:
            return directory_changes.rename_entry(
                table, name, new_name, now, replace=replace, first_attempt=first_attempt
            )

        await self.contents.change([name, new_name], plan)

    # -- everything below

    async def build_manifest(self) -> frozenset[str]:
        """Return the refresh capabilities of everything reachable; see ``DirectoryNode.build_manifest``."""
        return await traversal.refresh_capabilities(self.slots, self._maker)

    def iter_manifest(self) -> AsyncIterator[ManifestItem]:
        """Yield everything reachable; see ``DirectoryNode.iter_manifest``."""
        return traversal.iter_manifest(self.slots, self._maker)

    async def deep_stats(self, progress: Callable[[DeepStats], None] | None = None) -> DeepStats:
        """Return counts and sizes of everything reachable; see ``traversal.deep_stats``."""
        return await traversal.deep_stats(self.slots, self._maker, progress)

    def walk(self, state: WalkState | None = None) -> TreeWalk:
        """Return a walk through everything reachable, from the beginning or from where one was saved."""
        return TreeWalk(self.slots, self._maker, state)

    def _child(self, entry: DirectoryEntry) -> Node | UnreadableEntry:
        if entry.reason is not None:
            return UnreadableEntry(entry.name, entry.reason)
        return self._maker.child(entry.name, entry.child)

    def _listed(self, entry: DirectoryEntry) -> ListedChild:
        return ListedChild(entry.name, self._child(entry), entry.metadata, entry.version)


def _readable(name: str, child: Node | UnreadableEntry) -> Node:
    if isinstance(child, UnreadableEntry):
        raise UnreadableChildError(name, child.reason)
    return child
