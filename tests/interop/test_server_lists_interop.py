"""Lists of servers between Holdfast's commands and the real tahoe-lafs: what its clients use is imported,
what Holdfast exports is used by them.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from holdfast.node.local_grid import LocalGrid
from holdfast.testing.command_line import run_holdfast
from holdfast.testing.tahoe_peer import ClientSettings, TahoeClient, TahoeGrid


@pytest.fixture
def client(tmp_path: Path) -> Path:
    """A client of Holdfast that knows no servers yet."""
    made = run_holdfast("create-client", tmp_path / "client", "--encoding", "2/4/4")
    assert made.code == 0, made.stderr
    return tmp_path / "client"


def files_go_both_ways(client: Path, tahoe: TahoeClient) -> None:
    ours, theirs = (random.Random(number).randbytes(200_000) for number in (1, 2))
    stored = run_holdfast("put", stdin=ours, node=client)
    assert stored.code == 0, stored.stderr
    assert tahoe.get(stored.text) == ours
    assert run_holdfast("get", "-", stdin=tahoe.put(theirs).encode(), node=client).stdout == theirs


def test_the_servers_of_a_tahoe_client_are_imported(client: Path, tahoe_client: TahoeClient) -> None:
    list_of_theirs = tahoe_client.directory / "private/servers.yaml"
    imported = run_holdfast("servers", "import", client, "--tahoe", list_of_theirs)
    assert (imported.code, imported.stderr) == (0, "")
    assert "4 added, 0 changed, 0 as before" in imported.text
    files_go_both_ways(client, tahoe_client)


def test_a_cache_of_theirs_is_imported(client: Path, tahoe_client: TahoeClient, tmp_path: Path) -> None:
    servers = yaml.safe_load((tahoe_client.directory / "private/servers.yaml").read_text())["storage"]
    cache = [{"ann": entry["ann"], "key_s": server_id} for server_id, entry in servers.items()]
    (tmp_path / "introducer_default_cache.yaml").write_text(yaml.safe_dump(cache))
    imported = run_holdfast(
        "servers", "import", client, "--tahoe", tmp_path / "introducer_default_cache.yaml"
    )
    assert (imported.code, imported.stderr) == (0, "")
    files_go_both_ways(client, tahoe_client)


def test_a_tahoe_client_uses_what_is_exported(
    client: Path, holdfast_grid: LocalGrid, tahoe_grid: TahoeGrid, tmp_path: Path
) -> None:
    entries: dict[str, dict[str, object]] = {}
    for name in holdfast_grid.names:
        exported = run_holdfast("servers", "export", holdfast_grid.directory / name, "--tahoe")
        assert exported.code == 0, exported.stderr
        entries |= yaml.safe_load(exported.stdout)["storage"]
        (tmp_path / "one.yaml").write_bytes(exported.stdout)
        assert run_holdfast("servers", "import", client, "--tahoe", tmp_path / "one.yaml").code == 0
    settings = ClientSettings(shares_needed=2, happiness=4, shares_total=4, convergence=bytes(range(32)))
    tahoe = tahoe_grid.start_client("exported", settings, entries)
    try:
        files_go_both_ways(client, tahoe)
    finally:
        tahoe.stop()
