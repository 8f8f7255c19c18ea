"""What an entry says of its link: a JSON object, mostly the user's, with a part that clients maintain.

Source: docs/spec/directories.md, sections 2.4 and 6.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from holdfast.errors import InputError

Metadata = Mapping[str, object]
"""A JSON object; nobody changes one that was handed over."""

MAINTAINED = "tahoe"  # the key of the part that clients maintain
NO_WRITE = "no-write"


class BadMetadataError(InputError, ValueError):
    """The metadata is not a JSON object."""


def parse_metadata(data: bytes) -> dict[str, object]:
    """Return the object that ``data`` holds. NaN and infinities are numbers, the last of equal keys counts.

    Raises:
        BadMetadataError: it holds none, or is nested absurdly deep.
    """
    try:
        value = json.loads(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        raise BadMetadataError("the metadata of an entry is not JSON") from None
    if not isinstance(value, dict):
        raise BadMetadataError("the metadata of an entry is not an object")
    return value


def metadata_to_bytes(metadata: Metadata) -> bytes:
    """Return ``metadata`` as JSON, keys in their order.

    Raises:
        BadMetadataError: something in it cannot be expressed in JSON.
    """
    if not all(isinstance(key, str) for key in metadata):
        raise BadMetadataError("the keys of metadata are texts")
    try:
        return json.dumps(dict(metadata)).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise BadMetadataError(f"the metadata cannot be written as JSON: {error}") from None


def updated_metadata(old: Metadata | None, new: Metadata | None, now: float) -> dict[str, object]:
    """Return the metadata of an entry that is set.

    Args:
        old: that of the entry of this name so far; None if there is none.
        new: what the caller wants, without effect on the part that clients maintain. None leaves what
            there is; an empty object clears it.
        now: Unix time, one for the whole operation.
    """
    old = old or {}
    result = dict(old) if new is None else {key: value for key, value in new.items() if key != MAINTAINED}
    before = old.get(MAINTAINED)
    maintained = dict(before) if isinstance(before, Mapping) else {}
    if "linkcrtime" not in maintained:
        linked_before = old.get("ctime")  # what clients before 1.4 called it
        maintained["linkcrtime"] = float(now) if linked_before is None else linked_before
    maintained["linkmotime"] = float(now)
    result[MAINTAINED] = maintained
    return result


def forbids_writing(metadata: Metadata) -> bool:
    """Tell whether the child of an entry with this metadata is stored without its write capability."""
    return bool(metadata.get(NO_WRITE))
