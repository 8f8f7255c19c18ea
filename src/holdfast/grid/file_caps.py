"""Which capabilities the operations on immutable files take, and what is said of the others."""

from __future__ import annotations

from holdfast.caps import (
    ErroneousCap,
    ImmutableReadCap,
    ImmutableVerifyCap,
    LiteralCap,
    UnknownCap,
    parse_cap,
)
from holdfast.errors import BadCapabilityError, NotCapableError, WrongCapabilityTypeError


def readable_file_cap(text: str) -> LiteralCap | ImmutableReadCap:
    """Parse the capability of a file that can be read.

    Raises:
        BadCapabilityError: it is cut, misspelt, unknown or impossible.
        NotCapableError: it only allows verifying.
        WrongCapabilityTypeError: it is a directory's, or a mutable file's.
    """
    cap = _parsed(text)
    if isinstance(cap, ImmutableVerifyCap):
        raise NotCapableError("a verify capability cannot read the file; use the capability that put printed")
    return cap


def checkable_file_cap(text: str) -> LiteralCap | ImmutableVerifyCap:
    """Parse the capability of a file to be checked, and weaken it to what checking needs.

    Raises: as ``readable_file_cap``, but verify capabilities are welcome.
    """
    cap = _parsed(text)
    return cap.verify_cap if isinstance(cap, ImmutableReadCap) else cap


def _parsed(text: str) -> LiteralCap | ImmutableReadCap | ImmutableVerifyCap:
    cap = parse_cap(text.strip())
    if isinstance(cap, UnknownCap):
        raise BadCapabilityError(
            "this is not a capability Holdfast knows; it should begin with URI:CHK: or URI:LIT:"
        )
    if isinstance(cap, ErroneousCap):
        raise BadCapabilityError("the capability is malformed: is it cut off or misspelt?")
    if not isinstance(cap, LiteralCap | ImmutableReadCap | ImmutableVerifyCap):
        raise WrongCapabilityTypeError("this capability is not of an immutable file")
    if not isinstance(cap, LiteralCap) and not cap.usable:
        raise BadCapabilityError("the capability names impossible sizes or share counts")
    return cap
