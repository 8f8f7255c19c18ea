"""How long a lease lasts, and how its secrets are kept.

Source: docs/spec/storage-protocol.md, section 10; docs/spec/storage-disk.md, section 5.
"""

from __future__ import annotations

from holdfast.crypto.lease_secrets import stored_lease_secret
from holdfast.interfaces.storage import LeaseSecrets
from holdfast.interfaces.storage_errors import BadRequestError
from holdfast.servers.storage.catalog import LeaseRow

LEASE_PERIOD_S = 31 * 24 * 60 * 60
LAST_EXPIRY = 2**32 - 1  # the field in share files has 32 bits
LEASE_SECRET_SIZE = 32  # bytes

BY_ALLOCATION = 0  # owner numbers, as the reference writes them
BY_OTHERS = 1


def granted_lease(secrets: LeaseSecrets, owner: int, now: float) -> LeaseRow:
    """Return the lease that these secrets get now.

    Raises:
        BadRequestError: a secret has not exactly 32 bytes.
    """
    if len(secrets.renew) != LEASE_SECRET_SIZE or len(secrets.cancel) != LEASE_SECRET_SIZE:
        raise BadRequestError("lease secrets have 32 bytes")
    expiry = min(int(now) + LEASE_PERIOD_S, LAST_EXPIRY)
    return LeaseRow(stored_lease_secret(secrets.renew), stored_lease_secret(secrets.cancel), owner, expiry)
