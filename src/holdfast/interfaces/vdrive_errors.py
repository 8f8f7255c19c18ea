"""What goes wrong with directories of a virtual drive server.

A refusal has the status and the code by which it travels; the engine raises it, and the
client of the server raises the same from the answer.

Source: docs/spec/vdrive.md, sections 7 and 13.4.
"""

from __future__ import annotations

from typing import ClassVar

from holdfast.errors import (
    CapabilityError,
    ConflictError,
    HoldfastError,
    InputError,
    IntegrityError,
    NotCapableError,
    UnavailableError,
)
from holdfast.formats.vdrive.head import SignedHead
from holdfast.interfaces.vdrive import Context


class VdriveRefusalError(HoldfastError):
    """The server does not do what it was asked.

    Attributes:
        status: of HTTP.
        code: as it travels.
        retry_after_s: seconds to wait before the next attempt; 0 if that is not said.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "Malformed"

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class MalformedVdriveRequestError(VdriveRefusalError, InputError):
    """The request breaks the protocol."""


class VdriveUnauthorizedError(VdriveRefusalError, CapabilityError):
    """The secret shown is not one of this server."""

    status, code = 401, "Unauthorized"


class BadWriteEnablerError(VdriveRefusalError, NotCapableError):
    """The write enabler is missing or wrong."""

    status, code = 403, "BadWriteEnabler"


class NotAuthorisedToCreateError(VdriveRefusalError, NotCapableError):
    """Directories can be made here only with an account."""

    status, code = 403, "NoAccount"


class NoSuchDirectoryError(VdriveRefusalError, LookupError):
    """The server has no such directory."""

    status, code = 404, "NoSuchDirectory"


class NoPublicRootError(VdriveRefusalError, LookupError):
    """The server offers no root for all."""

    status, code = 404, "NoPublicRoot"


class NoSuchVdriveCallError(VdriveRefusalError):
    """The server knows no such call."""

    status, code = 404, "NotFound"


class HeadConflictError(VdriveRefusalError, ConflictError):
    """Another commit came first.

    Attributes:
        contexts: of each directory of the commit, for the slots that its operations name.
    """

    status, code = 409, "HeadConflict"

    def __init__(self, message: str, contexts: tuple[Context, ...] = ()) -> None:
        super().__init__(message)
        self.contexts = contexts


class DirectoryExistsError(VdriveRefusalError, ConflictError):
    """There is another directory under this index, or another history of it."""

    status, code = 409, "DirectoryExists"


class TooManyLeasesError(VdriveRefusalError, UnavailableError):
    """The directory has as many leases as there can be."""

    status, code = 409, "TooManyLeases"


class SnapshotExpiredError(VdriveRefusalError, ConflictError):
    """A version is no longer kept."""

    status, code = 410, "SnapshotExpired"


class HistoryPrunedError(VdriveRefusalError, UnavailableError):
    """Heads are no longer kept.

    Attributes:
        oldest: the first version after version 0 whose head is there.
    """

    status, code = 410, "HistoryPruned"

    def __init__(self, message: str, oldest: int = 0) -> None:
        super().__init__(message)
        self.oldest = oldest


class VdriveTooLargeError(VdriveRefusalError, InputError):
    """A limit of the protocol is exceeded."""

    status, code = 413, "TooLarge"


class NotCborError(VdriveRefusalError, InputError):
    """The body is of another type."""

    status, code = 415, "NotCBOR"


class BadCreateError(VdriveRefusalError, IntegrityError):
    """The parts of a new directory do not fit together."""

    status, code = 422, "BadCreate"


class RefusedHeadError(VdriveRefusalError, IntegrityError):
    """A head is not one that a writer may give this directory."""

    status, code = 422, "BadHead"


class BadProofError(VdriveRefusalError, IntegrityError):
    """A proof for a write enabler does not hold."""

    status, code = 422, "BadProof"


class RefusedBundleError(VdriveRefusalError, IntegrityError):
    """A bundle does not hold what its head vouches for, or is none."""

    status, code = 422, "BadBundle"


class OperationsMismatchError(VdriveRefusalError, IntegrityError):
    """An operation does not fit what is there."""

    status, code = 422, "OpsMismatch"


class RootMismatchError(VdriveRefusalError, IntegrityError):
    """A head names another content than its operations lead to."""

    status, code = 422, "RootMismatch"


class TurnTakenError(VdriveRefusalError, ConflictError):
    """It is somebody else's turn to commit."""

    status, code = 423, "TurnTaken"


class TooManyVdriveRequestsError(VdriveRefusalError, UnavailableError):
    """The server has too many requests from here."""

    status, code = 429, "TooManyRequests"


class VdriveBusyError(VdriveRefusalError, UnavailableError):
    """The server cannot do it now."""

    status, code = 503, "Busy"


class QuotaExceededError(VdriveRefusalError, UnavailableError):
    """The account that the directory is charged to is full, or the server is."""

    status, code = 507, "QuotaExceeded"


class ServerMisbehavedError(IntegrityError):
    """A server's answer does not prove what it says. What it answered is kept as evidence."""


class RollbackDetectedError(IntegrityError):
    """A server shows an older version of a directory than was seen before.

    Attributes:
        found: version shown.
        remembered: version seen before.
        heads: the two heads, as far as they are known.
    """

    def __init__(
        self, message: str, *, found: int, remembered: int, heads: tuple[SignedHead, ...] = ()
    ) -> None:
        super().__init__(message)
        self.found = found
        self.remembered = remembered
        self.heads = heads


class ForkDetectedError(IntegrityError):
    """A server shows another history of a directory than the one seen before.

    Attributes:
        version: at which the two differ, as far as that is known.
        heads: the two heads, as far as they are known.
    """

    def __init__(self, message: str, *, version: int, heads: tuple[SignedHead, ...] = ()) -> None:
        super().__init__(message)
        self.version = version
        self.heads = heads


class StaleDirectoryError(IntegrityError):
    """A directory that its writers keep fresh has not been, for longer than they said."""


class ListingInterruptedError(UnavailableError):
    """A directory changed so fast that no version of it could be listed to its end."""


class ContendedDirectoryError(UnavailableError):
    """Others wrote to a directory all the time, and no change of ours came between.

    Attributes:
        may_be_applied: it is not known whether the change was made.
    """

    def __init__(self, message: str, *, may_be_applied: bool = False) -> None:
        super().__init__(message)
        self.may_be_applied = may_be_applied


class VdriveUnavailableError(UnavailableError):
    """No place of a virtual drive server answers.

    Attributes:
        may_be_applied: it is not known whether the change was made.
    """

    def __init__(self, message: str, *, may_be_applied: bool = False) -> None:
        super().__init__(message)
        self.may_be_applied = may_be_applied
