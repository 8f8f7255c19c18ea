"""Taking over servers of Tahoe-LAFS: what is usable is merged as it stands, the rest is named."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.grid.server_list import toml_list_text
from holdfast.grid.tahoe_import import merge
from holdfast.protocol.announcement import server_id_of
from holdfast.protocol.nurl import Nurl
from holdfast.protocol.server_record import ServerRecord, records_from_holdfast, records_from_tahoe

HASH = "A" * 43
ONE, TWO = (server_id_of(bytes([number]) * 32) for number in (1, 2))
FURL = "anonymous-storage-FURL"
NURLS = "anonymous-storage-NURLs"


def entry(place: str = "192.0.2.1:4000", tub: str = "a" * 32, **more: object) -> dict[str, object]:
    ann = {FURL: f"pb://{tub}@tcp:{place}/x", NURLS: [f"pb://{HASH}@{place}/swissnumswissnum#v=1"], **more}
    return {"ann": ann}


def test_new_servers_are_added_as_they_stand() -> None:
    theirs = entry(unknown={"kept": [1]})
    merged = merge({}, {"storage": {ONE: theirs}, "other": 1})
    assert merged.entries == {ONE: theirs}
    assert (merged.added, merged.changed, merged.unchanged, merged.left_out) == ([ONE], [], [], [])


def test_a_known_server_gets_its_new_entry_and_ours_stay() -> None:
    ours = {ONE: entry(), TWO: entry("192.0.2.2:4000")}
    moved = entry("192.0.2.3:4000")
    merged = merge(ours, {"storage": {ONE: moved, TWO: entry("192.0.2.2:4000", nonce="other")}})
    assert merged.entries == {ONE: moved, TWO: ours[TWO]}
    assert (merged.added, merged.changed, merged.unchanged) == ([], [ONE], [TWO])


def test_an_entry_of_ours_that_is_useless_is_replaced() -> None:
    merged = merge({ONE: {"ann": {}}}, {"storage": {ONE: entry()}})
    assert (merged.changed, merged.entries) == ([ONE], {ONE: entry()})


def test_another_server_seed_is_refused() -> None:
    ours = {ONE: entry()}
    merged = merge(ours, {"storage": {ONE: entry(tub="b" * 31 + "a")}})
    assert merged.entries == ours
    assert merged.changed == []
    assert "server seed" in merged.left_out[0]


def test_the_cache_of_an_introducer() -> None:
    cache = [{**entry(), "key_s": ONE}, {**entry("192.0.2.9:1"), "key_s": ONE}, {**entry(), "key_s": TWO}]
    merged = merge({}, cache)
    assert merged.entries == {ONE: entry(), TWO: entry()}
    assert merged.left_out == [f"server {ONE}: it is there twice; the first entry counts"]


@pytest.mark.parametrize(
    ("server_id", "theirs", "said"),
    [
        (
            ONE,
            {"ann": {FURL: f"pb://{'a' * 32}@tcp:192.0.2.1:1/x"}},
            f"server {ONE}: it offers only Foolscap",
        ),
        (ONE, {"ann": {FURL: f"pb://{'a' * 32}@/x", NURLS: []}}, f"server {ONE}: it offers only Foolscap"),
        (ONE, {"ann": {}}, f"server {ONE}: no NURL that can be used"),
        (ONE, {"ann": {NURLS: [f"pb+tor://{HASH}@x.onion/swissnumswissnum#v=1"]}}, "needs Tor"),
        (ONE, {}, f"server {ONE}: it has no announcement"),
        (ONE, None, f"server {ONE}: it is not a map"),
        (3, entry(), "server number 2: a server id is not a text|server 3: a server id is not a text"),
        (f"pb://{HASH}@192.0.2.1/secretsecret#v=1", entry(), "server number 2: "),
        ("a\nb", {"ann": {FURL: "pb://x@/y"}}, "server number 2: it offers only Foolscap"),
    ],
)
def test_what_cannot_be_used_is_named_without_a_secret(server_id: object, theirs: object, said: str) -> None:
    merged = merge({}, {"storage": {TWO: entry(), server_id: theirs}})
    assert merged.added == [TWO]
    assert len(merged.left_out) == 1
    assert any(part in merged.left_out[0] for part in said.split("|"))
    assert "secret" not in merged.left_out[0]


def test_a_server_with_one_good_address_is_taken_with_a_remark() -> None:
    theirs = entry()
    theirs["ann"][NURLS].append("nonsense")  # type: ignore[index]
    merged = merge({}, {"storage": {ONE: theirs}})
    assert merged.added == [ONE]
    assert merged.left_out == []
    assert "NURL number 2" in merged.remarks[0]


@pytest.mark.parametrize(
    "file", [None, "text", 1, {}, {"storage": None}, {"storage": []}, [1], [{"ann": {}}]]
)
def test_what_is_neither_list_nor_cache_is_refused(file: object) -> None:
    with pytest.raises(ValueError, match=r"storage|neither|announcement"):
        merge({}, file)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([ONE, FURL, NURLS, "ann"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([ONE, TWO, "ann", "key_s", FURL, NURLS]), inner, max_size=3)
        ),
        max_leaves=10,
    )
)
def test_any_file_is_read_or_refused(inner: object) -> None:
    for file in (inner, {"storage": inner}, {"storage": {ONE: inner}}, [{"ann": inner, "key_s": TWO}]):
        try:
            merged = merge({TWO: entry()}, file)
        except ValueError:
            continue
        assert records_from_tahoe({"storage": merged.entries})[0]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    TEXT,
    st.binary(min_size=20, max_size=20),
    st.binary(max_size=40),
    st.lists(st.sampled_from(["192.0.2.1", "::1", "storage.example"]), min_size=1, max_size=2),
)
def test_a_list_in_toml_reads_back(nickname: str, seed: bytes, place: bytes, hosts: list[str]) -> None:
    nurls = tuple(Nurl("pb", HASH, host, 4000, "swissnumswissnum") for host in hosts)
    records = [ServerRecord(ONE, nurls, seed, place, nickname), ServerRecord(TWO, nurls, seed, place)]
    assert records_from_holdfast(tomllib.loads(toml_list_text(records))) == (records, [])
