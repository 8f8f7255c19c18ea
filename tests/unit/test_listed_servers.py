"""What a client knows of storage servers without asking anybody."""

from __future__ import annotations

import pytest

from holdfast import __version__
from holdfast.grid.announcement_cache import CachedAnnouncement
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.grid.listed_servers import ListedServer, listed_servers
from holdfast.protocol.announcement import verified_announcement
from holdfast.protocol.nurl import parse_nurl
from holdfast.protocol.server_record import ServerRecord
from holdfast.protocol.versions import OLDEST_SUPPORTED
from holdfast.testing.introducer_suite import AnnouncingNode

NOW = 1_800_000_000
DAY_S = 86_400
ELSEWHERE = IntroducerClientSettings()
HERE = IntroducerClientSettings(allow_private_addresses=True)


class Node(AnnouncingNode):
    def __init__(self, name: str) -> None:
        super().__init__(name, NOW)

    @property
    def server_id(self) -> str:
        return verified_announcement(*self.announce()).announcement.server_id

    def record(self, nickname: str = "listed") -> ServerRecord:
        return ServerRecord(self.server_id, (parse_nurl(self.nurl()),), bytes(20), b"place", nickname)

    def remembered(
        self,
        place: str = "8.8.8.8:4000",
        *,
        age_days: int = 0,
        contact: int = 0,
        first_seen: int = NOW,
        version: str = __version__,
    ) -> CachedAnnouncement:
        issued = NOW - age_days * DAY_S
        fields = {5: issued, 6: issued + 7 * DAY_S, 8: self.name, 9: [version, OLDEST_SUPPORTED]}
        signed = verified_announcement(*self.announce_raw(fields, nurls=[self.nurl(place)]))
        return CachedAnnouncement(signed, first_seen, NOW, contact)


def by_name(servers: list[ListedServer]) -> dict[str, ListedServer]:
    assert len({server.nickname for server in servers}) == len(servers)
    return {server.nickname: server for server in servers}


def test_the_list_comes_first_and_overrides_what_is_announced() -> None:
    listed, other = Node("listed"), Node("a")
    servers = listed_servers([listed.record()], [other.remembered(), listed.remembered()], ELSEWHERE, NOW)
    assert [(server.nickname, server.freshness) for server in servers] == [
        ("listed", "static"),
        ("a", "fresh"),
    ]
    assert servers[0].record == listed.record()
    assert servers[0].addresses == ("127.0.0.1:3456",)
    assert servers[1].expires == NOW + 7 * DAY_S


def test_age_and_contact_are_told() -> None:
    contact = NOW - 6 * DAY_S
    cached = [
        Node("fresh").remembered(),
        Node("stale").remembered(age_days=20),
        Node("met").remembered(age_days=20, contact=contact),
        Node("forgotten").remembered(age_days=120),
    ]
    servers = by_name(listed_servers([], cached, ELSEWHERE, NOW))
    assert {name: server.freshness for name, server in servers.items()} == {
        "fresh": "fresh",
        "stale": "stale",
        "met": "fresh",
    }
    assert servers["met"].last_contact == contact
    unused = by_name(listed_servers([], cached, IntroducerClientSettings(use_stale="none"), NOW))
    assert [name for name, server in unused.items() if server.reason] == ["stale"]


def test_what_cannot_be_used_has_a_reason() -> None:
    cached = [Node("private").remembered("10.0.0.1:4000"), Node("old").remembered(version="0.0.1")]
    servers = by_name(listed_servers([], cached, ELSEWHERE, NOW))
    assert "private network" in servers["private"].reason
    assert servers["private"].record is None
    assert servers["private"].addresses == ("10.0.0.1:4000",)
    assert "must upgrade" in servers["old"].reason
    assert by_name(listed_servers([], cached, HERE, NOW))["private"].reason == ""


@pytest.mark.parametrize("swapped", [False, True])
def test_of_one_tls_key_one_server_counts(swapped: bool) -> None:
    stale, fresh, late = Node("stale"), Node("fresh"), Node("late")
    for node in (fresh, late):
        node.tls_key, node.spki = stale.tls_key, stale.spki
    cached = [
        stale.remembered(age_days=20, first_seen=NOW - 30),
        fresh.remembered(first_seen=NOW - 20),
        late.remembered(first_seen=NOW - 10),
    ]
    servers = by_name(listed_servers([], cached[::-1] if swapped else cached, ELSEWHERE, NOW))
    assert {name: server.reason for name, server in servers.items()} == {
        "fresh": "",
        "late": "another server has its TLS key",
        "stale": "another server has its TLS key",
    }


def test_no_secret_is_in_what_is_printed_of_a_server() -> None:
    servers = listed_servers([Node("listed").record()], [Node("a").remembered()], ELSEWHERE, NOW)
    assert "swissnumswissnum" not in repr(servers)
