"""Messages of the introducer come back as they were written; anything else is refused in one way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.formats import deterministic_cbor
from holdfast.interfaces.introducer import AnnouncementPage, IntroducerVersion, PublishResult
from holdfast.protocol import introducer_messages as messages
from holdfast.protocol.message_items import MalformedMessageError

EPOCH, KEY, SIGNATURE = b"e" * 16, b"k" * 32, b"s" * 64
ANN = b"announcement"

SIGNED = st.tuples(st.binary(min_size=1, max_size=30), st.binary(min_size=64, max_size=64))
NUMBERS = st.integers(0, 2**63 - 1)
TEXTS = st.text(max_size=20)
RESULTS = st.builds(PublishResult, st.sampled_from(sorted(messages.STATUSES)), st.none() | SIGNED, TEXTS)
VERSIONS = st.builds(
    IntroducerVersion,
    protocol=NUMBERS,
    version=TEXTS,
    oldest=TEXTS,
    epoch=st.binary(min_size=16, max_size=16),
    verify_key=st.binary(min_size=32, max_size=32),
    features=st.lists(TEXTS, max_size=3).map(tuple),
)


@st.composite
def pages(draw: st.DrawFn) -> AnnouncementPage:
    numbers = sorted(draw(st.sets(NUMBERS, max_size=5)))
    return AnnouncementPage(
        draw(st.binary(min_size=16, max_size=16)),
        draw(st.integers(numbers[-1] if numbers else 0, 2**63 - 1)),
        draw(st.booleans()),
        [(number, *draw(SIGNED)) for number in numbers],
    )


Decoder = Callable[[bytes], object]
VALID: dict[str, tuple[bytes, Decoder]] = {
    "version": (
        messages.encode_version(IntroducerVersion(1, "0.1.0", "0.1.0", EPOCH, KEY, ("mirror",))),
        messages.decode_version,
    ),
    "publish request": (
        messages.encode_publish_request([(ANN, SIGNATURE), (b"", b"")]),
        messages.decode_publish_request,
    ),
    "publish answer": (
        messages.encode_publish_answer(
            [
                PublishResult("stored"),
                PublishResult("stale", (ANN, SIGNATURE)),
                PublishResult("refused", reason="no"),
            ]
        ),
        messages.decode_publish_answer,
    ),
    "page": (
        messages.encode_page(
            AnnouncementPage(EPOCH, 9, True, [(3, ANN, SIGNATURE), (7, b"another", SIGNATURE)])
        ),
        messages.decode_page,
    ),
    "own": (messages.encode_own([(ANN, SIGNATURE)]), messages.decode_own),
    "error": (messages.encode_error("Full", "there is no room"), messages.decode_error),
}


# -- round trips


@given(VERSIONS)
def test_versions_come_back(version: IntroducerVersion) -> None:
    assert messages.decode_version(messages.encode_version(version)) == version


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=70)), min_size=1, max_size=8))
def test_publish_requests_come_back(announcements: list[tuple[bytes, bytes]]) -> None:
    assert messages.decode_publish_request(messages.encode_publish_request(announcements)) == announcements


@given(st.lists(RESULTS, min_size=1, max_size=8))
def test_publish_answers_come_back(results: list[PublishResult]) -> None:
    assert messages.decode_publish_answer(messages.encode_publish_answer(results)) == results


@given(pages())
def test_pages_come_back(page: AnnouncementPage) -> None:
    assert messages.decode_page(messages.encode_page(page)) == page


@given(st.lists(SIGNED, max_size=16))
def test_own_announcements_come_back(announcements: list[tuple[bytes, bytes]]) -> None:
    assert messages.decode_own(messages.encode_own(announcements)) == announcements


@given(TEXTS, TEXTS)
def test_errors_come_back(code: str, message: str) -> None:
    assert messages.decode_error(messages.encode_error(code, message)) == (code, message)


def test_an_error_may_have_details_that_are_passed_over() -> None:
    data = cbor2.dumps({"error": "Full", "message": "no", "detail": {"room": 0}})
    assert messages.decode_error(data) == ("Full", "no")


# -- what the specification writes


def test_a_page_is_written_as_the_specification_says() -> None:
    page = AnnouncementPage(EPOCH, 9, False, [(3, ANN, SIGNATURE)])
    assert cbor2.loads(messages.encode_page(page)) == {
        "epoch": EPOCH,
        "cursor": 9,
        "more": False,
        "announcements": [[3, ANN, SIGNATURE]],
    }


def test_a_version_is_written_as_the_specification_says() -> None:
    document = cbor2.loads(VALID["version"][0])
    assert document.keys() == {"introducer", "version", "oldest", "epoch", "vk"}
    assert document["introducer"].keys() == {"protocol", "limits", "features"}
    assert document["introducer"]["limits"]["page"] == 500


def test_a_result_holds_only_what_it_has_to_say() -> None:
    results = cbor2.loads(VALID["publish answer"][0])["results"]
    assert results == [
        {"status": "stored"},
        {"status": "stale", "current": [ANN, SIGNATURE]},
        {"status": "refused", "reason": "no"},
    ]


@pytest.mark.seed("S-020")
def test_500_announcements_make_a_page_and_501_do_not() -> None:
    page = [(number, ANN, SIGNATURE) for number in range(501)]
    assert (
        len(
            messages.decode_page(
                messages.encode_page(AnnouncementPage(EPOCH, 500, False, page[:500]))
            ).announcements
        )
        == 500
    )
    with pytest.raises(MalformedMessageError, match="500"):
        messages.decode_page(messages.encode_page(AnnouncementPage(EPOCH, 500, False, page)))


# -- what is refused


def _page(**changes: object) -> dict[str, object]:
    return {"epoch": EPOCH, "cursor": 9, "more": False, "announcements": [[3, ANN, SIGNATURE]]} | changes


def _version(**changes: object) -> dict[str, object]:
    inner = {"protocol": 1, "limits": {}, "features": []}
    return {"introducer": inner, "version": "1", "oldest": "1", "epoch": EPOCH, "vk": KEY} | changes


MALFORMED: dict[str, tuple[Decoder, object]] = {
    "page: short epoch": (messages.decode_page, _page(epoch=EPOCH[:15])),
    "page: epoch as text": (messages.decode_page, _page(epoch="e" * 16)),
    "page: negative cursor": (messages.decode_page, _page(cursor=-1)),
    "page: cursor of 2**63": (messages.decode_page, _page(cursor=2**63)),
    "page: more 1": (messages.decode_page, _page(more=1)),
    "page: an unknown key": (messages.decode_page, _page(extra=1)),
    "page: a map": (messages.decode_page, _page(announcements={})),
    "page: short signature": (messages.decode_page, _page(announcements=[[3, ANN, SIGNATURE[:63]]])),
    "page: no number": (messages.decode_page, _page(announcements=[[ANN, SIGNATURE]])),
    "page: number true": (messages.decode_page, _page(announcements=[[True, ANN, SIGNATURE]])),
    "page: beyond the cursor": (messages.decode_page, _page(announcements=[[10, ANN, SIGNATURE]])),
    "page: twice one number": (messages.decode_page, _page(announcements=[[3, ANN, SIGNATURE]] * 2)),
    "page: descending": (
        messages.decode_page,
        _page(announcements=[[4, ANN, SIGNATURE], [3, ANN, SIGNATURE]]),
    ),
    "page: a list": (messages.decode_page, [EPOCH, 9, False, []]),
    "version: short key": (messages.decode_version, _version(vk=KEY[1:])),
    "version: no introducer": (messages.decode_version, _version(introducer=None)),
    "version: a limit that is none": (
        messages.decode_version,
        _version(introducer={"protocol": 1, "limits": {"page": "many"}, "features": []}),
    ),
    "version: 101 features": (
        messages.decode_version,
        _version(introducer={"protocol": 1, "limits": {}, "features": ["f"] * 101}),
    ),
    "publish: none": (messages.decode_publish_request, {"announcements": []}),
    "publish: nine": (messages.decode_publish_request, {"announcements": [[ANN, SIGNATURE]] * 9}),
    "publish: triple": (messages.decode_publish_request, {"announcements": [[ANN, SIGNATURE, 1]]}),
    "publish: text": (messages.decode_publish_request, {"announcements": [["a", SIGNATURE]]}),
    "results: none": (messages.decode_publish_answer, {"results": []}),
    "results: unknown status": (messages.decode_publish_answer, {"results": [{"status": "lost"}]}),
    "results: current null": (
        messages.decode_publish_answer,
        {"results": [{"status": "stale", "current": None}]},
    ),
    "results: reason as number": (
        messages.decode_publish_answer,
        {"results": [{"status": "refused", "reason": 1}]},
    ),
    "own: seventeen": (messages.decode_own, {"announcements": [[ANN, SIGNATURE]] * 17}),
    "own: empty announcement": (messages.decode_own, {"announcements": [[b"", SIGNATURE]]}),
    "error: no message": (messages.decode_error, {"error": "Full"}),
    "error: details a list": (messages.decode_error, {"error": "Full", "message": "", "detail": []}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_is_refused(name: str) -> None:
    decode, item = MALFORMED[name]
    with pytest.raises(MalformedMessageError):
        decode(cbor2.dumps(item))


@pytest.mark.parametrize("name", VALID)
@given(data=st.data())
def test_a_damaged_message_does_no_worse_than_be_refused(name: str, data: st.DataObject) -> None:
    encoded, decode = VALID[name]
    damaged = bytearray(encoded)
    begin = data.draw(st.integers(0, len(damaged)))
    damaged[begin : begin + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    _read_or_refuse(decode, bytes(damaged))
    _read_or_refuse(decode, data.draw(st.binary(max_size=60)))


ITEMS = st.none() | st.booleans() | st.integers(-5, 2**64 - 1) | st.binary(max_size=64) | st.text(max_size=8)


@pytest.mark.parametrize("name", VALID)
@given(data=st.data())
def test_an_item_of_another_kind_does_no_worse_than_be_refused(name: str, data: st.DataObject) -> None:
    encoded, decode = VALID[name]
    _read_or_refuse(decode, deterministic_cbor.encode(_replaced(cbor2.loads(encoded), data)))


def _replaced(item: Any, data: st.DataObject) -> object:
    """Return the item with one part, somewhere, replaced by anything."""
    if isinstance(item, dict) and item and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(item)))
        return item | {key: _replaced(item[key], data)}
    if isinstance(item, list) and item and data.draw(st.booleans()):
        index = data.draw(st.integers(0, len(item) - 1))
        return [*item[:index], _replaced(item[index], data), *item[index + 1 :]]
    return data.draw(st.recursive(ITEMS, lambda inner: st.lists(inner, max_size=3), max_leaves=4))


def _read_or_refuse(decode: Decoder, data: bytes) -> None:
    with contextlib.suppress(MalformedMessageError):
        decode(data)
