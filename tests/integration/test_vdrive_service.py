"""The suite of virtual drive services: the engine on both databases, and a client over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from holdfast.grid.vdrive.http_service import HttpVirtualDriveServer
from holdfast.interfaces.vdrive import VirtualDriveServer
from holdfast.protocol.nurl import parse_nurl
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.storage_server import FakeClock
from holdfast.testing.vdrive_server import ServedVdrive
from holdfast.testing.vdrive_service_suite import Service, Start, VdriveServiceSuite


class _Started(VdriveServiceSuite):
    over_tls = False

    @pytest.fixture
    def new_database(self) -> Any:
        """Returns the URL of a fresh database; None for a file in the server's own directory."""
        raise NotImplementedError

    @pytest.fixture
    async def start(self, tmp_path: Path, new_database: Any) -> AsyncIterator[Start]:
        async with AsyncExitStack() as stack:
            started: list[Service] = []

            async def start(**settings: Any) -> Service:
                clock = FakeClock()
                directory = tmp_path / f"service-{len(started)}"
                served = ServedVdrive(
                    directory,
                    database_url=new_database(),
                    clock=clock,
                    listening=self.over_tls,
                    **settings,
                )
                await stack.enter_async_context(served)
                server: VirtualDriveServer = served.engine
                if self.over_tls:
                    client = HttpVirtualDriveServer([parse_nurl(served.nurl())])
                    stack.callback(client.close)
                    server = client
                service = Service(served, server, clock, await served.new_account())
                started.append(service)
                return service

            yield start


class TestEngineOverSqlite(_Started):
    @pytest.fixture
    def new_database(self) -> Any:
        return lambda: None


class TestEngineOverPostgres(_Started):
    @pytest.fixture
    def new_database(self, postgres: PostgresServer) -> Any:
        return postgres.new_database


class TestClientOverTls(_Started):
    over_tls = True

    @pytest.fixture
    def new_database(self) -> Any:
        return lambda: None
