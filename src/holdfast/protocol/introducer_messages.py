"""The messages of the introducer: values to CBOR and back, refusing whatever is outside
the rules.

Announcements travel in them as bytes. What these say is not looked at here, so that one
that is bad stops none of the others: ``verified_announcement`` judges each.

Source: docs/spec/control-and-introducer.md, section 3.5 and appendix B.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.crypto.signatures import SIGNATURE_SIZE, VERIFY_KEY_SIZE
from holdfast.formats import deterministic_cbor
from holdfast.interfaces.introducer import (
    ANNOUNCEMENT_MAX,
    ANNOUNCEMENTS_PER_PAGE,
    ANNOUNCEMENTS_PER_PUBLISH,
    LOCATIONS_MAX,
    AnnouncementPage,
    IntroducerVersion,
    PublishResult,
    SignedBytes,
)
from holdfast.protocol import message_items as items
from holdfast.protocol.introducer_calls import BODY_MAX, EPOCH_SIZE, SERVICES_PER_KEY
from holdfast.protocol.message_items import MalformedMessageError

STATUSES = frozenset(("stored", "duplicate", "stale", "conflict", "refused", "unreachable"))
FEATURES_MAX = 100
_LIMITS = {
    "announcement": ANNOUNCEMENT_MAX,
    "locations": LOCATIONS_MAX,
    "publish": ANNOUNCEMENTS_PER_PUBLISH,
    "page": ANNOUNCEMENTS_PER_PAGE,
}


# -- version


def encode_version(version: IntroducerVersion) -> bytes:
    return deterministic_cbor.encode(
        {
            "introducer": {
                "protocol": version.protocol,
                "limits": _LIMITS,
                "features": list(version.features),
            },
            "version": version.version,
            "oldest": version.oldest,
            "epoch": version.epoch,
            "vk": version.verify_key,
        }
    )


def decode_version(data: bytes) -> IntroducerVersion:
    """Raises MalformedMessageError, as all decoders here do."""
    outer = items.fields(items.decoded(data), "version", ("introducer", "version", "oldest", "epoch", "vk"))
    inner = items.fields(outer["introducer"], "introducer", ("protocol", "limits", "features"))
    for limit in items.text_map(inner["limits"], "limits").values():
        items.number(limit, "limit")
    features = items.array(inner["features"], "features", 0, FEATURES_MAX)
    return IntroducerVersion(
        protocol=items.number(inner["protocol"], "protocol"),
        version=items.text(outer["version"], "version"),
        oldest=items.text(outer["oldest"], "oldest"),
        epoch=items.octets(outer["epoch"], "epoch", EPOCH_SIZE),
        verify_key=items.octets(outer["vk"], "vk", VERIFY_KEY_SIZE),
        features=tuple(items.text(feature, "feature") for feature in features),
    )


# -- publish


def encode_publish_request(announcements: Sequence[SignedBytes]) -> bytes:
    return deterministic_cbor.encode({"announcements": announcements})


def decode_publish_request(data: bytes) -> list[SignedBytes]:
    """Return the announcements. Sizes are left to the check of each, as all else about it is."""
    message = items.fields(items.decoded(data), "publish", ("announcements",))
    announcements = items.array(message["announcements"], "announcements", 1, ANNOUNCEMENTS_PER_PUBLISH)
    pairs = [items.array(pair, "announcement", 2, 2) for pair in announcements]
    return [
        (items.octets(ann, "announcement", 0, BODY_MAX), items.octets(signature, "signature", 0, BODY_MAX))
        for ann, signature in pairs
    ]


def encode_publish_answer(results: Sequence[PublishResult]) -> bytes:
    return deterministic_cbor.encode({"results": [_result_map(result) for result in results]})


def decode_publish_answer(data: bytes) -> list[PublishResult]:
    message = items.fields(items.decoded(data), "publish", ("results",))
    results = items.array(message["results"], "results", 1, ANNOUNCEMENTS_PER_PUBLISH)
    return [_result(result) for result in results]


def _result_map(result: PublishResult) -> dict[str, object]:
    answer: dict[str, object] = {"status": result.status}
    if result.current is not None:
        answer["current"] = result.current
    if result.reason:
        answer["reason"] = result.reason
    return answer


def _result(value: object) -> PublishResult:
    parts = items.fields(value, "result", ("status",), ("current", "reason"))
    status = items.text(parts["status"], "status")
    if status not in STATUSES:
        raise MalformedMessageError("status: not one of those there are")
    current = _signed(parts["current"]) if "current" in parts else None
    return PublishResult(status, current, items.text(parts.get("reason", ""), "reason"))


# -- announcements


def encode_page(page: AnnouncementPage) -> bytes:
    return deterministic_cbor.encode(
        {
            "epoch": page.epoch,
            "cursor": page.cursor,
            "more": page.more,
            "announcements": page.announcements,
        }
    )


def decode_page(data: bytes) -> AnnouncementPage:
    """Return the page, whose announcements have ascending numbers, none beyond its cursor."""
    message = items.fields(items.decoded(data), "page", ("epoch", "cursor", "more", "announcements"))
    announcements = [
        _numbered(item)
        for item in items.array(message["announcements"], "announcements", 0, ANNOUNCEMENTS_PER_PAGE)
    ]
    cursor = items.number(message["cursor"], "cursor")
    numbers = [number for number, _, _ in announcements]
    if numbers and (numbers[-1] > cursor or numbers != sorted(set(numbers))):
        raise MalformedMessageError("announcements: their numbers do not ascend to the cursor")
    return AnnouncementPage(
        epoch=items.octets(message["epoch"], "epoch", EPOCH_SIZE),
        cursor=cursor,
        more=items.truth(message["more"], "more"),
        announcements=announcements,
    )


def _numbered(value: object) -> tuple[int, bytes, bytes]:
    number, ann, signature = items.array(value, "announcement", 3, 3)
    return (
        items.number(number, "number"),
        items.octets(ann, "announcement", 0, BODY_MAX),
        items.octets(signature, "signature", SIGNATURE_SIZE),
    )


# -- own


def encode_own(announcements: Sequence[SignedBytes]) -> bytes:
    return deterministic_cbor.encode({"announcements": announcements})


def decode_own(data: bytes) -> list[SignedBytes]:
    message = items.fields(items.decoded(data), "own", ("announcements",))
    return [_signed(item) for item in items.array(message["announcements"], "own", 0, SERVICES_PER_KEY)]


# -- errors


def encode_error(code: str, message: str) -> bytes:
    """Return the body of an answer that is a refusal; ``message`` is a sentence for people."""
    return deterministic_cbor.encode({"error": code, "message": message})


def decode_error(data: bytes) -> tuple[str, str]:
    """Return the code of the error and its sentence."""
    parts = items.fields(items.decoded(data), "error", ("error", "message"), ("detail",))
    items.text_map(parts.get("detail", {}), "detail")
    return items.text(parts["error"], "error"), items.text(parts["message"], "message")


def _signed(value: object) -> SignedBytes:
    ann, signature = items.array(value, "announcement", 2, 2)
    return (
        items.octets(ann, "announcement", 1, ANNOUNCEMENT_MAX),
        items.octets(signature, "signature", SIGNATURE_SIZE),
    )
