"""What ``check`` is asked to look at: from any capability to the file behind it, and which wishes fit it.

A directory of the grid is checked as the file it is stored in. Nothing is asked of the grid here.

Source: docs/spec/cli.md, section 7.1; docs/spec/mutable.md, sections 15 and 16.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.caps import (
    DirectoryCap,
    DirectoryVerifyCap,
    ErroneousCap,
    ImmutableReadCap,
    ImmutableVerifyCap,
    LiteralCap,
    MutableReadCap,
    MutableVerifyCap,
    MutableWriteCap,
    UnknownCap,
    parse_cap,
)
from holdfast.caps.parsing import VdriveCap
from holdfast.caps.unknown import FAULTS
from holdfast.errors import BadCapabilityError, NotCapableError, WrongCapabilityTypeError

ImmutableTarget = LiteralCap | ImmutableReadCap | ImmutableVerifyCap
MutableTarget = MutableWriteCap | MutableReadCap | MutableVerifyCap
Target = ImmutableTarget | MutableTarget | VdriveCap
"""The capability of what can be checked: a file, or a directory that is in none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is wanted besides counting the shares.

    Attributes:
        verify: read and prove every byte.
        repair: make again what is missing or bad.
        force: repair even if that discards a version.
        add_lease: renew the lease of the shares.
    """

    verify: bool = False
    repair: bool = False
    force: bool = False
    add_lease: bool = False


def target_of(text: str) -> Target:
    """Return what the capability ``text`` leads to; white space around it is no part of it.

    Raises:
        BadCapabilityError: it is cut, misspelt, unknown or impossible.
    """
    cap = parse_cap(text.strip())
    if isinstance(cap, UnknownCap):
        raise BadCapabilityError("this is not a capability of a kind Holdfast knows")
    if isinstance(cap, ErroneousCap):
        raise BadCapabilityError(FAULTS[cap.fault])
    if not isinstance(cap, LiteralCap) and not cap.usable:
        raise BadCapabilityError("the capability names impossible sizes or share counts")
    return cap.file_cap if isinstance(cap, DirectoryCap | DirectoryVerifyCap) else cap


def check_wishes(target: Target, wishes: Wishes) -> None:
    """Refuse what cannot be done to ``target``. Of a literal file nothing is missing, so all is granted.

    Raises:
        WrongCapabilityTypeError: it is immutable, and only mutable ones can be repaired, say.
        NotCapableError: it can be repaired, but this capability does not allow it.
    """
    if isinstance(target, ImmutableReadCap | ImmutableVerifyCap):
        if wishes.repair:
            raise WrongCapabilityTypeError(
                "--repair mends files and directories that can change, and this one never does; storing the"
                " same file again brings its missing shares back"
            )
        if wishes.add_lease:
            raise WrongCapabilityTypeError(
                "--add-lease is for files and directories that can change, and this one never does; storing"
                " the same file again renews its leases"
            )
    elif isinstance(target, VdriveCap):
        if wishes.force:
            raise WrongCapabilityTypeError(
                "--force is for files and directories of the grid; at a virtual drive server, what is lost is"
                " given up by: holdfast vdrive heal --disown"
            )
    elif wishes.repair and isinstance(target, MutableReadCap | MutableVerifyCap):
        raise NotCapableError("--repair takes a capability that allows writing, and this one does not")
