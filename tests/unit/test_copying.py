"""How the files of a copy get to their places: on the grid all or nothing, on a disk never elsewhere."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.cli.copy_sources import FoundSource, GridFile, LeftOut, LocalFile, SourceFile, add_source
from holdfast.cli.copy_to_disk import DiskTree
from holdfast.cli.copy_to_grid import GridTree, stored_copy
from holdfast.cli.copy_work import (
    AT_ONCE,
    LARGE,
    LARGE_AT_ONCE,
    MEDIUM_AT_ONCE,
    SMALL,
    CopyProgress,
    in_parallel,
)
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.file_nodes import ImmutableFileNode, MutableFileNode
from holdfast.drive.nodes import Drive
from holdfast.errors import InputError, NoSharesError
from holdfast.formats.directory_names import normalised
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.sources import DataSource
from holdfast.grid.uninterrupted import uninterrupted
from holdfast.interfaces.drive import DirectoryNode, NewChild, Node
from holdfast.planning.copy_plan import CopyRefusedError, CopySource, CopyTree
from holdfast.testing.memory_grid import MemoryGrid, memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles

NOW = 1_700_000_000.0
LONG = b"x" * 200  # too long for a literal file


class World:
    """A drive in memory."""

    def __init__(self, grid: MemoryGrid) -> None:
        self.grid = grid
        self.mutable = MemoryMutableFiles()
        self.now = NOW
        self.drive = Drive(grid.grid, self.mutable, clock=lambda: self.now)

    async def file(self, data: bytes) -> ImmutableFileNode:
        return await self.drive.upload(DataSource(data))

    async def directory(self, **children: Node) -> GridDirectoryNode:
        return await self.drive.create_directory(
            "sdmf", {name: NewChild(child, {}) for name, child in children.items()}
        )

    def read_only(self, directory: GridDirectoryNode) -> GridDirectoryNode:
        node = self.drive.node(directory.get_immutable_uri())
        assert isinstance(node, GridDirectoryNode)
        return node

    async def show(self, directory: DirectoryNode) -> dict[str, object]:
        """Return a tree as nested dictionaries."""
        shown: dict[str, object] = {}
        for name, child in (await directory.list()).items():
            if isinstance(child, GridDirectoryNode):
                shown[name] = await self.show(child)
            else:
                assert isinstance(child, ImmutableFileNode | MutableFileNode)
                shown[name] = await child.download_to_data()
        return shown


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with memory_grid() as grid:
        yield World(grid)


def write(root: Path, **files: bytes) -> None:
    for name, data in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def show(root: Path) -> dict[str, object]:
    return {
        path.name: show(path) if path.is_dir() and not path.is_symlink() else path.read_bytes()
        for path in sorted(root.iterdir())
    }


async def tree_of(place: str | DirectoryNode, left_out: LeftOut | None = None) -> CopyTree[SourceFile]:
    tree: CopyTree[SourceFile] = CopyTree(normalised)
    source = FoundSource(CopySource("from", None, is_directory=True), place)
    await add_source(source, None, tree, left_out or LeftOut())
    return tree


def no_drawing(stage: str, done: int, total: int) -> None:
    pass


async def to_grid(world: World, root: DirectoryNode | None, place: str | DirectoryNode) -> DirectoryNode:
    copied = GridTree(world.drive, "work:to", root, await tree_of(place))
    await copied.check()
    return await copied.copy(no_drawing)


async def to_disk(root: Path, place: str | DirectoryNode, left_out: LeftOut | None = None) -> None:
    left_out = left_out or LeftOut()
    copied = DiskTree(str(root), await tree_of(place, left_out))
    copied.leave_out_impossible(left_out)
    copied.check()
    await copied.copy(no_drawing)


# -- to the grid


async def test_a_tree_is_stored_with_its_empty_directories(world: World, tmp_path: Path) -> None:
    write(tmp_path, a=b"1", d__b=LONG, d__e__c=b"")
    (tmp_path / "empty").mkdir()
    made = await to_grid(world, None, str(tmp_path))
    assert await world.show(made) == {"a": b"1", "d": {"b": LONG, "e": {"c": b""}}, "empty": {}}
    assert (await made.get_listed("a")).metadata == {"tahoe": {"linkcrtime": NOW, "linkmotime": NOW}}


async def test_what_is_there_stays_and_mutable_files_keep_their_capability(
    world: World, tmp_path: Path
) -> None:
    kept = await world.drive.create_mutable_file(b"old")
    root = await world.directory(
        other=await world.file(b"other"),
        replaced=await world.file(b"old"),
        kept=kept,
        d=await world.directory(inner=await world.file(b"inner")),
    )
    write(tmp_path, replaced=b"new", kept=b"new contents", d__more=b"more")
    assert await to_grid(world, root, str(tmp_path)) == root
    assert await world.show(root) == {
        "other": b"other",
        "replaced": b"new",
        "kept": b"new contents",
        "d": {"inner": b"inner", "more": b"more"},
    }
    assert await root.get("kept") == kept


async def test_a_copy_made_again_changes_no_directory(world: World, tmp_path: Path) -> None:
    write(tmp_path, a=LONG, d__b=LONG)
    root = await to_grid(world, None, str(tmp_path))
    world.mutable.store.calls.clear()
    world.now += 1
    await to_grid(world, root, str(tmp_path))
    assert "write" not in world.mutable.store.calls


async def test_within_the_grid_files_that_never_change_are_linked_and_others_copied(world: World) -> None:
    fixed = await world.file(LONG)
    changing = await world.drive.create_mutable_file(b"y" * 3_000_000)
    source = await world.directory(fixed=fixed, changing=changing)
    made = await to_grid(world, None, source)
    assert await made.get("fixed") == fixed
    copy = await made.get("changing")
    assert isinstance(copy, ImmutableFileNode)
    assert await copy.download_to_data() == b"y" * 3_000_000


async def test_a_mutable_file_gets_the_contents_of_another_file_of_the_grid(world: World) -> None:
    target = await world.drive.create_mutable_file(b"old")
    root = await world.directory(f=target)
    await to_grid(world, root, await world.directory(f=await world.file(LONG)))
    assert await target.download_to_data() == LONG


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"d": b""}, "work:to/d is a directory; a file is to be copied there"),
        ({"f__x": b""}, "work:to/f is no directory; one is to be copied there"),
        ({"read": b""}, "work:to/read is held read-only"),
        ({"closed__x": b""}, "work:to/closed is held read-only"),
        ({"closed__y__x": b""}, "work:to/closed is held read-only"),
    ],
)
async def test_what_does_not_fit_is_found_before_anything_is_stored(
    world: World, tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    read_only = world.drive.node((await world.drive.create_mutable_file(b"")).get_immutable_uri())
    root = await world.directory(
        d=await world.directory(),
        f=await world.file(b""),
        read=read_only,
        closed=world.read_only(await world.directory()),
    )
    write(tmp_path, a=LONG, **files)
    world.grid.forget_calls()
    world.mutable.store.calls.clear()
    with pytest.raises(CopyRefusedError, match=said):
        await to_grid(world, root, str(tmp_path))
    assert world.grid.calls() == []
    assert "write" not in world.mutable.store.calls


async def test_a_read_only_directory_may_hold_what_is_changed_in_place(world: World, tmp_path: Path) -> None:
    deeper = await world.directory()
    read_only = world.read_only(await world.directory(x=deeper))
    write(tmp_path, closed__x__f=b"f")
    with pytest.raises(CopyRefusedError, match="work:to/closed/x is held read-only"):
        await to_grid(world, await world.directory(closed=read_only), str(tmp_path))


async def test_if_a_file_cannot_be_stored_nothing_is_linked(world: World, tmp_path: Path) -> None:
    root = await world.directory()
    write(tmp_path, a=b"1", d__b=LONG)
    tree = await tree_of(str(tmp_path))
    (tmp_path / "d" / "b").unlink()
    copied = GridTree(world.drive, "work:to", root, tree)
    await copied.check()
    world.mutable.store.calls.clear()
    with pytest.RaisesGroup(InputError):
        await copied.copy(no_drawing)
    assert await world.show(root) == {}
    assert "write" not in world.mutable.store.calls


async def test_a_file_of_the_grid_that_cannot_be_read_fails_the_copy(world: World) -> None:
    lost = await world.drive.create_mutable_file(b"lost")
    world.mutable.store.lose(lost.cap)  # type: ignore[arg-type]
    with pytest.raises(NoSharesError):
        await stored_copy(world.drive, GridFile(lost), lambda event: None)


async def test_two_spellings_of_a_name_are_one_name(world: World, tmp_path: Path) -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    (tmp_path / decomposed).write_bytes(b"1")
    kept = await world.drive.create_mutable_file(b"old")
    root = await world.directory(**{composed: kept})
    await to_grid(world, root, str(tmp_path))
    assert await world.show(root) == {composed: b"1"}
    assert await kept.download_to_data() == b"1"
    (tmp_path / composed).write_bytes(b"2")
    with pytest.raises(CopyRefusedError, match="another file of this name"):
        await tree_of(str(tmp_path))


# -- what a local tree is


async def test_links_are_followed_within_the_tree_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, d__f=b"f", g=b"g")
    write(tmp_path, secret=b"secret", outside__s=b"s")
    links = {
        "in_file": "g",
        "in_directory": "d",
        "absolute": str(root / "g"),
        "out_file": "../secret",
        "out_directory": str(tmp_path / "outside"),
        "chain": "out_file",
        "root": "/",
        "nowhere": "none",
        "itself": "itself",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "d" / "up").symlink_to("..")
    os.mkfifo(root / "pipe")
    left_out = LeftOut()
    tree = await tree_of(str(root), left_out)
    assert [path for path, _ in tree.files] == [
        ("absolute",),
        ("g",),
        ("in_file",),
        ("in_directory", "f"),
        ("d", "f"),
    ]
    said = {Path(sentence.split(" is not")[0]).name for sentence in left_out.sentences}
    assert said == {"out_file", "out_directory", "chain", "root", "nowhere", "itself", "up", "pipe"}
    assert left_out.lost == 4


async def test_the_source_itself_may_be_reached_by_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real", f=b"f")
    (tmp_path / "link").symlink_to("real")
    assert [path for path, _ in (await tree_of(str(tmp_path / "link"))).files] == [("f",)]


async def test_a_name_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))).write_bytes(b"")
    write(tmp_path, f=b"f")
    left_out = LeftOut()
    assert [path for path, _ in (await tree_of(str(tmp_path), left_out)).files] == [("f",)]
    assert left_out.lost == 1


async def test_a_deep_tree_is_no_problem(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(300):
        deep /= "d"
    deep.mkdir(parents=True)
    assert len((await tree_of(str(tmp_path))).directories) == 300


async def test_a_directory_of_the_grid_that_holds_itself_is_copied_once(world: World) -> None:
    inner = await world.directory()
    outer = await world.directory(inner=inner, f=await world.file(b"f"))
    await inner.set_node("outer", outer)
    await inner.set_node("read", world.read_only(outer))
    left_out = LeftOut()
    tree = await tree_of(outer, left_out)
    assert tree.directories == [("inner",)]
    assert len(left_out.sentences) == 2
    assert left_out.lost == 0


# -- to a disk


async def test_a_tree_of_the_grid_is_written(world: World, tmp_path: Path) -> None:
    changing = await world.drive.create_mutable_file(b"m" * 5000)
    source = await world.directory(
        a=await world.file(LONG), m=changing, d=await world.directory(e=await world.directory())
    )
    await to_disk(tmp_path / "to" / "there", source)
    assert show(tmp_path / "to" / "there") == {"a": LONG, "m": b"m" * 5000, "d": {"e": {}}}


async def test_a_local_tree_is_copied_too(tmp_path: Path) -> None:
    write(tmp_path / "from", a=b"1", d__b=LONG)
    await to_disk(tmp_path / "to", str(tmp_path / "from"))
    assert show(tmp_path / "to") == {"a": b"1", "d": {"b": LONG}}


async def test_files_are_replaced_and_others_stay(world: World, tmp_path: Path) -> None:
    write(tmp_path, a=b"old", b=b"stays")
    (tmp_path / "a").chmod(0o640)
    await to_disk(tmp_path, await world.directory(a=await world.file(b"new")))
    assert show(tmp_path) == {"a": b"new", "b": b"stays"}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


async def test_no_link_below_the_target_is_followed(world: World, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(b"untouched")
    (tmp_path / "outside" / "f").chmod(0o600)
    to = tmp_path / "to"
    to.mkdir()
    (to / "f").symlink_to("../outside/f")
    await to_disk(to, await world.directory(f=await world.file(b"new")))
    assert show(to) == {"f": b"new"}
    assert not (to / "f").is_symlink()
    (tmp_path / "usual").touch()
    assert (to / "f").stat().st_mode == (tmp_path / "usual").stat().st_mode
    (to / "d").symlink_to("../outside")
    with pytest.raises(CopyRefusedError, match="to/d is a link, which is not followed"):
        await to_disk(to, await world.directory(d=await world.directory(f=await world.file(b"new"))))
    assert show(tmp_path / "outside") == {"f": b"untouched"}


async def test_a_directory_that_becomes_a_link_in_the_middle_is_not_followed(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    copied = DiskTree(
        str(tmp_path / "to"),
        await tree_of(await world.directory(d=await world.directory(f=await world.file(b"new")))),
    )
    copied.check()
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "d").symlink_to("../outside")
    with pytest.RaisesGroup(InputError):
        await copied.copy(no_drawing)
    assert show(tmp_path / "outside") == {}


async def test_conflicts_are_found_before_anything_is_written(world: World, tmp_path: Path) -> None:
    write(tmp_path, f=b"f", d__x=b"x")
    file, directory = await world.file(b"new"), await world.directory()
    with pytest.raises(CopyRefusedError, match="f is a file; a directory is to be"):
        await to_disk(tmp_path, await world.directory(a=file, f=directory))
    with pytest.raises(CopyRefusedError, match="d is a directory; a file is to be"):
        await to_disk(tmp_path, await world.directory(a=file, d=file))
    assert show(tmp_path) == {"f": b"f", "d": {"x": b"x"}}


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../../f", "/etc/f", "a\0b"])
async def test_a_name_that_no_file_can_have_leads_nowhere(world: World, tmp_path: Path, name: str) -> None:
    to = tmp_path / "to"
    to.mkdir()
    evil = await world.directory(**{name: await world.directory(f=await world.file(b"f"))})
    children: dict[str, Node] = {"good": await world.file(b"g"), name: await world.file(b"f"), "d": evil}
    source = await world.directory(**children)
    left_out = LeftOut()
    await to_disk(to, source, left_out)
    assert show(tmp_path) == {"to": {"good": b"g", "d": {}}}
    assert left_out.lost == 2


async def test_a_file_that_fails_leaves_nothing_of_itself(world: World, tmp_path: Path) -> None:
    lost = await world.drive.create_mutable_file(b"lost")
    source = await world.directory(lost=lost)
    (tmp_path / "lost").write_bytes(b"old")
    world.mutable.store.lose(lost.cap)  # type: ignore[arg-type]
    with pytest.RaisesGroup(NoSharesError):
        await to_disk(tmp_path, source)
    assert show(tmp_path) == {"lost": b"old"}


async def test_cancelled_in_the_middle_no_half_written_file_stays(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()
    node = await world.drive.create_mutable_file(b"0" * 1000)

    async def stuck(target: object, **_: object) -> None:
        await target.open(1000)  # type: ignore[attr-defined]
        await target.write(b"half")  # type: ignore[attr-defined]
        waiting.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            target.fail(error)  # type: ignore[attr-defined]
            raise

    source = await world.directory(f=node)
    monkeypatch.setattr(MutableFileNode, "download", lambda self, target, **named: stuck(target, **named))
    task = asyncio.create_task(to_disk(tmp_path, source))
    await waiting.wait()
    assert [path.name.startswith(".holdfast-") for path in tmp_path.iterdir()] == [True]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert show(tmp_path) == {}


async def test_cancelled_while_a_thread_writes_it_is_waited_for() -> None:
    begun, done = threading.Event(), threading.Event()

    def work(*, seconds: float) -> None:
        begun.set()
        time.sleep(seconds)
        done.set()

    task = asyncio.create_task(uninterrupted(work, seconds=0.05))
    await asyncio.to_thread(begun.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


async def test_capabilities_can_be_written_in_place_of_contents(world: World, tmp_path: Path) -> None:
    changing = await world.drive.create_mutable_file(b"m")
    fixed = await world.file(LONG)
    tree = await tree_of(await world.directory(m=changing, f=fixed))
    await DiskTree(str(tmp_path), tree, caps_only=True).copy(no_drawing)
    assert show(tmp_path) == {
        "m": changing.get_immutable_uri().encode(),
        "f": fixed.get_uri().encode(),
    }


# -- how they are worked through


async def test_few_files_are_under_way_at_once_and_fewer_large_ones() -> None:
    running = dict.fromkeys((1, SMALL + 1, LARGE), 0)
    most = running.copy()
    progress = CopyProgress(no_drawing, 0)

    async def work(size: int) -> None:
        async def one(update: ProgressCallback) -> None:
            running[size] += 1
            most[size] = max(most[size], running[size])
            await asyncio.sleep(0.001)
            running[size] -= 1

        await progress.of_file(size, one)

    for size in most:
        await in_parallel([size] * 100, work)
    assert most == {1: AT_ONCE, SMALL + 1: MEDIUM_AT_ONCE, LARGE: LARGE_AT_ONCE}


async def test_progress_ends_with_all_bytes_whatever_was_said_on_the_way(tmp_path: Path) -> None:
    from holdfast.grid.progress import Progress

    drawn: list[tuple[int, int]] = []
    progress = CopyProgress(lambda stage, done, total: drawn.append((done, total)), 300)

    async def work(update: ProgressCallback) -> None:
        update(Progress("hashing", 100, 100))
        update(Progress("uploading", 60, 100))
        update(Progress("uploading", 40, 100))
        update(Progress("uploading", 5000, 100))

    for _ in range(3):
        await progress.of_file(100, work)
    assert drawn[-1] == (300, 300)
    assert all(done <= 300 for done, _ in drawn)
    assert [done for done, _ in drawn] == sorted(done for done, _ in drawn)


def test_a_local_file_knows_its_size() -> None:
    assert LocalFile("/x", 3).size == 3
