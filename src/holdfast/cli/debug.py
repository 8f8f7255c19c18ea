"""``holdfast debug``: takes capabilities and stored shares apart, for finding defects. Nobody is asked.

Source: docs/spec/cli.md, section 10; docs/spec/seed-map.md, X-16.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from holdfast.cli.options import given_capability
from holdfast.crypto import base32
from holdfast.errors import BadCapabilityError, CorruptShareError, InputError

if TYPE_CHECKING:
    from holdfast.formats.containers import Container

_Read = Callable[[int, int], bytes]
"""Returns the bytes of a share at (offset, length); fewer only at its end."""

NUMBER_MAX = 255
UEB_MAX = 1 << 20  # bytes read of an extension block


@click.group()
def debug() -> None:
    """Take capabilities and shares apart."""


@debug.command("dump-cap")
@click.argument("cap", metavar="CAP")
def dump_cap(cap: str) -> None:
    """Print the parts of a capability ("-": read from standard input), and what follows from them.

    That shows its keys: whoever sees them can do what the capability allows.
    """
    from holdfast.caps import ErroneousCap, UnknownCap, parse_cap
    from holdfast.caps.refresh import parse_refresh_cap, refresh_cap
    from holdfast.caps.unknown import FAULTS

    text = given_capability(cap).strip()
    known = parse_cap(text)
    if isinstance(known, ErroneousCap):
        raise BadCapabilityError(FAULTS[known.fault])
    if isinstance(known, UnknownCap):
        refreshing = parse_refresh_cap(text)
        _print({"kind": text.split(":")[1], **_parts(refreshing)})
        return
    refresh = refresh_cap(known)
    derived = {
        "read_only": known.read_only.to_text(),
        "verify_cap": None if known.verify_cap is None else known.verify_cap.to_text(),
        "refresh_cap": None if refresh is None else refresh.to_text(),
        "storage_index": None if known.storage_index is None else base32.encode(known.storage_index),
    }
    index = getattr(known, "index", None)
    if isinstance(index, bytes):
        derived["index"] = base32.encode(index)
    _print({"kind": known.kind, **_parts(known), "writable": known.writable, **derived})


@debug.command("dump-share")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--number",
    type=click.IntRange(0, NUMBER_MAX),
    help="Of a mutable share. Default: the name of the file, as servers name it.",
)
def dump_share(file: Path, number: int | None) -> None:
    """Print what a file of a storage server holds: its header, the layout of its share, its leases.

    Servers keep small shares together in other files.
    """
    if number is None:
        number = int(file.name) if file.name.isascii() and file.name.isdigit() else 0
    try:
        with open(file, "rb") as opened:
            _print(_share(opened, os.fstat(opened.fileno()).st_size, number))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None


def _share(file: BinaryIO, size: int, number: int) -> dict[str, object]:
    from holdfast.formats.containers import (
        HEADER_SIZE_MAX,
        ImmutableContainer,
        leases,
        parse_container,
    )

    def read(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    container: Container = parse_container(read(0, HEADER_SIZE_MAX), size)
    described: dict[str, object] = {
        "container": "immutable" if isinstance(container, ImmutableContainer) else "mutable",
        "version": container.version,
        "size": container.size,
    }

    def share(offset: int, length: int) -> bytes:
        return read(container.data_offset + offset, max(0, min(length, container.size - offset)))

    if isinstance(container, ImmutableContainer):
        described["share"] = _immutable(share)
    else:
        described["server_seed"] = base32.encode(container.server_seed)
        described["share"] = _mutable(share, number)
    described["leases"] = [
        {
            "owner": lease.owner,
            "expiry": lease.expiry,
            "renew_hash": base32.encode(lease.renew_hash),
            "cancel_hash": base32.encode(lease.cancel_hash),
        }
        for lease in leases(container, read)
    ]
    return described


def _immutable(share: _Read) -> dict[str, object]:
    from holdfast.formats.extension_block import unpack
    from holdfast.formats.share_layout import HEADER_SIZE_MAX, parse_header

    header = parse_header(share(0, HEADER_SIZE_MAX))
    length = int.from_bytes(share(header.extension, header.field_size), "big")
    block = share(header.extension + header.field_size, min(length, UEB_MAX))
    try:
        fields = unpack(block)
    except ValueError as error:
        raise CorruptShareError(f"the extension block is damaged: {error}") from None
    return {"layout": _parts(header), "extension_block": {name: _shown(v) for name, v in fields.items()}}


def _mutable(share: _Read, number: int) -> dict[str, object]:
    from holdfast.formats.mutable_layout import parse_mutable_header

    header, offsets = parse_mutable_header(share(0, 200), number)
    return {
        "number": number,
        "format": header.format,
        "sequence": header.sequence,
        "root_hash": base32.encode(header.root_hash),
        "salt": base32.encode(header.salt),
        "segmentation": _parts(header.segmentation),
        "offsets": {name: list(section) for name, section in _fields(offsets)},
    }


def _fields(value: object) -> list[tuple[str, tuple[int, int]]]:
    assert dataclasses.is_dataclass(value)
    return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]


def _parts(value: object) -> dict[str, object]:
    """Return the fields of a value, and of the values in them."""
    assert dataclasses.is_dataclass(value)
    return {field.name: _part(getattr(value, field.name)) for field in dataclasses.fields(value)}


def _part(value: object) -> object:
    if isinstance(value, bytes):
        return base32.encode(value)
    if dataclasses.is_dataclass(value):
        return _parts(value)
    return list(value) if isinstance(value, tuple) else value


def _shown(value: bytes) -> str:
    """Return a value of an extension block: numbers and names as they are, hashes in base32."""
    return (
        value.decode("ascii")
        if value.isascii() and value.decode("ascii").isprintable()
        else base32.encode(value)
    )


def _print(document: dict[str, object]) -> None:
    click.echo(json.dumps(document, indent=1))
