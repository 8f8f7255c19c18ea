"""Texts where only one sort of capability makes sense: a file's, or a directory's. Here
a wrong text is an error, which says what is wrong without repeating it.

Source: docs/spec/seed-map.md, S-014 and S-015; docs/spec/vdrive.md, section 4.2.
"""

from __future__ import annotations

from holdfast.caps.directories import DirectoryCap, DirectoryVerifyCap
from holdfast.caps.parsing import Cap, FileCap, VdriveCap, parse_cap
from holdfast.caps.unknown import FAULTS, ErroneousCap, UnknownCap
from holdfast.errors import BadCapabilityError, WrongCapabilityTypeError

AnyDirectoryCap = DirectoryCap | DirectoryVerifyCap | VdriveCap

_LABELS_OF_2007 = ("URI:DIR:", "URI:DIR-RO:", "URI:DIR-Verifier:", "URI:DIR-Refresh:")


class ObsoleteCapabilityError(BadCapabilityError):
    """The text is the address of a directory from the time before there were capabilities as now."""


def file_cap(text: str) -> FileCap:
    """Parse the capability of a file; white space around it is no part of it.

    Raises:
        BadCapabilityError: the text is no capability that Holdfast knows.
        WrongCapabilityTypeError: it is a directory's.
    """
    cap = _known(text)
    if isinstance(cap, AnyDirectoryCap):
        raise WrongCapabilityTypeError("this is the capability of a directory; a file's is needed here")
    return cap


def directory_cap(text: str) -> AnyDirectoryCap:
    """Parse the capability of a directory; white space around it is no part of it.

    Raises:
        ObsoleteCapabilityError: the text has the label of a directory and another form.
        BadCapabilityError: the text is no capability that Holdfast knows.
        WrongCapabilityTypeError: it is a file's.
    """
    cap = _known(text)
    if not isinstance(cap, AnyDirectoryCap):
        raise WrongCapabilityTypeError("this is the capability of a file; a directory's is needed here")
    return cap


def expect_vdrive_directory(text: str) -> VdriveCap:
    """Parse the capability of a directory at a virtual drive server; white space around it is no part of it.

    Raises:
        ObsoleteCapabilityError, BadCapabilityError: as ``directory_cap`` does.
        WrongCapabilityTypeError: it is a file's, or that of a directory in the grid.
    """
    cap = _known(text)
    if not isinstance(cap, VdriveCap):
        raise WrongCapabilityTypeError(
            "the capability of a directory at a virtual drive server is needed here"
        )
    return cap


def _known(text: str) -> Cap:
    stripped = text.strip()
    cap = parse_cap(stripped)
    if isinstance(cap, UnknownCap):
        if stripped.startswith(_LABELS_OF_2007):
            raise ObsoleteCapabilityError(
                "this is no capability of a directory: it is one of 2007, whose virtual drive is gone, or"
                " it is cut off or misspelt"
            )
        raise BadCapabilityError("this is not a capability of a kind Holdfast knows")
    if isinstance(cap, ErroneousCap):
        raise BadCapabilityError(FAULTS[cap.fault])
    return cap
