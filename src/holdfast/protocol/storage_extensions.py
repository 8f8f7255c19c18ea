"""What Holdfast's storage servers offer beyond version 1 of the storage protocol, as both
sides see it: a description of the server that may grow, canary streams, small
shares stored whole, of one file or of many, and all shares of an index read in one
request.

Source: docs/spec/storage-protocol.md, section 18; docs/spec/seed-map.md, S-026 and S-061.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Sequence

from holdfast.crypto import base32
from holdfast.formats import cbor
from holdfast.interfaces.storage_errors import BadRequestError
from holdfast.interfaces.types import MAX_BUCKETS, StorageIndex

VERSION_PATH = "/storage-ext/v1/version"
STORE_ALL_PATH = "/storage-ext/v1/immutable"
OWNER_HEADER = "X-Holdfast-Upload-Secret"
NUMBERS_HEADER = "X-Holdfast-Shares"
ONLY_IF_NONE_HEADER = "X-Holdfast-Only-If-None"

CANARY = "canary"  # names of features
STORE = "store"
STORE_ALL = "store-all"
READ_SLOT = "read-slot"
READ_SHARES = "read-shares"

STORE_BODY_MAX = 256 * 1024  # bytes of all shares of one request
STORE_SHARE_MAX = 60 * 1024  # bytes of one share
READ_RANGES_MAX = 30


def canary_path(index: StorageIndex) -> str:
    """Return the path of the canary streams of one index."""
    return f"/storage-ext/v1/canary/{base32.encode(index)}"


def shares_path(index: StorageIndex) -> str:
    """Return the path to store small shares of one index whole, and to read all of one index."""
    return f"/storage-ext/v1/immutable/{base32.encode(index)}"


def numbers_value(numbers: Sequence[int]) -> str:
    """Return the value of ``NUMBERS_HEADER``: the shares of the body, in order."""
    return ",".join(map(str, numbers))


def parse_numbers(value: str | None) -> list[int]:
    """Return the share numbers of a ``NUMBERS_HEADER``.

    Raises:
        BadRequestError: it is missing, or not a list of distinct share numbers in ascending order.
    """
    texts = (value or "").split(",")
    if len(texts) > MAX_BUCKETS or not all(_NUMBER.fullmatch(text) for text in texts):
        raise BadRequestError("share numbers, joined by commas, are missing")
    numbers = [int(text) for text in texts]
    if sorted(set(numbers)) != numbers or numbers[-1] >= MAX_BUCKETS:
        raise BadRequestError("share numbers must ascend, and lie below 256")
    return numbers


_NUMBER = re.compile(r"[0-9]{1,3}", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,19})\+([0-9]{1,19})", re.ASCII)


def read_slot_target(
    index: StorageIndex, ranges: Sequence[tuple[int, int]], numbers: Collection[int] | None
) -> str:
    """Return path and query of reading (offset, length) ranges of all shares of a slot, or of some."""
    return f"/storage-ext/v1/mutable/{base32.encode(index)}?{_read_query(ranges, numbers)}"


def read_shares_target(index: StorageIndex, ranges: Sequence[tuple[int, int]]) -> str:
    """Return path and query of reading (offset, length) ranges of all immutable shares of an index."""
    return f"{shares_path(index)}?{_read_query(ranges, None)}"


def _read_query(ranges: Sequence[tuple[int, int]], numbers: Collection[int] | None) -> str:
    wanted = ",".join(f"{offset}+{length}" for offset, length in ranges)
    some = "" if numbers is None else f"&shares={numbers_value(sorted(numbers))}"
    return f"ranges={wanted}{some}"


def parse_read_query(query: str) -> tuple[list[tuple[int, int]], list[int] | None]:
    """Return the ranges and the share numbers that are to be read, None for all.

    Raises:
        BadRequestError: it is anything else.
    """
    wanted, has_shares, shares = query.partition("&shares=")
    name, _, texts = wanted.partition("=")
    matches = [_RANGE.fullmatch(text) for text in texts.split(",")]
    ranges = [(int(match[1]), int(match[2])) for match in matches if match is not None]
    if name != "ranges" or len(ranges) != len(matches) or len(ranges) > READ_RANGES_MAX:
        raise BadRequestError("ranges, as OFFSET+LENGTH joined by commas, are missing or too many")
    return ranges, parse_numbers(shares) if has_shares else None


def owner_value(upload_secret: bytes) -> str:
    """Return the value of ``OWNER_HEADER``: whose canary it is."""
    return base64.b64encode(upload_secret).decode("ascii")


def decode_features(data: bytes) -> frozenset[str]:
    """Return the names of the features a server says it has; what is not understood is ignored.

    Raises:
        BadRequestError: it is no description.
    """
    try:
        message = cbor.decode(data)
    except cbor.MalformedCborError as error:
        raise BadRequestError(f"malformed CBOR: {error}") from None
    features = message.get("features") if isinstance(message, dict) else None
    if not isinstance(features, dict):
        return frozenset()
    return frozenset(name for name, value in features.items() if isinstance(name, str) and value is True)
