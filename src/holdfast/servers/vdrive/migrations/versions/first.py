"""The tables as they were first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision: str | None = None

_serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_LIVE_ROWS, _PAST_ROWS = sa.text("v_to IS NULL"), sa.text("v_to IS NOT NULL")


def upgrade() -> None:
    """Make all tables."""
    _make_meta_and_accounts()
    _make_directories()
    _make_contents()
    _make_leases_and_turns()


def _make_meta_and_accounts() -> None:
    op.create_table(
        "vd_meta",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "vd_account",
        sa.Column("id", _serial, primary_key=True),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(32), unique=True),
        sa.Column("max_dirs", sa.BigInteger, nullable=False),
        sa.Column("max_entries", sa.BigInteger, nullable=False),
        sa.Column("max_bytes", sa.BigInteger, nullable=False),
        sa.Column("used_dirs", sa.BigInteger, nullable=False),
        sa.Column("used_entries", sa.BigInteger, nullable=False),
        sa.Column("used_bytes", sa.BigInteger, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def _make_directories() -> None:
    op.create_table(
        "vd_dir",
        sa.Column("id", _serial, primary_key=True),
        sa.Column("idx", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("rid", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("vk", sa.LargeBinary(32), nullable=False),
        sa.Column("rc", sa.LargeBinary(32), nullable=False),
        sa.Column("we_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("account_id", sa.BigInteger, sa.ForeignKey("vd_account.id"), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("head_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("root", sa.LargeBinary(33), nullable=False),
        sa.Column("entry_count", sa.BigInteger, nullable=False),
        sa.Column("byte_count", sa.BigInteger, nullable=False),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("modified_at", sa.BigInteger, nullable=False),
        sa.Column("condemned_at", sa.BigInteger),
    )
    op.create_index("vd_dir_account", "vd_dir", ["account_id"])
    op.create_index("vd_dir_state", "vd_dir", ["state", "condemned_at"])
    op.create_index("vd_dir_modified", "vd_dir", ["modified_at"])


def _make_contents() -> None:
    op.create_table(
        "vd_head",
        _directory_key(),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.Column("sig", sa.LargeBinary(64), nullable=False),
        sa.Column("committed_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("vd_head_committed", "vd_head", ["dir_id", "committed_at"])
    op.create_table(
        "vd_entry",
        _directory_key(),
        sa.Column("slot", sa.LargeBinary(32), primary_key=True),
        sa.Column("v_from", sa.BigInteger, primary_key=True),
        sa.Column("v_to", sa.BigInteger),
        sa.Column("n", sa.LargeBinary, nullable=False),
        sa.Column("w", sa.LargeBinary, nullable=False),
        sa.Column("r", sa.LargeBinary, nullable=False),
        sa.Column("m", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("vd_entry_from", "vd_entry", ["dir_id", "v_from"])
    op.create_table(
        "vd_node",
        _directory_key(),
        sa.Column("prefix", sa.String(64), primary_key=True),
        sa.Column("v_from", sa.BigInteger, primary_key=True),
        sa.Column("v_to", sa.BigInteger),
        sa.Column("subtrees", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    _make_versioned("vd_entry", "slot")
    _make_versioned("vd_node", "prefix")


def _make_versioned(table: str, key: str) -> None:
    op.create_index(
        f"{table}_live",
        table,
        ["dir_id", key],
        unique=True,
        sqlite_where=_LIVE_ROWS,
        postgresql_where=_LIVE_ROWS,
    )
    op.create_index(
        f"{table}_to", table, ["dir_id", "v_to"], sqlite_where=_PAST_ROWS, postgresql_where=_PAST_ROWS
    )


def _make_leases_and_turns() -> None:
    op.create_table(
        "vd_lease",
        _directory_key(),
        sa.Column("lease_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("vd_lease_expires", "vd_lease", ["expires_at"])
    op.create_table(
        "vd_turn",
        _directory_key(),
        sa.Column("turn_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("free_until", sa.BigInteger, nullable=False),
    )


def _directory_key() -> sa.Column[int]:
    return sa.Column("dir_id", _serial, sa.ForeignKey("vd_dir.id", ondelete="CASCADE"), primary_key=True)
