"""Which virtual drive server a client makes its own: what it is told by hand, by introducers, by nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from holdfast.errors import ConfigError
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.grid.vdrive.servers import VdriveServers
from holdfast.interfaces.introducer import KnownAnnouncement
from holdfast.node.announced_vdrives import AnnouncedVdrives
from holdfast.node.default_vdrive import DefaultVdrive, NoVdriveServiceError
from holdfast.node.vdrive_places import VdrivePlaces, load_vdrive_places, write_vdrive_places
from holdfast.protocol.nurl import Nurl, parse_nurl, spki_hash_bytes, spki_hash_text


def nurl(key: int, host: str = "one.example.org") -> Nurl:
    return Nurl("pb", spki_hash_text(bytes([key]) * 32), host, 1000 + key, "a" * 32)


def sid(key: int) -> bytes:
    return bytes([key]) * 32


class Introducers:
    """Stands in for the client of the introducers."""

    def __init__(self) -> None:
        self.announced: list[KnownAnnouncement] = []
        self.later: list[KnownAnnouncement] = []
        self.waited = 0

    def announce(
        self, key: int, accounts: object = "open", *, host: str = "one.example.org", freshness: str = "fresh"
    ) -> KnownAnnouncement:
        properties: Mapping[str, object] = {"accounts": accounts, "public-root": "none"}
        return KnownAnnouncement(
            service="vdrive",
            server_id=f"v0-{key}",
            nickname=f"n{key}",
            nurls=(nurl(key, host).to_text(),),
            version=("0", "0"),
            properties=properties,
            sequence=1,
            issued=0,
            expires=0,
            freshness=freshness,
            contact=0,
        )

    def subscribe_to(self, service: str, callback: object) -> None:
        assert service == "vdrive"

    def known(self, service: str) -> list[KnownAnnouncement]:
        return self.announced

    async def ready(self) -> None:
        self.waited += 1
        self.announced += self.later


@pytest.fixture
def introducers() -> Introducers:
    return Introducers()


@pytest.fixture
def servers() -> Iterator[VdriveServers]:
    servers = VdriveServers()
    yield servers
    servers.close()


def default(
    private: Path,
    introducers: Introducers,
    servers: VdriveServers,
    *,
    allow_private: bool = False,
    enabled: bool = True,
) -> DefaultVdrive:
    settings = IntroducerClientSettings(allow_private_addresses=allow_private)
    announced = AnnouncedVdrives(cast(IntroducerClient, introducers), settings)
    return DefaultVdrive(private, load_vdrive_places(private), announced, servers, enabled=enabled)


async def test_the_first_open_service_is_kept(
    tmp_path: Path, introducers: Introducers, servers: VdriveServers
) -> None:
    introducers.announced = [
        introducers.announce(1, "token"),
        introducers.announce(3),
        introducers.announce(2, freshness="stale"),
    ]
    chosen = default(tmp_path, introducers, servers)
    place = await chosen.needed()
    assert place.sid == sid(3)
    assert await chosen.may_create()
    assert introducers.waited == 0
    kept = load_vdrive_places(tmp_path).service
    assert kept is not None
    assert spki_hash_bytes(kept.spki_hash) == sid(3)
    introducers.announced.insert(0, introducers.announce(0))
    assert (await default(tmp_path, introducers, servers).needed()).sid == sid(3)


async def test_a_service_that_takes_an_account_is_used_by_who_has_one(
    tmp_path: Path, introducers: Introducers, servers: VdriveServers
) -> None:
    introducers.announced = [introducers.announce(1, "token")]
    without = default(tmp_path, introducers, servers)
    assert not await without.may_create()
    assert not (tmp_path / "vdrive.toml").exists()
    with pytest.raises(NoVdriveServiceError, match="account"):
        await without.needed()
    write_vdrive_places(tmp_path, VdrivePlaces(account="abc"))
    having = default(tmp_path, introducers, servers)
    assert await having.may_create()
    assert (await having.needed()).sid == sid(1)
    assert servers.account(sid(1)) == "abc"
    assert load_vdrive_places(tmp_path).account == "abc"


async def test_an_introducer_is_waited_for_only_if_nothing_is_known(
    tmp_path: Path, introducers: Introducers, servers: VdriveServers
) -> None:
    introducers.later = [introducers.announce(1)]
    chosen = default(tmp_path, introducers, servers)
    assert chosen.service is None
    assert introducers.waited == 0
    assert (await chosen.needed()).sid == sid(1)
    assert introducers.waited == 1


async def test_what_is_written_by_hand_counts_and_what_is_announced_says_where_it_is(
    tmp_path: Path, introducers: Introducers, servers: VdriveServers
) -> None:
    write_vdrive_places(tmp_path, VdrivePlaces(service=nurl(5)))
    introducers.announced = [
        introducers.announce(1),
        introducers.announce(5, "token", host="two.example.org"),
    ]
    chosen = default(tmp_path, introducers, servers)
    place = await chosen.needed()
    assert (place.sid, place.hints) == (sid(5), ("two.example.org:1005",))
    assert not await chosen.may_create()


@pytest.mark.parametrize("allowed", [False, True])
async def test_private_addresses_count_where_the_grid_is_private(
    tmp_path: Path, introducers: Introducers, servers: VdriveServers, allowed: bool
) -> None:
    introducers.announced = [introducers.announce(1, host="10.0.0.1")]
    chosen = default(tmp_path, introducers, servers, allow_private=allowed)
    assert await chosen.may_create() == allowed


async def test_what_was_chosen_meanwhile_is_not_taken_over_by_an_announcement(
    tmp_path: Path, introducers: Introducers, servers: VdriveServers
) -> None:
    """By hand, or by another program of the same client."""
    chosen = default(tmp_path, introducers, servers)
    assert chosen.service is None
    write_vdrive_places(tmp_path, VdrivePlaces(service=nurl(5), account="abc", moved={sid(9): nurl(5)}))
    introducers.announced = [introducers.announce(1)]
    assert (await chosen.needed()).sid == sid(5)
    kept = load_vdrive_places(tmp_path)
    assert (kept.service, kept.account, kept.moved) == (nurl(5), "abc", {sid(9): nurl(5)})
    assert servers.account(sid(5)) == "abc" and servers.account(sid(1)) is None


@pytest.mark.seed("S-193")
async def test_a_client_that_wants_none_chooses_none(
    tmp_path: Path, introducers: Introducers, servers: VdriveServers
) -> None:
    introducers.announced = [introducers.announce(1)]
    chosen = default(tmp_path, introducers, servers, enabled=False)
    assert chosen.service is None
    assert not await chosen.may_create()
    assert list(tmp_path.iterdir()) == []


async def test_odd_announcements_are_left_out(
    tmp_path: Path, introducers: Introducers, servers: VdriveServers
) -> None:
    odd: Any = introducers.announce(1, accounts=17)
    introducers.announced = [odd]
    assert not await default(tmp_path, introducers, servers).may_create()


def test_a_damaged_list_of_places_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "vdrive.toml").write_text('service = "pb://nonsense"\n')
    with pytest.raises(ConfigError, match=r"vdrive\.toml"):
        load_vdrive_places(tmp_path)
    assert parse_nurl(nurl(1).to_text()) == nurl(1)
