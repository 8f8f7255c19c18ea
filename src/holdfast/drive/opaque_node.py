"""What is not known here, perhaps of a later version: carried along byte for byte, never opened.

Source: docs/spec/seed-map.md, S-016; docs/spec/directories.md, section 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.caps.slots import ChildSlots


@dataclass(frozen=True, slots=True)
class OpaqueNode:
    """A child of an unknown kind. A verify capability is one, too: nothing can be done with it here.

    Attributes:
        slots: with a fault if it can be held, but not linked: nobody knows whether it allows writing.
    """

    slots: ChildSlots

    @property
    def kind(self) -> Literal["unknown"]:
        return "unknown"

    def get_uri(self) -> str | None:
        """Return the strongest capability held; None if there is none."""
        return text_of(self.slots.strongest)

    def get_immutable_uri(self) -> str | None:
        """Return the capability that is said not to allow writing; None if there is none."""
        return text_of(self.slots.ro)


def text_of(slot: bytes | None) -> str | None:
    """Return a capability of any bytes as text, from which ``bytes_of`` makes the same bytes again."""
    return None if slot is None else slot.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """Return the bytes of a capability; white space around it does not count."""
    try:
        return text.strip().encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.strip().encode("utf-8", "surrogatepass")
