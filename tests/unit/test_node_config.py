"""One TOML file, read once: right, or an error that names the key and what would be right."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import ConfigError
from holdfast.node.config import (
    ClientConfig,
    NodeConfig,
    StorageConfig,
    load_config,
    parse_config,
    split_location,
)


def test_an_empty_file_means_the_defaults_and_no_storage() -> None:
    assert parse_config("", "f") == NodeConfig()
    assert not NodeConfig().storage.enabled


def test_every_setting_is_read() -> None:
    config = parse_config(
        """
        [node]
        nickname = "amber"
        [storage]
        port = 3456
        host = "0.0.0.0"
        location = ["storage.example:3457", "[::1]", "h"]
        capacity = "10G"
        reserved-space = 5000
        read-only = true
        durability = "os"
        verify-on-close = "deep"
        [client]
        servers = "list.toml"
        preferred-servers = ["v0-a"]
        [client.encoding]
        shares-needed = 2
        happiness = 4
        shares-total = 5
        segment-size = "128Ki"
        """,
        "f",
    )
    assert config.nickname == "amber"
    assert config.storage == StorageConfig(
        enabled=True,
        port=3456,
        host="0.0.0.0",
        location=("storage.example:3457", "[::1]", "h"),
        capacity=10**10,
        reserved_space=5000,
        read_only=True,
        durability="os",
        verify_on_close="deep",
    )
    assert config.storage.advertised_hosts == (("storage.example", 3457), ("::1", None), ("h", None))
    encoding = config.client.encoding
    assert (encoding.shares_needed, encoding.happiness, encoding.shares_total) == (2, 4, 5)
    assert encoding.segment_size_max == 128 << 10
    assert config.client == ClientConfig(
        encoding=encoding, servers="list.toml", preferred_servers=frozenset({"v0-a"})
    )


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("x = 1", "x", "no such setting"),
        ("node = 1", "node", "must be a table"),
        ("[node]\nnickname = 5", "node.nickname", "a text"),
        ("[node]\nnick = 'a'", "node.nick", 'did you mean "nickname"'),
        ("[storage]\nenabled = 1", "storage.enabled", "true or false"),
        ("[storage]\nport = 70000", "storage.port", "from 0 to 65535"),
        ("[storage]\nport = true", "storage.port", "whole number"),
        ("[storage]\nport = '1'", "storage.port", "whole number"),
        ("[storage]\ncapacity = 'bogus'", "storage.capacity", "a size in bytes"),
        ("[storage]\ncapacity = -1", "storage.capacity", "a size in bytes"),
        ("[storage]\nreserved-space = 1.5", "storage.reserved-space", "a size in bytes"),
        ("[storage]\nreserved_space = 1", "storage.reserved_space", 'did you mean "reserved-space"'),
        ("[storage]\ndurability = 'never'", "storage.durability", '"fsync" or "os"'),
        ("[storage]\nverify-on-close = ''", "storage.verify-on-close", '"off" or "layout" or "deep"'),
        ("[storage]\nlocation = 'h:1'", "storage.location", "a list"),
        ("[storage]\nlocation = ['h:port']", "storage.location", "HOST:PORT"),
        ("[storage]\nhost = '0.0.0.0'", "storage.location", "must say how clients reach"),
        ("[client.encoding]\nshares-needed = 0", "client.encoding.shares-needed", "from 1 to 256"),
        ("[client.encoding]\nshares-needed = 11", "client.encoding", "needed <= total"),
        ("[client.encoding]\nhappiness = 11", "client.encoding", "happiness"),
        ("[client.encoding]\nsegment-size = 0", "client.encoding", "segment-size"),
        ("[client]\npreferred-servers = [1]", "client.preferred-servers", "a list"),
        ("[client]\nshares-needed = 3", "client.shares-needed", "no such setting"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(text: str, key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "holdfast.toml")
    assert str(caught.value).startswith(f"holdfast.toml: {key}")
    assert hint in str(caught.value)


@pytest.mark.seed("X-11")
def test_an_unreadable_size_stops_the_start_instead_of_meaning_no_limit() -> None:
    with pytest.raises(ConfigError, match=r"storage\.capacity"):
        parse_config("[storage]\ncapacity = '10 gigs'", "f")


def test_what_is_not_toml_is_said_so() -> None:
    with pytest.raises(ConfigError, match="f is not TOML"):
        parse_config("[storage", "f")


def test_a_directory_without_the_file_is_no_node(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no holdfast\.toml"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "h:", "h:0", "h:65536", "a b", "::1", "u@h", "h/x", ":5", "h:-1", "h:٣"]
)
def test_what_is_no_location_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not HOST"):
        split_location(text)


@given(st.text())
def test_any_text_is_a_location_or_a_value_error(text: str) -> None:
    try:
        host, port = split_location(text)
    except ValueError:
        return
    assert host
    assert port is None or 1 <= port <= 65535


@given(st.text())
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        parse_config(text, "f")
