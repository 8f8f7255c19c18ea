"""A real server over TLS that lies with what writers signed (V-07, V-08): every lie is noticed by whoever can
know, said in words that give nothing away, and kept; nothing is the worse for it once the server is honest.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from holdfast.crypto.vdrive_keys import log_name, slot_of
from holdfast.drive.nodes import Drive
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.errors import IntegrityError
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.memory import EVIDENCE_DIRECTORY, VdriveMemory
from holdfast.grid.vdrive.servers import VdriveServers
from holdfast.interfaces.vdrive_errors import ForkDetectedError, RollbackDetectedError, ServerMisbehavedError
from holdfast.servers.vdrive.engine import VdriveEngine
from holdfast.testing.lying_vdrive import LyingVdrive, TwoStories
from holdfast.testing.memory_grid import memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles
from holdfast.testing.vdrive_clients import client_of
from holdfast.testing.vdrive_directories import link, vdrive_node, write_cap
from holdfast.testing.vdrive_server import ServedVdrive

NAMES = [f"private name {number}" for number in range(20)]
FIRST = NAMES[0]


class Place:
    """A server, and clients with memories of their own.

    Attributes:
        liar: what answers for the server, once it is started.
    """

    def __init__(self, directory: Path, stack: AsyncExitStack, grid: object) -> None:
        self.directory = directory
        self.liar: LyingVdrive
        self.served = ServedVdrive(directory / "server", accounts="open", disguise=self._disguised)
        self._stack = stack
        self._grid = grid

    def _disguised(self, engine: object) -> LyingVdrive:
        self.liar = LyingVdrive(engine)  # type: ignore[arg-type]
        return self.liar

    def client(self, name: str, *, auto_heal: bool = False) -> VdriveClient:
        private = self.directory / name
        private.mkdir(exist_ok=True)
        servers, memory = VdriveServers(), VdriveMemory(private / "memory.sqlite")
        client = client_of(servers, memory, auto_heal=auto_heal)
        self._stack.push_async_callback(client.close)
        self._stack.callback(servers.close)
        self._stack.callback(memory.close)
        return client

    def drive(self, client: VdriveClient) -> Drive:
        return Drive(self._grid, MemoryMutableFiles(), client, vdrive_place=self.served.place)  # type: ignore[arg-type]

    def evidence(self, name: str) -> set[str]:
        """Return what kinds of evidence a client has kept."""
        kept = (self.directory / name / EVIDENCE_DIRECTORY).glob("*")
        return {path.name.split("-")[1] for path in kept}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with memory_grid(1) as grid, AsyncExitStack() as stack:
        (tmp_path / "server").mkdir()
        place = Place(tmp_path, stack, grid.grid)
        await stack.enter_async_context(place.served)
        yield place


@pytest.fixture
async def node(place: Place) -> VdriveDirectoryNode:
    """A directory with children, held by a writer who remembers it."""
    drive = place.drive(place.client("writer"))
    children = {name: link(drive) for name in NAMES}
    return vdrive_node(await drive.create_directory("vdrive", children))


Look = Callable[[VdriveDirectoryNode], Awaitable[object]]


async def listed(node: VdriveDirectoryNode) -> object:
    return [child async for child in node.iter_unordered()]


async def named(node: VdriveDirectoryNode) -> object:
    return [name async for name in node.iter_names()]


async def looked_up(node: VdriveDirectoryNode) -> object:
    return await node.get(FIRST)


async def looked_for(node: VdriveDirectoryNode) -> object:
    return await node.has_child("nowhere")


async def written(node: VdriveDirectoryNode) -> None:
    await node.set_uri(FIRST, "URI:LIT:ba", replace=True)


async def measured(node: VdriveDirectoryNode) -> object:
    return await node.contents.directory.head()


async def followed(node: VdriveDirectoryNode) -> object:
    return [page async for page in node.contents.directory.changes(0)]


async def is_noticed(
    look: Look, node: VdriveDirectoryNode, error: type[IntegrityError] = ServerMisbehavedError
) -> IntegrityError:
    """See that a lie is an error which names the directory as logs do, and tells no secret."""
    with pytest.raises(error) as raised:
        await look(node)
    text = str(raised.value)
    cap = write_cap(node)
    assert log_name(cap.index) in text
    assert len(text.split()) >= 8, "it is said in words"
    for secret in (*NAMES, cap.to_text(), cap.read_only.to_text(), cap.index.hex()):
        assert secret not in text
    return raised.value


# -- answers that are true of something else


async def test_answers_about_another_directory(place: Place, node: VdriveDirectoryNode) -> None:
    other = vdrive_node(await place.drive(place.client("other")).create_directory("vdrive"))
    for name in ("writer", "newcomer"):
        one = vdrive_node(place.drive(place.client(name)).node(node.get_uri()))
        for look in (listed, named, looked_up, looked_for, measured, followed, written):
            place.liar.answer_with(write_cap(other).index)
            await is_noticed(look, one)
            place.liar.honest()
            await look(one)
        assert "answer" in place.evidence(name)


@pytest.mark.parametrize("between", ["slots", "directories"])
async def test_entries_with_the_contents_of_others(
    place: Place, node: VdriveDirectoryNode, between: str
) -> None:
    drive = place.drive(place.client("other"))
    other = vdrive_node(await drive.create_directory("vdrive", {name: link(drive) for name in NAMES}))
    newcomer = vdrive_node(place.drive(place.client("newcomer")).node(node.get_uri()))
    for look in (written, listed, looked_up):  # who has looked already writes without another look
        place.liar.exchange_entries(write_cap(other).index if between == "directories" else None)
        await is_noticed(look, newcomer)
        place.liar.honest()
        await look(newcomer)
    assert place.evidence("newcomer") == {"answer"}


async def test_a_hidden_entry(place: Place, node: VdriveDirectoryNode) -> None:
    newcomer = vdrive_node(place.drive(place.client("newcomer")).node(node.get_uri()))
    slot = slot_of(write_cap(node).keys.read.name_key, FIRST)
    for look in (written, listed, named, looked_up, followed):
        place.liar.hide(slot)
        await is_noticed(look, newcomer)
        place.liar.honest()
        await look(newcomer)


# -- answers that were true once


async def test_an_old_state_shown_again(place: Place, node: VdriveDirectoryNode) -> None:
    cap = write_cap(node)
    await place.liar.repeat(cap.index, [slot_of(cap.keys.read.name_key, name) for name in NAMES])
    newcomer = vdrive_node(place.drive(place.client("newcomer")).node(node.get_uri()))
    await listed(newcomer)  # who knows nothing cannot notice
    await node.set_uri("new", "URI:LIT:ba")
    again = vdrive_node(place.drive(place.client("writer")).node(node.get_uri()))
    for look in (listed, named, looked_up, measured, written):
        error = await is_noticed(look, again, RollbackDetectedError)
        assert isinstance(error, RollbackDetectedError)
        assert (error.found, error.remembered) == (1, 2)
    assert "rollback" in place.evidence("writer")
    place.liar.honest()
    await written(again)


async def test_an_acknowledged_change_that_was_never_made(place: Place, node: VdriveDirectoryNode) -> None:
    place.liar.drop_commits()
    await node.set_uri("new", "URI:LIT:ba")
    for look in (listed, looked_up, measured):
        await is_noticed(look, node, RollbackDetectedError)
    place.liar.honest()
    unattended = vdrive_node(place.drive(place.client("writer", auto_heal=True)).node(node.get_uri()))
    assert await unattended.has_child("new"), "what was sent is sent again"


async def test_a_server_that_goes_on_dropping_what_it_is_given(
    place: Place, node: VdriveDirectoryNode
) -> None:
    place.liar.drop_commits()
    unattended = vdrive_node(place.drive(place.client("writer", auto_heal=True)).node(node.get_uri()))
    await unattended.set_uri("new", "URI:LIT:ba")
    with pytest.raises(IntegrityError):
        await unattended.has_child("new")
    place.liar.honest()
    assert await unattended.has_child("new")


async def test_a_history_told_in_another_order(place: Place, node: VdriveDirectoryNode) -> None:
    reader = vdrive_node(place.drive(place.client("reader")).node(node.get_uri()))
    await listed(reader)
    for number in range(3):
        await node.set_uri(f"new {number}", "URI:LIT:ba")
    place.liar.reorder_heads()
    for look in (listed, looked_up, written):
        await is_noticed(look, reader)
    place.liar.honest()
    await written(reader)


async def test_two_stories(place: Place, node: VdriveDirectoryNode, tmp_path: Path) -> None:
    """Each writer sees a directory that makes sense, until one of them is told what the other was told."""
    await place.served.stop()
    shutil.copytree(tmp_path / "server", tmp_path / "second")
    async with ServedVdrive(tmp_path / "second", accounts="open", listening=False) as second:
        made: list[TwoStories] = []

        def two_stories(engine: VdriveEngine) -> TwoStories:
            made.append(TwoStories([engine, second.engine]))
            return made[0]

        place.served.disguise = two_stories
        await place.served.start()
        (stories,) = made
        other = vdrive_node(place.drive(place.client("other")).node(node.get_uri()))
        await listed(other)
        for story, one in enumerate((node, other)):
            stories.tell = story
            await one.set_uri(f"of {story}", "URI:LIT:ba")
            await one.set_uri(f"and more of {story}", "URI:LIT:ba")
            await listed(one)
        heads = [await node.contents.directory.head() for stories.tell, node in ((0, node), (1, other))]
        assert heads[0].version == heads[1].version
        assert heads[0].head_hash != heads[1].head_hash, "who compares them out of band knows"
        stories.tell = 0
        for look in (listed, looked_up, measured):
            error = await is_noticed(look, other, ForkDetectedError)
        assert isinstance(error, ForkDetectedError)
        assert {head.head for head in error.heads} == {head.signed.head for head in heads}
        assert "fork" in place.evidence("other")
        await place.served.stop()
