"""Reading directories of virtual drive servers: what a client returns is proven, whatever the server says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.caps.vdrive import VdriveReadCap, VdriveWriteCap
from holdfast.errors import IntegrityError, ServerError
from holdfast.formats.directory_names import BadChildNameError
from holdfast.formats.vdrive.head import first_head
from holdfast.formats.vdrive.tree import EMPTY
from holdfast.formats.vdrive.witness import OpenedLeaf, OpenedNode, value
from holdfast.grid.vdrive import listing
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.directory import VdriveDirectory
from holdfast.grid.vdrive.memory import EVIDENCE_DIRECTORY
from holdfast.interfaces.vdrive import CommitRequest, Context, Page
from holdfast.interfaces.vdrive_errors import (
    ListingInterruptedError,
    NoSuchDirectoryError,
    RollbackDetectedError,
    ServerMisbehavedError,
    SnapshotExpiredError,
)
from holdfast.testing.memory_vdrive import MemoryVdriveServer
from holdfast.testing.vdrive_clients import client_of, delete, literal, names_in, put
from holdfast.testing.vdrive_writer import DirectoryWriter

NAMES = [f"child {number}" for number in range(40)]


@pytest.fixture
def server() -> MemoryVdriveServer:
    return MemoryVdriveServer()


@pytest.fixture
def client(server: MemoryVdriveServer, tmp_path: Path) -> VdriveClient:
    return client_of(server, tmp_path / "memory.sqlite")


@pytest.fixture
async def cap(client: VdriveClient, server: MemoryVdriveServer) -> VdriveWriteCap:
    return await client.create(server.place)


@pytest.fixture
async def directory(client: VdriveClient, cap: VdriveWriteCap) -> VdriveDirectory:
    """One with the children NAMES, at version 2."""
    directory = client.directory(cap)
    await put(client, directory, *NAMES[:20])
    await put(client, directory, *NAMES[20:])
    return directory


def small_pages(monkeypatch: pytest.MonkeyPatch, size: int = 7) -> None:
    monkeypatch.setattr(listing, "PAGE_SIZE", size)


# -- what is there


async def test_names_are_looked_up_with_a_proof_of_presence_or_absence(directory: VdriveDirectory) -> None:
    view = await directory.entries(["child 1", "missing"])
    entry = view.get("child 1")
    assert entry is not None and entry.child == literal("child 1") and entry.version == 1
    assert view.get("missing") is None
    assert view.version == 2
    with pytest.raises(KeyError):
        view.get("child 2")


async def test_one_name_takes_one_request_without_a_body(
    directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    before = dict(server.calls)
    await directory.entries(["child 1"])
    assert server.calls["child"] == before.get("child", 0) + 1
    assert server.calls.get("context", 0) == before.get("context", 0)


async def test_a_reader_sees_what_a_writer_wrote(
    directory: VdriveDirectory, cap: VdriveWriteCap, server: MemoryVdriveServer
) -> None:
    reader = client_of(server).directory(cap.read_only)
    assert await names_in(reader) == set(NAMES)
    assert not reader.writable and isinstance(reader.cap, VdriveReadCap)


async def test_a_listing_is_of_one_version_while_the_directory_changes(
    client: VdriveClient, directory: VdriveDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pages(monkeypatch)
    names: list[str] = []
    slots: list[bytes] = []
    async for page in directory.iter_pages():
        names += [entry.name for entry in page]
        slots += [entry.slot for entry in page]
        await put(client, directory, f"new {len(names)}")
        await delete(client, directory, names[0]) if len(names) < 8 else None
    assert sorted(names) == sorted(NAMES)
    assert slots == sorted(slots)


async def test_the_next_page_is_fetched_while_one_is_used(
    directory: VdriveDirectory, server: MemoryVdriveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pages(monkeypatch)
    pages = directory.iter_pages()
    await anext(pages)
    await asyncio.sleep(0.01)
    assert server.calls["page"] == 2, "one that is used, one ahead, and no more"
    await pages.aclose()


async def test_a_listing_of_names_is_proven_without_what_they_lead_to(directory: VdriveDirectory) -> None:
    entries = await directory.all_entries(names_only=True)
    assert {entry.name for entry in entries} == set(NAMES)
    assert {entry.version for entry in entries} == {1, 2}


async def test_older_versions_are_listed_as_long_as_the_server_has_them(
    directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    pages = [page async for page in directory.iter_pages(at=1)]
    assert {entry.name for page in pages for entry in page} == set(NAMES[:20])
    server.directories[cap.index].states_floor = 2
    with pytest.raises(SnapshotExpiredError):
        [page async for page in directory.iter_pages(at=1)]


async def test_a_listing_of_a_version_that_is_no_longer_kept_begins_anew_five_times(
    directory: VdriveDirectory, server: MemoryVdriveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pages(monkeypatch, 30)
    expired = SnapshotExpiredError("this version is no longer kept")
    true_page = server.page
    left = 4

    async def page(index: bytes, **options: Any) -> Page:
        nonlocal left
        if options["after"] is not None and left:
            left -= 1
            raise expired
        return await true_page(index, **options)

    monkeypatch.setattr(server, "page", page)
    assert len(await directory.all_entries()) == len(NAMES)
    left = 5
    with pytest.raises(ListingInterruptedError):
        await directory.all_entries()


async def test_an_empty_directory_is_proven_empty(
    client: VdriveClient, cap: VdriveWriteCap, server: MemoryVdriveServer
) -> None:
    directory = client.directory(cap)
    assert await directory.all_entries() == []
    assert (await directory.entries(["a"])).get("a") is None
    assert (await directory.head()).version == 0


async def test_names_that_cannot_be_are_refused_before_anybody_is_asked(
    directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    before = dict(server.calls)
    for name in ("", ".", "..", "a/b", "x" * 1001):
        with pytest.raises(BadChildNameError):
            await directory.entries([name])
    with pytest.raises(ValueError):
        await directory.entries([f"n{i}" for i in range(1001)])
    assert server.calls == before


async def test_a_directory_that_there_is_not_is_an_error_of_its_own(
    client: VdriveClient, server: MemoryVdriveServer
) -> None:
    directory = client.directory(VdriveWriteCap(server.place, bytes(32)))
    with pytest.raises(NoSuchDirectoryError):
        await directory.head()
    with pytest.raises(NoSuchDirectoryError):
        await directory.all_entries()


async def test_nothing_secret_is_shown(directory: VdriveDirectory, cap: VdriveWriteCap) -> None:
    shown = repr(directory) + repr(directory.state) + repr(await directory.head())
    assert cap.to_text() not in shown and cap.write_key.hex() not in shown


async def test_entries_without_a_name_are_left_out_and_told_of(
    client: VdriveClient, server: MemoryVdriveServer
) -> None:
    writer = DirectoryWriter(server.sid)
    await server.commit(writer.creation(), writer.authority())
    entry = writer.put("good", "URI:LIT:")
    bad = writer.put("bad", "URI:LIT:")
    section = writer.section_of([entry, bad._replace(name=entry.name)])
    await server.commit(CommitRequest((), (section,)), writer.authority())
    directory = client.directory(VdriveWriteCap(server.place, writer.keys.write_key))
    listed = directory.listing()
    assert [entry.name async for page in listed.pages() for entry in page] == ["good"]
    assert [one.slot for one in listed.unreadable] == [bad.slot]
    assert await names_in(directory) == {"good"}
    with pytest.raises(IntegrityError):
        await directory.entries(["bad"])
    with pytest.raises(IntegrityError):
        await put(client, directory, "bad", replace=True)
    await put(client, directory, "good", replace=True)


# -- waiting and changes


async def test_waiting_ends_with_a_proven_version(client: VdriveClient, directory: VdriveDirectory) -> None:
    waiting = asyncio.create_task(directory.wait(2, 10))
    await asyncio.sleep(0.01)
    await put(client, directory, "new")
    assert await waiting == 3
    assert await directory.wait(3, 0.01) is None
    assert await directory.wait(0, 0.01) == 3


async def test_changes_are_proven_in_pages(
    client: VdriveClient, directory: VdriveDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.grid.vdrive.change_feed.PAGE_SIZE", 3)
    await delete(client, directory, *NAMES[:4])
    await put(client, directory, *NAMES[4:8], replace=True)
    pages = [page async for page in directory.changes(2)]
    assert {entry.name for page in pages for entry in page.entries} == set(NAMES[4:8])
    gone = directory.slots(NAMES[:4])
    assert {slot for page in pages for slot in page.deleted} == gone.keys()
    assert len(pages) == 3 and {page.head.version for page in pages} == {4}


# -- a server that lies (V-07)


def lied(server: MemoryVdriveServer, call: str, change: Callable[[Any], Any]) -> None:
    server.faults.rewrite[call] = change


def evidence(tmp_path: Path) -> list[str]:
    return sorted(path.name.split("-")[1] for path in (tmp_path / EVIDENCE_DIRECTORY).glob("*"))


def another_head(context: Context) -> Context:
    return replace(context, head=context.head._replace(signature=bytes(64)))


def no_entries(context: Context) -> Context:
    return replace(context, entries=())


def claimed_absent(context: Context) -> Context:
    return replace(context, tree=None, entries=())


def wrong_version(context: Context) -> Context:
    return replace(context, entries=tuple(entry._replace(version=2) for entry in context.entries))


def swapped_boxes(context: Context) -> Context:
    return replace(context, entries=tuple(entry._replace(read=entry.metadata) for entry in context.entries))


def doubled(context: Context) -> Context:
    return replace(context, entries=context.entries * 2)


def other_index(context: Context) -> Context:
    return replace(context, index=b"x" * 32)


def stubbed(context: Context) -> Context:
    """Close the tree above everything: its value is right, but it proves nothing."""
    return replace(context, tree=value(context.tree), entries=())


def forged_leaf(context: Context) -> Context:
    def forged(node: Any) -> Any:
        if isinstance(node, OpenedNode):
            return OpenedNode(forged(node.zero), forged(node.one))
        return OpenedLeaf(node.slot, bytes(32)) if isinstance(node, OpenedLeaf) else node

    return replace(context, tree=forged(context.tree))


@pytest.mark.parametrize(
    "lie",
    [
        another_head,
        no_entries,
        claimed_absent,
        wrong_version,
        swapped_boxes,
        doubled,
        other_index,
        stubbed,
        forged_leaf,
    ],
)
@pytest.mark.parametrize("names", [["child 1"], ["child 1", "child 2", "missing"]])
async def test_an_answer_about_entries_that_proves_nothing_is_refused_and_kept(
    directory: VdriveDirectory,
    server: MemoryVdriveServer,
    tmp_path: Path,
    lie: Callable[[Context], Context],
    names: list[str],
) -> None:
    lied(server, "child", lie)
    lied(server, "context", lie)
    with pytest.raises(ServerMisbehavedError):
        await directory.entries(names)
    assert evidence(tmp_path) == ["answer"]
    server.faults.rewrite.clear()
    assert (await directory.entries(names)).get("child 1") is not None


async def test_an_old_entry_under_a_new_head_is_refused(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    old = await server.child(cap.index, next(iter(directory.slots(["child 1"]))))
    await put(client, directory, "child 1", text="new", replace=True)
    lied(server, "child", lambda context: replace(context, entries=old.entries))
    with pytest.raises(ServerMisbehavedError):
        await directory.entries(["child 1"])


async def test_a_new_entry_under_an_old_head_is_refused(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer, cap: VdriveWriteCap
) -> None:
    old = await server.child(cap.index, next(iter(directory.slots(["child 1"]))))
    await put(client, directory, "child 1", text="new", replace=True)
    lied(server, "child", lambda context: replace(context, head=old.head))
    with pytest.raises(RollbackDetectedError):
        await directory.entries(["child 1"])
    newcomer = client_of(server).directory(cap)
    with pytest.raises(ServerMisbehavedError):
        await newcomer.entries(["child 1"])


async def test_a_head_of_another_directory_is_refused(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    foreign = first_head(VdriveWriteCap(server.place, bytes(32)).keys)
    lied(server, "child", lambda context: replace(context, head=foreign))
    lied(server, "describe", lambda info: info._replace(head=foreign))
    with pytest.raises(ServerMisbehavedError):
        await directory.entries(["child 1"])
    with pytest.raises(ServerMisbehavedError):
        await directory.head()


def dropped(page: Page) -> Page:
    return page._replace(entries=page.entries[1:])


def dropped_last(page: Page) -> Page:
    return page._replace(entries=page.entries[:-1])


def exchanged(page: Page) -> Page:
    return page._replace(entries=(page.entries[1], page.entries[0], *page.entries[2:]))


def cut_short(page: Page) -> Page:
    return page._replace(next=None)


def emptied(page: Page) -> Page:
    return page._replace(entries=(), tree=None, next=None)


def altered(page: Page) -> Page:
    first, *others = page.entries
    return page._replace(entries=(first._replace(version=first.version + 1), *others))


@pytest.mark.parametrize("lie", [dropped, dropped_last, exchanged, cut_short, emptied, altered])
@pytest.mark.parametrize("names_only", [False, True])
async def test_a_page_with_holes_or_changes_is_refused(
    directory: VdriveDirectory,
    server: MemoryVdriveServer,
    monkeypatch: pytest.MonkeyPatch,
    lie: Callable[[Page], Page],
    names_only: bool,
) -> None:
    small_pages(monkeypatch, 13)
    lied(server, "page", lambda page: lie(page) if page.next is not None else page)
    with pytest.raises(ServerMisbehavedError):
        [page async for page in directory.iter_pages(names_only=names_only)]


async def test_pages_of_several_versions_are_not_one_listing(
    client: VdriveClient,
    directory: VdriveDirectory,
    server: MemoryVdriveServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_pages(monkeypatch)
    true_page = server.page

    async def page(index: bytes, **options: Any) -> Page:
        return await true_page(index, **{**options, "at": None})

    monkeypatch.setattr(server, "page", page)
    with pytest.raises(ServerMisbehavedError):
        async for _ in directory.iter_pages():
            await put(client, directory, "new", replace=True)


async def test_changes_that_are_not_true_are_refused(
    client: VdriveClient, directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    await delete(client, directory, NAMES[0])
    (slot,) = directory.slots([NAMES[1]])
    lies: list[Callable[[Any], Any]] = [
        lambda changes: changes._replace(deleted=tuple(sorted((*changes.deleted, slot)))),
        lambda changes: changes._replace(tree=EMPTY),
        lambda changes: changes._replace(next=slot),
    ]
    for lie in lies:
        lied(server, "changes", lie)
        with pytest.raises(ServerMisbehavedError):
            [page async for page in directory.changes(2)]


async def test_waiting_is_not_ended_by_a_lie(
    directory: VdriveDirectory, server: MemoryVdriveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(index: bytes, version: int, timeout_s: float) -> Any:
        return server.directories[index].heads[-1]

    monkeypatch.setattr(server, "wait", wait)
    with pytest.raises(ServerMisbehavedError):
        await directory.wait(2, 10)


async def test_a_server_that_is_gone_is_an_error_at_once(
    directory: VdriveDirectory, server: MemoryVdriveServer
) -> None:
    server.faults.dead = True
    with pytest.raises(ServerError):
        await directory.entries(["child 1"])
