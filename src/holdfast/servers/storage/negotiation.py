"""Header values of HTTP that need more than a comparison: ``Accept``, ``Range``, ``Content-Range``.

Source: docs/spec/storage-protocol.md, sections 6.1, 8.2 and 8.5; RFC 9110, sections 12.4.2 and 12.5.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from holdfast.interfaces.storage_errors import BadRangeError

CBOR = "application/cbor"

_MEDIA_RANGE = re.compile(r"(?P<type>[^\s/;,]+)/(?P<subtype>[^\s/;,]+)")
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_RANGE = re.compile(r"bytes=([0-9]{1,40})-([0-9]{1,40})", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,40})-([0-9]{1,40})/([0-9]{1,40}|\*)", re.ASCII)


def accepts_cbor(values: Sequence[str]) -> bool:
    """Tell whether the ``Accept`` lines of a request allow an answer in CBOR. No line allows everything.

    The most specific media range that matches decides; one with parameters of its own matches nothing here.
    """
    if not values or values[0] == CBOR:
        return True
    entries = [entry.strip() for value in values for entry in value.split(",")]
    best = (-1, 0.0)
    for entry in filter(None, entries):
        best = max(best, _match(entry), key=lambda found: found[0])
    return best[1] > 0 if best[0] >= 0 else not any(entries)


def is_cbor(content_type: str | None) -> bool:
    """Tell whether a ``Content-Type`` means CBOR; none does."""
    return content_type is None or content_type.partition(";")[0].strip().lower() == CBOR


def requested_range(values: Sequence[str]) -> tuple[int, int] | None:
    """Return first byte and end of the ``Range`` of a request, or None if there is none.

    Raises:
        BadRangeError: anything but one closed range of bytes.
    """
    if not values:
        return None
    found = _RANGE.fullmatch(values[0].strip()) if len(values) == 1 else None
    if found is None or int(found[1]) > int(found[2]):
        raise BadRangeError("one closed range of bytes can be asked for")
    return int(found[1]), int(found[2]) + 1


def sent_range(values: Sequence[str]) -> tuple[int, int, int | None]:
    """Return first byte, end, and total (None: unknown) of a ``Content-Range``.

    Raises:
        BadRangeError: it is missing or malformed.
    """
    found = _CONTENT_RANGE.fullmatch(values[0].strip()) if len(values) == 1 else None
    if found is None or int(found[1]) > int(found[2]):
        raise BadRangeError("Content-Range says which bytes are sent: bytes <first>-<last>/<total or *>")
    return int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])


def _match(entry: str) -> tuple[int, float]:
    """Return how specifically an entry of ``Accept`` matches CBOR (-1: not at all), and its quality."""
    media, *parameters = (part.strip() for part in entry.lower().split(";"))
    found = _MEDIA_RANGE.fullmatch(media)
    if found is None:
        return -1, 0.0
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() != "q":
            return -1, 0.0
        quality = float(value) if _QUALITY.fullmatch(value.strip()) else 0.0
        break  # what follows the quality are extensions
    if media == CBOR:
        return 2, quality
    if media == "application/*":
        return 1, quality
    return (0, quality) if media == "*/*" else (-1, 0.0)
