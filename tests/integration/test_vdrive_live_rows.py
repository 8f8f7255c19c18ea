"""Many rows of a directory are looked up at once; only they are read, whatever the database knows of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from holdfast.servers.vdrive.live_rows import LIVE_INDEX, LiveKeys, LiveRanges
from holdfast.servers.vdrive.tables import directories, entries
from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.vdrive_filling import fill
from holdfast.testing.vdrive_server import ServedVdrive
from holdfast.testing.vdrive_writer import DirectoryWriter

COUNT = 3000
KEYS = LiveKeys(entries, entries.c.slot, LIVE_INDEX, entries.c.slot, entries.c.digest)
RANGES = LiveRanges(entries.c.digest)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "sqlite":
        return None
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.new_database()


async def test_rows_are_found_by_their_keys_and_ranges_alone(tmp_path: Path, url: str | None) -> None:
    async with ServedVdrive(tmp_path, database_url=url, accounts="open", listening=False) as served:
        writer = DirectoryWriter(served.sid)
        await served.engine.commit(writer.creation(), writer.authority())
        await served.engine.database.write(lambda connection: fill(connection, writer, COUNT, 0))
        await served.engine.database.read(look)


def look(connection: Connection) -> None:
    dir_id = connection.execute(select(directories.c.id).where(directories.c.entry_count > 0)).scalar_one()
    rows = connection.execute(select(entries.c.slot, entries.c.digest).order_by(entries.c.slot)).all()
    assert len(rows) == COUNT
    some = [rows[number] for number in (0, 5, 6, 1000, COUNT - 1)]
    missing = [os.urandom(32), bytes(32)]
    keys = sorted([slot for slot, _ in some] + missing)
    assert list(KEYS.find(connection, dir_id, keys)) == some
    assert list(KEYS.find(connection, dir_id, [])) == []
    ranges = [(rows[a][0], rows[b][0]) for a, b in ((0, 0), (2, 9), (1500, 1700), (COUNT - 2, COUNT - 1))]
    expected = [rows[0:1], rows[2:10], rows[1500:1701], rows[-2:]]
    assert [list(found) for found in RANGES.many(connection, dir_id, ranges)] == expected
    assert [list(RANGES.one(connection, dir_id, *bounds)) for bounds in ranges] == expected
    assert RANGES.many(connection, dir_id, []) == []
    if connection.dialect.name == "postgresql":
        firsts, lasts = map(list, zip(*ranges, strict=True))
        for query, values in (
            (KEYS._joined, {"keys": keys}),
            (RANGES._many, {"firsts": firsts, "lasts": lasts}),
        ):
            conditions = list(index_conditions(connection, query, {"dir_id": dir_id, **values}))
            assert len(conditions) == 1
            assert "slot" in conditions[0], "not the whole directory is read"


def index_conditions(connection: Connection, query: Any, values: dict[str, object]) -> Iterator[str]:
    """Yield by what PostgreSQL chooses the rows that it reads."""
    compiled = query.compile(dialect=connection.dialect)
    plan = connection.exec_driver_sql(f"EXPLAIN {compiled}", {**compiled.params, **values})
    for (line,) in plan:
        if "Index Cond" in line:
            yield line
