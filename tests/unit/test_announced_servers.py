"""Which servers a client uses, by what is announced, what the operator listed, and what time it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.grid.announced_servers import ServerFeed, is_private, near, record_of
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.grid.servers import Servers
from holdfast.interfaces.introducer import KnownAnnouncement, Subscriber
from holdfast.protocol.nurl import parse_nurl
from holdfast.protocol.server_record import ServerRecord
from holdfast.testing.introducer_clients import FAST_SETTINGS, START, Time, introducer_client, until
from holdfast.testing.introducer_suite import AnnouncingNode
from holdfast.testing.memory_introducer import MemoryIntroducer
from holdfast.testing.memory_storage import MemoryStorage

PUBLIC = "storage.example.org:3456"
DAY_S = 86400


class Told(IntroducerClient):
    """A client whose announcements a test makes up."""

    def __init__(self) -> None:
        super().__init__({}, None, FAST_SETTINGS)
        self.tell: Subscriber = lambda known: None
        self.met: Callable[[], object] = list

    def subscribe_to(self, service: str, callback: Subscriber) -> None:
        assert service == "storage"
        self.tell = callback


def known(
    node: AnnouncingNode,
    *,
    places: Sequence[str] = (PUBLIC,),
    freshness: str = "fresh",
    version: tuple[str, str] = ("0.1.0", "0.1.0"),
    properties: dict[str, object] | None = None,
    sequence: int = 1,
) -> KnownAnnouncement:
    return KnownAnnouncement(
        service="storage",
        server_id=f"v0-{node.name}",
        nickname=node.name,
        nurls=tuple(node.nurl(place) for place in places),
        version=version,
        properties=properties or {},
        sequence=sequence,
        issued=int(START),
        expires=int(START) + 7 * DAY_S,
        freshness=freshness,
        contact=0,
    )


class World:
    """Servers, and what feeds them."""

    def __init__(
        self, static: Sequence[ServerRecord] = (), settings: IntroducerClientSettings = FAST_SETTINGS
    ) -> None:
        self.client = Told()
        self.servers = Servers([], bytes(32), frozenset(), lambda record, on_contact: MemoryStorage())
        self.feed = ServerFeed(self.servers, self.client, static, settings)

    def hear(self, *announcements: KnownAnnouncement) -> None:
        for one in announcements:
            self.client.tell(one)

    @property
    def usable(self) -> dict[str, str]:
        """Return what each server is used for, by name."""
        return {
            server.name: "nothing" if server.incompatible else "all" if server.accepts_uploads else "reading"
            for server in self.servers.all()
        }


@pytest.fixture
def a() -> AnnouncingNode:
    return AnnouncingNode("a")


@pytest.fixture
def b() -> AnnouncingNode:
    return AnnouncingNode("b")


# -- records


def test_a_record_has_the_seeds_that_are_announced(a: AnnouncingNode) -> None:
    seeds: dict[str, object] = {"permutation-seed": b"p" * 32, "server-seed": b"s" * 20, "unknown": [1]}

    record = record_of(known(a, places=(PUBLIC, "10.0.0.1:1"), properties=seeds), allow_private=True)

    assert (record.permutation_seed, record.server_seed) == (b"p" * 32, b"s" * 20)
    assert (record.server_id, record.nickname) == ("v0-a", "a")
    assert [(nurl.host, nurl.port) for nurl in record.nurls] == [
        ("storage.example.org", 3456),
        ("10.0.0.1", 1),
    ]


def test_without_seeds_those_of_its_keys_count() -> None:
    record = record_of(known(AnnouncingNode("a")), allow_private=False)

    assert len(record.server_seed) == 20
    assert record.permutation_seed


@pytest.mark.parametrize(
    "properties",
    [
        {"permutation-seed": b"p" * 31},
        {"permutation-seed": "p" * 32},
        {"server-seed": b"s" * 32},
        {"server-seed": 20},
        {"server-seed": []},
    ],
)
def test_a_server_with_wrong_seeds_is_left_out_with_a_reason(
    a: AnnouncingNode, b: AnnouncingNode, properties: dict[str, object]
) -> None:
    world = World()

    world.hear(known(a, properties=properties), known(b))

    assert world.usable == {"b": "all"}
    assert "seed is not" in world.feed.left_out["v0-a"]
    world.hear(known(a, sequence=2))
    assert world.usable == {"b": "all", "a": "all"}
    assert not world.feed.left_out


# -- what it is used for


def test_states_become_uses(a: AnnouncingNode) -> None:
    world = World()

    for freshness, use in (
        ("fresh", {"a": "all"}),
        ("stale", {"a": "reading"}),
        ("fresh", {"a": "all"}),
        ("withdrawn", {}),
        ("fresh", {"a": "all"}),
    ):
        world.hear(known(a, freshness=freshness))
        assert world.usable == use


@pytest.mark.parametrize(
    ("use_stale", "use"), [("read", {"a": "reading"}), ("all", {"a": "all"}), ("none", {})]
)
def test_the_operator_says_what_stale_servers_are_for(
    a: AnnouncingNode, use_stale: str, use: dict[str, str]
) -> None:
    world = World(settings=replace(FAST_SETTINGS, use_stale=use_stale))

    world.hear(known(a, freshness="stale"))

    assert world.usable == use


def test_a_server_that_accepts_nothing_is_only_read_from(a: AnnouncingNode) -> None:
    world = World()

    world.hear(known(a, properties={"accepts": False}))

    assert world.usable == {"a": "reading"}


@pytest.mark.seed("S-025")
@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (("9.0", "8.0"), "this node must upgrade"),
        (("0.0.1", "0.0.1"), "the peer must upgrade"),
        (("a fantasy", "0.1"), "PEP 440"),
    ],
)
def test_an_incompatible_server_is_listed_and_not_used(
    a: AnnouncingNode, b: AnnouncingNode, version: tuple[str, str], sentence: str
) -> None:
    world = World()

    world.hear(known(a, version=version), known(b))

    assert world.usable == {"a": "nothing", "b": "all"}
    state = world.servers["v0-a"].state
    assert (state.state, sentence in state.reason) == ("incompatible", True)
    world.hear(known(a, sequence=2))
    assert world.usable["a"] == "all"


def test_a_server_that_moves_is_known_at_its_new_place(a: AnnouncingNode) -> None:
    world = World()
    world.hear(known(a))

    world.hear(known(a, places=("new.example.org:9",), sequence=2))

    (server,) = world.servers.all()
    assert [nurl.host for nurl in server.record.nurls] == ["new.example.org"]


# -- one key, one server


def test_two_that_share_a_tls_key_count_once(a: AnnouncingNode) -> None:
    world, twin = World(), replace(known(a), server_id="v0-twin", nickname="twin")

    world.hear(known(a), twin)
    assert world.usable == {"a": "all"}
    assert "counts as the same server" in world.feed.left_out["v0-twin"]

    world.hear(known(a, freshness="stale"))  # the fresh one counts, as after a lost node key
    assert world.usable == {"twin": "all"}
    world.hear(known(a))
    assert world.usable == {"a": "all"}
    world.hear(known(a, freshness="withdrawn"))
    assert world.usable == {"twin": "all"}
    world.hear(replace(twin, freshness="withdrawn"))
    assert world.usable == {}
    assert not world.feed.left_out


def test_a_server_with_a_new_tls_key_stays_one_server(a: AnnouncingNode, b: AnnouncingNode) -> None:
    world, renewed = World(), AnnouncingNode("a")
    world.hear(known(a), known(b))

    world.hear(known(renewed, sequence=2))
    assert world.usable == {"a": "all", "b": "all"}
    assert world.servers["v0-a"].record.nurls[0].to_text() == renewed.nurl(PUBLIC)

    world.hear(replace(known(b), server_id="v0-a", nickname="a", sequence=3))  # b's key, under a's name
    assert world.usable == {"b": "all"}
    world.hear(known(b, freshness="withdrawn"))
    assert world.usable == {"a": "all"}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 3), st.sampled_from(["fresh", "fresh", "stale", "withdrawn"])
        ),
        max_size=30,
    )
)
def test_whatever_comes_each_key_counts_once_and_the_freshest_counts(
    events: list[tuple[int, int, str]],
) -> None:
    world = World()
    latest: dict[str, KnownAnnouncement] = {}
    for name, key, freshness in events:
        one = replace(known(NODES[key], freshness=freshness), server_id=f"v0-{name}", nickname=str(name))
        latest[one.server_id] = one
        world.hear(one)

    there = {id_: one for id_, one in latest.items() if one.freshness != "withdrawn"}
    by_key = {
        one.nurls: [other for other in there.values() if other.nurls == one.nurls] for one in there.values()
    }
    assert len(world.servers) == len(by_key)
    for server in world.servers.all():
        rivals = by_key[latest[server.id].nurls]
        assert server.accepts_uploads == any(one.freshness == "fresh" for one in rivals)
        assert [nurl.to_text() for nurl in server.record.nurls] == list(latest[server.id].nurls)
    assert set(world.feed.left_out) == set(there) - {server.id for server in world.servers.all()}


NODES = [AnnouncingNode(f"node {i}") for i in range(4)]


# -- the operator's list


def static_record(node: AnnouncingNode, server_id: str) -> ServerRecord:
    return ServerRecord(
        server_id, (parse_nurl(node.nurl("listed.example.org:1")),), b"s" * 20, b"p", "listed"
    )


def test_a_static_list_alone_makes_a_grid(a: AnnouncingNode) -> None:
    assert World([static_record(a, "v0-a")]).usable == {"listed": "all"}


def test_what_is_announced_of_a_listed_server_does_not_count(a: AnnouncingNode, b: AnnouncingNode) -> None:
    world = World([static_record(a, "v0-a")])

    for freshness in ("fresh", "stale", "withdrawn"):
        world.hear(known(b, freshness=freshness) if freshness == "fresh" else known(a, freshness=freshness))
        world.hear(replace(known(a, freshness=freshness), server_id="v0-twin"))
        assert world.usable["listed"] == "all"

    assert world.servers["v0-a"].record.nurls[0].host == "listed.example.org"
    world.hear(replace(known(a), server_id="v0-twin"))
    assert "static list" in world.feed.left_out["v0-twin"]
    assert set(world.usable) == {"listed", "b"}


# -- addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.8.9.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd12::1",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "localhost",
        "LOCALHOST.", "x.localhost",
        "printer.local", "127.1", "2130706433", "0x7f000001", "0x7f.1",
    ],
)  # fmt: skip
def test_addresses_that_mean_something_else_to_others(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "2001:4860:4860::8888", "example.org", "1e100.net", "localhost.example.org", "a-1.b2"]
)
def test_addresses_that_anybody_can_reach(host: str) -> None:
    assert not is_private(host)


def test_private_addresses_are_skipped_unless_allowed(a: AnnouncingNode, b: AnnouncingNode) -> None:
    announced = known(a, places=("127.0.0.1:22", "192.168.1.1:80", PUBLIC)), known(b, places=("10.0.0.1:1",))
    careful, trusting = World(), World(settings=replace(FAST_SETTINGS, allow_private_addresses=True))

    careful.hear(*announced)
    trusting.hear(*announced)

    assert [nurl.host for nurl in careful.servers["v0-a"].record.nurls] == ["storage.example.org"]
    assert careful.usable == {"a": "all"}
    assert "private" in careful.feed.left_out["v0-b"]
    assert len(trusting.servers["v0-a"].record.nurls) == 3
    assert trusting.usable == {"a": "all", "b": "all"}


def test_a_grid_around_a_private_introducer_is_private_too(a: AnnouncingNode) -> None:
    assert near([parse_nurl(a.nurl("127.0.0.1:1")), parse_nurl(a.nurl(PUBLIC))])
    assert not near([parse_nurl(a.nurl(PUBLIC))])
    assert not near([])


# -- with a real client


async def test_a_servers_answers_keep_its_announcement_fresh() -> None:
    time = Time()
    introducer = MemoryIntroducer(time.clock)
    await introducer.publish([AnnouncingNode("server", START).announce()])
    client = introducer_client({"one": introducer}, time=time)
    contacts: list[Callable[[], None]] = []

    def make(record: ServerRecord, on_contact: Callable[[None], None]) -> MemoryStorage:
        contacts.append(lambda: on_contact(None))
        return MemoryStorage()

    servers = Servers([], bytes(32), frozenset(), make)
    settings = replace(FAST_SETTINGS, allow_private_addresses=True)
    ServerFeed(servers, client, [], settings, my_version=("1.0.0", "1.0.0"))

    async with client.running():
        await until(lambda: len(servers) == 1)
        introducer.faults.dead = True
        for _ in range(4):
            time.go(5 * DAY_S)
            contacts[-1]()
            await until(lambda: client.known("storage")[0].contact == int(time.now))
        assert servers.all()[0].accepts_uploads
        time.go(8 * DAY_S)
        await until(lambda: not servers.all()[0].accepts_uploads)
        time.go(90 * DAY_S)
        await until(lambda: not servers.all())
