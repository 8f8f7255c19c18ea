"""A list of servers gives a record for each good entry, and a sentence for each mistake."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import base32
from holdfast.protocol.nurl import Nurl, parse_nurl, spki_hash_bytes
from holdfast.protocol.server_record import (
    ServerRecord,
    default_server_seed,
    permutation_seed,
    records_from_holdfast,
    records_from_tahoe,
    to_tahoe,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "storage.json").read_text())

SERVER_ID = "v0-aoqqpp7tzyil4hlq3umoos6atft6jvrqtosq2xy53sdgiesvgg4a"
TUB_ID = "mqgypz2b42veyzu2qksm2mchq6lake5l"
HASH = "Q7iAPddvcHXzBZ72xAhKlUEnE0KR8jSVCHgCMZLU4oc"
SWISSNUM = "loy6oxtiogrkacobkletrxobfnkboxd2"
NURL = f"pb://{HASH}@storage.example:3457/{SWISSNUM}#v=1"
OTHER_KEY = "pb://i1EAxD4kYSRvfA25sMrmTDfs-wChbrPp5K-hhy4XGXk@storage.example:3457/s#v=1"
TAHOE = f"""
storage:
  {SERVER_ID}:
    ann:
      nickname: one
      anonymous-storage-FURL: pb://{TUB_ID}@/none
      anonymous-storage-NURLs:
        - {NURL}
      permutation-seed-base32: {SERVER_ID[3:]}
"""
RECORD = ServerRecord(
    SERVER_ID, (parse_nurl(NURL),), base32.decode(TUB_ID), base32.decode(SERVER_ID[3:]), "one"
)


def tahoe(server_id: str = SERVER_ID, **changes: object) -> Any:
    """Return the parsed list with one entry; a change to None removes the key."""
    announcement: dict[str, object] = yaml.safe_load(TAHOE)["storage"][SERVER_ID]["ann"]
    for key, value in changes.items():
        name = {"furl": "anonymous-storage-FURL", "nurls": "anonymous-storage-NURLs"}.get(
            key, key.replace("_", "-")
        )
        announcement[name] = value
        if value is None:
            del announcement[name]
    return {"storage": {server_id: {"ann": announcement}}}


def test_the_entry_of_the_reference_is_read_and_written_as_it_is() -> None:
    assert records_from_tahoe(yaml.safe_load(TAHOE)) == ([RECORD], [])
    assert {"storage": {SERVER_ID: to_tahoe(RECORD)}} == yaml.safe_load(TAHOE)


def test_no_secret_is_in_a_repr() -> None:
    assert SWISSNUM not in repr(RECORD)


# -- the reference's form: what is tolerated


def test_an_entry_without_furl_gets_the_seed_of_its_key() -> None:
    (record,), problems = records_from_tahoe(tahoe(furl=None))
    assert record.server_seed == spki_hash_bytes(HASH)[:20]
    assert problems == []


def test_the_seed_of_a_furl_is_read_without_case() -> None:
    (record,), _ = records_from_tahoe(tahoe(furl=f"pb://{TUB_ID.upper()}@tcp:host:1,tcp:other:2/name"))
    assert record.server_seed == base32.decode(TUB_ID)


def test_what_an_entry_lacks_has_a_default() -> None:
    (record,), problems = records_from_tahoe(tahoe(nickname=None, permutation_seed_base32=None))
    assert record.nickname == ""
    assert record.permutation_seed == base32.decode(SERVER_ID[3:])
    assert problems == []


def test_unknown_keys_are_ignored_at_every_level() -> None:
    servers = tahoe(future="x", my_version="tahoe-lafs/1.20.0", storage_options=[{"name": "x"}])
    servers["storage"][SERVER_ID]["connections"] = {"tcp": "tcp"}
    servers["more"] = 1
    assert records_from_tahoe(servers) == ([RECORD], [])


@pytest.mark.parametrize("servers", [{}, {"storage": None}, {"storage": {}}])
def test_a_list_may_be_empty(servers: object) -> None:
    assert records_from_tahoe(servers) == ([], [])


@pytest.mark.parametrize("servers", [None, [], "storage", {"storage": []}, {"storage": "x"}])
def test_what_is_no_list_at_all_is_an_error(servers: object) -> None:
    with pytest.raises(ValueError):
        records_from_tahoe(servers)


def test_nurls_that_cannot_be_used_are_named_and_the_others_used() -> None:
    second = NURL.replace("storage.example", "backup.example")
    (record,), problems = records_from_tahoe(
        tahoe(nurls=["pb://nonsense", NURL, NURL.replace("pb:", "pb+tor:"), 7, second])
    )
    assert record.nurls == (parse_nurl(NURL), parse_nurl(second))
    assert [p.partition(": NURL number ")[2][:1] for p in problems] == ["1", "3", "4"]
    assert "Tor" in problems[1]


# -- the reference's form: mistakes of one entry

MISTAKES = {
    "no NURLs": (tahoe(nurls=None), "no supported protocol"),
    "empty list of NURLs": (tahoe(nurls=[]), "no supported protocol"),
    "no usable NURL": (tahoe(nurls=[NURL.removesuffix("#v=1")]), "no supported protocol"),
    "NURLs as text": (tahoe(nurls=NURL), "not a list"),
    "NURLs of two keys": (tahoe(nurls=[NURL, OTHER_KEY]), "different keys"),
    "FURL that is a URL": (tahoe(furl="https://storage.example/"), "FURL"),
    "FURL without @": (tahoe(furl=f"pb://{TUB_ID}"), "FURL"),
    "FURL that is a number": (tahoe(furl=7), "FURL"),
    "tub id of another length": (tahoe(furl="pb://me@x/y"), "20 bytes"),
    "tub id that is not base32": (tahoe(furl=f"pb://{'1' * 32}@x/y"), "20 bytes"),
    "permutation seed in upper case": (tahoe(permutation_seed_base32="AAAA"), "permutation seed"),
    "permutation seed that is a number": (tahoe(permutation_seed_base32=7), "permutation seed"),
    "id that looks like a key": (tahoe("v0-" + "1" * 52), "looks like a key"),
    "certificates malformed": (tahoe(grid_manager_certificates=[{"certificate": "x"}]), "certificates"),
    "certificates no list": (tahoe(grid_manager_certificates="x"), "certificates"),
    "no announcement": ({"storage": {SERVER_ID: {}}}, "ann"),
    "entry no map": ({"storage": {SERVER_ID: "x"}}, "map"),
    "id that is a number": ({"storage": {7: {}}}, "7: a server id is not a text"),
}


@pytest.mark.parametrize(("servers", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_costs_that_entry_only_and_is_named(servers: Any, says: str) -> None:
    servers = copy.deepcopy(servers)
    servers["storage"]["other"] = tahoe()["storage"][SERVER_ID]
    records, problems = records_from_tahoe(servers)
    assert [record.server_id for record in records] == ["other"]
    assert len(problems) == 1
    assert says in problems[0]
    assert str(next(iter(servers["storage"]))) in problems[0]
    assert SWISSNUM not in problems[0]


SHOWN_NEVER = {
    "a NURL as the id": tahoe(NURL),
    "a NURL in an id": {"storage": {(NURL,): {}}},
    "a NURL as the FURL": tahoe(furl=NURL),
    "a NURL in the list of another": tahoe(nurls=[[NURL], NURL + "x"]),
    "a NURL as the permutation seed": tahoe(permutation_seed_base32=NURL),
}


@pytest.mark.parametrize("servers", SHOWN_NEVER.values(), ids=SHOWN_NEVER)
def test_a_nurl_in_the_wrong_place_is_not_repeated(servers: Any) -> None:
    records, problems = records_from_tahoe(servers)
    assert records == []
    assert problems
    assert not any(SWISSNUM in problem for problem in problems)


@pytest.mark.parametrize("server_id", ["", "x" * 201, "two\nlines", NURL])
def test_an_id_that_cannot_be_shown_is_refused_and_counted_instead(server_id: str) -> None:
    servers = {"storage": {**tahoe("first")["storage"], **tahoe(server_id)["storage"]}}
    records, problems = records_from_tahoe(servers)
    assert [record.server_id for record in records] == ["first"]
    assert problems[0].startswith("server number 2: ")


@pytest.mark.parametrize("nickname", [7, True, [NURL]])
def test_a_nickname_that_is_no_text_costs_the_nickname_only(nickname: object) -> None:
    (record,), problems = records_from_tahoe(tahoe(nickname=nickname))
    assert record.nickname == ""
    assert problems == [f"server {SERVER_ID}: its nickname is not a text; put quotes around it"]


def test_a_tor_nurl_of_another_key_spoils_the_record_too() -> None:
    records, problems = records_from_tahoe(tahoe(nurls=[NURL, OTHER_KEY.replace("pb:", "pb+tor:")]))
    assert records == []
    assert "different keys" in problems[0]


# -- seeds


def test_a_seed_of_its_own_in_an_announcement_is_used_and_must_agree_with_the_furl() -> None:
    other = base32.encode(bytes(range(20)))

    (record,), _ = records_from_tahoe(tahoe(furl=None, server_seed=other))
    assert record.server_seed == bytes(range(20))
    assert records_from_tahoe(tahoe(server_seed=TUB_ID)) == ([RECORD], [])
    records, problems = records_from_tahoe(tahoe(server_seed=other))
    assert records == []
    assert "contradict" in problems[0]


@pytest.mark.parametrize("server", VECTORS["permutation"]["servers"], ids=lambda s: s["name"])
def test_permutation_seeds_are_those_of_the_vectors(server: dict[str, str]) -> None:
    seed = permutation_seed(server["server_id"], server["permutation_seed_base32"])
    assert seed.hex() == server["seed_hex"]


def test_an_id_that_is_no_key_is_placed_by_its_hash() -> None:
    for name in ("my-server", "v0-short", "V0-" + "a" * 52, "v0-" + "a" * 53):
        assert permutation_seed(name, None) == hashlib.sha256(name.encode()).digest()
    with pytest.raises(ValueError):
        permutation_seed("v0-" + "A" * 52, None)


@pytest.mark.parametrize("vector", VECTORS["spki"], ids=lambda v: v["name"])
def test_the_default_server_seed_is_the_beginning_of_the_key_hash(vector: dict[str, str]) -> None:
    assert base32.encode(default_server_seed(vector["spki_hash"])) == vector["node_id20_b32"]


# -- our own form


def table(**changes: object) -> dict[str, object]:
    entry: dict[str, object] = {
        "id": SERVER_ID,
        "nurls": [NURL],
        "server-seed": TUB_ID,
        "permutation-seed": SERVER_ID[3:],
        "nickname": "one",
    }
    entry.update({key.replace("_", "-"): value for key, value in changes.items()})
    return {key: value for key, value in entry.items() if value is not None}


def test_our_own_form_gives_the_same_record() -> None:
    assert records_from_holdfast({"server": [table()]}) == ([RECORD], [])
    assert records_from_holdfast({}) == ([], [])


def test_our_own_form_needs_an_id_and_nurls_only() -> None:
    (record,), problems = records_from_holdfast({"server": [{"id": "amber", "nurls": [NURL]}]})
    assert record.server_seed == default_server_seed(HASH)
    assert record.permutation_seed == hashlib.sha256(b"amber").digest()
    assert problems == []


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (table(id=None), "number 1: it has no id"),
        (table(id=7), "a server id is not a text"),
        (table(nurls=None), "no supported protocol"),
        (table(server_seed="aa"), "20 bytes"),
        (table(server_seed=7), "the server seed is not a text"),
        (table(permutation_seed="1"), "permutation seed"),
        ("x", "no id"),
    ],
)
def test_mistakes_in_our_own_form_are_named_too(entry: object, says: str) -> None:
    records, problems = records_from_holdfast({"server": [entry, table(id="other")]})
    assert [record.server_id for record in records] == ["other"]
    assert len(problems) == 1
    assert says in problems[0]


def test_a_misspelt_key_is_named_since_a_seed_may_hang_on_it() -> None:
    records, problems = records_from_holdfast({"server": [table(server_sead="x")]})
    assert records == [RECORD]
    assert problems == [f"server {SERVER_ID}: the key 'server-sead' is unknown, and ignored"]


def test_a_server_listed_twice_is_used_as_it_came_first() -> None:
    records, problems = records_from_holdfast({"server": [table(), table(nickname="two")]})
    assert records == [RECORD]
    assert "twice" in problems[0]


@pytest.mark.parametrize("servers", [None, [], {"server": "x"}, {"server": 7}])
def test_what_is_no_list_of_ours_is_an_error(servers: object) -> None:
    with pytest.raises(ValueError):
        records_from_holdfast(servers)


# -- laws

NURLS = st.builds(
    Nurl,
    st.just("pb"),
    st.just(HASH),
    st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True),
    st.integers(1, 65535),
    st.from_regex(r"[a-z2-7]{1,32}", fullmatch=True),
)
RECORDS = st.builds(
    ServerRecord,
    st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
    st.lists(NURLS, min_size=1, max_size=3).map(tuple),
    st.binary(min_size=20, max_size=20),
    st.binary(max_size=40),
    st.text(max_size=20),
)


@given(RECORDS)
def test_what_is_written_for_the_reference_is_read_back(record: ServerRecord) -> None:
    assert records_from_tahoe({"storage": {record.server_id: to_tahoe(record)}}) == ([record], [])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.just(NURL) | st.just(TUB_ID),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=3,
)
KEYS = ["nickname", "anonymous-storage-FURL", "anonymous-storage-NURLs", "permutation-seed-base32"]


@given(st.dictionaries(st.text(max_size=5), st.dictionaries(st.sampled_from(KEYS), VALUES), max_size=2))
def test_no_entry_spoils_the_list(announcements: dict[str, dict[str, object]]) -> None:
    servers = {"storage": {server_id: {"ann": ann} for server_id, ann in announcements.items()}}
    servers["storage"]["good one"] = tahoe()["storage"][SERVER_ID]
    records, problems = records_from_tahoe(servers)
    assert "good one" in {record.server_id for record in records}
    assert len(records) + len(problems) >= len(servers["storage"])


@pytest.mark.parametrize(
    "changes",
    [{"nurls": ()}, {"nurls": (parse_nurl(NURL), parse_nurl(OTHER_KEY))}, {"server_seed": bytes(19)}],
)
def test_a_record_cannot_be_made_wrongly(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "server_id": SERVER_ID,
        "nurls": (parse_nurl(NURL),),
        "server_seed": bytes(20),
        "permutation_seed": b"",
    }
    with pytest.raises(ValueError):
        ServerRecord(**{**fields, **changes})
