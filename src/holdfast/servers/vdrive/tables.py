"""The tables of a virtual drive server: directories, their entries and trees with a recent past,
leases, turns, accounts.

A row of ``entries`` or ``nodes`` is visible at version x if ``v_from <= x`` and (``v_to`` is null or
``v_to > x``). Times are Unix seconds. The tables are made by the migrations; what is said here and
there is compared by a test.

Source: docs/spec/vdrive.md, section 11.2.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    text,
)

LIVE, CONDEMNED = 0, 1  # states of a directory
STAGED, REMOVED = 2, 3  # of one that is not there yet, or no more; nobody knows its index and refresh id

_serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by integers only
_LIVE_ROWS, _PAST_ROWS = text("v_to IS NULL"), text("v_to IS NOT NULL")

metadata = MetaData()


def _directory_key() -> Column[int]:
    return Column("dir_id", _serial, ForeignKey("vd_dir.id", ondelete="CASCADE"), primary_key=True)


meta = Table(
    "vd_meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

accounts = Table(
    "vd_account",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("label", String, nullable=False),
    Column("token_hash", LargeBinary(32), unique=True),  # null: the account of those without a token
    Column("max_dirs", BigInteger, nullable=False),
    Column("max_entries", BigInteger, nullable=False),
    Column("max_bytes", BigInteger, nullable=False),
    Column("used_dirs", BigInteger, nullable=False),
    Column("used_entries", BigInteger, nullable=False),
    Column("used_bytes", BigInteger, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

directories = Table(
    "vd_dir",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("idx", LargeBinary(32), nullable=False, unique=True),
    Column("rid", LargeBinary(32), nullable=False, unique=True),
    Column("vk", LargeBinary(32), nullable=False),
    Column("rc", LargeBinary(32), nullable=False),
    Column("we_hash", LargeBinary(32), nullable=False),
    Column("account_id", BigInteger, ForeignKey("vd_account.id"), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("head_hash", LargeBinary(32), nullable=False),
    Column("root", LargeBinary(33), nullable=False),
    Column("entry_count", BigInteger, nullable=False),
    Column("byte_count", BigInteger, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("state", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("modified_at", BigInteger, nullable=False),
    Column("condemned_at", BigInteger),
    Index("vd_dir_account", "account_id"),
    Index("vd_dir_state", "state", "condemned_at"),
    Index("vd_dir_modified", "modified_at"),
)

heads = Table(
    "vd_head",
    metadata,
    _directory_key(),
    Column("version", BigInteger, primary_key=True),
    Column("head", LargeBinary, nullable=False),
    Column("sig", LargeBinary(64), nullable=False),
    Column("committed_at", BigInteger, nullable=False),
    Index("vd_head_committed", "dir_id", "committed_at"),
    sqlite_with_rowid=False,
)

entries = Table(
    "vd_entry",
    metadata,
    _directory_key(),
    Column("slot", LargeBinary(32), primary_key=True),
    Column("v_from", BigInteger, primary_key=True),
    Column("v_to", BigInteger),
    Column("n", LargeBinary, nullable=False),
    Column("w", LargeBinary, nullable=False),
    Column("r", LargeBinary, nullable=False),
    Column("m", LargeBinary, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Index(
        "vd_entry_live", "dir_id", "slot", unique=True, sqlite_where=_LIVE_ROWS, postgresql_where=_LIVE_ROWS
    ),
    Index("vd_entry_from", "dir_id", "v_from"),
    Index("vd_entry_to", "dir_id", "v_to", sqlite_where=_PAST_ROWS, postgresql_where=_PAST_ROWS),
    sqlite_with_rowid=False,
)

nodes = Table(
    "vd_node",
    metadata,
    _directory_key(),
    Column("prefix", String(64), primary_key=True),  # hexadecimal digits, four bits of the slots each
    Column("v_from", BigInteger, primary_key=True),
    Column("v_to", BigInteger),
    Column("subtrees", LargeBinary, nullable=False),  # see tree_rows
    Index(
        "vd_node_live", "dir_id", "prefix", unique=True, sqlite_where=_LIVE_ROWS, postgresql_where=_LIVE_ROWS
    ),
    Index("vd_node_to", "dir_id", "v_to", sqlite_where=_PAST_ROWS, postgresql_where=_PAST_ROWS),
    sqlite_with_rowid=False,
)

leases = Table(
    "vd_lease",
    metadata,
    _directory_key(),
    Column("lease_hash", LargeBinary(32), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("vd_lease_expires", "expires_at"),
    sqlite_with_rowid=False,
)

turns = Table(
    "vd_turn",
    metadata,
    _directory_key(),
    Column("turn_hash", LargeBinary(32), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("free_until", BigInteger, nullable=False),
)
