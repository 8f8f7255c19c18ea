"""Capabilities: what each one allows, how it weakens, and its text form.

Source: docs/spec/capabilities.md.
"""

from holdfast.caps.directories import DirectoryCap, DirectoryVerifyCap
from holdfast.caps.immutable import ImmutableReadCap, ImmutableVerifyCap, LiteralCap
from holdfast.caps.mutable import MutableReadCap, MutableVerifyCap, MutableWriteCap
from holdfast.caps.parsing import parse_cap
from holdfast.caps.unknown import ErroneousCap, UnknownCap

__all__ = [
    "DirectoryCap",
    "DirectoryVerifyCap",
    "ErroneousCap",
    "ImmutableReadCap",
    "ImmutableVerifyCap",
    "LiteralCap",
    "MutableReadCap",
    "MutableVerifyCap",
    "MutableWriteCap",
    "UnknownCap",
    "parse_cap",
]
