"""What a server, whoever has its database, and whoever reads its logs learn of a client's day: no name, no
capability, no metadata, no key (V-18); and what a stolen database with recorded traffic is good for (V-17).
"""

from __future__ import annotations

import base64
import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from holdfast.caps import VdriveWriteCap
from holdfast.crypto import base32
from holdfast.crypto.vdrive_keys import enabler_proof, lease_secret, write_enabler
from holdfast.drive.nodes import Drive
from holdfast.errors import HoldfastError
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.grid.vdrive.http_service import HttpVirtualDriveServer
from holdfast.grid.vdrive.memory import VdriveMemory
from holdfast.grid.vdrive.servers import VdriveServers
from holdfast.interfaces.drive import NewChild
from holdfast.interfaces.vdrive import Authority, CommitRequest
from holdfast.interfaces.vdrive_errors import BadProofError, BadWriteEnablerError, VdriveRefusalError
from holdfast.node.identity import create_node_identity
from holdfast.protocol.nurl import parse_nurl
from holdfast.servers.vdrive import tables
from holdfast.servers.vdrive.engine import VdriveEngine
from holdfast.testing.memory_grid import memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.vdrive_clients import client_of
from holdfast.testing.vdrive_directories import vdrive_node, write_cap
from holdfast.testing.vdrive_server import SWISSNUM, ServedVdrive
from holdfast.testing.vdrive_writer import DirectoryWriter

DIRECTORY, SUBDIRECTORY = "diagnoses of my patients", "überaus vertraulich"
FILE, SECOND, THIRD = "zaphod beeblebrox.txt", "letter to the editor.pdf", "renamed afterwards.doc"
KEY, VALUE, NUMBER = "colour-of-the-label", "ultramarine-with-dots", 314159265358979
CONTENT = "a short file is a capability itself"
LEASE_SEED = b"a seed of leases, 32 bytes long!"
PLANTED = (DIRECTORY, SUBDIRECTORY, FILE, SECOND, THIRD, KEY, VALUE, CONTENT)


class Listening:
    """An engine, all refusals of which are kept as the text that is sent."""

    def __init__(self, engine: VdriveEngine, told: list[str]) -> None:
        self._engine = engine
        self._told = told

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        if not callable(found) or name in ("clock", "release_polls", "export"):
            return found

        async def listened(*args: Any, **options: Any) -> Any:
            try:
                return await found(*args, **options)
            except HoldfastError as error:
                self._told.append(repr(error))
                raise

        return listened


class Day:
    """What happened: capabilities and secrets, which nobody else may learn.

    Attributes:
        told: errors, on either side.
    """

    def __init__(self, token: str) -> None:
        self.texts: set[str] = {*PLANTED, str(NUMBER), token, SWISSNUM}
        self.keys: set[bytes] = {LEASE_SEED, SWISSNUM.encode()}
        self.enablers: set[bytes] = set()
        self.indices: set[bytes] = set()
        self.told: list[str] = []

    def met(self, cap: VdriveWriteCap, sid: bytes) -> None:
        """Note a directory."""
        keys = cap.keys
        self.texts |= {cap.to_text(), cap.read_only.to_text(), cap.read_only.verify_cap.to_text()}
        self.texts.add(cap.refresh_cap.to_text())
        self.keys |= {keys.write_key, keys.seal_key}
        self.enablers.add(write_enabler(keys.write_key, sid))
        self.keys |= {keys.read.read_key, keys.read.name_key, keys.read.seal_key}
        self.keys.add(lease_secret(LEASE_SEED, cap.refresh_cap.refresh_id))
        self.indices.add(cap.index)

    def secrets(self) -> Iterator[bytes]:
        for text in self.texts:
            yield from forms(text.encode())
        for key in self.keys | self.enablers:
            yield from forms(key)


def forms(value: bytes) -> Iterator[bytes]:
    """Yield a value as it is, and as it could be written; capabilities hold it in base32."""
    yield value
    for encoded in (base32.encode(value), value.hex(), repr(value)[2:-1], base64.b64encode(value).decode()):
        yield encoded.encode()
        yield encoded.upper().encode()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "sqlite":
        return None
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.new_database()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.mark.seed("S-066", "S-070", "X-02")
async def test_nobody_but_the_client_learns_what_it_kept(
    tmp_path: Path,
    database_url: str | None,
    stack: AsyncExitStack,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    served = ServedVdrive(
        tmp_path / "server", database_url=database_url, disguise=lambda engine: Listening(engine, told)
    )
    await stack.enter_async_context(served)
    token = await served.new_account(label="an account")
    day = await a_day(served, token, tmp_path / "client", stack)
    told += day.told
    assert len(told) >= 6
    kept = await everything_in(served.engine) + files_in(tmp_path / "server", "vdrive.sqlite*")
    await served.stop()
    kept += files_in(tmp_path / "server", "vdrive.sqlite*")
    if database_url is not None:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        kept += (postgres.directory / "log").read_bytes()
    shown = capfd.readouterr()
    logged = repr([vars(record) for record in caplog.records]) + caplog.text + shown.out + shown.err
    remembered = files_in(tmp_path / "client", "memory.sqlite*")
    assert all(index in kept for index in day.indices), "the search finds what is there"
    assert all(index in remembered for index in day.indices)
    for secret in day.secrets():
        assert secret not in kept
        assert secret not in logged.encode()
        assert secret not in " ".join(told).encode()
        # What a client notes of its changes is sealed as well, but for what it takes to send them again.
        assert secret not in remembered or secret in day.enablers
    for index in day.indices:
        for form in forms(index):
            assert form not in logged.encode()
            assert form not in " ".join(told).encode()


async def a_day(served: ServedVdrive, token: str, private: Path, stack: AsyncExitStack) -> Day:
    """Do all that a client does with directories, and some that is refused."""
    day = Day(token)
    private.mkdir()
    servers = VdriveServers(accounts={served.sid: token})
    memory = VdriveMemory(private / "memory.sqlite")
    client = client_of(servers, memory, lease_seed=LEASE_SEED)
    stack.callback(servers.close)
    stack.callback(memory.close)
    stack.push_async_callback(client.close)
    encoding = EncodingSettings(shares_total=4, happiness=1, convergence_secret=b"")
    grid = await stack.enter_async_context(memory_grid(4, encoding))
    drive = Drive(grid.grid, MemoryMutableFiles(), client, vdrive_place=served.place)

    root = vdrive_node(await drive.create_directory("vdrive"))
    folder = vdrive_node(await root.create_empty_directory(DIRECTORY))
    hidden = vdrive_node(await folder.create_empty_directory(SUBDIRECTORY))
    for node in (root, folder, hidden):
        day.met(write_cap(node), served.sid)
    await folder.add_file(FILE, DataSource(CONTENT.encode()))
    large = await hidden.add_file(SECOND, DataSource(b"large" * 1000))
    day.texts.add(large.get_uri())
    await folder.set_children(
        {f"{FILE} {number}": NewChild(drive.node("URI:LIT:ba")) for number in range(100)}
    )
    await folder.set_metadata(FILE, {KEY: VALUE, "number": NUMBER})
    await folder.move_child_to(FILE, hidden, THIRD)
    await hidden.set_uri(f"{THIRD} 2", root.get_immutable_uri(), metadata={KEY: VALUE})
    await folder.delete(f"{FILE} 7")
    await root.pin(DIRECTORY)
    for node in (root, folder, hidden):
        cap = write_cap(node)
        await client.renew_lease(cap, 86_400 * 40)
        await client.heartbeat(cap, 3600)
        await client.heal(cap)
        assert await node.list() is not None
    reader = vdrive_node(drive.node(folder.get_immutable_uri()))
    assert len([name async for name in reader.iter_names()]) == 100
    await something_refused(day, served, drive, folder)
    return day


async def something_refused(day: Day, served: ServedVdrive, drive: Drive, folder: Any) -> None:
    server = HttpVirtualDriveServer([parse_nurl(served.nurl())])
    cap = write_cap(folder)
    stranger = DirectoryWriter(served.sid)
    late = DirectoryWriter(served.sid, cap.write_key)
    section = late.section({FILE: "URI:LIT:ba"})
    enabled = Authority(enablers={cap.index: late.enabler})
    for request, authority in [
        (CommitRequest((), (section,)), Authority(enablers={cap.index: stranger.enabler})),
        (CommitRequest((), (section,)), enabled),
        (CommitRequest((), (replace(section, operations=b"\x80"),)), enabled),
        (stranger.creation(), stranger.authority("no-such-token")),
        (stranger.change({FILE: "URI:LIT:ba"}), stranger.authority()),
    ]:
        with pytest.raises(VdriveRefusalError) as refused:
            await server.commit(request, authority)
        day.told.append(repr(refused.value))
    for name, doing in (("missing", folder.get), (FILE, folder.delete), ("a/b", folder.get)):
        with suppress(HoldfastError):
            await doing(name)
    with pytest.raises(HoldfastError):
        await folder.set_uri(f"{FILE} 8", "URI:LIT:ba")
    server.close()


async def everything_in(engine: VdriveEngine) -> bytes:
    """Return every value of every column of the database, as bytes and as text."""

    def values(connection: Any) -> bytes:
        rows = [row for table in tables.metadata.sorted_tables for row in connection.execute(select(table))]
        assert len(rows) > 100
        return b"\n".join(
            value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row
        )

    return await engine.database.read(values)


def files_in(directory: Path, pattern: str) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob(pattern))


async def test_a_stolen_database_with_recorded_traffic_writes_nowhere(tmp_path: Path) -> None:
    async with ServedVdrive(tmp_path / "one", accounts="open") as one:
        writer = DirectoryWriter(one.sid)
        await one.engine.commit(writer.creation(), writer.authority())
        await one.engine.commit(writer.change({"a": "URI:LIT:ba"}), writer.authority())
    copied = tmp_path / "two" / "private"
    copied.mkdir(parents=True)
    for path in (tmp_path / "one" / "private").glob("vdrive.sqlite*"):
        shutil.copy(path, copied)
    recorded = writer.change({"b": "URI:LIT:ba"})  # sent to the first service; whoever runs that has seen it
    stolen = writer.enabler
    kept = [b"", b""]
    async with ServedVdrive(tmp_path / "one", accounts="open") as one:
        await one.engine.commit(recorded, writer.authority())

        def enablers(connection: Any) -> list[bytes]:
            return list(connection.execute(select(tables.directories.c.we_hash)).scalars())

        kept = await one.engine.database.read(enablers)
        with pytest.raises(BadWriteEnablerError):  # what the database holds is not an enabler
            await one.engine.commit(writer.change(), Authority(enablers={writer.index: kept[0]}))
    identities(tmp_path / "two")
    async with ServedVdrive(tmp_path / "two", accounts="open") as two:
        assert two.sid != one.sid
        moved = write_enabler(writer.keys.write_key, two.sid)
        assert moved != stolen
        server = HttpVirtualDriveServer([parse_nurl(two.nurl())])
        for proof in (writer.proof, enabler_proof(DirectoryWriter(two.sid).keys, two.sid), bytes(64)):
            with pytest.raises(BadProofError):
                await server.enrol(writer.index, stolen, proof)
            with pytest.raises(BadProofError):
                await server.enrol(writer.index, moved, proof)
        await server.enrol(writer.index, moved, enabler_proof(writer.keys, two.sid))  # as a writer can
        with pytest.raises(BadWriteEnablerError):
            await server.commit(recorded, Authority(enablers={writer.index: stolen}))
        await server.commit(recorded, Authority(enablers={writer.index: moved}))
        server.close()


def identities(directory: Path) -> None:
    """Let a service have keys of its own, though its database is there already."""
    database = {path.name: path.read_bytes() for path in (directory / "private").iterdir()}
    shutil.rmtree(directory / "private")
    create_node_identity(directory / "private")
    for name, content in database.items():
        (directory / "private" / name).write_bytes(content)
