"""What each exit status means: one table, from the class of an error to its number.

A script can tell from the status alone whether to fix its call, wait, or worry.
"""

from __future__ import annotations

import enum

from holdfast import errors
from holdfast.node.control.errors import ForeignRequestError, OutOfScopeError, UnauthorizedError


class ExitCode(enum.IntEnum):
    """Exit statuses of ``holdfast``. 128 + n: ended by signal n."""

    DONE = 0
    DEFECT = 1
    USAGE = 2
    UNHEALTHY = 3
    UNRECOVERABLE = 4
    INPUT = 5
    SOURCE_CHANGED = 6
    CAPABILITY = 7
    CONFIGURATION = 8
    UNAVAILABLE = 9
    UNHAPPY = 10
    INTEGRITY = 11
    NAME = 12
    CONFLICT = 13
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS = {
    ExitCode.DONE: "done; check: healthy",
    ExitCode.DEFECT: "a defect of Holdfast (HOLDFAST_DEBUG=1 shows where)",
    ExitCode.USAGE: "wrong use of the command line",
    ExitCode.UNHEALTHY: "check: shares are missing or wrong, the file can be read",
    ExitCode.UNRECOVERABLE: "too few good shares were found, or no such directory; trying later may help",
    ExitCode.INPUT: "a local file or directory cannot be used: missing, a directory, full disk, ...",
    ExitCode.SOURCE_CHANGED: "the file changed while it was read",
    ExitCode.CAPABILITY: "a capability, alias or invitation is cut, misspelt, used up, or does not fit",
    ExitCode.CONFIGURATION: "no node was named, a file of it is missing or wrong, or it does not let us in",
    ExitCode.UNAVAILABLE: "no server of the grid answers, or they fail; or the node does not run",
    ExitCode.UNHAPPY: "too few servers take shares to store the file safely",
    ExitCode.INTEGRITY: "what the servers gave is proven wrong",
    ExitCode.NAME: "a name is not there, is taken, or leads to something of another kind",
    ExitCode.CONFLICT: "somebody else changed the same thing at the same time; try again",
    ExitCode.INTERRUPTED: "interrupted (128 + number of the signal)",
    ExitCode.BROKEN_PIPE: "whoever read the output went away",
}

# Named, since most commands do not load them. They come before their bases below.
_NAMED = {
    "holdfast.interfaces.drive.ChildAlreadyPresentError": ExitCode.NAME,
    "holdfast.interfaces.drive.ChildOfWrongTypeError": ExitCode.NAME,
    "holdfast.interfaces.drive.NoSuchChildError": ExitCode.NAME,
    "holdfast.interfaces.drive.NotADirectoryNodeError": ExitCode.NAME,
    "holdfast.interfaces.vdrive_errors.NoPublicRootError": ExitCode.UNAVAILABLE,
    "holdfast.interfaces.vdrive_errors.NoSuchDirectoryError": ExitCode.UNRECOVERABLE,
    "holdfast.interfaces.vdrive_errors.NoSuchVdriveCallError": ExitCode.UNAVAILABLE,
    "holdfast.node.aliases.AliasTakenError": ExitCode.NAME,
}

# The first class that fits counts.
_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (errors.SourceChangedError, ExitCode.SOURCE_CHANGED),
    (errors.ConfigError, ExitCode.CONFIGURATION),
    (UnauthorizedError, ExitCode.CONFIGURATION),
    (ForeignRequestError, ExitCode.CONFIGURATION),
    (OutOfScopeError, ExitCode.CONFIGURATION),
    (errors.InputError, ExitCode.INPUT),
    (errors.CapabilityError, ExitCode.CAPABILITY),
    (errors.NotEnoughSharesError, ExitCode.UNRECOVERABLE),
    (errors.UnhappyError, ExitCode.UNHAPPY),
    (errors.NotEnoughServersError, ExitCode.UNHAPPY),
    (errors.UnavailableError, ExitCode.UNAVAILABLE),
    (errors.IntegrityError, ExitCode.INTEGRITY),
    (errors.ConflictError, ExitCode.CONFLICT),
    (errors.CancelledTransferError, ExitCode.INTERRUPTED),
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (BrokenPipeError, ExitCode.BROKEN_PIPE),
    (OSError, ExitCode.INPUT),
)


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the status for a command that ended with ``error``."""
    for kind in type(error).__mro__:
        code = _NAMED.get(f"{kind.__module__}.{kind.__name__}")
        if code is not None:
            return code
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.DEFECT)


def table() -> str:
    """Return the table for people, a line per status."""
    return "\n".join(f"{code.value:4}  {meaning}" for code, meaning in MEANINGS.items())
