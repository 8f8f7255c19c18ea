"""Arguments of calls: whatever is sent is understood, or refused as a bad request."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.node.control.arguments import Arguments, body_arguments, query_arguments
from holdfast.node.control.errors import BadRequestError
from holdfast.wire.http import Request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["n", "timeout", "uri", "kind", "flag", "other"])


class Body:
    length = None

    def __init__(self, data: bytes) -> None:
        self._data = data

    def chunks(self) -> Any:
        raise NotImplementedError

    async def read(self, limit: int) -> bytes:
        return self._data


def request(query: str = "", body: bytes = b"") -> Request:
    return Request("POST", "/", query, (), Body(body))


def take(arguments: Arguments) -> None:
    assert 1 <= arguments.number("n", 1, 5, 3) <= 5
    assert 0 <= arguments.seconds("timeout", 60, 30) <= 60
    assert isinstance(arguments.text("uri", ""), str)
    assert arguments.choice("kind", ("a", "b"), "a") in ("a", "b")
    assert arguments.flag("flag", False) in (True, False)
    arguments.finish()


@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_any_values_are_understood_or_refused(values: dict[str, Any]) -> None:
    try:
        take(asyncio.run(body_arguments(request(body=json.dumps(values).encode()))))
    except BadRequestError as error:
        assert str(error)


@given(st.binary(max_size=30))
def test_any_body_is_understood_or_refused(body: bytes) -> None:
    try:
        take(asyncio.run(body_arguments(request(body=body))))
    except BadRequestError as error:
        assert str(error)


@given(st.text(alphabet="n=&%20;+timeoutur1", max_size=30))
def test_any_query_is_understood_or_refused(query: str) -> None:
    try:
        take(query_arguments(request(query)))
    except BadRequestError as error:
        assert str(error)
