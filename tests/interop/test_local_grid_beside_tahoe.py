"""A client of tahoe-lafs on a local grid, and our command line on servers of tahoe-lafs: one
list of servers, one convergence secret, one capability for one file.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from holdfast.crypto import base32
from holdfast.grid.settings import EncodingSettings
from holdfast.node.creation import create_client_node
from holdfast.node.local_grid import LocalGrid
from holdfast.testing.command_line import run_holdfast
from holdfast.testing.tahoe_peer import ClientSettings, TahoeClient, TahoeGrid, servers_yaml
from holdfast.testing.warm_grid import WarmGrid

CONTENT = random.Random(7).randbytes(3_000_000)
ENCODING = EncodingSettings(shares_needed=2, happiness=4, shares_total=4)
PEER = ClientSettings(shares_needed=2, happiness=4, shares_total=4, convergence=bytes(range(32)))


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGrid]:
    grid = WarmGrid(tmp_path_factory.mktemp("local") / "grid")
    try:
        grid.start(4, ENCODING)
        write_convergence(grid.client_directory)
        yield grid
    finally:
        grid.stop()


@pytest.fixture(scope="module")
def peer(
    grid: LocalGrid, tahoe_command: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TahoeClient]:
    """A client of tahoe-lafs that reads the list of the local grid as it is."""
    listed = yaml.safe_load((grid.server_list).read_text())["storage"]
    client = TahoeClient(tahoe_command, tmp_path_factory.mktemp("peer") / "client", listed, PEER)
    try:
        client.start()
        client.wait_until_connected(4)
        yield client
    finally:
        client.stop()


def write_convergence(client: Path) -> None:
    (client / "private/convergence").write_text(base32.encode(bytes(range(32))) + "\n")


def test_tahoe_stores_on_our_servers_and_we_read_it(grid: LocalGrid, peer: TahoeClient) -> None:
    cap = peer.put(CONTENT)
    read = run_holdfast("get", cap, node=grid.directory)
    assert read.code == 0, read.stderr
    assert read.stdout == CONTENT
    assert run_holdfast("check", "--verify", cap, node=grid.directory).code == 0


def test_we_store_on_our_servers_and_tahoe_reads_it(grid: LocalGrid, peer: TahoeClient) -> None:
    stored = run_holdfast("put", node=grid.directory, stdin=CONTENT + b"2")
    assert stored.code == 0, stored.stderr
    assert peer.get(stored.text) == CONTENT + b"2"


def test_both_find_the_same_capability_for_the_same_file(grid: LocalGrid, peer: TahoeClient) -> None:
    dry = run_holdfast("put", "--dry-run", node=grid.directory, stdin=CONTENT + b"3")
    assert dry.text == peer.put(CONTENT + b"3")


def test_our_command_uses_servers_of_tahoe(
    tahoe_grid: TahoeGrid, tahoe_client: TahoeClient, tmp_path: Path
) -> None:
    create_client_node(tmp_path / "client", ENCODING)
    (tmp_path / "client/private/servers.yaml").write_text(servers_yaml(tahoe_grid.entries))
    write_convergence(tmp_path / "client")
    stored = run_holdfast("put", node=tmp_path / "client", stdin=CONTENT)
    assert stored.code == 0, stored.stderr
    assert "happiness 4" in stored.stderr
    assert tahoe_client.get(stored.text) == CONTENT
    assert run_holdfast("check", "--verify", stored.text, node=tmp_path / "client").code == 0
