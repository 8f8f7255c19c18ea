"""Messages of a virtual drive server come back as they were written; anything else is refused in one way."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.formats.vdrive.entry import NameEntry, SealedEntry
from holdfast.formats.vdrive.head import SignedHead
from holdfast.formats.vdrive.witness import PAGE, OpenedLeaf, OpenedNode, Witness
from holdfast.interfaces.vdrive import (
    AccountState,
    Changes,
    CommitAnswer,
    CommitRequest,
    Committed,
    Context,
    Counts,
    DirectoryInfo,
    HeadRange,
    LeaseInfo,
    NewDirectory,
    Page,
    Section,
    Turn,
    VdriveVersion,
)
from holdfast.interfaces.vdrive_errors import (
    HeadConflictError,
    HistoryPrunedError,
    QuotaExceededError,
    VdriveBusyError,
    VdriveRefusalError,
)
from holdfast.protocol import vdrive_commit_messages as commits
from holdfast.protocol import vdrive_reading_messages as reading
from holdfast.protocol import vdrive_refusals as refusals
from holdfast.protocol import vdrive_service_messages as service
from holdfast.protocol.message_items import MalformedMessageError
from holdfast.protocol.vdrive_items import MessageLimitError

INDEX, SLOT, OTHER = b"i" * 32, b"s" * 32, b"t" * 32
HEAD = SignedHead(b"head", b"g" * 64)
ENTRY = SealedEntry(SLOT, 7, b"n" * 97, b"", b"r" * 289, b"m" * 97)
STUB = b"\x02" + bytes(32)
TREE = OpenedNode(OpenedNode(OpenedLeaf(SLOT, b"d" * 32), None), STUB)
CONTEXT = Context(INDEX, HEAD, TREE, (ENTRY,))
ABSENCE = Context(INDEX, HEAD, TREE, ())
CREATE = NewDirectory(INDEX, b"f" * 32, b"v" * 32, b"c" * 32, HEAD, b"p" * 64, 86400)
COMMIT = CommitRequest((CREATE,), (Section(INDEX, b"\x80", HEAD), Section(OTHER, b"\x80", HEAD)))
VERSION = VdriveVersion(1, {"page": 5000}, "read-only", "token", ("durable-sync",), "0.1.0", "0.1.0", INDEX)
CONFLICT = HeadConflictError("another commit came first", (CONTEXT, CONTEXT))

# -- round trips

B32 = st.binary(min_size=32, max_size=32)
BOXES = st.binary(max_size=40)
NUMBERS = st.integers(0, 2**63 - 1)
HEADS = st.builds(SignedHead, st.binary(min_size=1, max_size=40), st.binary(min_size=64, max_size=64))
SEALED = st.builds(SealedEntry, B32, NUMBERS, BOXES, BOXES, BOXES, BOXES)
NAMES = st.builds(NameEntry, B32, NUMBERS, BOXES, B32)
TREES = st.recursive(
    st.none() | st.binary(min_size=33, max_size=33) | st.builds(OpenedLeaf, B32, B32),
    lambda inner: st.builds(OpenedNode, inner, inner),
    max_leaves=12,
)
PAGE_TREES = st.recursive(
    TREES | st.just(PAGE), lambda inner: st.builds(OpenedNode, inner, inner), max_leaves=6
)
CONTEXTS = st.builds(Context, B32, HEADS, TREES, st.lists(SEALED, max_size=3).map(tuple))
CREATES = st.builds(
    NewDirectory,
    index=B32,
    refresh_id=B32,
    verify_key=B32,
    commitment=B32,
    head=HEADS,
    proof=st.binary(min_size=64, max_size=64),
    lease_s=st.none() | NUMBERS,
)
SECTIONS = st.builds(Section, B32, st.binary(min_size=1, max_size=40), HEADS)
COMMITS = st.builds(
    CommitRequest,
    st.lists(CREATES, max_size=3, unique_by=lambda new: new.index).map(tuple),
    st.lists(SECTIONS, max_size=3, unique_by=lambda section: section.index).map(tuple),
).filter(any)


@given(COMMITS)
def test_commit_requests_come_back(request: CommitRequest) -> None:
    assert commits.decode_commit_request(commits.encode_commit_request(request)) == request


@given(st.lists(st.builds(Committed, B32, NUMBERS, B32), max_size=4), NUMBERS)
def test_commit_answers_come_back(directories: list[Committed], time: int) -> None:
    answer = CommitAnswer(tuple(directories), time)
    assert commits.decode_commit_answer(commits.encode_commit_answer(answer)) == answer
    for directory in directories:
        assert commits.decode_import_answer(commits.encode_import_answer(directory)) == directory


@given(st.lists(B32, min_size=1, max_size=5), CONTEXTS)
def test_contexts_come_back(slots: list[bytes], context: Context) -> None:
    assert reading.decode_context_request(reading.encode_context_request(slots)) == slots
    assert reading.decode_context(reading.encode_context(context)) == context


@given(B32, HEADS, TREES, SEALED)
def test_children_come_back(index: bytes, head: SignedHead, tree: Witness, entry: SealedEntry) -> None:
    found, missing = Context(index, head, tree, (entry,)), Context(index, head, tree, ())

    assert reading.decode_child(reading.encode_child(found), index) == found
    assert refusals.decode_absence(refusals.encode_absence(missing), index) == missing


@given(HEADS, PAGE_TREES, st.lists(SEALED, max_size=3), st.lists(NAMES, max_size=3), st.none() | B32)
def test_pages_come_back(
    head: SignedHead,
    tree: Witness,
    sealed: list[SealedEntry],
    names: list[NameEntry],
    next_: bytes | None,
) -> None:
    full, named = Page(head, tree, tuple(sealed), next_), Page(head, tree, tuple(names), next_)

    assert reading.decode_page(reading.encode_page(full), names_only=False) == full
    assert reading.decode_page(reading.encode_page(named), names_only=True) == named


@given(HEADS, TREES, st.lists(SEALED, max_size=3), st.lists(B32, max_size=3), st.none() | B32)
def test_changes_come_back(
    head: SignedHead,
    tree: Witness,
    entries: list[SealedEntry],
    deleted: list[bytes],
    next_: bytes | None,
) -> None:
    changes = Changes(head, tree, tuple(entries), tuple(deleted), next_)
    assert reading.decode_changes(reading.encode_changes(changes)) == changes


@given(st.lists(HEADS, max_size=4), st.booleans())
def test_heads_come_back(heads: list[SignedHead], more: bool) -> None:
    found = HeadRange(tuple(heads), more)
    assert reading.decode_heads(reading.encode_heads(found)) == found
    for head in heads:
        assert reading.decode_wait_answer(reading.encode_wait_answer(head)) == head


@given(HEADS, B32, B32, st.booleans(), NUMBERS, st.none() | NUMBERS)
def test_descriptions_come_back(
    head: SignedHead, key: bytes, commitment: bytes, condemned: bool, size: int, expires: int | None
) -> None:
    info = DirectoryInfo(head, key, commitment, condemned, size, expires)
    assert reading.decode_directory(reading.encode_directory(info)) == info


@given(NUMBERS, NUMBERS, NUMBERS, st.none() | NUMBERS)
def test_what_is_kept_for_whom_comes_back(a: int, b: int, c: int, expires: int | None) -> None:
    account = AccountState("label", Counts(a, b, c), Counts(c, a, b))
    lease = LeaseInfo(expires, a)

    assert service.decode_account(service.encode_account(account)) == account
    assert service.decode_lease_info(service.encode_lease_info(lease)) == lease
    assert service.decode_lease_request(service.encode_lease_request(a)) == a
    assert service.decode_lease_answer(service.encode_lease_answer(b)) == b
    assert commits.decode_turn_answer(commits.encode_turn_answer(Turn(b"t" * 16, c))) == Turn(b"t" * 16, c)


def test_the_rest_comes_back() -> None:
    assert service.decode_version(service.encode_version(VERSION)) == VERSION
    assert service.decode_root(service.encode_root("URI:DIR-RO:x")) == "URI:DIR-RO:x"
    assert commits.decode_enrol_request(commits.encode_enrol_request(b"p" * 64)) == b"p" * 64


def test_trees_may_be_as_deep_as_slots_have_bits() -> None:
    tree: Witness = OpenedLeaf(SLOT, b"d" * 32)
    for _ in range(256):
        tree = OpenedNode(STUB, tree)
    context = Context(INDEX, HEAD, tree, (ENTRY,))
    conflict = HeadConflictError("no", (context,))

    assert reading.decode_context(reading.encode_context(context)) == context
    decoded = refusals.decode_refusal(409, refusals.encode_refusal(conflict))
    assert isinstance(decoded, HeadConflictError)
    assert decoded.contexts == (context,)
    for _ in range(20):
        tree = OpenedNode(STUB, tree)
    with pytest.raises(MalformedMessageError, match="deep"):
        reading.decode_context(reading.encode_context(Context(INDEX, HEAD, tree, ())))
    with pytest.raises(MalformedMessageError):
        reading.decode_context(b"\x81" * 100_000 + b"\xf6")


def test_nesting_that_uses_up_the_stack_is_malformed() -> None:
    tree: Witness = STUB
    for _ in range(256):
        tree = OpenedNode(STUB, tree)
    data = reading.encode_context(Context(INDEX, HEAD, tree, ()))

    def deeper(levels: int) -> Context:
        return deeper(levels - 1) if levels else reading.decode_context(data)

    with pytest.raises(MalformedMessageError, match="deep"):
        deeper(sys.getrecursionlimit() * 2 // 3)


# -- what the specification writes


def test_a_commit_is_written_as_the_specification_says() -> None:
    head = [HEAD.head, HEAD.signature]
    assert cbor2.loads(commits.encode_commit_request(COMMIT)) == {
        "create": [
            {
                "index": INDEX,
                "rid": b"f" * 32,
                "vk": b"v" * 32,
                "rc": b"c" * 32,
                "head": head,
                "proof": b"p" * 64,
                "lease": 86400,
            }
        ],
        "dirs": [
            {"index": INDEX, "ops": b"\x80", "head": head},
            {"index": OTHER, "ops": b"\x80", "head": head},
        ],
    }
    assert cbor2.loads(commits.encode_commit_answer(CommitAnswer((Committed(INDEX, 3, SLOT),), 9))) == {
        "dirs": [[INDEX, 3, SLOT]],
        "time": 9,
    }


def test_what_is_read_is_written_as_the_specification_says() -> None:
    entry = [SLOT, 7, b"n" * 97, b"", b"r" * 289, b"m" * 97]
    tree = [2, [2, [1, SLOT, b"d" * 32], None], STUB]
    head = [HEAD.head, HEAD.signature]
    context = {"index": INDEX, "head": head, "tree": tree, "entries": [entry]}

    assert cbor2.loads(reading.encode_context(CONTEXT)) == context
    assert cbor2.loads(reading.encode_child(CONTEXT)) == {"head": head, "tree": tree, "entry": entry}
    assert cbor2.loads(reading.encode_page(Page(HEAD, PAGE, (ENTRY,), SLOT))) == {
        "head": head,
        "tree": True,
        "entries": [entry],
        "next": SLOT,
    }
    assert cbor2.loads(refusals.encode_refusal(HeadConflictError("no", (CONTEXT,)))) == {
        "error": "HeadConflict",
        "message": "no",
        "detail": {"dirs": [context]},
    }
    assert cbor2.loads(refusals.encode_absence(ABSENCE)) == {
        "error": "NoSuchChild",
        "message": "there is no such child",
        "detail": {"head": head, "tree": tree},
    }


# -- what is refused

Decoder = Callable[[bytes], object]

REQUESTS: dict[str, tuple[bytes, Decoder]] = {
    "commit": (commits.encode_commit_request(COMMIT), commits.decode_commit_request),
    "enrol": (commits.encode_enrol_request(b"p" * 64), commits.decode_enrol_request),
    "context": (reading.encode_context_request([SLOT, OTHER]), reading.decode_context_request),
    "lease": (service.encode_lease_request(86400), service.decode_lease_request),
}
ANSWERS: dict[str, tuple[bytes, Decoder]] = {
    "commit": (
        commits.encode_commit_answer(CommitAnswer((Committed(INDEX, 3, SLOT),), 9)),
        commits.decode_commit_answer,
    ),
    "import": (commits.encode_import_answer(Committed(INDEX, 3, SLOT)), commits.decode_import_answer),
    "turn": (commits.encode_turn_answer(Turn(b"t" * 16, 3)), commits.decode_turn_answer),
    "context": (reading.encode_context(CONTEXT), reading.decode_context),
    "child": (reading.encode_child(CONTEXT), partial(reading.decode_child, index=INDEX)),
    "page": (
        reading.encode_page(Page(HEAD, OpenedNode(TREE, STUB), (ENTRY,), SLOT)),
        partial(reading.decode_page, names_only=False),
    ),
    "names": (
        reading.encode_page(Page(HEAD, STUB, (NameEntry(SLOT, 7, b"n" * 97, b"b" * 32),), SLOT)),
        partial(reading.decode_page, names_only=True),
    ),
    "changes": (
        reading.encode_changes(Changes(HEAD, TREE, (ENTRY,), (OTHER,), OTHER)),
        reading.decode_changes,
    ),
    "directory": (
        reading.encode_directory(DirectoryInfo(HEAD, b"v" * 32, b"c" * 32, True, 1000, 99)),
        reading.decode_directory,
    ),
    "heads": (reading.encode_heads(HeadRange((HEAD,), False)), reading.decode_heads),
    "wait": (reading.encode_wait_answer(HEAD), reading.decode_wait_answer),
    "version": (service.encode_version(VERSION), service.decode_version),
    "root": (service.encode_root("URI:DIR-RO:x"), service.decode_root),
    "lease": (service.encode_lease_info(LeaseInfo(99, 2)), service.decode_lease_info),
    "renewed": (service.encode_lease_answer(99), service.decode_lease_answer),
    "account": (
        service.encode_account(AccountState("l", Counts(1, 2, 3), Counts(4, 5, 6))),
        service.decode_account,
    ),
    "conflict": (refusals.encode_refusal(CONFLICT), partial(refusals.decode_refusal, 409)),
    "pruned": (
        refusals.encode_refusal(HistoryPrunedError("gone", 5)),
        partial(refusals.decode_refusal, 410),
    ),
    "absence": (refusals.encode_absence(ABSENCE), partial(refusals.decode_absence, index=INDEX)),
}
MESSAGES = {f"{name} request": both for name, both in REQUESTS.items()} | {
    f"{name} answer": both for name, both in ANSWERS.items()
}

# Places where the rules take something else as well: what is missing, null, shorter or longer.
NULL = {"page answer.next", "names answer.next", "changes answer.next", "directory answer.lease-expires"}
NULL |= {"lease answer.expires"}
OPTIONAL = {
    "commit request.create",
    "commit request.dirs",
    "commit request.create.0.lease",
    "conflict answer.detail",
    "conflict answer.detail.dirs",
    "pruned answer.detail",
    "pruned answer.detail.oldest",
    "version answer.vdrive.limits.page",
}
LISTS = {
    "commit request.create",
    "commit request.dirs",
    "context request.slots",
    "commit answer.dirs",
    "context answer.entries",
    "page answer.entries",
    "names answer.entries",
    "changes answer.entries",
    "changes answer.deleted",
    "heads answer.heads",
    "version answer.vdrive.features",
    "conflict answer.detail.dirs",
    "conflict answer.detail.dirs.0.entries",
    "conflict answer.detail.dirs.1.entries",
}


def wrong_kinds(item: object, place: str) -> Iterator[tuple[str, object]]:
    """Yield what is never right where ``item`` is."""
    others: list[object] = [-1, 2**63, 2**64, "text", b"x" * 9000, [], {}, 1.5, [[]], {"a": 1}]
    if "tree" not in place.split("."):
        others += [True, False]
        if place not in NULL:
            others.append(None)
    for other in others:
        if isinstance(item, str) and isinstance(other, str):
            continue
        if isinstance(item, list) and isinstance(other, list) and place in LISTS and other == []:
            continue
        if isinstance(item, bool) and isinstance(other, bool):
            continue
        if isinstance(other, bytes) and place.endswith(".ops"):
            continue
        if isinstance(item, dict) and isinstance(other, dict) and place.endswith((".limits", ".detail")):
            continue
        yield f"{place} = {other!r:.20}", other


def mutations(item: object, place: str, *, is_request: bool) -> Iterator[tuple[str, object]]:
    """Yield the item with one thing in it that is against the rules, and what that is."""
    yield from wrong_kinds(item, place)
    if isinstance(item, dict):
        for key, value in item.items():
            inner = f"{place}.{key}"
            rest = {other: kept for other, kept in item.items() if other != key}
            if inner not in OPTIONAL:
                yield f"{inner} missing", rest
            for what, mutated in mutations(value, inner, is_request=is_request):
                yield what, item | {key: mutated}
        if is_request:
            yield f"{place} with an unknown key", item | {"extra": 1}
        if not place.endswith((".limits", ".detail")):
            yield f"{place} with a key of bytes", {**item, b"x": 1} if is_request else {}
    elif isinstance(item, list):
        for number, value in enumerate(item):
            for what, mutated in mutations(value, f"{place}.{number}", is_request=is_request):
                yield what, [*item[:number], mutated, *item[number + 1 :]]
        if place not in LISTS:
            yield f"{place} cut", item[:-1]
            yield f"{place} extended", [*item, 1]
    elif isinstance(item, bytes) and len(item) in (16, 32, 33, 64):
        yield f"{place} short", item[:-1]
        yield f"{place} long", item + b"x"


@pytest.mark.parametrize("name", MESSAGES)
def test_whatever_is_against_the_rules_is_refused(name: str) -> None:
    encoded, decode = MESSAGES[name]
    decode(encoded)
    message = cbor2.loads(encoded)
    accepted = []
    for what, mutated in mutations(message, name, is_request=name.endswith("request")):
        try:
            decode(cbor2.dumps(mutated))
        except MalformedMessageError:
            continue
        accepted.append(what)

    assert accepted == []


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_may_hold_what_is_not_known_here(name: str) -> None:
    encoded, decode = ANSWERS[name]
    message = cbor2.loads(encoded)

    def widened(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: widened(value) for key, value in item.items()} | {"later": 1}
        return item

    known = decode(encoded)
    assert vars_of(decode(cbor2.dumps(widened(message)))) in (vars_of(known), None)


def vars_of(value: object) -> object:
    if isinstance(value, VdriveRefusalError):
        return type(value), vars(value)
    return value._replace(limits={}) if isinstance(value, VdriveVersion) else value


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (commits.decode_commit_request, {}),
        (commits.decode_commit_request, {"dirs": []}),
        (commits.decode_commit_request, {"create": []}),
        (commits.decode_commit_request, {"dirs": [{"index": INDEX, "ops": b"\x80", "head": HEAD}] * 2}),
        (reading.decode_context_request, {"slots": []}),
        (reading.decode_context, {"index": INDEX, "head": HEAD, "tree": PAGE, "entries": []}),
        (reading.decode_context, {"index": INDEX, "head": HEAD, "tree": [3, None, None], "entries": []}),
        (reading.decode_context, {"index": INDEX, "head": HEAD, "tree": [True, SLOT, SLOT], "entries": []}),
        (reading.decode_context, {"index": INDEX, "head": HEAD, "tree": [2, None], "entries": []}),
        (reading.decode_context, {"index": INDEX, "head": HEAD, "tree": [1, SLOT, None], "entries": []}),
        (
            reading.decode_changes,
            {"head": HEAD, "tree": [2, PAGE, STUB], "entries": [], "deleted": [], "next": None},
        ),
        (service.decode_account, {"label": "a\x1bb", "max": {}, "used": {}}),
        (partial(refusals.decode_refusal, 200), {"error": "Busy", "message": ""}),
        (partial(refusals.decode_refusal, 404), {"error": "x" * 41, "message": ""}),
        (partial(refusals.decode_refusal, 404), {"error": "a", "message": "\x1b[2J"}),
    ],
)
def test_messages_that_say_nothing_are_refused(decode: Decoder, message: object) -> None:
    with pytest.raises(MalformedMessageError):
        decode(cbor2.dumps(message))


def test_a_key_that_comes_twice_is_refused() -> None:
    data = b"\xa2" + 2 * (cbor2.dumps("seconds") + cbor2.dumps(1))
    with pytest.raises(MalformedMessageError):
        service.decode_lease_request(data)
    with pytest.raises(MalformedMessageError):
        service.decode_lease_answer(b"\xa2" + 2 * (cbor2.dumps("expires") + cbor2.dumps(1)))


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (commits.decode_commit_request, {"dirs": [{}] * 17}),
        (commits.decode_commit_request, {"create": [{}] * 17}),
        (reading.decode_context_request, {"slots": [SLOT] * 1001}),
    ],
)
def test_more_than_the_protocol_allows_is_told_from_nonsense(decode: Decoder, message: object) -> None:
    with pytest.raises(MessageLimitError):
        decode(cbor2.dumps(message))


def test_as_much_as_the_protocol_allows_is_taken() -> None:
    sections = tuple(Section(bytes((number,)) * 32, b"\x80", HEAD) for number in range(16))
    full = CommitRequest((), sections)
    page = Page(HEAD, PAGE, (ENTRY,) * 5000, None)

    assert commits.decode_commit_request(commits.encode_commit_request(full)) == full
    assert len(reading.decode_context_request(reading.encode_context_request([SLOT] * 1000))) == 1000
    assert reading.decode_page(reading.encode_page(page), names_only=False) == page
    with pytest.raises(MalformedMessageError):
        reading.decode_page(reading.encode_page(page._replace(entries=(ENTRY,) * 5001)), names_only=False)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_damaged_message_does_no_worse_than_be_refused(name: str) -> None:
    encoded, decode = MESSAGES[name]
    for position in range(len(encoded)):
        with pytest.raises(MalformedMessageError):
            decode(encoded[:position])
        for bits in (0x01, 0x20, 0x80, 0xFF):
            damaged = bytearray(encoded)
            damaged[position] ^= bits
            read_or_refuse(decode, bytes(damaged))


@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=60))
def test_nonsense_is_refused(name: str, nonsense: bytes) -> None:
    encoded, decode = MESSAGES[name]
    read_or_refuse(decode, nonsense)
    with pytest.raises(MalformedMessageError):
        decode(encoded + (nonsense or b"\x00"))


def read_or_refuse(decode: Decoder, data: bytes) -> None:
    with contextlib.suppress(MalformedMessageError):
        decode(data)


ITEMS = st.none() | st.booleans() | st.integers(-5, 2**64 - 1) | st.binary(max_size=64) | st.text(max_size=8)


@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_an_item_of_another_kind_does_no_worse_than_be_refused(name: str, data: st.DataObject) -> None:
    encoded, decode = MESSAGES[name]
    read_or_refuse(decode, cbor2.dumps(replaced(cbor2.loads(encoded), data)))


def replaced(item: Any, data: st.DataObject) -> object:
    """Return the item with one part, somewhere, replaced by anything."""
    if isinstance(item, dict) and item and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(item)))
        return item | {key: replaced(item[key], data)}
    if isinstance(item, list) and item and data.draw(st.booleans()):
        index = data.draw(st.integers(0, len(item) - 1))
        return [*item[:index], replaced(item[index], data), *item[index + 1 :]]
    return data.draw(st.recursive(ITEMS, lambda inner: st.lists(inner, max_size=3), max_leaves=4))


# -- refusals


def every_refusal() -> list[type[VdriveRefusalError]]:
    found, ahead = [], VdriveRefusalError.__subclasses__()
    while ahead:
        refusal = ahead.pop()
        found.append(refusal)
        ahead += refusal.__subclasses__()
    return sorted(found, key=lambda refusal: refusal.code)


@pytest.mark.parametrize("refusal", every_refusal(), ids=lambda refusal: refusal.__name__)
def test_every_refusal_comes_back_as_what_it_was(refusal: type[VdriveRefusalError]) -> None:
    data = refusals.encode_refusal(refusal("it cannot be done"))

    found = refusals.decode_refusal(refusal.status, data, 2.5)

    assert type(found) is refusal
    assert str(found) == "it cannot be done"
    assert found.retry_after_s == 2.5


def test_a_conflict_brings_what_is_needed_to_try_again() -> None:
    found = refusals.decode_refusal(409, refusals.encode_refusal(CONFLICT))

    assert isinstance(found, HeadConflictError)
    assert found.contexts == (CONTEXT, CONTEXT)


def test_contexts_that_are_too_much_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    data = refusals.encode_refusal(CONFLICT)
    monkeypatch.setattr(refusals, "CONFLICT_ANSWER_MAX", len(data))
    assert refusals.encode_refusal(CONFLICT) == data
    monkeypatch.setattr(refusals, "CONFLICT_ANSWER_MAX", len(data) - 1)

    found = refusals.decode_refusal(409, refusals.encode_refusal(CONFLICT))

    assert isinstance(found, HeadConflictError)
    assert found.contexts == ()


def test_pruned_history_tells_where_it_begins() -> None:
    found = refusals.decode_refusal(410, refusals.encode_refusal(HistoryPrunedError("gone", 17)))

    assert isinstance(found, HistoryPrunedError)
    assert found.oldest == 17


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (503, "ReadOnly", VdriveBusyError),
        (500, "Broken", VdriveBusyError),
        (418, "Teapot", VdriveRefusalError),
        (404, "HeadConflict", VdriveRefusalError),
        (507, "QuotaExceeded", QuotaExceededError),
    ],
)
def test_codes_that_are_not_known_count_by_their_status(
    status: int, code: str, expected: type[VdriveRefusalError]
) -> None:
    found = refusals.decode_refusal(status, cbor2.dumps({"error": code, "message": "no"}))

    assert type(found) is expected


def test_refusals_do_not_repeat_what_may_be_secret() -> None:
    swissnum = "abcdefghijklmnop"
    sentence = f"you showed {swissnum} " + "and more " * 100
    data = cbor2.dumps({"error": "Unauthorized", "message": sentence})

    found = str(refusals.decode_refusal(401, data))

    assert found.startswith("you showed ... and more")
    assert swissnum not in found
    assert len(found) <= 300


def test_another_refusal_is_no_proof_of_absence() -> None:
    data = cbor2.dumps({"error": "NoSuchDirectory", "message": "no"})

    assert refusals.decode_absence(data, INDEX) is None
