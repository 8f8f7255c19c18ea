"""Roots and paths of a virtual drive: how they are found, kept, and made once."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from holdfast.caps import VdriveWriteCap, parse_cap
from holdfast.caps.vdrive import VdrivePlace
from holdfast.drive.nodes import Drive
from holdfast.drive.paths import rooted
from holdfast.drive.roots import GridRootMaker, PrivateRoot, PublicRoot, VdriveRootMaker
from holdfast.drive.virtual_drive import VirtualDrive, looking_for_roots
from holdfast.errors import ConfigError, InputError, ServerError
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.interfaces.drive import DirectoryNode, NewChild, NoSuchChildError, NotADirectoryNodeError
from holdfast.interfaces.drive import Path as NodePath
from holdfast.interfaces.vdrive_errors import NoPublicRootError, ServerMisbehavedError
from holdfast.interfaces.virtual_drive import (
    NoGlobalVirtualDriveError,
    NoPrivateVirtualDriveError,
    PublicRootChanged,
)
from holdfast.testing.memory_grid import memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles

SID = b"s" * 32
PLACE = VdrivePlace(SID, "a" * 16, ("one.example:1",))
ROOT = VdriveWriteCap(PLACE, b"w" * 32)


class KilledError(BaseException):
    """Nothing that is written after this."""


class Service:
    """Offers a public root and takes new directories, if it is there at all."""

    def __init__(self) -> None:
        self.up = True
        self.root: str | None = ROOT.to_text()
        self.made: list[bytes] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        self.after: Callable[[], Awaitable[None]] | None = None
        self.asked = 0

    async def public_root(self) -> str:
        self.asked += 1
        if not self.up:
            raise ServerError("nobody answers")
        if self.root is None:
            raise NoPublicRootError("there is none")
        return self.root

    async def create(
        self, place: VdrivePlace, write_key: bytes | None = None, entries: Sequence[object] = ()
    ) -> VdriveWriteCap:
        if self.before is not None:
            await self.before()
        if not self.up:
            raise ServerError("nobody answers")
        assert write_key is not None
        if write_key not in self.made:
            self.made.append(write_key)
        if self.after is not None:
            await self.after()
        return VdriveWriteCap(place, write_key)


class Client:
    """A client of one service that can be started again and again."""

    def __init__(self, directory: Path) -> None:
        self.service = Service()
        self.directory = directory

    def public(self) -> PublicRoot:
        return PublicRoot(self.directory / "global_root.uri", self.service.public_root, SID)

    def private(self) -> PrivateRoot:
        maker = VdriveRootMaker(self.service, PLACE)  # type: ignore[arg-type]  # it only makes directories
        return PrivateRoot(self.directory / "my_vdrive.uri", maker)

    def mode(self, name: str) -> int:
        return stat.S_IMODE((self.directory / name).stat().st_mode)

    def files(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


@pytest.fixture
async def drive() -> AsyncIterator[Drive]:
    async with memory_grid(4, EncodingSettings(shares_total=4, happiness=1, convergence_secret=b"")) as grid:
        yield Drive(grid.grid, MemoryMutableFiles())


# -- paths


@pytest.mark.seed("S-200", "S-201", "S-203", "X-08")
@pytest.mark.parametrize(
    ("path", "private", "alias", "names"),
    [
        ("", False, None, []),
        ("/", False, None, []),
        ("//", False, None, []),
        ([], False, None, []),
        ("a/b", False, None, ["a", "b"]),
        ("/a/b", False, None, ["a", "b"]),
        ("a//b/", False, None, ["a", "b"]),
        (["a", "b"], False, None, ["a", "b"]),
        (("a", "b"), False, None, ["a", "b"]),
        (["a/b"], False, None, ["a/b"]),
        ("~", True, None, []),
        ("~/", True, None, []),
        ("~/a", True, None, ["a"]),
        ("/~/a", True, None, ["a"]),
        (["~", "a"], True, None, ["a"]),
        (["~"], True, None, []),
        ("~a", False, None, ["~a"]),
        ("a/~", False, None, ["a", "~"]),
        ("./~", False, None, ["~"]),
        ("./~/a", False, None, ["~", "a"]),
        ("./docs:", False, None, ["docs:"]),
        (".", False, None, []),
        ("docs:", False, "docs", []),
        ("docs:/a", False, "docs", ["a"]),
        ("docs:a/b", False, "docs", ["a", "b"]),
        ("/docs:/a", False, None, ["docs:", "a"]),
        (["docs:", "a"], False, None, ["docs:", "a"]),
        ("a/docs:", False, None, ["a", "docs:"]),
    ],
)
def test_paths_begin_where_their_first_element_says(
    path: NodePath, private: bool, alias: str | None, names: list[str]
) -> None:
    assert rooted(path) == (private, alias, names)


@pytest.mark.seed("S-199", "S-200", "S-203", "S-204")
async def test_paths_lead_to_nodes_from_every_beginning(drive: Drive, tmp_path: Path) -> None:
    file = await drive.upload(DataSource(b"one" * 50))
    below = await drive.create_directory("sdmf", {"file": NewChild(file)})
    public = await drive.create_directory("sdmf", {"below": NewChild(below), "~": NewChild(file)})
    mine = await drive.create_directory("sdmf", {"mine": NewChild(file)})
    (tmp_path / "global_root.uri").write_text(public.get_uri())
    (tmp_path / "my_vdrive.uri").write_text(mine.get_uri())
    client = Client(tmp_path)
    virtual_drive = VirtualDrive(
        drive, public=client.public(), private=client.private(), alias={"docs": below.get_uri()}.__getitem__
    )

    for path in ("below/file", "/below/file", ["below", "file"], "docs:file", "docs:/file", "~/mine", "./~"):
        assert await virtual_drive.get_node_at_path(path) == file
    for path in ("", "/", []):
        assert await virtual_drive.get_node_at_path(path) == public
    assert await virtual_drive.get_node_at_path("~") == mine
    assert await virtual_drive.get_node_at_path("file", root=below) == file
    assert await virtual_drive.get_node_at_path("~/mine", root=below) == file
    with pytest.raises(IndexError) as caught:
        await virtual_drive.get_node_at_path("below/none/file")
    assert isinstance(caught.value, NoSuchChildError)
    assert (caught.value.name, caught.value.depth) == ("none", 1)
    assert "URI:" not in str(caught.value)
    with pytest.raises(NotADirectoryNodeError):
        await virtual_drive.get_node_at_path("below/file/x")
    assert client.service.asked == 0


@pytest.mark.seed("S-201", "S-202")
async def test_paths_without_their_beginning_say_which_is_missing(drive: Drive) -> None:
    virtual_drive = VirtualDrive(drive)

    with pytest.raises(NoGlobalVirtualDriveError):
        await virtual_drive.get_node_at_path("a")
    with pytest.raises(NoPrivateVirtualDriveError):
        await virtual_drive.get_node_at_path("~/a")
    with pytest.raises(InputError):
        await virtual_drive.get_node_at_path("docs:a")
    assert not virtual_drive.have_public_root()
    assert not virtual_drive.have_private_root()
    assert not await virtual_drive.wait_public_root(0)


# -- the public root


@pytest.mark.seed("S-195", "S-196")
async def test_the_public_root_is_asked_for_once_and_kept(drive: Drive, client: Client) -> None:
    client.service.up = False
    virtual_drive = VirtualDrive(drive, public=client.public())
    with pytest.raises(NoGlobalVirtualDriveError):
        await virtual_drive.get_public_root()
    assert not virtual_drive.have_public_root()

    client.service.up = True
    assert (await virtual_drive.get_public_root()).get_uri() == ROOT.to_text()
    assert virtual_drive.have_public_root()
    assert await virtual_drive.wait_public_root(0)
    assert client.mode("global_root.uri") == 0o600

    client.service.up = False
    again = VirtualDrive(drive, public=client.public())
    assert again.have_public_root()
    assert await again.get_public_root() == await virtual_drive.get_public_root()


@pytest.mark.seed("S-196")
async def test_a_server_without_public_root_is_no_public_root(drive: Drive, client: Client) -> None:
    client.service.root = None
    with pytest.raises(NoGlobalVirtualDriveError):
        await VirtualDrive(drive, public=client.public()).get_public_root()


async def test_a_public_root_elsewhere_is_not_believed(client: Client) -> None:
    elsewhere = VdriveWriteCap(VdrivePlace(b"x" * 32, "a" * 16), b"w" * 32).to_text()
    for offered in (elsewhere, "URI:LIT:ba", "nonsense"):
        client.service.root = offered
        with pytest.raises(ServerMisbehavedError):
            await client.public().get()
    assert client.files() == set()


async def test_another_public_root_is_reported_and_not_used(client: Client) -> None:
    await client.public().get()
    for other in (ROOT.read_only.to_text(), VdriveWriteCap(PLACE, b"x" * 32).to_text()):
        client.service.root = other
        root = client.public()
        assert await root.compare() == PublicRootChanged(ROOT.to_text(), other)
        assert root.cap == client.public().cap == ROOT.to_text()


async def test_new_locations_of_the_public_root_are_taken_over(client: Client) -> None:
    await client.public().get()
    moved = VdriveWriteCap(VdrivePlace(SID, "a" * 16, ("two.example:2",)), b"w" * 32).to_text()
    client.service.root = moved

    assert await client.public().compare() is None
    assert client.public().cap == moved


# -- the private root


@pytest.mark.seed("S-197", "S-198")
async def test_the_private_root_is_made_once_and_kept(drive: Drive, client: Client) -> None:
    virtual_drive = VirtualDrive(drive, private=client.private())
    assert not virtual_drive.have_private_root()

    roots = await asyncio.gather(*(virtual_drive.get_private_root() for _ in range(3)))
    assert virtual_drive.have_private_root()
    assert not virtual_drive.have_public_root()
    assert {root.get_uri() for root in roots} == {client.private().cap}
    assert len(client.service.made) == 1
    assert client.mode("my_vdrive.uri") == 0o600
    assert client.files() == {"my_vdrive.uri"}

    client.service.up = False
    assert await VirtualDrive(drive, private=client.private()).get_private_root() == roots[0]


@pytest.mark.seed("S-198")
@pytest.mark.parametrize("step", ["before", "after"])
async def test_a_creation_that_was_killed_is_completed_and_no_second_root_made(
    client: Client, step: str
) -> None:
    async def killed() -> None:
        raise KilledError

    setattr(client.service, step, killed)
    with pytest.raises(KilledError):
        await client.private().get()
    assert client.files() == {"my_vdrive.uri.pending"}
    assert client.mode("my_vdrive.uri.pending") == 0o600
    begun = (client.directory / "my_vdrive.uri.pending").read_text().strip()

    setattr(client.service, step, None)
    assert await client.private().get() == begun
    cap = parse_cap(begun)
    assert isinstance(cap, VdriveWriteCap)
    assert client.service.made == [cap.write_key]
    assert client.files() == {"my_vdrive.uri"}


@pytest.mark.seed("S-198")
@pytest.mark.parametrize("last", range(4))
async def test_a_creation_killed_while_files_are_written_is_completed(
    client: Client, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    """The process ends before or after it writes the first or the second file."""
    from holdfast.drive import roots

    steps = 0
    write = roots.replace_file

    def killed_at(path: Path, data: bytes) -> None:
        nonlocal steps
        for act in (lambda: None, lambda: write(path, data)):
            act()
            if steps == last:
                steps += 1
                raise KilledError
            steps += 1

    monkeypatch.setattr(roots, "replace_file", killed_at)
    with pytest.raises(KilledError):
        await client.private().get()
    monkeypatch.setattr(roots, "replace_file", write)

    cap = await client.private().get()
    assert len(client.service.made) == 1
    made = parse_cap(cap)
    assert isinstance(made, VdriveWriteCap)
    assert client.service.made == [made.write_key]
    assert client.files() == {"my_vdrive.uri"}
    assert client.private().cap == cap


async def test_a_cancelled_creation_is_completed_by_the_next(client: Client) -> None:
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    root = client.private()
    client.service.after = hang
    task = asyncio.create_task(root.get())
    await reached.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    client.service.after = None
    await root.get()
    assert len(client.service.made) == 1


async def test_files_that_hold_no_capability_are_errors_that_do_not_show_them(client: Client) -> None:
    for name, begin in (("my_vdrive.uri", client.private), ("global_root.uri", client.public)):
        (client.directory / name).write_text("URI:DIR:secret")
        with pytest.raises(ConfigError) as caught:
            begin()
        assert "secret" not in str(caught.value)
        (client.directory / name).unlink()
    (client.directory / "my_vdrive.uri.pending").write_text("URI:LIT:ba")
    with pytest.raises(ConfigError):
        await client.private().get()
    assert client.service.made == []


@pytest.mark.seed("S-198")
async def test_a_private_root_can_be_in_the_grid(drive: Drive, tmp_path: Path) -> None:
    async def create() -> str:
        return (await drive.create_directory("sdmf")).get_uri()

    private = PrivateRoot(tmp_path / "my_vdrive.uri", GridRootMaker(create))
    virtual_drive = VirtualDrive(drive, private=private)
    root: DirectoryNode = await virtual_drive.get_private_root()
    await root.create_empty_directory("sub")
    assert (await virtual_drive.get_node_at_path("~/sub")).kind == "directory"
    again = PrivateRoot(tmp_path / "my_vdrive.uri", GridRootMaker(create))
    assert await VirtualDrive(drive, private=again).get_private_root() == root


# -- in the background


@pytest.mark.seed("S-195", "S-198", "X-10")
async def test_roots_are_found_and_made_when_the_server_comes_up(
    drive: Drive, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.drive.virtual_drive.RETRY_FIRST_S", 0.01)
    client.service.up = False
    reported: list[object] = []
    virtual_drive = VirtualDrive(drive, public=client.public(), private=client.private())

    async with looking_for_roots(virtual_drive, reported.append):
        assert not await virtual_drive.wait_public_root(0.05)
        assert len(reported) >= 2
        assert all(isinstance(problem, ServerError) for problem in reported)
        client.service.up = True
        assert await virtual_drive.wait_public_root(5)
        while not virtual_drive.have_private_root():
            await asyncio.sleep(0.01)
    assert len(client.service.made) == 1


async def test_a_changed_public_root_is_found_in_the_background(drive: Drive, client: Client) -> None:
    await client.public().get()
    client.service.root = ROOT.read_only.to_text()
    virtual_drive = VirtualDrive(drive, public=client.public())
    reported: list[object] = []

    await virtual_drive.look_for_roots(reported.append)
    changed = virtual_drive.public_root_changed
    assert reported == [changed]
    assert changed is not None
    assert changed.offered == ROOT.read_only.to_text()
    assert "URI" not in repr(changed)
    assert (await virtual_drive.get_public_root()).get_uri() == ROOT.to_text()


@pytest.mark.seed("S-205")
async def test_a_node_of_any_capability_is_made_without_asking(drive: Drive) -> None:
    virtual_drive = VirtualDrive(drive)
    file = await drive.upload(DataSource(b"one" * 50))
    directory = await drive.create_directory("mdmf")

    for uri in (
        file.get_uri(),
        directory.get_uri(),
        directory.get_immutable_uri(),
        ROOT.to_text(),
        ROOT.read_only.to_text(),
        "URI:LIT:ba",
        "ro.x-future:one day",
    ):
        assert (await virtual_drive.get_node(uri)).get_uri() == uri
    with pytest.raises(ValueError, match="malformed"):
        await virtual_drive.get_node("URI:CHK:cut")
