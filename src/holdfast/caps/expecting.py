"""Texts where only one sort of capability makes sense: a file's, or a directory's. Here
a wrong text is an error, which says what is wrong without repeating it.

Source: docs/spec/seed-map.md, S-014 and S-015.
"""

from __future__ import annotations

from holdfast.caps.directories import DirectoryCap, DirectoryVerifyCap
from holdfast.caps.parsing import Cap, FileCap, parse_cap
from holdfast.caps.unknown import FAULTS, ErroneousCap, UnknownCap
from holdfast.errors import BadCapabilityError, WrongCapabilityTypeError


def file_cap(text: str) -> FileCap:
    """Parse the capability of a file; white space around it is no part of it.

    Raises:
        BadCapabilityError: the text is no capability that Holdfast knows.
        WrongCapabilityTypeError: it is a directory's.
    """
    cap = _known(text)
    if isinstance(cap, DirectoryCap | DirectoryVerifyCap):
        raise WrongCapabilityTypeError("this is the capability of a directory; a file's is needed here")
    return cap


def directory_cap(text: str) -> DirectoryCap | DirectoryVerifyCap:
    """Parse the capability of a directory; white space around it is no part of it.

    Raises:
        BadCapabilityError: the text is no capability that Holdfast knows.
        WrongCapabilityTypeError: it is a file's.
    """
    cap = _known(text)
    if not isinstance(cap, DirectoryCap | DirectoryVerifyCap):
        raise WrongCapabilityTypeError("this is the capability of a file; a directory's is needed here")
    return cap


def _known(text: str) -> Cap:
    cap = parse_cap(text.strip())
    if isinstance(cap, UnknownCap):
        raise BadCapabilityError("this is not a capability of a kind Holdfast knows")
    if isinstance(cap, ErroneousCap):
        raise BadCapabilityError(FAULTS[cap.fault])
    return cap
