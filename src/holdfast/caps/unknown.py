"""What is no known capability: of a kind this version does not know, or wrong. Both keep
the text they were given, byte for byte, to be stored and passed on.

Source: docs/spec/capabilities.md, sections 5 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

CapFault = Literal["malformed", "must-be-readonly", "must-be-deep-immutable"]

FAULTS: Final[Mapping[CapFault, str]] = {
    "malformed": "the capability is malformed: is it cut off or misspelt?",
    "must-be-readonly": "the capability says that it is read-only, but it allows writing",
    "must-be-deep-immutable": "the capability says that it is immutable, but what it names can change",
}
"""What each fault means, as a sentence for people."""


@dataclass(frozen=True, slots=True)
class UnknownCap:
    """A capability of another kind, perhaps of a later version; nobody knows what it grants."""

    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ErroneousCap:
    """A capability that is broken, or grants more than its place or its prefix allows."""

    raw: bytes = field(repr=False)
    fault: CapFault
