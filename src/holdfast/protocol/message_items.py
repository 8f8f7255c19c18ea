"""The items a message in CBOR consists of, taken out one by one; whatever is not what the
message's rule says is refused by name.

Source: docs/spec/control-and-introducer.md, appendix B.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TypeVar, cast

from holdfast.formats import cbor

INTEGER_END = 2**63

# Names are shown on terminals: nothing in them moves the cursor, breaks the line or turns the text around.
_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

_Key = TypeVar("_Key", int, str)


class MalformedMessageError(ValueError):
    """The bytes are not the message that was expected. The message of the error repeats none of it."""


def decoded(data: bytes) -> object:
    """Return the one item in ``data``. Raises MalformedMessageError, as all functions here do."""
    try:
        return cbor.decode(data)
    except cbor.MalformedCborError as error:
        raise MalformedMessageError(f"malformed CBOR: {error}") from None


def fields(
    value: object, name: str, required: Collection[_Key], optional: Collection[_Key] = ()
) -> dict[_Key, object]:
    """Return a map that has all of the required keys, perhaps some of the optional ones, and no other."""
    if not isinstance(value, dict) or not set(required) <= value.keys() <= {*required, *optional}:
        raise MalformedMessageError(f"{name}: not a map with the right keys")
    return cast("dict[_Key, object]", value)


def text_map(value: object, name: str) -> dict[str, object]:
    """Return a map whose keys are all texts."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise MalformedMessageError(f"{name}: not a map from texts")
    return value


def array(value: object, name: str, least: int, most: int) -> list[object]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise MalformedMessageError(f"{name}: not an array of {least} to {most} items")
    return value


def number(value: object, name: str) -> int:
    """Return a number from 0 to below 2**63."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < INTEGER_END:
        raise MalformedMessageError(f"{name}: not a number in range")
    return value


def truth(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise MalformedMessageError(f"{name}: neither true nor false")
    return value


def octets(value: object, name: str, least: int, most: int | None = None) -> bytes:
    """Return ``least`` to ``most`` bytes, or exactly ``least``."""
    if not isinstance(value, bytes) or not least <= len(value) <= (least if most is None else most):
        raise MalformedMessageError(f"{name}: not bytes of the right number")
    return value


def text(value: object, name: str, most: int | None = None) -> str:
    """Return a text of at most ``most`` characters."""
    if not isinstance(value, str) or (most is not None and len(value) > most):
        raise MalformedMessageError(f"{name}: not a text, or one that is too long")
    return value


def shown_text(value: object, name: str, most: int | None = None) -> str:
    """Return a text of at most ``most`` characters, without any that control how it is shown."""
    shown = text(value, name, most)
    if _NOT_SHOWN.search(shown) is not None:
        raise MalformedMessageError(f"{name}: it holds control characters")
    return shown
