"""Read by Alembic: where the migrations run."""

from __future__ import annotations

from alembic import context

from holdfast.servers.vdrive.tables import metadata

_given = context.config.attributes
context.configure(
    connection=_given["connection"], target_metadata=metadata, version_table=_given["version_table"]
)
context.run_migrations()
