"""Paths, headers and queries of a virtual drive server say one thing, and are refused otherwise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import base32
from holdfast.interfaces.vdrive import PAGE_MAX, WAIT_MAX_S, Authority
from holdfast.protocol import vdrive_calls as calls
from holdfast.protocol import vdrive_headers as headers
from holdfast.protocol import vdrive_queries as queries
from holdfast.protocol.message_items import MalformedMessageError
from holdfast.protocol.vdrive_items import MessageLimitError

B32 = st.binary(min_size=32, max_size=32)
NUMBERS = st.integers(0, 2**63 - 1)
INDEX, SLOT = b"i" * 32, b"s" * 32
INDEX_TEXT, SLOT_TEXT = base32.encode(INDEX), base32.encode(SLOT)

# -- paths


@pytest.mark.parametrize(
    ("endpoint", "method", "path"),
    [
        (calls.VERSION, "GET", "/vdrive/v1/version"),
        (calls.ROOT, "GET", "/vdrive/v1/root"),
        (calls.COMMIT, "POST", "/vdrive/v1/commit"),
        (calls.DESCRIBE, "GET", f"/vdrive/v1/d/{INDEX_TEXT}"),
        (calls.CHILD, "GET", f"/vdrive/v1/d/{INDEX_TEXT}/c/{SLOT_TEXT}"),
        (calls.CONTEXT, "POST", f"/vdrive/v1/d/{INDEX_TEXT}/context"),
        (calls.LIST, "GET", f"/vdrive/v1/d/{INDEX_TEXT}/c"),
        (calls.HEADS, "GET", f"/vdrive/v1/d/{INDEX_TEXT}/heads"),
        (calls.WAIT, "GET", f"/vdrive/v1/d/{INDEX_TEXT}/wait"),
        (calls.CHANGES, "GET", f"/vdrive/v1/d/{INDEX_TEXT}/changes"),
        (calls.TURN, "POST", f"/vdrive/v1/d/{INDEX_TEXT}/turn"),
        (calls.ENROL, "POST", f"/vdrive/v1/d/{INDEX_TEXT}/enrol"),
        (calls.EXPORT, "GET", f"/vdrive/v1/d/{INDEX_TEXT}/bundle"),
        (calls.IMPORT, "POST", "/vdrive/v1/import"),
        (calls.RENEW_LEASE, "POST", f"/vdrive/v1/lease/{INDEX_TEXT}"),
        (calls.CANCEL_LEASE, "DELETE", f"/vdrive/v1/lease/{INDEX_TEXT}"),
        (calls.LEASE_INFO, "GET", f"/vdrive/v1/lease/{INDEX_TEXT}"),
        (calls.ACCOUNT, "GET", "/vdrive/v1/account"),
    ],
)
def test_calls_are_where_the_specification_says(endpoint: calls.Endpoint, method: str, path: str) -> None:
    assert endpoint.method == method
    assert calls.path(endpoint, index=INDEX, slot=SLOT, refresh_id=INDEX) == path
    found = calls.match_path(path)
    assert found is not None
    assert found.endpoints[method] is endpoint


@given(st.sampled_from(calls.ENDPOINTS), B32, B32, B32)
def test_a_path_names_what_it_was_made_of(
    endpoint: calls.Endpoint, index: bytes, slot: bytes, refresh_id: bytes
) -> None:
    found = calls.match_path(calls.path(endpoint, index=index, slot=slot, refresh_id=refresh_id))

    assert found is not None
    assert found.index == (index if "{index}" in endpoint.pattern else b"")
    assert found.slot == (slot if "{slot}" in endpoint.pattern else b"")
    assert found.refresh_id == (refresh_id if "{rid}" in endpoint.pattern else b"")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/vdrive/v1",
        "/vdrive/v1/",
        "/vdrive/v2/version",
        "/vdrive/v1/version/",
        "/vdrive/v1/versions",
        "/vdrive/v1/d/",
        f"/vdrive/v1/d/{INDEX_TEXT}/",
        f"/vdrive/v1/d/{INDEX_TEXT.upper()}",
        f"/vdrive/v1/d/{INDEX_TEXT[:-1]}",
        f"/vdrive/v1/d/{INDEX_TEXT}a",
        f"/vdrive/v1/d/{INDEX_TEXT[:-1]}z",  # unused bits that are not zero
        f"/vdrive/v1/d/{INDEX_TEXT}/c/",
        f"/vdrive/v1/d/{INDEX_TEXT}/c/{SLOT_TEXT}/",
        f"/vdrive/v1/d/{INDEX_TEXT}\n",
        f"/vdrive/v1/lease/{INDEX_TEXT}/more",
        f"/vdrive/v1/lease/{INDEX_TEXT[:-1]}=",
        f"/vdrive/v1/d%2f{INDEX_TEXT}",
    ],
)
def test_other_paths_name_nothing(path: str) -> None:
    assert calls.match_path(path) is None


# -- headers


def sent(found: list[headers.Header]) -> list[headers.Header]:
    """Return headers as a server gets them."""
    return [(name.lower(), value) for name, value in found]


@given(
    st.dictionaries(B32, B32, max_size=4),
    st.dictionaries(B32, st.binary(min_size=16, max_size=16), max_size=4),
    st.none() | st.from_regex(r"[!-~]{1,60}", fullmatch=True),
)
def test_what_allows_a_commit_comes_back(
    enablers: dict[bytes, bytes], turns: dict[bytes, bytes], account: str | None
) -> None:
    authority = Authority(enablers, turns, account)

    assert headers.presented_authority(sent(headers.authority_headers(authority))) == authority


@given(B32, B32, st.binary(min_size=64, max_size=64))
def test_other_secrets_come_back(index: bytes, secret: bytes, proof: bytes) -> None:
    shown = sent(
        [
            headers.enabler_header(index, secret),
            headers.proof_header(index, proof),
            headers.lease_secret_header(secret),
            headers.account_header("token"),
        ]
    )

    assert headers.presented_enablers(shown) == {index: secret}
    assert headers.presented_proofs(shown) == {index: proof}
    assert headers.presented_lease_secret(shown) == secret
    assert headers.presented_account(shown) == "token"
    assert {name for name, _ in shown} <= {name.lower() for name in headers.SECRET_HEADERS}


SECRET = base32.encode(b"w" * 32)
ENABLER, TURN, ACCOUNT, LEASE = (
    name.lower() for name in (headers.WRITE_ENABLER, headers.TURN, headers.ACCOUNT, headers.LEASE_SECRET)
)


@pytest.mark.parametrize(
    "shown",
    [
        [(ENABLER, "")],
        [(ENABLER, SECRET)],
        [(ENABLER, f"{INDEX_TEXT} ")],
        [(ENABLER, f"{INDEX_TEXT}  {SECRET}")],
        [(ENABLER, f"{INDEX_TEXT} {SECRET} ")],
        [(ENABLER, f"{INDEX_TEXT},{SECRET}")],
        [(ENABLER, f"{INDEX_TEXT} {SECRET[:-1]}")],
        [(ENABLER, f"{INDEX_TEXT} {SECRET.upper()}")],
        [(ENABLER, f"{INDEX_TEXT[:-1]} {SECRET}")],
        [(ENABLER, f"{INDEX_TEXT} \u00e9")],
        [(ENABLER, f"{INDEX_TEXT} {SECRET}")] * 2,
        [(TURN, f"{INDEX_TEXT} {SECRET}")],
        [(ACCOUNT, "")],
        [(ACCOUNT, "two words")],
        [(ACCOUNT, "t" * 201)],
        [(ACCOUNT, "t"), (ACCOUNT, "t")],
        [(ACCOUNT, "\u00e9")],
    ],
)
def test_headers_that_are_not_of_their_form_are_refused(shown: list[headers.Header]) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        headers.presented_authority(shown)
    assert SECRET not in str(caught.value)
    assert INDEX_TEXT not in str(caught.value)


@pytest.mark.parametrize("shown", [[], [(LEASE, "")], [(LEASE, SECRET[1:])], [(LEASE, SECRET)] * 2])
def test_a_lease_needs_one_secret(shown: list[headers.Header]) -> None:
    with pytest.raises(MalformedMessageError):
        headers.presented_lease_secret(shown)


def test_as_many_enablers_as_directories_are_taken() -> None:
    shown = [headers.enabler_header(bytes((number,)) * 32, b"w" * 32) for number in range(33)]

    assert len(headers.presented_enablers(sent(shown[:32]))) == 32
    with pytest.raises(MessageLimitError):
        headers.presented_enablers(sent(shown))


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "\u00e9", "t" * 201])
def test_a_token_that_no_header_carries_is_not_sent(token: str) -> None:
    with pytest.raises(ValueError, match="header") as caught:
        headers.authority_headers(Authority(account=token))
    assert not token or token not in str(caught.value)


@given(st.text(max_size=60) | st.just(f"{INDEX_TEXT} {SECRET}"))
def test_no_header_does_worse_than_be_refused(value: str) -> None:
    for name in headers.SECRET_HEADERS:
        shown = [(name.lower(), value)]
        for present in (
            headers.presented_authority,
            headers.presented_proofs,
            headers.presented_lease_secret,
        ):
            try:
                present(shown)
            except MalformedMessageError:
                continue


def test_a_head_is_known_by_its_tag() -> None:
    tag = headers.entity_tag(INDEX)

    assert tag == f'"{INDEX_TEXT}"'
    for value in (tag, f'"x", {tag}', f"W/{tag}", "*"):
        assert headers.names_head(value, INDEX)
    for other in (None, "", headers.entity_tag(SLOT), INDEX_TEXT):
        assert not headers.names_head(other, INDEX)


# -- queries

PAGES = st.builds(
    queries.PageQuery, st.none() | NUMBERS, st.none() | B32, st.integers(1, PAGE_MAX), st.booleans()
)


@given(PAGES)
def test_page_queries_come_back(query: queries.PageQuery) -> None:
    assert queries.parse_page_query(queries.page_query(query)) == query


@given(NUMBERS, NUMBERS)
def test_heads_queries_come_back(one: int, other: int) -> None:
    query = queries.HeadsQuery(min(one, other), max(one, other))
    assert queries.parse_heads_query(queries.heads_query(query)) == query


@given(NUMBERS, st.integers(0, 55_000))
def test_wait_queries_come_back(version: int, milliseconds: int) -> None:
    query = queries.WaitQuery(version, milliseconds / 1000)
    assert queries.parse_wait_query(queries.wait_query(query)) == query


@given(NUMBERS, NUMBERS, st.none() | B32, st.integers(1, PAGE_MAX))
def test_changes_queries_come_back(one: int, other: int, after: bytes | None, limit: int) -> None:
    for at in (None, max(one, other)):
        query = queries.ChangesQuery(min(one, other), at, after, limit)
        assert queries.parse_changes_query(queries.changes_query(query)) == query


def test_queries_have_defaults() -> None:
    assert queries.parse_page_query("") == queries.PageQuery(None, None, 1000, False)
    assert queries.parse_changes_query("since=3") == queries.ChangesQuery(3)
    assert queries.parse_wait_query("version=3") == queries.WaitQuery(3, WAIT_MAX_S)


def test_no_longer_wait_is_asked_for_than_is_given() -> None:
    assert queries.parse_wait_query(queries.wait_query(queries.WaitQuery(3, 1000))).timeout_s == WAIT_MAX_S


Parser = Callable[[str], object]


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (queries.parse_page_query, "at=-1"),
        (queries.parse_page_query, "at=01"),
        (queries.parse_page_query, "at=1.0"),
        (queries.parse_page_query, "at="),
        (queries.parse_page_query, "at=9223372036854775808"),
        (queries.parse_page_query, "at=\u0663"),
        (queries.parse_page_query, "at=1&at=1"),
        (queries.parse_page_query, "at"),
        (queries.parse_page_query, "limit=0"),
        (queries.parse_page_query, "names=yes"),
        (queries.parse_page_query, "after="),
        (queries.parse_page_query, f"after={SLOT_TEXT[1:]}"),
        (queries.parse_page_query, f"after={SLOT_TEXT.upper()}"),
        (queries.parse_page_query, "since=1"),
        (queries.parse_page_query, "&"),
        (queries.parse_page_query, "at=%ff"),
        (queries.parse_page_query, "&".join(f"a{number}=1" for number in range(100))),
        (queries.parse_heads_query, ""),
        (queries.parse_heads_query, "from=1"),
        (queries.parse_heads_query, "from=2&to=1"),
        (queries.parse_heads_query, "from=1&to=2&limit=1"),
        (queries.parse_wait_query, "timeout=1"),
        (queries.parse_wait_query, "version=1&timeout=-1"),
        (queries.parse_wait_query, "version=1&timeout=1e1"),
        (queries.parse_wait_query, "version=1&timeout=nan"),
        (queries.parse_changes_query, ""),
        (queries.parse_changes_query, "since=5&at=4"),
        (queries.parse_changes_query, "since=1&names=1"),
    ],
)
def test_queries_that_are_not_of_their_form_are_refused(parse: Parser, text: str) -> None:
    with pytest.raises(MalformedMessageError):
        parse(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (queries.parse_page_query, "limit=5001"),
        (queries.parse_changes_query, "since=1&limit=5001"),
        (queries.parse_wait_query, "version=1&timeout=55.001"),
    ],
)
def test_queries_for_more_than_is_given_are_told_from_nonsense(parse: Parser, text: str) -> None:
    with pytest.raises(MessageLimitError):
        parse(text)


@given(st.text(max_size=40) | st.from_regex(r"((at|after|from|to|version|since)=[0-9a-z&=%+;]{0,9}&?){1,4}"))
def test_no_query_does_worse_than_be_refused(text: str) -> None:
    for parse in (
        queries.parse_page_query,
        queries.parse_heads_query,
        queries.parse_wait_query,
        queries.parse_changes_query,
    ):
        try:
            parse(text)
        except MalformedMessageError:
            continue
