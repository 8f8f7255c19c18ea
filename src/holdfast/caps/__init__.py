"""Capabilities: what each one allows, how it weakens, and its text form.

Source: docs/spec/capabilities.md; docs/spec/vdrive.md, section 4.
"""

from holdfast.caps.directories import DirectoryCap, DirectoryVerifyCap
from holdfast.caps.immutable import ImmutableReadCap, ImmutableVerifyCap, LiteralCap
from holdfast.caps.mutable import MutableReadCap, MutableVerifyCap, MutableWriteCap
from holdfast.caps.parsing import parse_cap
from holdfast.caps.unknown import ErroneousCap, UnknownCap
from holdfast.caps.vdrive import VdriveReadCap, VdriveRefreshCap, VdriveVerifyCap, VdriveWriteCap

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
    "VdriveReadCap",
    "VdriveRefreshCap",
    "VdriveVerifyCap",
    "VdriveWriteCap",
    "parse_cap",
]
