"""A directory describes a child by two optional capabilities: what a writer gets, and
what a reader gets. Decides what kind of child they make, and what is stored for it.

Source: docs/spec/capabilities.md, section 8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from holdfast.caps.directories import DirectoryCap
from holdfast.caps.immutable import ImmutableReadCap, LiteralCap
from holdfast.caps.mutable import MutableReadCap, MutableWriteCap
from holdfast.caps.parsing import IMMUTABLE_PREFIX, READ_ONLY_PREFIX, parse_cap
from holdfast.caps.unknown import FAULTS, CapFault, ErroneousCap
from holdfast.caps.vdrive import VdriveReadCap, VdriveWriteCap
from holdfast.errors import BadCapabilityError

ListableCap = DirectoryCap | VdriveWriteCap | VdriveReadCap
"""The kinds of directories."""
NodeCap = LiteralCap | ImmutableReadCap | MutableReadCap | MutableWriteCap | ListableCap
"""The kinds that can be children. Verify capabilities are carried along like unknown ones."""
ChildFault = CapFault | Literal["unknown-rw"]
ChildKind = Literal["file", "directory", "unknown"]


class ChildFaultError(BadCapabilityError):
    """A child cannot be stored where it was to be stored.

    Attributes:
        fault: why not.
    """

    def __init__(self, fault: ChildFault) -> None:
        super().__init__(
            "nobody knows whether the capability allows writing" if fault == "unknown-rw" else FAULTS[fault]
        )
        self.fault = fault


@dataclass(frozen=True, slots=True)
class ChildSlots:
    """A child: the two capabilities that describe it now, and what it is.

    With a fault both slots are empty. Such a child can be listed, but neither stored nor copied.
    """

    rw: bytes | None = field(default=None, repr=False)
    ro: bytes | None = field(default=None, repr=False)  # may have the prefix ro. or imm.
    cap: NodeCap | None = None  # the strongest known capability; None: an unknown child
    fault: ChildFault | None = None

    @property
    def kind(self) -> ChildKind:
        if self.cap is None:
            return "unknown"
        return "directory" if isinstance(self.cap, ListableCap) else "file"

    @property
    def strongest(self) -> bytes | None:
        """The capability that allows most of those held; None if there is none."""
        return self.rw or self.ro

    @property
    def read_only(self) -> ChildSlots:
        """The same child without the right to write."""
        return self if self.rw is None else child_slots(None, self.ro)

    @property
    def alleged_immutable(self) -> bool:
        """True if it is immutable, or unknown and said to be."""
        if self.cap is not None:
            return not self.cap.mutable
        return self.allowed_in_immutable_directory and (
            self.ro is None or self.ro.startswith(IMMUTABLE_PREFIX)
        )

    @property
    def allowed_in_immutable_directory(self) -> bool:
        """True if it is immutable, or unknown without anything that might allow writing."""
        if self.cap is not None:
            return not self.cap.mutable
        return self.fault is None and self.rw is None


def child_slots(rw: str | bytes | None, ro: str | bytes | None, deep_immutable: bool = False) -> ChildSlots:
    """Return the child that two slots describe; an empty slot counts as absent.

    Beware: a write capability that stands in ``ro`` without a prefix gives a child that can be written.
    Put ``ro.`` in front of it where that must not be.

    Args:
        deep_immutable: the child belongs to an immutable directory.
    """
    writer, reader = _bytes(rw), _bytes(ro)
    strongest = writer or reader
    if strongest is None:
        return ChildSlots()
    cap = parse_cap(strongest, deep_immutable)
    if isinstance(cap, NodeCap):
        text = cap.to_text().encode("ascii")
        if not cap.writable:
            return ChildSlots(None, text, cap)
        return ChildSlots(text, cap.read_only.to_text().encode("ascii"), cap)
    return _unknown_child(writer, reader, deep_immutable)


def stored_in_read_only_slot(ro: bytes, deep_immutable: bool) -> bytes:
    """Return ``ro`` without the prefix that its directory implies: at most one, and ``imm.`` only in an
    immutable directory."""
    if ro.startswith(READ_ONLY_PREFIX):
        return ro.removeprefix(READ_ONLY_PREFIX)
    return ro.removeprefix(IMMUTABLE_PREFIX) if deep_immutable else ro


def _unknown_child(rw: bytes | None, ro: bytes | None, deep_immutable: bool) -> ChildSlots:
    fault = _fault_of_slots(rw, ro, deep_immutable)
    if fault is not None:
        return ChildSlots(fault=fault)
    if ro is None:
        rw, ro = None, rw  # its prefix says that it does not allow writing
    assert ro is not None
    cap = parse_cap(ro, deep_immutable)
    if isinstance(cap, ErroneousCap):
        return ChildSlots(fault=cap.fault)
    return ChildSlots(rw, _with_prefix(ro, deep_immutable))


def _fault_of_slots(rw: bytes | None, ro: bytes | None, deep_immutable: bool) -> ChildFault | None:
    """Return what is wrong with an unknown child before its reading capability is looked at."""
    if rw is None:
        return None
    if ro is not None:  # an immutable object has no write capability
        return "must-be-deep-immutable" if deep_immutable or ro.startswith(IMMUTABLE_PREFIX) else None
    harmless = (IMMUTABLE_PREFIX,) if deep_immutable else (READ_ONLY_PREFIX, IMMUTABLE_PREFIX)
    return None if rw.startswith(harmless) else "unknown-rw"  # nobody knows whether it allows writing


def _with_prefix(ro: bytes, deep_immutable: bool) -> bytes:
    """Return ``ro`` with a prefix that says what its place says of it."""
    if ro.startswith(IMMUTABLE_PREFIX):
        return ro
    if deep_immutable:
        return IMMUTABLE_PREFIX + ro.removeprefix(READ_ONLY_PREFIX)
    return ro if ro.startswith(READ_ONLY_PREFIX) else READ_ONLY_PREFIX + ro


def _bytes(slot: str | bytes | None) -> bytes | None:
    if not slot:
        return None
    return slot.encode("utf-8", "surrogatepass") if isinstance(slot, str) else slot
