"""Bundles taken from a server that is busy, forgets, or tells another history."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from holdfast.caps.vdrive import VdrivePlace, VdriveVerifyCap
from holdfast.formats.vdrive.bundle import BadBundleError
from holdfast.formats.vdrive.head import head_hash, parse_head
from holdfast.grid.vdrive import bundle_files
from holdfast.grid.vdrive.bundle_files import Export, bring, read_bundle
from holdfast.grid.vdrive.servers import ServerSource
from holdfast.grid.vdrive.views import VerifiedHead
from holdfast.interfaces.vdrive import VirtualDriveServer
from holdfast.interfaces.vdrive_errors import DirectoryExistsError, TooManyVdriveRequestsError
from holdfast.servers.vdrive.engine import VdriveEngine, open_vdrive
from holdfast.servers.vdrive.settings import VdriveServerSettings
from holdfast.testing.vdrive_writer import DirectoryWriter

SID = b"service".ljust(32, b".")
PLACE = VdrivePlace(SID, "a" * 16)
LIT = "URI:LIT:mfrggzdfmy"


class Busy:
    """A server that has no room for the first exports, and anything else that is asked of a source."""

    def __init__(self, engine: VdriveEngine, refusals: int = 0) -> None:
        self._engine = engine
        self.refusals = refusals

    def server(self, place: VdrivePlace) -> VirtualDriveServer:
        return cast(VirtualDriveServer, self)

    def service_id(self, place: VdrivePlace) -> bytes:
        return place.sid

    def account(self, sid: bytes) -> str | None:
        return None

    async def export(self, index: bytes) -> AsyncIterator[bytes]:
        self.refusals -= 1
        if self.refusals >= 0:
            raise TooManyVdriveRequestsError("wait", retry_after_s=0.001)
        async for piece in self._engine.export(index):
            yield piece

    async def import_bundle(self, *arguments: Any) -> object:
        return await self._engine.import_bundle(*arguments)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[VdriveEngine]:
    settings = VdriveServerSettings(
        database=f"sqlite:///{tmp_path / 'vdrive.sqlite'}", sid=SID, private=tmp_path, accounts="open"
    )
    async with open_vdrive(settings) as engine:
        yield engine


async def directory(engine: VdriveEngine) -> DirectoryWriter:
    writer = DirectoryWriter(SID, clock=engine.clock)
    await engine.commit(writer.creation(), writer.authority())
    await put(engine, writer, "x")
    return writer


async def put(engine: VdriveEngine, writer: DirectoryWriter, name: str) -> None:
    await engine.commit(writer.change({name: LIT}), writer.authority())


def verified(writer: DirectoryWriter) -> VerifiedHead:
    head = parse_head(writer.head.head)
    return VerifiedHead(head.version, head_hash(writer.head.head), head, writer.head)


async def taken(export: Export) -> bytes:
    return b"".join([piece async for piece in export.pieces()])


async def test_a_busy_server_is_asked_again(engine: VdriveEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_files, "PAUSE_S", 0.001)
    writer = await directory(engine)
    cap = VdriveVerifyCap(PLACE, writer.index)
    export = Export(cast(ServerSource, Busy(engine, 3)), cap)
    assert await taken(export)
    assert (export.head.version, export.head_hash) == (1, verified(writer).head_hash)
    with pytest.raises(TooManyVdriveRequestsError):
        await taken(Export(cast(ServerSource, Busy(engine, 10**6)), cap))


async def test_a_bundle_of_another_history_or_an_older_one_is_refused(
    engine: VdriveEngine, tmp_path: Path
) -> None:
    servers = cast(ServerSource, Busy(engine))
    writer = await directory(engine)
    cap, old = VdriveVerifyCap(PLACE, writer.index), verified(writer)
    first = await taken(Export(servers, cap, old))
    await put(engine, writer, "y")
    assert await taken(Export(servers, cap, old))
    newest = verified(writer)
    other = newest._replace(head_hash=b"o" * 32)
    earlier = old._replace(signed=newest.signed)
    later = newest._replace(version=3)
    for known in (other, earlier, later):
        with pytest.raises(BadBundleError, match="history"):
            await taken(Export(servers, cap, known))

    path = tmp_path / "bundle"
    path.write_bytes(first)
    bundle = await read_bundle(path, writer.index, writer.keys)
    assert (bundle.head.version, bundle.below) == (1, ())
    with pytest.raises(DirectoryExistsError):
        await bring(servers, PLACE, writer.keys, bundle)
    path.write_bytes(first[:-1])
    with pytest.raises(BadBundleError):
        await read_bundle(path, writer.index)
