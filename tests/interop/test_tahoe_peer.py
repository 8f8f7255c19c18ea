"""The harness itself: tahoe-lafs against tahoe-lafs, over static lists of servers alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from holdfast.testing.tahoe_node import TahoeNodeError
from holdfast.testing.tahoe_peer import ClientSettings, TahoeClient, TahoeGrid, TahoeServer, WebApiError

CONTENT = bytes(range(256)) * 1000


def test_file_put_over_static_servers_comes_back_whole_and_in_part(tahoe_client: TahoeClient) -> None:
    cap = tahoe_client.put(CONTENT)

    assert re.fullmatch(r"URI:CHK:[a-z2-7]{26}:[a-z2-7]{52}:2:4:256000", cap)
    assert tahoe_client.get(cap) == CONTENT
    assert tahoe_client.get(cap, start=1000, length=70000) == CONTENT[1000:71000]
    assert tahoe_client.get(cap, start=255990) == CONTENT[255990:]


def test_servers_identity_is_what_the_client_calls_it(
    tahoe_grid: TahoeGrid, tahoe_client: TahoeClient
) -> None:
    assert sorted(tahoe_client.connected_servers()) == sorted(
        server.server_id for server in tahoe_grid.servers
    )


def test_each_server_holds_one_share_on_disk(tahoe_grid: TahoeGrid, tahoe_client: TahoeClient) -> None:
    cap = tahoe_client.put(CONTENT[1:])
    storage_index = storage_index_of(tahoe_client, cap)

    held = tahoe_grid.share_files(storage_index)

    assert sorted(number for files in held.values() for number in files) == [0, 1, 2, 3]
    assert all(len(files) == 1 for files in held.values())
    assert all(path.is_file() for files in held.values() for path in files.values())


def test_killed_server_comes_back_with_its_identity_and_shares(
    tahoe_grid: TahoeGrid, tahoe_client: TahoeClient
) -> None:
    victim = tahoe_grid.servers[0]
    before = victim.entry
    cap = tahoe_client.put(CONTENT[2:])

    victim.kill()
    try:
        assert not victim.running
        assert tahoe_client.get(cap) == CONTENT[2:]
    finally:
        victim.start()
    tahoe_client.wait_until_connected(4)

    assert victim.entry == before
    assert victim.share_files(storage_index_of(tahoe_client, cap))


def test_convergence_secret_decides_the_capability(tahoe_grid: TahoeGrid, tahoe_client: TahoeClient) -> None:
    settings = ClientSettings(shares_needed=2, shares_total=4, convergence=bytes(range(32)))
    same = tahoe_grid.start_client("same-secret", settings)
    other = tahoe_grid.start_client("other-secret", ClientSettings(shares_needed=2, shares_total=4))

    assert same.put(CONTENT) == tahoe_client.put(CONTENT)
    assert other.put(CONTENT) != tahoe_client.put(CONTENT)


@pytest.mark.parametrize("mutable", ["SDMF", "MDMF"])
def test_mutable_file_works_over_https_alone(tahoe_client: TahoeClient, mutable: str) -> None:
    cap = tahoe_client.put(b"first", mutable=mutable)

    tahoe_client.request("PUT", f"/uri/{cap}", b"second")

    assert tahoe_client.get(cap) == b"second"


def test_web_api_error_carries_its_status(tahoe_client: TahoeClient) -> None:
    with pytest.raises(WebApiError) as caught:
        tahoe_client.get("URI:CHK:" + "a" * 26 + ":" + "a" * 52 + ":2:4:1000")

    assert caught.value.status == 410


def test_node_that_cannot_start_says_what_it_printed(tahoe_command: Path, tmp_path: Path) -> None:
    server = TahoeServer(tahoe_command, tmp_path / "broken")
    (server.directory / "tahoe.cfg").write_text("[node]\nno.such.setting = 1\n")

    with pytest.raises(TahoeNodeError, match=r"no\.such\.setting"):
        server.start()

    assert not server.running


def storage_index_of(client: TahoeClient, cap: str) -> str:
    """Base32 of the storage index, as the client's own check reports it."""
    index = json.loads(client.request("POST", f"/uri/{cap}?t=check&output=json"))["storage-index"]
    assert isinstance(index, str)
    return index
