"""What directories at a virtual drive server do otherwise than others: few requests for each step, changes of
several as one, and as many children as one likes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable

import pytest

from holdfast.caps import VdriveWriteCap
from holdfast.errors import ServerError
from holdfast.grid.sources import DataSource
from holdfast.interfaces.drive import (
    ChildAlreadyPresentError,
    LinksIncompleteError,
    MoveIncompleteError,
    NotWriteableError,
)
from holdfast.interfaces.vdrive_errors import (
    QuotaExceededError,
)
from holdfast.testing.vdrive_directories import (
    LITERAL,
    crowd_writes,
    link,
    new_directory,
    vdrive_node,
    write_cap,
)
from holdfast.testing.vdrive_rig import VdriveRig, vdrive_rig


@pytest.fixture
async def rig() -> AsyncIterator[VdriveRig]:
    async with vdrive_rig() as rig:
        yield rig


async def asked_for(rig: VdriveRig, doing: Awaitable[object]) -> list[str]:
    """Return what is asked of the server while ``doing`` is done."""
    before = len(rig.calls)
    await doing
    return rig.calls[before:]


# -- requests


@pytest.mark.seed("S-102", "S-103")
async def test_looking_up_takes_one_request_for_each_step(rig: VdriveRig) -> None:
    drive = rig.drive()
    top = await new_directory(drive)
    middle = await top.create_empty_directory("middle")
    inner = await middle.create_empty_directory("inner")
    await inner.set_uri("x", LITERAL)
    seen = vdrive_node(rig.drive().node(top.get_uri()))

    assert await asked_for(rig, seen.get("middle")) == ["child"]
    assert await asked_for(rig, seen.has_child("none")) == ["child"]
    assert await asked_for(rig, seen.get_listed("middle")) == ["child"]
    assert await asked_for(rig, seen.get_child_at_path("middle/inner/x")) == ["child"] * 3
    assert await asked_for(rig, seen.list()) == ["page"]


async def test_a_change_takes_two_requests_and_one_after_looking(rig: VdriveRig) -> None:
    drive = rig.drive()
    uri = (await new_directory(drive)).get_uri()
    node = vdrive_node(rig.drive().node(uri))

    assert await asked_for(rig, node.set_uri("x", LITERAL)) == ["child", "commit"]
    await node.has_child("y")
    assert await asked_for(rig, node.set_uri("y", LITERAL)) == ["commit"]
    fresh = vdrive_node(rig.drive().node(uri))
    children = {str(number): link(drive) for number in range(300)}
    assert await asked_for(rig, fresh.set_children(children)) == ["context", "commit"]
    fresh = vdrive_node(rig.drive().node(uri))
    assert await asked_for(rig, fresh.create_empty_directory("sub")) == ["child", "commit"]
    assert await asked_for(rig, fresh.delete("none", must_exist=False)) == ["child"]
    assert await asked_for(rig, fresh.set_children({})) == []


@pytest.mark.seed("S-111")
async def test_nothing_is_stored_for_a_name_that_is_taken(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new_directory(drive, {"x": link(drive)})

    with pytest.raises(ChildAlreadyPresentError):
        await node.add_file("x", DataSource(b"data" * 50))
    assert rig.grid.calls() == []


@pytest.mark.seed("S-111")
async def test_a_name_taken_while_a_file_was_stored_is_refused(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new_directory(drive)
    other = vdrive_node(rig.drive().node(node.get_uri()))

    upload = drive.upload

    async def slow_upload(*args: object, **options: object) -> object:
        file = await upload(*args, **options)  # type: ignore[arg-type]
        await other.set_uri("x", LITERAL)
        return file

    drive.upload = slow_upload  # type: ignore[method-assign, assignment]
    with pytest.raises(ChildAlreadyPresentError):
        await node.add_file("x", DataSource(b"data" * 50))
    assert (await node.get("x")).get_uri() == LITERAL


# -- several directories at once


@pytest.mark.seed("S-113")
@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_a_directory_is_made_and_linked_together_or_not_at_all(rig: VdriveRig, lost: str) -> None:
    drive = rig.drive()
    node = await new_directory(drive)
    server = rig.server
    left = 3

    async def fail(call: str) -> None:
        nonlocal left
        if call == "commit" and left > 0:
            left -= 1
            raise ServerError("the connection broke")

    if lost == "request":
        server.before = fail
    else:
        server.after = fail
    child = await node.create_subdirectory("sub", {"x": link(drive, {"k": 1})}, metadata={"m": 2})
    assert left == 0
    seen = vdrive_node(rig.drive().node(node.get_uri()))
    listed = await seen.get_listed("sub")
    assert listed.node == child
    assert listed.metadata["m"] == 2
    assert (await vdrive_node(listed.node).get_listed("x")).metadata == {"k": 1}


@pytest.mark.seed("S-113")
async def test_a_directory_that_cannot_be_linked_is_not_made(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new_directory(drive, {"x": link(drive)})
    count = len(rig.calls)

    with pytest.raises(ChildAlreadyPresentError):
        await node.create_empty_directory("x")
    assert "commit" not in rig.calls[count:]


@pytest.mark.seed("S-114", "X-04")
async def test_a_move_at_one_server_is_one_change(rig: VdriveRig) -> None:
    drive = rig.drive()
    source, target = (
        await new_directory(drive, {"x": link(drive, {"k": 1, "ctime": 5})}),
        await new_directory(drive),
    )

    asked = await asked_for(rig, source.move_child_to("x", target, "y"))
    assert asked.count("commit") == 1
    listed = await target.get_listed("y")
    assert listed.metadata["k"] == 1
    assert listed.metadata["ctime"] == 5
    assert (await source.move_child_to("none", source, "none")).atomic
    assert (await target.move_child_to("y", source)).atomic
    assert list(await source.list()) == ["y"]
    assert await target.list() == {}


@pytest.mark.seed("S-114")
@pytest.mark.parametrize("lost", ["request", "answer", "both"])
async def test_nobody_sees_a_child_that_moves_twice_or_not_at_all(rig: VdriveRig, lost: str) -> None:
    """Whatever of the exchange is lost, and whoever looks in between."""
    drive = rig.drive()
    source, target = await new_directory(drive, {"x": link(drive)}), await new_directory(drive)
    reader = rig.drive()
    seen_source = vdrive_node(reader.node(source.get_immutable_uri()))
    seen_target = vdrive_node(reader.node(target.get_immutable_uri()))
    left = 4

    async def fail(call: str) -> None:
        nonlocal left
        if call == "commit" and left > 0:
            left -= 1
            assert [await seen_source.has_child("x"), await seen_target.has_child("x")].count(True) == 1
            raise ServerError("the connection broke")

    server = rig.server
    if lost in ("request", "both"):
        server.before = fail
    if lost in ("answer", "both"):
        server.after = fail
    assert (await source.move_child_to("x", target)).atomic
    assert left == 0
    assert await source.list() == {}
    assert list(await target.list()) == ["x"]


@pytest.mark.seed("S-114", "X-05")
async def test_a_directory_held_in_two_ways_is_one_directory(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new_directory(drive, {"x": link(drive)})
    cap = write_cap(node)
    elsewhere = VdriveWriteCap(
        type(cap.place)(cap.place.sid, cap.place.swissnum, ("other.example:1",)), cap.write_key
    )
    other = vdrive_node(drive.node(elsewhere))
    assert other != node

    assert (await node.move_child_to("x", other)).atomic
    assert (await node.move_child_to("x", other, "y")).atomic
    assert list(await node.list()) == ["y"]
    with pytest.raises(NotWriteableError):
        await node.move_child_to("y", vdrive_node(drive.node(node.get_immutable_uri())))


@pytest.mark.seed("S-114")
async def test_moves_between_servers_and_kinds_link_first(rig: VdriveRig) -> None:
    drive = rig.drive()
    second = await rig.add_service()
    here = await new_directory(drive, {"x": link(drive, {"k": 1})})
    cap = await rig.client().create(second)
    grid = await drive.create_directory("sdmf")
    elsewhere = vdrive_node(drive.node(cap))

    for source, target in ((here, elsewhere), (elsewhere, grid), (grid, here)):
        result = await source.move_child_to("x", target)
        assert not result.atomic
        assert await source.list() == {}
        assert (await target.get_listed("x")).metadata["k"] == 1


@pytest.mark.seed("S-114")
async def test_a_move_that_ends_halfway_leaves_the_child_twice(rig: VdriveRig) -> None:
    drive = rig.drive()
    here = await new_directory(drive, {"x": link(drive)})
    grid = await drive.create_directory("mdmf")

    async def fail(call: str) -> None:
        if call == "commit":
            raise QuotaExceededError("full")

    rig.server.before = fail
    with pytest.raises(MoveIncompleteError) as caught:
        await here.move_child_to("x", grid, "y")
    assert (caught.value.name, caught.value.new_name) == ("x", "y")
    assert list(await here.list()) == ["x"]
    assert list(await grid.list()) == ["y"]


# -- many children


async def test_more_children_than_one_change_holds_are_linked_in_several(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new_directory(drive)
    children = {f"n{number:04}": link(drive) for number in range(2500)}

    before = len(rig.calls)
    result = await node.set_children(children)
    assert not result.atomic
    assert rig.calls[before:].count("commit") == 3
    assert list(await node.list()) == sorted(children)
    assert (await node.set_children({"a": link(drive)})).atomic
    assert [name async for name in node.iter_names()] != sorted(children)
    assert sorted([name async for name in node.iter_names()]) == sorted([*children, "a"])
    unordered = [child async for child in node.iter_unordered()]
    assert {child.name: child.node for child in unordered} == await node.list()


async def test_what_was_linked_before_a_failure_is_told(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new_directory(drive, {"n1500": link(drive)})
    children = {f"n{number:04}": link(drive) for number in range(2500)}

    with pytest.raises(LinksIncompleteError) as caught:
        await node.set_children(children)
    assert caught.value.made == 1000
    assert isinstance(caught.value.__cause__, ChildAlreadyPresentError)
    assert len(await node.list()) == 1001
    with pytest.raises(ChildAlreadyPresentError):
        await node.set_children({"a": link(drive), "n1500": link(drive)})
    assert not await node.has_child("a")


async def test_a_directory_can_begin_with_many_children(rig: VdriveRig) -> None:
    drive = rig.drive()
    node = await new_directory(drive)
    children = {f"n{number:04}": link(drive, {"k": number}) for number in range(1001)}

    child = await node.create_subdirectory("sub", children)
    assert list(await child.list()) == sorted(children)
    assert (await child.get_listed("n0700")).metadata["k"] == 700
    assert await node.get("sub") == child
    assert list(await (await drive.create_directory("vdrive", children)).list()) == sorted(children)


async def test_writers_at_once_lose_nothing(rig: VdriveRig) -> None:
    await crowd_writes(rig, 4)
