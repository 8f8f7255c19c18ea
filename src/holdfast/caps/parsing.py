"""From texts to capabilities. Nothing here raises for a bad text: what is wrong or unknown is a value too.

Source: docs/spec/capabilities.md, sections 2, 5 and 6; docs/spec/vdrive.md, section 4.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from holdfast.caps.directories import DirectoryCap, DirectoryVerifyCap
from holdfast.caps.immutable import ImmutableReadCap, ImmutableVerifyCap, LiteralCap
from holdfast.caps.mutable import MutableFormat, MutableReadCap, MutableVerifyCap, MutableWriteCap
from holdfast.caps.unknown import CapFault, ErroneousCap, UnknownCap
from holdfast.caps.vdrive import (
    VdriveReadCap,
    VdriveVerifyCap,
    VdriveWriteCap,
    vdrive_read_cap,
    vdrive_verify_cap,
    vdrive_write_cap,
)
from holdfast.crypto import base32

FileReadCap = LiteralCap | ImmutableReadCap | MutableReadCap | MutableWriteCap
FileVerifyCap = ImmutableVerifyCap | MutableVerifyCap
FileCap = FileReadCap | FileVerifyCap
VdriveCap = VdriveWriteCap | VdriveReadCap | VdriveVerifyCap
Cap = FileCap | DirectoryCap | DirectoryVerifyCap | VdriveCap

CAP_SIZE_MAX = 1000  # bytes, without a prefix
READ_ONLY_PREFIX = b"ro."
IMMUTABLE_PREFIX = b"imm."

_LABEL = re.compile(rb"URI:([A-Z0-9]+(?:-[A-Za-z]+)*):")
_LITERAL = re.compile(rb"([a-z2-7]*)")
_KEY_AND_HASH = rb"([a-z2-7]{26}):([a-z2-7]{52})"
_IMMUTABLE = re.compile(_KEY_AND_HASH + rb":([0-9]+):([0-9]+):([0-9]+)")
# The pattern of the reference for this kind has no end, so whatever follows has to be accepted.
_IMMUTABLE_VERIFY = re.compile(_IMMUTABLE.pattern + rb"(?:[^0-9].*)?", re.DOTALL)
_SSK = re.compile(_KEY_AND_HASH)
_MDMF = re.compile(_KEY_AND_HASH + rb"(?::.*)?", re.DOTALL)  # what follows are hints, dropped
_DIGITS_MAX = 20

_C = TypeVar("_C", MutableWriteCap, MutableReadCap, MutableVerifyCap)


def parse_cap(text: str | bytes, deep_immutable: bool = False) -> Cap | UnknownCap | ErroneousCap:
    """Return what ``text`` stands for.

    Args:
        text: nothing is stripped from it, save one newline at its end; text is taken as UTF-8.
        deep_immutable: True where nothing mutable may stand, as in immutable directories.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
    may_write = may_mutate = not deep_immutable
    if raw.startswith(IMMUTABLE_PREFIX):
        body = raw.removeprefix(IMMUTABLE_PREFIX)
        may_write = may_mutate = False
    elif raw.startswith(READ_ONLY_PREFIX):
        body = raw.removeprefix(READ_ONLY_PREFIX)
        may_write = False
    else:
        body = raw
    if len(body) > CAP_SIZE_MAX:
        return ErroneousCap(raw, "malformed")
    label = _LABEL.match(body)
    kind = None if label is None else _KINDS.get(label[1])
    if label is None or kind is None:
        return UnknownCap(raw)
    fault = kind.fault(may_write, may_mutate)
    if label[1] in _LABELS_OF_2007:
        return _vdrive_cap(raw, body[label.end() :], kind, fault)
    if fault is not None:
        return ErroneousCap(raw, fault)
    # The reference takes one newline behind every kind.
    fields = body[label.end() :].removesuffix(b"\n")
    try:
        return kind.parse(fields)
    except ValueError:
        return ErroneousCap(raw, "malformed")


def _vdrive_cap(
    raw: bytes, fields: bytes, kind: _Kind, fault: CapFault | None
) -> Cap | UnknownCap | ErroneousCap:
    """Return what a text with a label of 2007 stands for. One that only has the label was always unknown."""
    try:
        cap = kind.parse(fields)
    except ValueError:
        return UnknownCap(raw)
    return cap if fault is None else ErroneousCap(raw, fault)


class _Kind:
    """How the fields of one kind are read, and what it needs of the place where it stands."""

    def __init__(self, parse: Callable[[bytes], Cap], *, writes: bool = False, mutates: bool = False) -> None:
        self.parse = parse
        self._writes = writes
        self._mutates = writes or mutates

    def fault(self, may_write: bool, may_mutate: bool) -> CapFault | None:
        if self._mutates and not may_mutate:
            return "must-be-deep-immutable"
        if self._writes and not may_write:
            return "must-be-readonly"
        return None


def _literal(fields: bytes) -> LiteralCap:
    return LiteralCap(base32.decode(_matched(_LITERAL, fields)[0]))


def _immutable_read(fields: bytes) -> ImmutableReadCap:
    key, ueb_hash, *numbers = _matched(_IMMUTABLE, fields)
    return ImmutableReadCap(base32.decode(key), base32.decode(ueb_hash), *map(_number, numbers))


def _immutable_verify(fields: bytes) -> ImmutableVerifyCap:
    index, ueb_hash, *numbers = _matched(_IMMUTABLE_VERIFY, fields)
    return ImmutableVerifyCap(base32.decode(index), base32.decode(ueb_hash), *map(_number, numbers))


def _mutable(cap: Callable[[MutableFormat, bytes, bytes], _C], label: MutableFormat) -> Callable[[bytes], _C]:
    pattern = _MDMF if label == "MDMF" else _SSK

    def parse(fields: bytes) -> _C:
        first, fingerprint = _matched(pattern, fields)
        return cap(label, base32.decode(first), base32.decode(fingerprint))

    return parse


def _directory(parse_file: Callable[[bytes], FileReadCap]) -> Callable[[bytes], DirectoryCap]:
    return lambda fields: DirectoryCap(parse_file(fields))


def _directory_verify(parse_file: Callable[[bytes], FileVerifyCap]) -> Callable[[bytes], DirectoryVerifyCap]:
    return lambda fields: DirectoryVerifyCap(parse_file(fields))


def _matched(pattern: re.Pattern[bytes], fields: bytes) -> tuple[str, ...]:
    match = pattern.fullmatch(fields)
    if match is None:
        raise ValueError("the fields are not those of this kind")
    return tuple(field.decode("ascii") for field in match.groups())


def _number(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise ValueError("a number of absurd length")
    return int(digits)


_SSK_WRITE, _SSK_READ = _mutable(MutableWriteCap, "SSK"), _mutable(MutableReadCap, "SSK")
_SSK_VERIFY = _mutable(MutableVerifyCap, "SSK")
_MDMF_WRITE, _MDMF_READ = _mutable(MutableWriteCap, "MDMF"), _mutable(MutableReadCap, "MDMF")
_MDMF_VERIFY = _mutable(MutableVerifyCap, "MDMF")

_KINDS = {
    b"LIT": _Kind(_literal),
    b"CHK": _Kind(_immutable_read),
    b"CHK-Verifier": _Kind(_immutable_verify),
    b"SSK": _Kind(_SSK_WRITE, writes=True),
    b"SSK-RO": _Kind(_SSK_READ, mutates=True),
    b"SSK-Verifier": _Kind(_SSK_VERIFY),
    b"MDMF": _Kind(_MDMF_WRITE, writes=True),
    b"MDMF-RO": _Kind(_MDMF_READ, mutates=True),
    b"MDMF-Verifier": _Kind(_MDMF_VERIFY),
    b"DIR2": _Kind(_directory(_SSK_WRITE), writes=True),
    b"DIR2-RO": _Kind(_directory(_SSK_READ), mutates=True),
    b"DIR2-Verifier": _Kind(_directory_verify(_SSK_VERIFY)),
    b"DIR2-MDMF": _Kind(_directory(_MDMF_WRITE), writes=True),
    b"DIR2-MDMF-RO": _Kind(_directory(_MDMF_READ), mutates=True),
    b"DIR2-MDMF-Verifier": _Kind(_directory_verify(_MDMF_VERIFY)),
    b"DIR2-CHK": _Kind(_directory(_immutable_read)),
    b"DIR2-CHK-Verifier": _Kind(_directory_verify(_immutable_verify)),
    b"DIR2-LIT": _Kind(_directory(_literal)),
    b"DIR": _Kind(vdrive_write_cap, writes=True),
    b"DIR-RO": _Kind(vdrive_read_cap, mutates=True),
    b"DIR-Verifier": _Kind(vdrive_verify_cap),
}
_LABELS_OF_2007 = frozenset({b"DIR", b"DIR-RO", b"DIR-Verifier"})
