"""The request that stores small shares of several files, and its answer, as bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.interfaces.storage import Allocation, LeaseSecrets, StoreRequest
from holdfast.interfaces.storage_errors import (
    REFUSALS,
    BadRequestError,
    ShareConflictError,
    StorageRefusalError,
)
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol import store_messages as messages

SECRET = st.binary(min_size=32, max_size=32)
NUMBER_SETS = st.frozensets(st.integers(0, 255), max_size=20)


@st.composite
def store_requests(draw: st.DrawFn) -> StoreRequest:
    size = draw(st.integers(1, 50))
    shares = draw(
        st.dictionaries(st.integers(0, 255), st.binary(min_size=size, max_size=size), min_size=1, max_size=5)
    )
    index = StorageIndex(draw(st.binary(min_size=16, max_size=16)))
    return StoreRequest(index, shares, LeaseSecrets(draw(SECRET), draw(SECRET)), draw(st.booleans()))


def example(size: int = 3) -> StoreRequest:
    shares = {7: b"s" * size, 9: b"t" * size}
    return StoreRequest(StorageIndex(b"i" * 16), shares, LeaseSecrets(b"r" * 32, b"c" * 32), False)


def body_of(*requests: StoreRequest) -> bytes:
    return b"".join(messages.encode_store_requests(requests))


@given(st.lists(store_requests(), min_size=1, max_size=5))
def test_requests_come_back(requests: list[StoreRequest]) -> None:
    body = body_of(*requests)
    assert messages.decode_store_requests(body) == requests
    assert len(body) == sum(map(messages.request_size, requests))


def test_a_request_has_the_layout_of_the_specification() -> None:
    expected = b"i" * 16 + b"r" * 32 + b"c" * 32 + b"\0" + b"\0\x02" + b"\0\0\0\x03" + b"\x07\x09" + b"ssstty"
    assert body_of(example()) == expected.replace(b"tty", b"ttt")


@given(st.binary(max_size=300))
def test_any_other_body_is_refused_or_read(body: bytes) -> None:
    try:
        requests = messages.decode_store_requests(body)
    except BadRequestError:
        return
    assert body_of(*requests) == body


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: b"",
        lambda body: body[:-1],
        lambda body: body + b"x",
        lambda body: body[:80] + b"\2" + body[81:],
        lambda body: body[:81] + b"\0\0" + body[83:],
        lambda body: body[:83] + b"\0\0\0\0" + body[87:],
        lambda body: body[:87] + b"\x09\x07" + body[89:],
        lambda body: body[:87] + b"\x07\x07" + body[89:],
        lambda body: body[:83] + b"\xff\xff\xff\xff" + body[87:],
    ],
)
def test_malformed_bodies_are_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadRequestError):
        messages.decode_store_requests(spoil(body_of(example())))


def test_what_exceeds_the_limits_is_refused() -> None:
    with pytest.raises(BadRequestError):
        messages.decode_store_requests(body_of(example(messages.SHARE_SIZE_MAX + 1)))
    assert messages.decode_store_requests(body_of(*[example()] * 256))
    with pytest.raises(BadRequestError):
        messages.decode_store_requests(body_of(*[example()] * 257))


@given(st.lists(st.builds(Allocation, NUMBER_SETS, NUMBER_SETS), max_size=5))
def test_outcomes_come_back(outcomes: list[Allocation | StorageRefusalError]) -> None:
    answer = messages.encode_store_answer(outcomes)
    assert messages.decode_store_answer(answer, len(outcomes)) == outcomes
    for wrong in (len(outcomes) - 1, len(outcomes) + 1):
        with pytest.raises(BadRequestError):
            messages.decode_store_answer(answer, wrong) if wrong >= 0 else _refuse()


def _refuse() -> None:
    raise BadRequestError("there is no such number")


@pytest.mark.parametrize("kind", REFUSALS.values())
def test_a_refusal_comes_back_as_what_it_is(kind: type[StorageRefusalError]) -> None:
    answer = messages.encode_store_answer([kind("why"), Allocation(frozenset(), frozenset({1}))])
    refusal, stored = messages.decode_store_answer(answer, 2)
    assert type(refusal) is kind
    assert stored == Allocation(frozenset(), frozenset({1}))


def test_an_outcome_of_an_unknown_kind_is_refused() -> None:
    answer = messages.encode_store_answer([ShareConflictError("why")])
    with pytest.raises(BadRequestError):
        messages.decode_store_answer(b"\x02\x59" + answer[2:], 1)
