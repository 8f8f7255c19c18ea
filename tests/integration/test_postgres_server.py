"""The PostgreSQL that other tests run on."""

from __future__ import annotations

import psycopg

from holdfast.testing.postgres_server import PostgresServer


def test_databases_are_fresh_and_keep_what_they_are_told(postgres: PostgresServer) -> None:
    first, second = postgres.new_database(), postgres.new_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE kept (value integer)")
        connection.execute("INSERT INTO kept VALUES (7)")
    with psycopg.connect(first) as connection:
        assert connection.execute("SELECT value FROM kept").fetchall() == [(7,)]
    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)
