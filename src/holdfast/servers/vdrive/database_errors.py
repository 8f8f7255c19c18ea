"""What failures of a database mean for those who asked for something.

Source: docs/spec/vdrive.md, sections 11.4 and 13.4.
"""

from __future__ import annotations

import logging

from sqlalchemy.exc import DBAPIError

from holdfast.interfaces.vdrive_errors import QuotaExceededError, VdriveBusyError, VdriveRefusalError

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
_POSTGRES_DISK_FULL = "53100"


def reason(error: BaseException) -> str:
    """Return what went wrong first: SQLite ends a transaction by itself when the disk is full, say, and
    then the attempt to end it fails too.
    """
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return (str(error).splitlines() or [""])[0]  # what follows may tell of values


def sql_state(error: DBAPIError) -> str:
    """Return the code by which PostgreSQL says what went wrong; "" if it does not."""
    return getattr(error.orig, "sqlstate", None) or ""


def refusal_of(error: DBAPIError) -> VdriveRefusalError:
    """Return what is said to whoever asked for what failed."""
    why = reason(error)
    log.error("the database of the virtual drive server fails: %s", why)
    if sql_state(error) == _POSTGRES_DISK_FULL or "disk is full" in why:
        refusal: VdriveRefusalError = QuotaExceededError("the server's disk is full")
    else:
        refusal = VdriveBusyError("the server's database does not answer now", retry_after_s=RETRY_AFTER_S)
    refusal.__cause__ = error
    return refusal
