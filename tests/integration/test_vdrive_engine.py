"""The suites of commits and of reading, over the engine on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.storage_server import FakeClock
from holdfast.testing.vdrive_reading_suite import VdriveReadingSuite
from holdfast.testing.vdrive_server import ServedVdrive
from holdfast.testing.vdrive_service_suite import Service, Start
from holdfast.testing.vdrive_suite import VdriveCommitSuite


@pytest.fixture
async def start_on(tmp_path: Path) -> AsyncIterator[Any]:
    """Starts an engine on a database: given its URL, or None for a file of its own."""
    async with AsyncExitStack() as stack:

        async def start(url: str | None, **settings: Any) -> Service:
            clock = FakeClock()
            served = ServedVdrive(
                tmp_path / "service", database_url=url, clock=clock, listening=False, **settings
            )
            await stack.enter_async_context(served)
            return Service(served, served.engine, clock, await served.new_account())

        yield start


class _OverSqlite:
    @pytest.fixture
    def start(self, start_on: Any) -> Start:
        return lambda **settings: start_on(None, **settings)


@pytest.fixture(scope="module")
def one_database(postgres: PostgresServer) -> str:
    return postgres.new_database()


class _OverPostgres:
    """All on one database, which is emptied each time: to make one and to delete it takes long."""

    @pytest.fixture
    def start(self, start_on: Any, one_database: str) -> Start:
        with psycopg.connect(one_database) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return lambda **settings: start_on(one_database, **settings)


class TestCommitsOverSqlite(_OverSqlite, VdriveCommitSuite):
    pass


class TestCommitsOverPostgres(_OverPostgres, VdriveCommitSuite):
    pass


class TestReadingOverSqlite(_OverSqlite, VdriveReadingSuite):
    pass


class TestReadingOverPostgres(_OverPostgres, VdriveReadingSuite):
    pass
