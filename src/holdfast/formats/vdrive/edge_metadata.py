"""What an entry at a virtual drive server says of its link: the same as an entry in the grid
does, but as CBOR, which has one form for each value and may hold bytes, too.

Source: docs/spec/vdrive.md, sections 3.2 and 5.1.
"""

from __future__ import annotations

from typing import Final

from holdfast.formats import deterministic_cbor
from holdfast.formats.cbor import MalformedCborError
from holdfast.formats.directory_metadata import BadMetadataError, Metadata

METADATA_SIZE_MAX: Final = 7900  # bytes


def metadata_to_cbor(metadata: Metadata) -> bytes:
    """Return ``metadata`` as it is sealed.

    Raises:
        BadMetadataError: it is too long, or something in it cannot be expressed so.
    """
    try:
        data = deterministic_cbor.encode(metadata, floats=True)
        item = deterministic_cbor.decode(data, size_max=METADATA_SIZE_MAX, floats=True)
    except ValueError as error:
        raise BadMetadataError(f"the metadata of an entry cannot be stored: {error}") from None
    _check(item)
    return data


def metadata_from_cbor(data: bytes) -> dict[str, object]:
    """Return the metadata that was sealed as ``data``.

    Raises:
        BadMetadataError: it is none.
    """
    try:
        return _check(deterministic_cbor.decode(data, size_max=METADATA_SIZE_MAX, floats=True))
    except MalformedCborError as error:
        raise BadMetadataError(f"the metadata of an entry is malformed: {error}") from None


def _check(item: object) -> dict[str, object]:
    if not isinstance(item, dict) or not all(isinstance(key, str) for key in item):
        raise BadMetadataError("the metadata of an entry is not a map with texts as keys")
    return item
