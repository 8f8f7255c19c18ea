"""What the control interface answers with."""

from __future__ import annotations

import json

from holdfast.errors import HoldfastError
from holdfast.node.control.errors import UnauthorizedError, error_as_json, status_of
from holdfast.wire.http import Headers, Response

NO_STORE: Headers = (("Cache-Control", "no-store"),)
JSON: Headers = (*NO_STORE, ("Content-Type", "application/json"))
JSON_LINES: Headers = (*NO_STORE, ("Content-Type", "application/x-ndjson"))
BYTES: Headers = (*NO_STORE, ("Content-Type", "application/octet-stream"))


def json_answer(value: object, status: int = 200) -> Response:
    """Answer with a JSON value."""
    return Response(status, JSON, json_line(value))


def json_line(value: object) -> bytes:
    """Return a JSON value on a line."""
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def refusal(error: HoldfastError) -> Response:
    """Answer with what went wrong."""
    headers = (*JSON, ("WWW-Authenticate", "Bearer")) if isinstance(error, UnauthorizedError) else JSON
    return Response(status_of(error), headers, json_line(error_as_json(error)))
