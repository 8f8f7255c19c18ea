"""The metadata of an entry: what a caller may set, and what is maintained for him."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.formats.directory_metadata import (
    BadMetadataError,
    forbids_writing,
    metadata_to_bytes,
    parse_metadata,
    updated_metadata,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "directories.json").read_text())
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda values: st.one_of(st.lists(values, max_size=3), st.dictionaries(st.text(max_size=5), values)),
    max_leaves=6,
)
KEYS = st.one_of(st.sampled_from(["tahoe", "ctime", "mtime", "no-write"]), st.text(max_size=3))
MAINTAINED = st.dictionaries(st.sampled_from(["linkcrtime", "linkmotime", "other"]), JSON)
METADATA = st.one_of(
    st.dictionaries(KEYS, JSON, max_size=4),
    st.builds(
        lambda rest, tahoe: {**rest, "tahoe": tahoe}, st.dictionaries(KEYS, JSON, max_size=3), MAINTAINED
    ),
)
TIMES = st.floats(0, 2**33)


@pytest.mark.parametrize("vector", VECTORS["metadata_update"], ids=lambda vector: json.dumps(vector["old"]))
def test_metadata_is_updated_as_the_reference_does(vector: dict[str, Any]) -> None:
    updated = updated_metadata(vector["old"], vector["new"], vector["now"])

    assert metadata_to_bytes(updated) == json.dumps(vector["result"]).encode()


@given(METADATA | st.none(), METADATA | st.none(), TIMES)
def test_a_caller_cannot_set_what_is_maintained(old: Any, new: Any, now: float) -> None:
    before = copy.deepcopy((old, new))
    updated: dict[str, Any] = updated_metadata(old, new, now)

    assert (old, new) == before
    assert updated == updated_metadata(old, None if new is None else {**new, "tahoe": {"linkcrtime": 1}}, now)
    assert updated["tahoe"]["linkmotime"] == now
    user = {key: value for key, value in updated.items() if key != "tahoe"}
    source = old if new is None else new
    assert user == {key: value for key, value in (source or {}).items() if key != "tahoe"}


@given(METADATA | st.none(), METADATA | st.none(), TIMES)
def test_updating_again_at_the_same_moment_changes_nothing(old: Any, new: Any, now: float) -> None:
    updated = updated_metadata(old, new, now)

    assert metadata_to_bytes(updated_metadata(updated, new, now)) == metadata_to_bytes(updated)


@given(METADATA)
def test_metadata_is_read_as_it_was_written(metadata: dict[str, Any]) -> None:
    data = metadata_to_bytes(metadata)

    assert data.isascii()
    assert parse_metadata(data) == metadata


@given(st.one_of(st.binary(max_size=30), st.text('[]{}":,a1', max_size=20).map(str.encode)))
def test_any_bytes_are_metadata_or_a_known_error(data: bytes) -> None:
    try:
        metadata = parse_metadata(data)
    except BadMetadataError:
        return
    assert parse_metadata(metadata_to_bytes(metadata)) == metadata


def test_tokens_that_only_python_writes_are_read() -> None:
    metadata: dict[str, Any] = parse_metadata(b'{"a": NaN, "b": Infinity, "c": -Infinity}')

    assert math.isnan(metadata["a"])
    assert (metadata["b"], metadata["c"]) == (math.inf, -math.inf)


@pytest.mark.parametrize(
    "data", ["[]", "1", "null", "", "{", '{"a": }', "[" * 100_000, '{"a": 1}x', '{"a": ' + "9" * 5000 + "}"]
)
def test_what_is_no_object_is_refused(data: str) -> None:
    with pytest.raises(BadMetadataError):
        parse_metadata(data.encode())


def test_half_a_surrogate_pair_is_read_as_it_is_written() -> None:
    metadata: dict[str, object] = {"a": "\ud800"}

    assert parse_metadata(b'{"a": "\xed\xa0\x80"}') == parse_metadata(metadata_to_bytes(metadata)) == metadata


def test_metadata_nested_beyond_reason_is_not_written() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(BadMetadataError):
        metadata_to_bytes({"a": nested})


def test_metadata_in_another_encoding_is_refused() -> None:
    with pytest.raises(BadMetadataError):
        parse_metadata('{"a": 1}'.encode("utf-16"))


@pytest.mark.parametrize(
    ("metadata", "forbidden"),
    [({}, False), ({"no-write": False}, False), ({"no-write": None}, False), ({"no-write": True}, True)],
)
def test_a_link_may_forbid_writing(metadata: dict[str, object], forbidden: bool) -> None:
    assert forbids_writing(metadata) == forbidden
