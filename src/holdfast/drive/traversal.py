"""Walks everything below a directory: lists directories ahead of their turn, a few at a time, and gives
out what is met in the order of ``planning.traversal``.

Source: docs/spec/directories.md, section 9; docs/spec/seed-map.md, S-115.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from holdfast.caps.slots import ChildSlots, ListableCap
from holdfast.drive.directory_contents import listing
from holdfast.drive.known_node import KnownNode
from holdfast.drive.node_making import NodeMaker
from holdfast.drive.vdrive_changes import bound_of
from holdfast.errors import HoldfastError
from holdfast.formats.directory_table import DirectoryTable
from holdfast.grid.vdrive.guard import VersionBound
from holdfast.interfaces.drive import ManifestItem, Node, UnreadableChildError, UnreadableEntry
from holdfast.planning.deep_stats import DeepStats
from holdfast.planning.traversal import Place, Traversal, TraversalState

LISTING_MAX = 8  # directories being listed at once
LISTED_MAX = 4 * LISTING_MAX  # directories listed ahead of their turn
LISTED_SIZE_MAX = 16 << 20  # bytes of them, beyond which no more are begun


@dataclass(frozen=True, slots=True)
class Visited:
    """An object was met.

    Attributes:
        place: where.
        node: what is there.
    """

    place: Place
    node: Node | UnreadableEntry


@dataclass(frozen=True, slots=True)
class Listed:
    """The directory that was visited last has been listed, or could not be.

    Attributes:
        table: its entries; None if it could not be listed.
        error: why not. The walk goes on as if the directory were empty.
    """

    place: Place
    node: Node | UnreadableEntry
    table: DirectoryTable | None
    error: HoldfastError | None


@dataclass(frozen=True, slots=True)
class WalkState:
    """Where a walk was saved, in plain values. It holds capabilities."""

    traversal: TraversalState = field(repr=False)
    stats: Mapping[str, object]  # as ``DeepStats.to_document`` gives it


class TreeWalk:
    """One walk, made once.

    Each directory gives ``Visited``, then ``Listed`` before anything else. Whoever must stop at a directory
    that cannot be listed raises what ``Listed`` says.

    Attributes:
        stats: of what was given out so far.
    """

    def __init__(self, root: ChildSlots, maker: NodeMaker, state: WalkState | None = None) -> None:
        """``state``: where an earlier walk of this root was saved."""
        self._maker = maker
        self._listings: dict[tuple[str, ...], asyncio.Task[DirectoryTable]] = {}
        self._bounds: dict[tuple[str, ...], VersionBound] = {}  # of directories not listed yet
        self._room_ahead = True  # something has changed since there was nothing more to begin
        if state is None:
            self._traversal, self.stats = Traversal(root), DeepStats()
        else:
            self._traversal = Traversal.restored(state.traversal)
            self.stats = DeepStats.from_document(state.stats)

    def save(self) -> WalkState:
        """Return where the walk is; what was given out so far will not be met again."""
        return WalkState(self._traversal.save(), self.stats.to_document())

    async def events(self) -> AsyncGenerator[Visited | Listed, None]:
        """Yield what is met. To leave off early, close it (``aclosing``), so that no request outlives it."""
        try:
            while not self._traversal.finished:
                self._list_ahead()
                if self._traversal.awaited is not None:
                    yield await self._listed(self._traversal.awaited)
                else:
                    (place,) = self._traversal.next_visits()
                    self.stats.visited(place.child)
                    yield Visited(place, self._node(place))
        finally:
            await self._stop()

    def _list_ahead(self) -> None:
        """Begin to list directories whose turn comes soon, as far as the bounds allow."""
        if not self._room_ahead:
            return
        self._room_ahead = False
        running = [task for task in self._listings.values() if not task.done()]
        free = min(LISTING_MAX - len(running), LISTED_MAX - len(self._listings))
        if free <= 0 or self._size_held() > LISTED_SIZE_MAX:
            return
        for place in self._traversal.upcoming(LISTING_MAX):
            if free > 0 and place.path not in self._listings:
                self._begin(place)
                free -= 1

    async def _listed(self, place: Place) -> Listed:
        if place.path not in self._listings:
            self._begin(place)
        node = self._node(place)
        try:
            table = await self._listings[place.path]
        except HoldfastError as error:
            self._traversal.listed(())
            return Listed(place, node, None, error)
        finally:
            del self._listings[place.path]
            self._room_ahead = True
        children = [(entry.name, entry.child) for entry in table]
        self._traversal.listed(children)
        for entry in table:
            bound = bound_of(entry)
            if bound is not None:
                self._bounds[*place.path, entry.name] = bound
        self.stats.entered(table.size, sum(child.fault is None for _, child in children))
        return Listed(place, node, table, None)

    def _begin(self, place: Place) -> None:
        assert isinstance(place.child.cap, ListableCap)
        contents = self._maker.contents(place.child.cap, self._bounds.pop(place.path, None))
        task = self._listings[place.path] = asyncio.create_task(listing(contents))
        task.add_done_callback(self._note_room)

    def _note_room(self, _: object) -> None:
        self._room_ahead = True

    def _size_held(self) -> int:
        return sum(
            task.result().size
            for task in self._listings.values()
            if task.done() and not task.cancelled() and task.exception() is None
        )

    def _node(self, place: Place) -> Node | UnreadableEntry:
        return self._maker.child(place.path[-1] if place.path else "", place.child)

    async def _stop(self) -> None:
        """End what was begun for nothing."""
        tasks = list(self._listings.values())
        self._listings.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def iter_manifest(root: ChildSlots, maker: NodeMaker) -> AsyncGenerator[ManifestItem, None]:
    """Yield everything reachable; what cannot be read, a directory too, as ``UnreadableEntry``."""
    async with aclosing(TreeWalk(root, maker).events()) as events:
        async for event in events:
            if isinstance(event, Listed):
                reason = None if event.error is None else str(event.error)
                yield _item(event.place, event.node, reason)
            elif not event.place.is_directory:
                yield _item(event.place, event.node, None)


async def refresh_capabilities(root: ChildSlots, maker: NodeMaker) -> frozenset[str]:
    """Return the refresh capabilities of everything reachable from ``root``.

    Raises:
        UnreadableChildError: something cannot be read.
    """
    found = set()
    async with aclosing(iter_manifest(root, maker)) as items:
        async for item in items:
            if isinstance(item.node, UnreadableEntry):
                raise UnreadableChildError("/".join(item.path), item.node.reason)
            if item.refresh_capability is not None:
                found.add(item.refresh_capability)
    return frozenset(found)


async def deep_stats(
    root: ChildSlots, maker: NodeMaker, progress: Callable[[DeepStats], None] | None = None
) -> DeepStats:
    """Return counts and sizes of everything reachable from ``root``.

    Args:
        progress: told after each directory what was found so far.

    Raises:
        HoldfastError: why some directory cannot be listed.
    """
    walk = TreeWalk(root, maker)
    async with aclosing(walk.events()) as events:
        async for event in events:
            if isinstance(event, Listed):
                if event.error is not None:
                    raise event.error
                if progress is not None:
                    progress(walk.stats)
    return walk.stats


def _item(place: Place, node: Node | UnreadableEntry, unreadable: str | None) -> ManifestItem:
    refresh = node.get_refresh_capability() if isinstance(node, KnownNode) else None
    if unreadable is not None:
        node = UnreadableEntry(place.path[-1] if place.path else "", unreadable)
    return ManifestItem(place.path, node, place.verify_cap, refresh)
