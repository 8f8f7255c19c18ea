"""The suite of storage services, over the engine on a disk and the client of a served one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.grid.http_storage import HttpStorageServer
from holdfast.interfaces.storage import StorageService
from holdfast.servers.storage.engine import open_storage
from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.storage_server import ServedStorage
from holdfast.testing.storage_suite import StorageServiceSuite
from holdfast.wire.client import Address, ServerConnections
from holdfast.wire.pinning import pinning_ssl_context


@pytest.mark.seed("S-047", "S-057", "S-058", "X-12")
class TestStorageEngine(StorageServiceSuite):
    @pytest.fixture(params=["fsync", "os"])
    async def service(self, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[StorageService]:
        settings = StorageSettings(durability=request.param)
        async with open_storage(tmp_path / "storage", settings, b"s" * 20) as engine:
            yield engine


class TestHttpStorageServer(StorageServiceSuite):
    @pytest.fixture
    async def service(self, tmp_path: Path) -> AsyncIterator[StorageService]:
        async with ServedStorage(tmp_path, settings=StorageSettings(durability="os")) as server:
            identity = server.identity
            connections = ServerConnections(
                [Address("127.0.0.1", server.port)], identity.spki_hash, pinning_ssl_context()
            )
            client = HttpStorageServer(connections, identity.swissnum, lambda _: None)
            yield client
            client.close()
