"""Every error Holdfast raises on purpose, grouped by what the caller can do next.

A message says what happened, to which object, and what to do; it never holds a
capability, a key or a secret. Base errors carry plain values only, so that this
module imports nothing of Holdfast.
"""


class HoldfastError(Exception):
    """Base of every error Holdfast raises on purpose."""


class CapabilityError(HoldfastError):
    """The capability is malformed, or does not allow this. Fix the call."""


class BadCapabilityError(CapabilityError, ValueError):
    """The text is not a capability Holdfast can use."""


class WrongCapabilityTypeError(CapabilityError, TypeError):
    """The capability is of a kind that does not fit here (a directory where a file is needed, say)."""


class NotCapableError(CapabilityError):
    """The capability is too weak for this (reading with a verify capability, say)."""


class InputError(HoldfastError):
    """What the caller handed over cannot be used: a missing file, a relative path, a wrong setting."""


class ConfigError(InputError, ValueError):
    """A setting is missing or wrong; the message names the key and what would be right."""


class SourceChangedError(InputError):
    """The file changed while it was being read. Nothing was stored under a final name; try again."""


class IntegrityError(HoldfastError):
    """Bytes failed a hash or a signature. Never retry the same share."""


class CorruptShareError(IntegrityError):
    """One share does not hold what was uploaded."""


class BadFileError(IntegrityError):
    """The file was made wrongly by its uploader; no choice of shares can give it back."""


class RolledBackError(IntegrityError):
    """The servers show an older version of a mutable file than was read or written here before.

    Attributes:
        sequence_found: sequence number of the newest version that can be read now.
        sequence_remembered: that of the version that was there before.
    """

    def __init__(self, message: str, *, sequence_found: int, sequence_remembered: int) -> None:
        super().__init__(message)
        self.sequence_found = sequence_found
        self.sequence_remembered = sequence_remembered


class UnavailableError(HoldfastError):
    """Too little of the grid answered. Trying later may work."""


class NoServersError(UnavailableError):
    """Not a single storage server can be used."""


class UnhappyError(UnavailableError):
    """Shares could not be spread over as many servers as asked for.

    Attributes:
        servers: servers that hold at least one share.
        happiness: servers that can each be credited with a share of their own.
        shares_needed: k of the file.
        happiness_wanted: the least happiness asked for.
    """

    def __init__(
        self, message: str, *, servers: int, happiness: int, shares_needed: int, happiness_wanted: int
    ) -> None:
        super().__init__(message)
        self.servers = servers
        self.happiness = happiness
        self.shares_needed = shares_needed
        self.happiness_wanted = happiness_wanted


class NotEnoughSharesError(UnavailableError):
    """Fewer good shares than needed were found.

    Attributes:
        found: distinct share numbers of which a usable copy was found.
        needed: k of the file.
    """

    def __init__(self, message: str, *, found: int, needed: int) -> None:
        super().__init__(message)
        self.found = found
        self.needed = needed


class NoSharesError(NotEnoughSharesError):
    """Not a single usable share was found."""


class NotEnoughServersError(UnavailableError):
    """A version of a mutable file was stored on too few servers to be recoverable.

    Attributes:
        placed: distinct share numbers that were stored.
        needed: k of the file.
    """

    def __init__(self, message: str, *, placed: int, needed: int) -> None:
        super().__init__(message)
        self.placed = placed
        self.needed = needed


class ServerError(UnavailableError):
    """One server did not do what it was asked: refused, failed, hung or broke the protocol."""


class IncompatiblePeerError(UnavailableError):
    """A peer's version and ours cannot talk to each other; the message says which side must upgrade."""


class WrongServerKeyError(ServerError):
    """A server presented another TLS key than the one it is known by. Nothing was sent to it."""


class ConflictError(HoldfastError):
    """Someone else wrote first. Read again, then decide."""


class UncoordinatedWriteError(ConflictError):
    """Someone else wrote the same mutable file meanwhile. Either contents, or both, may have been stored.

    Attributes:
        sequence_found: the highest sequence number of another version that was seen; None if it is not known.
    """

    def __init__(self, message: str, *, sequence_found: int | None = None) -> None:
        super().__init__(message)
        self.sequence_found = sequence_found


class CancelledTransferError(HoldfastError):
    """The caller cancelled the transfer."""
