"""Brings the tables of a database up to date, once, however many servers start at the same time.

Source: docs/spec/vdrive.md, section 11.1.
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from holdfast.errors import ConfigError

VERSION_TABLE = "vd_schema"
_ADVISORY_LOCK = 0x686F6C6476640001  # of all who bring these tables up to date


def migrate(engine: Engine) -> None:
    """Run the migrations that have not been run, all in one transaction.

    Raises:
        ConfigError: a later version of Holdfast has made the tables.
        DBAPIError: the database refuses.
    """
    with engine.begin() as connection:  # SQLite: has taken the right to write
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        try:
            command.upgrade(configuration(connection), "head")
        except CommandError as error:
            raise ConfigError("vdrive_server: the database belongs to another version of Holdfast") from error


def configuration(connection: Connection) -> Config:
    """Return what Alembic wants to know; what it does happens in the transaction of ``connection``."""
    config = Config()
    config.set_main_option("script_location", "holdfast.servers.vdrive:migrations")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    return config
