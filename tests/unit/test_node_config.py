"""One TOML file, read once: right, or an error that names the key and what would be right."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import ConfigError
from holdfast.grid.settings import EncodingSettings
from holdfast.node.config import (
    ClientConfig,
    ControlConfig,
    IntroducerConfig,
    LogConfig,
    MeetingConfig,
    NodeConfig,
    NodeSettings,
    StorageConfig,
    VdriveConfig,
    VdriveServerConfig,
    load_config,
    parse_config,
)
from holdfast.node.config_text import effective_config_text, new_config_text
from holdfast.node.locations import split_location


def configuration(nickname: str, preferred: list[str], on: bool) -> NodeConfig:
    return NodeConfig(
        node=NodeSettings(nickname=nickname, location=("h:1",)),
        storage=StorageConfig(enabled=on, capacity=5 if on else None),
        introducer=IntroducerConfig(enabled=on),
        client=ClientConfig(enabled=on, preferred_servers=frozenset(preferred)),
        meeting=MeetingConfig(forget_after_s=5),
        control=ControlConfig(tcp=on, read_roots=("/a b",)),
        logs=LogConfig(levels={"servers.storage": "debug", "grid": "error"}),
    )


def test_an_empty_file_means_the_defaults_and_no_storage() -> None:
    assert parse_config("", "f") == NodeConfig()
    assert not NodeConfig().storage.enabled


def test_every_setting_is_read() -> None:
    config = parse_config(
        """
        [node]
        nickname = "amber"
        port = 3456
        host = "0.0.0.0"
        location = ["storage.example:3457", "[::1]", "h"]
        announce-packages = true
        [storage]
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
        [introducer]
        admission = "approve"
        new-keys-per-hour = 500
        new-keys-per-hour-and-address = 50
        [introducer-client]
        use-stale = "all"
        forget-after = "2w"
        allow-private-addresses = true
        [control]
        tcp = true
        allow-root = true
        [control.paths]
        read-roots = ["/srv/out"]
        write-roots = ["/srv/in"]
        [logs]
        level = "warning"
        file-size = "1Mi"
        files-kept = 2
        [logs.levels]
        "servers.storage" = "debug"
        """,
        "f",
    )
    assert config.node == NodeSettings(
        nickname="amber",
        port=3456,
        host="0.0.0.0",
        location=("storage.example:3457", "[::1]", "h"),
        announce_packages=True,
    )
    assert config.introducer == IntroducerConfig(
        enabled=True, admission="approve", new_keys_per_hour=500, new_keys_per_hour_and_address=50
    )
    assert config.meeting == MeetingConfig(
        use_stale="all", forget_after_s=14 * 86400, allow_private_addresses=True
    )
    assert config.control == ControlConfig(
        tcp=True, allow_root=True, read_roots=("/srv/out",), write_roots=("/srv/in",)
    )
    assert config.logs == LogConfig(
        level="warning", levels={"servers.storage": "debug"}, file_size=1 << 20, files_kept=2
    )
    assert config.storage == StorageConfig(
        enabled=True,
        capacity=10**10,
        reserved_space=5000,
        read_only=True,
        durability="os",
        verify_on_close="deep",
    )
    assert config.node.advertised_hosts == (("storage.example", 3457), ("::1", None), ("h", None))
    encoding = config.client.encoding
    assert (encoding.shares_needed, encoding.happiness, encoding.shares_total) == (2, 4, 5)
    assert encoding.segment_size_max == 128 << 10
    assert config.client == ClientConfig(
        enabled=True, encoding=encoding, servers="list.toml", preferred_servers=frozenset({"v0-a"})
    )


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("x = 1", "x", "no such setting"),
        ("node = 1", "node", "must be a table"),
        ("[node]\nnickname = 5", "node.nickname", "a text"),
        ("[node]\nnick = 'a'", "node.nick", 'did you mean "nickname"'),
        ("[storage]\nenabled = 1", "storage.enabled", "true or false"),
        ("[node]\nport = 70000", "node.port", "from 0 to 65535"),
        ("[node]\nport = true", "node.port", "whole number"),
        ("[node]\nport = '1'", "node.port", "whole number"),
        ("[storage]\ncapacity = 'bogus'", "storage.capacity", "a size in bytes"),
        ("[storage]\ncapacity = -1", "storage.capacity", "a size in bytes"),
        ("[storage]\nreserved-space = 1.5", "storage.reserved-space", "a size in bytes"),
        ("[storage]\nreserved_space = 1", "storage.reserved_space", 'did you mean "reserved-space"'),
        ("[storage]\ndurability = 'never'", "storage.durability", '"fsync" or "os"'),
        ("[storage]\nverify-on-close = ''", "storage.verify-on-close", '"off" or "layout" or "deep"'),
        ("[node]\nlocation = 'h:1'", "node.location", "a list"),
        ("[node]\nlocation = ['h:port']", "node.location", "HOST:PORT"),
        ("[storage]\n[node]\nhost = '0.0.0.0'", "node.location", "must say how others reach"),
        ("[introducer]\n[node]\nhost = '::'", "node.location", "must say how others reach"),
        (f"[node]\nnickname = '{'n' * 65}'", "node.nickname", "at most 64"),
        ("[node]\nnickname = 'a\\u200fb'".replace("'", '"'), "node.nickname", "can be shown"),
        ("[node]\nlocation = ['a','b','c','d','e','f','g','h','i']", "node.location", "at most 8"),
        ("[introducer]\nadmission = 'closed'", "introducer.admission", '"open" or "approve"'),
        ("[introducer-client]\nuse-stale = true", "introducer-client.use-stale", '"none" or "read" or "all"'),
        ("[introducer-client]\nforget-after = '90'", "introducer-client.forget-after", "a time"),
        ("[control.paths]\nread-roots = ['out']", "control.paths.read-roots", "absolute"),
        ("[control.paths]\nwrite-roots = ['/a/../b']", "control.paths.write-roots", "absolute"),
        ("[logs]\nlevel = 'loud'", "logs.level", '"debug" or'),
        ("[logs]\nfile-size = 1", "logs.file-size", "64Ki"),
        ("[logs.levels]\ngrid = 'loud'", "logs.levels.grid", '"debug" or'),
        ("[client.encoding]\nshares-needed = 0", "client.encoding.shares-needed", "from 1 to 256"),
        ("[client.encoding]\nshares-needed = 11", "client.encoding", "needed <= total"),
        ("[client.encoding]\nhappiness = 11", "client.encoding", "happiness"),
        ("[client.encoding]\nsegment-size = 0", "client.encoding", "segment-size"),
        ("[client]\npreferred-servers = [1]", "client.preferred-servers", "a list"),
        ("[vdrive-server]\ndatabase = 'mysql://x'", "vdrive-server.database", "postgresql://"),
        ("[vdrive-server]\ndatabase = 'postgresql://a:b@h/n'", "vdrive-server.database", "password"),
        ("[vdrive-server]\nhistory = '5m'", "vdrive-server.history", "15m"),
        ("[vdrive-server.expire]\ngrace = '1d'", "vdrive-server.expire.grace", "14d"),
        ("[vdrive]\nprivate-root = 'disk'", "vdrive.private-root", '"vdrive" or "grid"'),
        ("[vdrive-server.backup]", "vdrive-server.backup", "[client]"),
        ("[vdrive-server.backup]\nevery = '5s'", "vdrive-server.backup.every", "1m"),
        ("[vdrive.snapshot.a]\nkind = 'freeze'", "vdrive.snapshot.a.path", "ALIAS:PATH"),
        ("[vdrive.snapshot.a]\npath = 'URI:DIR:x'", "vdrive.snapshot.a.path", "alias"),
        ("[vdrive.snapshot.a]\npath = 'a:'\nevery = 5", "vdrive.snapshot.a.every", "1m"),
        ("[vdrive.snapshot]\na.path = 'a:'\na.kind = 'all'", "vdrive.snapshot.a.kind", '"bundle"'),
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


@given(
    st.builds(configuration, st.text(max_size=64).filter(str.isprintable), st.lists(st.text()), st.booleans())
)
def test_the_effective_settings_read_back_to_the_same(config: NodeConfig) -> None:
    assert parse_config(effective_config_text(config), "f") == config


@pytest.mark.parametrize("storage", [True, False])
@pytest.mark.parametrize("introducer", [True, False])
@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize("vdrive", [True, False])
def test_the_file_of_a_new_node_says_what_it_was_made_with(
    storage: bool, introducer: bool, client: bool, vdrive: bool
) -> None:
    config = NodeConfig(
        node=NodeSettings(nickname='a "b" \\ é', port=5 if storage or introducer or vdrive else 0),
        storage=StorageConfig(enabled=storage, reserved_space=7 if storage else 0),
        introducer=IntroducerConfig(enabled=introducer, admission="approve" if introducer else "open"),
        client=ClientConfig(
            enabled=client, encoding=EncodingSettings(happiness=5) if client else EncodingSettings()
        ),
        vdrive_server=VdriveServerConfig(
            enabled=vdrive,
            database="postgresql://holdfast@/names?host=/run/postgresql" if vdrive else "",
            public_root="read-only" if vdrive else "none",
            accounts="open" if vdrive else "token",
        ),
        vdrive=VdriveConfig(enabled=client, private_root="grid" if client else "vdrive"),
    )
    assert parse_config(new_config_text(config), "f") == config


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
