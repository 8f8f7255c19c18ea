"""The arguments of a call, from a query or a JSON body, taken one by one: each is of
the right kind or refused by name, and none is left over.

Source: docs/spec/control-and-introducer.md, section 2.4.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from urllib.parse import parse_qsl

from holdfast.node.control.errors import BadRequestError, TooLargeError
from holdfast.wire.http import BodyTooLargeError, Request

BODY_MAX = 64 << 10  # bytes of a JSON body
FIELDS_MAX = 20


class Arguments:
    """Hands out each argument once; ``finish`` refuses what nobody asked for.

    Every method raises BadRequestError for a value of the wrong kind, or a missing one without default.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = dict(values)

    def has(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str | None = None) -> str:
        value = self._values.pop(name, default)
        if not isinstance(value, str):
            raise BadRequestError(f"{name} must be a text")
        return value

    def choice(self, name: str, choices: Collection[str], default: str | None = None) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise BadRequestError(f"{name} must be {' or '.join(choices)}")
        return value

    def number(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """Return a whole number; a text of digits is one too, since queries know nothing else."""
        value = self._values.pop(name, default)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise BadRequestError(f"{name} must be a whole number from {least} to {most}")
        return value

    def seconds(self, name: str, most: float, default: float) -> float:
        """Return a time from 0 on; a text of a number is one too."""
        value = self._values.pop(name, default)
        with suppress(ValueError):
            value = float(value) if isinstance(value, str) else value
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
            raise BadRequestError(f"{name} must be a number of seconds from 0 to {most:.0f}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._values.pop(name, default)
        if not isinstance(value, bool):
            raise BadRequestError(f"{name} must be true or false")
        return value

    def texts(self, name: str) -> list[str]:
        value = self._values.pop(name, None)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise BadRequestError(f"{name} must be a list of texts")
        return value

    def finish(self) -> None:
        """Refuse what is left."""
        for name in self._values:
            raise BadRequestError(f"no such argument: {name[:50]!r}")


def query_arguments(request: Request) -> Arguments:
    """Return the arguments in the query of ``request``."""
    try:
        pairs = parse_qsl(
            request.query,
            keep_blank_values=True,
            strict_parsing=bool(request.query),
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        raise BadRequestError("the query makes no sense") from None
    if len(dict(pairs)) != len(pairs):
        raise BadRequestError("an argument is given twice")
    return Arguments(dict(pairs))


async def body_arguments(request: Request) -> Arguments:
    """Return the arguments in the body of ``request``, which is a JSON object, or empty if there are none."""
    try:
        body = await request.body.read(BODY_MAX)
    except BodyTooLargeError:
        raise TooLargeError(f"the body of such a request has at most {BODY_MAX} bytes") from None
    if request.query:
        raise BadRequestError("the arguments of this call belong into its body")
    try:
        values = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(values, dict):
        raise BadRequestError("the body must be a JSON object")
    return Arguments(values)
