"""The catalogue of a virtual drive server's backup: where in which files the bundles of its directories are,
and what a server knows of them besides: owners, enablers, leases, accounts. Nothing in it opens a directory.

A catalogue is a sequence of CBOR items: a header, the directories in the order of their indices, and an end
that counts them. What leads to the newest one is a single item.

Source: docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from holdfast.errors import IntegrityError
from holdfast.formats import deterministic_cbor
from holdfast.formats.cbor import CborCutOffError, MalformedCborError, decode_first

POINTER_SIZE_MAX = 10_000  # bytes

_NAME = "holdfast-vdrive-backup"
_POINTER_NAME = "holdfast-vdrive-backups"
_VERSION = 1
_END = "end"
_KEY_SIZE = 32
_NUMBER_END = 2**63


class BadBackupError(IntegrityError):
    """The bytes are no catalogue of a backup."""


class BackedAccount(NamedTuple):
    """An account; its token only as a hash, None for those that belong to nobody."""

    id: int
    label: str
    token_hash: bytes | None
    max_dirs: int
    max_entries: int
    max_bytes: int
    disabled: bool
    created_at: int


class BackedLease(NamedTuple):
    """A lease; times in Unix seconds."""

    lease_hash: bytes
    created_at: int
    expires_at: int


class BundlePlace(NamedTuple):
    """Where a bundle is: from ``offset`` on, ``length`` bytes in a pack, which is told by its number."""

    pack: int
    offset: int
    length: int


class BackedDirectory(NamedTuple):
    """A directory.

    Attributes:
        idx: its index.
        version: the one in the bundle, as is ``head_hash``.
        enabler_hash: what the server keeps of the write enabler.
        condemned_at: None while it is live.
    """

    idx: bytes
    version: int
    head_hash: bytes
    enabler_hash: bytes
    account: int
    pinned: bool
    created_at: int
    modified_at: int
    condemned_at: int | None
    leases: tuple[BackedLease, ...]
    bundle: BundlePlace


@dataclass(frozen=True, slots=True)
class BackupCatalogue:
    """Everything that a server keeps.

    Attributes:
        sid: of the service, 32 bytes.
        public_root: index of the root that all share; None if there is none.
        packs: capabilities of the files with bundles, and their sizes.
    """

    sid: bytes
    public_root: bytes | None
    accounts: tuple[BackedAccount, ...]
    packs: tuple[tuple[str, int], ...] = field(repr=False)
    directories: tuple[BackedDirectory, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class BackupPointer:
    """What leads to the newest catalogue.

    Attributes:
        catalogue: its capability.
        renewed: Unix seconds, when the leases of all files were renewed last.
    """

    catalogue: str = field(repr=False)
    renewed: int

    def to_bytes(self) -> bytes:
        return deterministic_cbor.encode({1: _POINTER_NAME, 2: _VERSION, 3: self.catalogue, 4: self.renewed})


def parse_pointer(data: bytes) -> BackupPointer:
    """Parse what leads to a catalogue.

    Raises:
        BadBackupError: it is something else.
    """
    try:
        item = deterministic_cbor.decode(data, size_max=POINTER_SIZE_MAX)
    except MalformedCborError:
        item = None
    match item:
        case {1: "holdfast-vdrive-backups", 2: 1, 3: str(catalogue), 4: int(renewed)}:
            return BackupPointer(catalogue, renewed)
    raise BadBackupError("this file leads to no backup of a virtual drive server")


def encode_catalogue(catalogue: BackupCatalogue) -> bytes:
    """Return a catalogue as it is stored."""
    header = {
        1: _NAME,
        2: _VERSION,
        3: catalogue.sid,
        4: catalogue.public_root,
        5: catalogue.accounts,
        6: catalogue.packs,
    }
    items: list[object] = [header, *sorted(catalogue.directories)]
    items.append({1: _END, 2: len(catalogue.directories)})
    return b"".join(map(deterministic_cbor.encode, items))


def parse_catalogue(data: bytes) -> BackupCatalogue:
    """Parse a catalogue.

    Raises:
        BadBackupError: it is none, or cut off.
    """
    items = _items(data)
    match next(items, None):
        case {1: "holdfast-vdrive-backup", 2: 1, 3: bytes(sid), 4: root, 5: list(accounts), 6: list(packs)}:
            pass
        case _:
            raise _bad("it does not begin as one")
    directories: list[BackedDirectory] = []
    for item in items:
        if isinstance(item, dict):
            if item != {1: _END, 2: len(directories)} or next(items, None) is not None:
                raise _bad("its end does not fit")
            return BackupCatalogue(
                _key(sid),
                None if root is None else _key(root),
                tuple(map(_account, accounts)),
                tuple(map(_pack, packs)),
                tuple(directories),
            )
        directories.append(_directory(item, len(packs)))
    raise _bad("it is cut off")


def _items(data: bytes) -> Iterator[object]:
    offset = 0
    while offset < len(data):
        try:
            item, offset = decode_first(data, offset)
        except (MalformedCborError, CborCutOffError):
            raise _bad("it is malformed") from None
        yield item


def _account(item: object) -> BackedAccount:
    match item:
        case [number, str(label), token_hash, dirs, entries, size, bool(disabled), made]:
            return BackedAccount(
                _number(number),
                label,
                None if token_hash is None else _key(token_hash),
                _number(dirs),
                _number(entries),
                _number(size),
                disabled,
                _number(made),
            )
    raise _bad("an account in it is malformed")


def _pack(item: object) -> tuple[str, int]:
    match item:
        case [str(cap), size]:
            return cap, _number(size)
    raise _bad("a pack in it is malformed")


def _directory(item: object, packs: int) -> BackedDirectory:
    match item:
        case [
            idx,
            version,
            head_hash,
            enabler,
            account,
            bool(pinned),
            made,
            modified,
            condemned,
            list(held),
            [*place],
        ]:
            bundle = BundlePlace(*map(_number, place)) if len(place) == len(BundlePlace._fields) else None
            if bundle is not None and bundle.pack < packs:
                return BackedDirectory(
                    _key(idx),
                    _number(version),
                    _key(head_hash),
                    _key(enabler),
                    _number(account),
                    pinned,
                    _number(made),
                    _number(modified),
                    None if condemned is None else _number(condemned),
                    tuple(map(_lease, held)),
                    bundle,
                )
    raise _bad("a directory in it is malformed")


def _lease(item: object) -> BackedLease:
    match item:
        case [lease_hash, created, expires]:
            return BackedLease(_key(lease_hash), _number(created), _number(expires))
    raise _bad("a lease in it is malformed")


def _number(value: object) -> int:
    """Return a number; only ids of accounts may be below 0."""
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < _NUMBER_END:
        raise _bad("a number in it is impossible")
    return value


def _key(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) != _KEY_SIZE:
        raise _bad("a hash in it has a wrong length")
    return value


def _bad(reason: str) -> BadBackupError:
    return BadBackupError(f"this is no catalogue of a virtual drive server's backup: {reason}")
