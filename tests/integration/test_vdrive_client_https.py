"""The client of virtual drive servers and a real server, over the network: places that are gone, hung or
somebody else's; answers that are cut off; restarts; crowds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from holdfast.caps.vdrive import VdriveWriteCap
from holdfast.crypto.vdrive_keys import enabler_proof, write_enabler
from holdfast.errors import ServerError, WrongServerKeyError
from holdfast.grid.vdrive import listing
from holdfast.grid.vdrive.client import VdriveClient
from holdfast.grid.vdrive.http_service import HttpVirtualDriveServer
from holdfast.grid.vdrive.servers import VdriveServers, place_of
from holdfast.interfaces.vdrive_errors import (
    NoPublicRootError,
    NoSuchDirectoryError,
    RollbackDetectedError,
    VdriveUnauthorizedError,
    VdriveUnavailableError,
)
from holdfast.protocol.nurl import Nurl, parse_nurl
from holdfast.testing.tahoe_node import free_port
from holdfast.testing.tcp_proxy import TcpProxy
from holdfast.testing.vdrive_clients import client_of, contents_of, delete, literal, names_in, put
from holdfast.testing.vdrive_counting import Crowd, moving
from holdfast.testing.vdrive_server import ServedVdrive


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedVdrive]:
    async with ServedVdrive(tmp_path / "server", accounts="open") as server:
        yield server


@pytest.fixture
def nurl(served: ServedVdrive) -> Nurl:
    return parse_nurl(served.nurl())


@pytest.fixture
def servers() -> Iterator[VdriveServers]:
    servers = VdriveServers()
    yield servers
    servers.close()


@pytest.fixture
async def client(servers: VdriveServers, tmp_path: Path) -> AsyncIterator[VdriveClient]:
    client = client_of(servers, tmp_path / "memory.sqlite")
    yield client
    await client.close()


@pytest.fixture
async def cap(client: VdriveClient, served: ServedVdrive) -> VdriveWriteCap:
    return await client.create(served.place)


def at(nurl: Nurl, *ports: int) -> list[Nurl]:
    return [replace(nurl, port=port) for port in ports]


async def test_directories_are_made_changed_looked_at_and_listed(
    client: VdriveClient, cap: VdriveWriteCap, servers: VdriveServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE_SIZE", 100)
    directory = client.directory(cap)
    await put(client, directory, *(f"n{i}" for i in range(450)))
    await put(client, directory, "n1", text="changed", replace=True)
    await delete(client, directory, "n2")
    view = await directory.entries(["n1", "n2", "n3"])
    entry = view.get("n1")
    assert entry is not None and entry.child == literal("changed") and view.get("n2") is None
    assert (await directory.entries(["missing"])).get("missing") is None
    reader = client_of(servers).directory(cap.read_only)
    assert await names_in(reader) == {f"n{i}" for i in range(450) if i != 2}
    assert len(await reader.all_entries(names_only=True)) == 449
    assert len([entry async for page in reader.iter_pages(at=1) for entry in page]) == 450
    changes = [page async for page in reader.changes(1)]
    assert [[e.name for e in page.entries] for page in changes] == [["n1"]]
    assert changes[0].deleted == tuple(directory.slots(["n2"]))


async def test_children_move_and_directories_are_made_in_one_commit(
    client: VdriveClient, cap: VdriveWriteCap, served: ServedVdrive
) -> None:
    here, there = client.directory(cap), client.directory(await client.create(served.place))
    await put(client, here, "a")
    result = await client.change([(here, ["a"]), (there, ["a"])], moving("a"))
    assert result.versions == (2, 1)
    assert (await names_in(here), await names_in(there)) == (set(), {"a"})
    assert await client.create(served.place, cap.write_key) == cap


async def test_waiting_for_a_directory_holds_nothing_else_up(
    client: VdriveClient, cap: VdriveWriteCap
) -> None:
    directory = client.directory(cap)
    waiting = [asyncio.create_task(directory.wait(0, 30)) for _ in range(40)]
    await asyncio.sleep(0.1)
    await put(client, directory, "a")
    assert set(await asyncio.gather(*waiting)) == {1}
    assert await directory.wait(1, 0.1) is None


async def test_the_server_says_what_it_is_and_has(
    servers: VdriveServers, served: ServedVdrive, nurl: Nurl, client: VdriveClient, cap: VdriveWriteCap
) -> None:
    server = servers.service(nurl)
    version = await server.version()
    assert version.sid == served.sid and version.public_root == "none"
    with pytest.raises(NoPublicRootError):
        await server.public_root()
    with pytest.raises(NoSuchDirectoryError):
        await client.directory(VdriveWriteCap(served.place, bytes(32))).head()
    stranger = HttpVirtualDriveServer([replace(nurl, swissnum="a" * 26)])
    with pytest.raises(VdriveUnauthorizedError):
        await stranger.version()
    stranger.close()
    head = await client.heartbeat(cap, 3600)
    assert (await client.directory(cap).describe()).head == head.signed


async def test_leases_are_renewed_and_cancelled(client: VdriveClient, cap: VdriveWriteCap) -> None:
    before = (await client.lease_info(cap)).leases
    expires = await client.renew_lease(cap.read_only.verify_cap)
    info = await client.lease_info(cap)
    assert info.leases == before + 1 and info.expires is not None and info.expires >= expires
    await client.cancel_lease(cap)
    assert (await client.lease_info(cap)).leases == before


async def test_a_bundle_is_taken_out_and_brought_in_elsewhere(
    client: VdriveClient,
    cap: VdriveWriteCap,
    servers: VdriveServers,
    served: ServedVdrive,
    tmp_path: Path,
) -> None:
    directory = client.directory(cap)
    await put(client, directory, *(f"n{i}" for i in range(700)))
    bundle = [piece async for piece in servers.server(cap.place).export(cap.index)]
    with pytest.raises(NoSuchDirectoryError):
        [piece async for piece in servers.server(cap.place).export(bytes(32))]

    async def pieces() -> AsyncIterator[bytes]:
        for piece in bundle:
            yield piece

    async with ServedVdrive(tmp_path / "elsewhere", accounts="open") as elsewhere:
        server = servers.server(elsewhere.place)
        enabler = write_enabler(cap.write_key, elsewhere.sid)
        proof = enabler_proof(cap.keys, elsewhere.sid)
        committed = await server.import_bundle(cap.index, pieces(), enabler, proof, None)
        assert committed.version == 1
        moved = client_of(servers).directory(VdriveWriteCap(elsewhere.place, cap.write_key))
        assert await contents_of(moved) == await contents_of(directory)


# -- places


async def test_places_that_are_gone_cost_little(
    client: VdriveClient, cap: VdriveWriteCap, served: ServedVdrive, nurl: Nurl
) -> None:
    server = HttpVirtualDriveServer(at(nurl, free_port(), served.port, free_port()))
    for _ in range(3):
        await server.describe(cap.index)
    server.close()


async def test_a_place_with_another_key_is_reported_and_skipped(
    cap: VdriveWriteCap, served: ServedVdrive, nurl: Nurl, tmp_path: Path
) -> None:
    async with ServedVdrive(tmp_path / "impostor", accounts="open") as impostor:
        server = HttpVirtualDriveServer(at(nurl, impostor.port, served.port))
        with structlog.testing.capture_logs() as logs:
            await server.describe(cap.index)
        assert any("another server" in line["event"] for line in logs)
        server.use_places(at(nurl, impostor.port))
        with pytest.raises(WrongServerKeyError):
            await server.describe(cap.index)
        server.close()


async def test_a_capability_with_a_wrong_secret_leads_nobody_else_astray(
    client: VdriveClient, cap: VdriveWriteCap, servers: VdriveServers, served: ServedVdrive, tmp_path: Path
) -> None:
    """Places belong to the key of the service: capabilities of all who know it may name some."""
    with TcpProxy(served.port) as proxy:
        good = replace(cap.place, hints=(f"127.0.0.1:{proxy.port}",))
        behind = VdriveServers()
        other = client_of(behind, tmp_path / "other.sqlite")
        directory = other.directory(VdriveWriteCap(good, cap.write_key))
        await put(other, directory, "a")
        astray = VdriveWriteCap(replace(cap.place, swissnum="b" * 32), cap.write_key)
        with suppress(VdriveUnauthorizedError):
            await other.directory(astray).head()
        proxy.cut()
        with pytest.raises(ServerError):
            await directory.head()
        proxy.heal()
        await put(other, directory, "b")
        assert await names_in(client.directory(cap)) == {"a", "b"}
        await other.close()
        behind.close()


async def test_without_any_place_the_error_says_so(cap: VdriveWriteCap, servers: VdriveServers) -> None:
    client = client_of(servers)
    nowhere = replace(cap.place, sid=bytes(32), hints=())
    with pytest.raises(ServerError, match="nobody knows where"):
        await client.directory(VdriveWriteCap(nowhere, cap.write_key)).head()


async def test_announcements_and_settings_say_where_a_server_is_now(
    cap: VdriveWriteCap, served: ServedVdrive, nurl: Nurl
) -> None:
    stale = VdriveWriteCap(replace(cap.place, hints=(f"127.0.0.1:{free_port()}",)), cap.write_key)
    told = VdriveServers(announced=lambda sid: [nurl] if sid == served.sid else [])
    assert (await client_of(told).directory(stale).head()).version == 0
    told.close()
    lost = VdriveWriteCap(replace(stale.place, sid=b"l" * 32), cap.write_key)
    moved = VdriveServers(moved={lost.place.sid: nurl})
    client = client_of(moved)
    await put(client, client.directory(lost), "a")
    assert moved.service_id(lost.place) == served.sid == moved.service_id(place_of(nurl))
    await client.close()
    moved.close()


async def test_a_hung_place_is_left_for_another_one(
    cap: VdriveWriteCap, served: ServedVdrive, nurl: Nurl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.grid.vdrive.http_service.SILENCE_IF_OTHERS_S", 0.3)
    with TcpProxy(served.port) as proxy:
        server = HttpVirtualDriveServer(at(nurl, proxy.port, served.port))
        await server.describe(cap.index)
        assert proxy.accepted == 1
        proxy.stall()
        await asyncio.wait_for(server.describe(cap.index), 5)
        await asyncio.wait_for(server.describe(cap.index), 0.3)
        server.close()


async def test_a_hung_server_ends_with_the_deadline_and_the_change_is_resolved_later(
    cap: VdriveWriteCap, served: ServedVdrive, nurl: Nurl, client: VdriveClient
) -> None:
    with TcpProxy(served.port) as proxy:
        place = replace(cap.place, hints=(f"127.0.0.1:{proxy.port}",))
        servers = VdriveServers()
        behind = client_of(servers)
        directory = behind.directory(VdriveWriteCap(place, cap.write_key))
        await directory.entries(["a"])
        proxy.stall()
        with pytest.raises(VdriveUnavailableError) as caught:
            await put(behind, directory, "a", deadline_s=0.3)
        assert caught.value.may_be_applied
        proxy.heal()
        await put(behind, directory, "b")
        assert await names_in(client.directory(cap)) == {"a", "b"}
        await behind.close()
        servers.close()


async def test_connections_that_are_cut_again_and_again_lose_and_double_nothing(
    cap: VdriveWriteCap, served: ServedVdrive
) -> None:
    with TcpProxy(served.port) as proxy:
        place = replace(cap.place, hints=(f"127.0.0.1:{proxy.port}",))
        servers = VdriveServers()
        behind = client_of(servers)
        directory = behind.directory(VdriveWriteCap(place, cap.write_key))

        async def cut() -> None:
            while True:
                await asyncio.sleep(0.05)
                proxy.cut()
                await asyncio.sleep(0.01)
                proxy.heal()

        cutting = asyncio.create_task(cut())
        for number in range(12):
            await put(behind, directory, f"n{number}", f"m{number}")
        cutting.cancel()
        with suppress(asyncio.CancelledError):
            await cutting
        proxy.heal()
        assert (await directory.head()).version == 12
        assert len(await names_in(directory)) == 24
        await behind.close()
        servers.close()


async def test_a_restart_of_the_server_is_waited_for(
    cap: VdriveWriteCap, client: VdriveClient, served: ServedVdrive
) -> None:
    directory = client.directory(cap)
    await put(client, directory, "a")
    await served.stop()
    waiting = asyncio.create_task(put(client, directory, "b"))
    with pytest.raises(ServerError):
        await directory.entries(["a"])
    await served.start()
    await waiting
    assert await names_in(directory) == {"a", "b"}


async def test_a_database_from_yesterday_is_noticed_and_healed(
    cap: VdriveWriteCap, client: VdriveClient, served: ServedVdrive
) -> None:
    directory = client.directory(cap)
    await put(client, directory, "yesterday")
    database = served.directory / "private" / "vdrive.sqlite"
    await served.stop()
    before = {path.name: path.read_bytes() for path in database.parent.glob("vdrive.sqlite*")}
    await served.start()
    for number in range(3):
        await put(client, directory, f"today {number}")
    await served.stop()
    for path in database.parent.glob("vdrive.sqlite*"):
        path.unlink()
    for name, content in before.items():
        (database.parent / name).write_bytes(content)
    await served.start()
    with pytest.raises(RollbackDetectedError):
        await directory.head()
    report = await client.heal(cap)
    assert report.complete and report.resent == (2, 3, 4)
    assert len(await names_in(directory)) == 4


async def test_nothing_is_lost_or_done_twice_in_a_crowd_over_the_network(
    client: VdriveClient, served: ServedVdrive, servers: VdriveServers
) -> None:
    crowd = Crowd(1)
    await crowd.found(client, served.place)
    clients = [client_of(servers) for _ in range(8)]
    await crowd.write(clients, 16, 4)
    await crowd.check(client)
    for one in clients:
        await one.close()
