"""What every introducer does, be it the engine or a client of one over the network. Subclass
``IntroducerSuite`` and provide ``introducer``, a fresh one without limits that 200 announcements meet.

Source: docs/spec/control-and-introducer.md, sections 3.4 and 3.5; seed-map S-020, S-021.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.crypto import signatures
from holdfast.crypto.netstring import netstring
from holdfast.formats import deterministic_cbor
from holdfast.interfaces.introducer import (
    ANNOUNCEMENTS_PER_PUBLISH,
    AnnouncementPage,
    Introducer,
    SignedBytes,
)
from holdfast.protocol.announcement import Announcement, prove_location, sign_announcement
from holdfast.protocol.nurl import spki_hash

NO_EPOCH = bytes(16)
PROMPT_S = 0.1  # from a publication to the answer of a poll
LIFE_S = 7 * 86400

_TAG = netstring(b"holdfast:introducer:v1:announcement")
_LOCATION_TAG = netstring(b"holdfast:introducer:v1:location")


class AnnouncingNode:
    """A node with keys of its own, which announces whatever a test wants. One name, one node key."""

    def __init__(self, name: str, now: float | None = None) -> None:
        self.seed = hashlib.sha256(name.encode()).digest()
        self.verify_key = signatures.verify_key_of(self.seed)
        self.tls_key = ec.generate_private_key(ec.SECP256R1())
        self.spki = self.tls_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.name = name
        self.now = int(time.time() if now is None else now)

    def nurl(self, place: str = "127.0.0.1:3456") -> str:
        """Return a NURL of this node's TLS key."""
        return f"pb://{spki_hash(self.spki)}@{place}/swissnumswissnumswissnum#v=1"

    def announce(
        self,
        sequence: int = 1,
        service: str = "storage",
        *,
        issued: int | None = None,
        life_s: int = LIFE_S,
        properties: Mapping[str, object] | None = None,
        withdrawn: bool = False,
    ) -> SignedBytes:
        """Return a signed announcement."""
        issued = self.now if issued is None else issued
        locations = () if withdrawn else (prove_location(self.verify_key, self.nurl(), self.tls_key),)
        announcement = Announcement(
            service=service,
            verify_key=self.verify_key,
            sequence=sequence,
            issued=issued,
            expires=issued + life_s,
            locations=locations,
            nickname=self.name[:64],
            version=("1.0.0", "1.0.0"),
            properties=properties or {},
            withdrawn=withdrawn,
        )
        return sign_announcement(announcement, self.seed).bytes_pair

    def announce_raw(self, changed: Mapping[int, object], *, nurls: Sequence[str] = ()) -> SignedBytes:
        """Return an announcement that may be against every rule, but is signed, with proven locations."""
        fields: dict[int, object] = {
            1: 1,
            2: "storage",
            3: self.verify_key,
            4: 1,
            5: self.now,
            6: self.now + LIFE_S,
            7: [self._raw_location(nurl) for nurl in nurls],
            8: "",
            9: ["1.0.0", "1.0.0"],
            10: {},
        }
        ann = deterministic_cbor.encode({**fields, **changed})
        return ann, signatures.sign(self.seed, _TAG + ann)

    def _raw_location(self, nurl: str) -> dict[int, object]:
        message = _LOCATION_TAG + netstring(self.verify_key) + netstring(nurl.encode())
        return {1: nurl, 2: self.spki, 3: signatures.sign_with_tls_key(self.tls_key, message)}


async def published(introducer: Introducer, *announcements: SignedBytes) -> list[str]:
    """Publish, and return what became of each."""
    return [result.status for result in await introducer.publish(announcements)]


async def read_all(
    introducer: Introducer,
    services: Sequence[str] = (),
    since: int = 0,
    epoch: bytes = NO_EPOCH,
    *,
    limit: int = 500,
) -> list[SignedBytes]:
    """Return everything there is, read page by page."""
    found: list[SignedBytes] = []
    while True:
        page = await introducer.announcements(services, since, epoch, wait_s=0, limit=limit)
        assert len(page.announcements) <= limit
        found += [(ann, signature) for _, ann, signature in page.announcements]
        since, epoch = page.cursor, page.epoch
        if not page.more:
            return found


async def caught_up(introducer: Introducer) -> tuple[int, bytes]:
    """Return cursor and epoch of a reader that knows everything."""
    page = await introducer.announcements((), 0, NO_EPOCH, wait_s=0)
    while page.more:
        page = await introducer.announcements((), page.cursor, page.epoch, wait_s=0)
    return page.cursor, page.epoch


class PublishingSuite:
    """What becomes of what is published."""

    async def test_the_version_says_who_it_is(self, introducer: Introducer) -> None:
        version = await introducer.version()

        assert version.protocol == 1
        assert (len(version.epoch), len(version.verify_key)) == (16, 32)
        assert (await introducer.announcements((), 0, NO_EPOCH, wait_s=0)).epoch == version.epoch

    @pytest.mark.seed("S-021")
    async def test_what_was_published_is_handed_out_as_it_was_signed(self, introducer: Introducer) -> None:
        nodes = [AnnouncingNode(f"node {i}") for i in range(5)]
        announced = [node.announce(service="storage") for node in nodes]

        for one in announced:
            assert await published(introducer, one) == ["stored"]

        assert await read_all(introducer) == announced
        assert await read_all(introducer, ["storage"]) == announced
        assert await read_all(introducer, ["vdrive"]) == []
        assert await introducer.own(nodes[2].verify_key) == [announced[2]]
        assert await introducer.own(bytes(32)) == []

    async def test_the_same_bytes_again_are_a_duplicate(self, introducer: Introducer) -> None:
        one = AnnouncingNode("a").announce()

        assert await published(introducer, one, one) == ["stored", "duplicate"]
        assert await published(introducer, one) == ["duplicate"]
        assert await read_all(introducer) == [one]

    async def test_a_higher_number_replaces_a_lower_one(self, introducer: Introducer) -> None:
        node, other = AnnouncingNode("a"), AnnouncingNode("b").announce()
        first, second = node.announce(1), node.announce(2)
        await introducer.publish([first, other])
        cursor, epoch = await caught_up(introducer)

        assert await published(introducer, second) == ["stored"]

        assert await read_all(introducer) == [other, second]
        assert await read_all(introducer, (), cursor, epoch) == [second]
        assert await introducer.own(node.verify_key) == [second]

    async def test_a_lower_number_is_stale_and_shows_what_is_held(self, introducer: Introducer) -> None:
        node = AnnouncingNode("a")
        await introducer.publish([node.announce(9)])
        held = await introducer.own(node.verify_key)

        (result,) = await introducer.publish([node.announce(3)])

        assert (result.status, result.current) == ("stale", held[0])
        assert await read_all(introducer) == held

    async def test_of_two_with_one_number_the_first_is_kept(self, introducer: Introducer) -> None:
        node = AnnouncingNode("a")
        first, second = node.announce(4), node.announce(4, properties={"other": 1})

        assert await published(introducer, first) == ["stored"]
        assert await published(introducer, second) == ["conflict"]
        assert await read_all(introducer) == [first]

    async def test_services_of_one_node_have_numbers_of_their_own(self, introducer: Introducer) -> None:
        node = AnnouncingNode("a")
        announced = [node.announce(i, service) for i, service in ((7, "storage"), (1, "node"))]

        assert await published(introducer, *announced) == ["stored", "stored"]
        assert await introducer.own(node.verify_key) == [announced[1], announced[0]]

    async def test_a_withdrawal_is_handed_out_in_place_of_what_it_withdraws(
        self, introducer: Introducer
    ) -> None:
        node = AnnouncingNode("a")
        await introducer.publish([node.announce(1)])
        withdrawal = node.announce(2, withdrawn=True)

        assert await published(introducer, withdrawal) == ["stored"]
        assert await read_all(introducer) == [withdrawal]

    @pytest.mark.seed("S-020")
    @pytest.mark.parametrize(
        "fault",
        [
            "forged",
            "altered",
            "truncated",
            "garbage",
            "somebody else's place",
            "nine locations",
            "nurl of 1001 characters",
            "two TLS keys",
            "expired",
            "from the future",
            "too long a life",
            "unknown field",
        ],
    )
    async def test_a_bad_announcement_is_refused_and_the_others_are_not(
        self, introducer: Introducer, fault: str
    ) -> None:
        before, after = AnnouncingNode("a").announce(), AnnouncingNode("b").announce()

        results = await introducer.publish([before, bad_announcement(fault), after])

        assert [result.status for result in results] == ["stored", "refused", "stored"]
        assert results[1].reason
        assert "pb://" not in results[1].reason
        assert await read_all(introducer) == [before, after]

    @pytest.mark.seed("S-020")
    async def test_the_largest_announcements_allowed_are_taken(self, introducer: Introducer) -> None:
        node = AnnouncingNode("a")
        long = node.nurl("h" * (1000 - len(node.nurl("")) - len(":1")) + ":1")
        assert len(long) == 1000
        nurls = [*(node.nurl(f"10.0.0.{i}:1") for i in range(7)), long]
        announced = node.announce_raw({10: {"filler": bytes(10_000)}}, nurls=nurls)

        assert await published(introducer, announced) == ["stored"]
        assert await read_all(introducer) == [announced]


def bad_announcement(fault: str) -> SignedBytes:
    """Return an announcement that no introducer takes."""
    node = AnnouncingNode("bad")
    ann, signature = node.announce()
    match fault:
        case "forged":
            return ann, signatures.sign(bytes(32), _TAG + ann)
        case "altered":
            return ann.replace(b"storage", b"s-orage"), signature
        case "truncated":
            return ann[:-1], signature
        case "garbage":
            return bytes(range(200)), signature
        case "somebody else's place":
            return node.announce_raw({}, nurls=[AnnouncingNode("victim").nurl()])
        case "nine locations":
            return node.announce_raw({}, nurls=[node.nurl(f"10.0.0.{i}:1") for i in range(9)])
        case "nurl of 1001 characters":
            return node.announce_raw({}, nurls=[node.nurl("h" * (1001 - len(node.nurl("")) - 2) + ":1")])
        case "two TLS keys":
            other = AnnouncingNode("bad")
            places = [node._raw_location(node.nurl()), other._raw_location(other.nurl())]
            return node.announce_raw({7: places})
        case "expired":
            return node.announce(issued=node.now - 2 * LIFE_S)
        case "from the future":
            return node.announce(issued=node.now + 7200)
        case "too long a life":
            return node.announce_raw({6: node.now + 31 * 86400})
        case "unknown field":
            return node.announce_raw({12: "more"})
    raise AssertionError(fault)


class ReadingSuite:
    """What readers get, and when."""

    async def test_pages_follow_one_another_without_gap_or_overlap(self, introducer: Introducer) -> None:
        announced = [AnnouncingNode("n").announce(i, f"s{i}") for i in range(1, 8)]
        await introducer.publish(announced)

        for limit in (1, 2, 3, 7, 8):
            assert await read_all(introducer, limit=limit) == announced
        services = ["s2", "s5", "s6", "nothing"]
        assert await read_all(introducer, services, limit=2) == [announced[i] for i in (1, 4, 5)]

    async def test_a_reader_is_not_shown_twice_what_it_has_read(self, introducer: Introducer) -> None:
        await introducer.publish([AnnouncingNode("a").announce()])
        cursor, epoch = await caught_up(introducer)

        page = await introducer.announcements((), cursor, epoch, wait_s=0)

        assert (page.cursor, page.more, list(page.announcements)) == (cursor, False, [])

    async def test_another_epoch_reads_everything_at_once(self, introducer: Introducer) -> None:
        one = AnnouncingNode("a").announce()
        await introducer.publish([one])
        cursor, _ = await caught_up(introducer)

        async with asyncio.timeout(5):
            page = await introducer.announcements((), cursor, b"another epoch 16", wait_s=30)

        assert [(ann, signature) for _, ann, signature in page.announcements] == [one]

    async def test_a_cursor_of_the_future_reads_everything_at_once(self, introducer: Introducer) -> None:
        """As after a database was put back from an old copy."""
        one = AnnouncingNode("a").announce()
        await introducer.publish([one])
        cursor, epoch = await caught_up(introducer)

        assert await read_all(introducer, (), cursor + 1000, epoch) == [one]

    async def test_a_poll_without_news_ends_in_time(self, introducer: Introducer) -> None:
        await introducer.publish([AnnouncingNode("a").announce()])
        cursor, epoch = await caught_up(introducer)

        begun = time.monotonic()
        page = await introducer.announcements((), cursor, epoch, wait_s=0.2)

        assert 0.15 < time.monotonic() - begun < 5
        assert (page.cursor, page.epoch, list(page.announcements)) == (cursor, epoch, [])

    @pytest.mark.seed("S-021")
    async def test_a_waiting_poll_is_answered_promptly(self, introducer: Introducer) -> None:
        delays = []
        for number in range(1, 6):  # the best of five: others use this machine too
            cursor, epoch = await caught_up(introducer)
            poll = asyncio.create_task(introducer.announcements(["storage"], cursor, epoch, wait_s=30))
            await asyncio.sleep(0.05)
            one = AnnouncingNode(f"node {number}").announce()

            assert await published(introducer, one) == ["stored"]
            begun = time.monotonic()
            page = await poll

            delays.append(time.monotonic() - begun)
            assert [(ann, signature) for _, ann, signature in page.announcements] == [one]
        assert min(delays) < PROMPT_S

    async def test_news_of_other_services_is_not_waited_for(self, introducer: Introducer) -> None:
        cursor, epoch = await caught_up(introducer)
        poll = asyncio.create_task(introducer.announcements(["storage", "node"], cursor, epoch, wait_s=0.5))
        await asyncio.sleep(0.05)

        await introducer.publish([AnnouncingNode("a").announce(service="vdrive")])

        page = await poll
        assert list(page.announcements) == []
        assert page.cursor > cursor  # so that it is not looked at again

    async def test_every_poll_is_answered(self, introducer: Introducer) -> None:
        cursor, epoch = await caught_up(introducer)
        wanted = [["storage"], [], ["node", "storage"], ["storage"]]
        polls = [
            asyncio.create_task(introducer.announcements(services, cursor, epoch, wait_s=30))
            for services in wanted
        ]
        await asyncio.sleep(0.1)

        one = AnnouncingNode("a").announce()
        await introducer.publish([one])

        async with asyncio.timeout(10):
            pages: list[AnnouncementPage] = await asyncio.gather(*polls)
        assert [[ann for _, ann, _ in page.announcements] for page in pages] == [[one[0]]] * len(wanted)

    @pytest.mark.seed("S-021")
    async def test_the_cursor_skips_nothing_while_many_publish(self, introducer: Introducer) -> None:
        announced = [AnnouncingNode(f"node {i}").announce() for i in range(60)]
        _, epoch = await caught_up(introducer)

        async def publish(mine: Sequence[SignedBytes]) -> None:
            for one in mine:
                assert await published(introducer, one) == ["stored"]

        async def follow(wait_s: float, limit: int) -> list[SignedBytes]:
            seen: list[SignedBytes] = []
            since = last = 0
            while len(seen) < len(announced):
                page = await introducer.announcements(["storage"], since, epoch, wait_s=wait_s, limit=limit)
                for cursor, ann, signature in page.announcements:
                    assert last < cursor <= page.cursor
                    last = cursor
                    seen.append((ann, signature))
                since = page.cursor
            return seen

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            followers = [group.create_task(follow(10, 500)), group.create_task(follow(10, 3))]
            for number in range(6):
                group.create_task(publish(announced[number::6]))

        for follower in followers:
            assert sorted(follower.result()) == sorted(announced)
            assert follower.result() == followers[0].result()

    async def test_as_many_as_allowed_can_be_published_at_once(self, introducer: Introducer) -> None:
        announced = [AnnouncingNode(f"{i}").announce() for i in range(ANNOUNCEMENTS_PER_PUBLISH)]

        assert await published(introducer, *announced) == ["stored"] * ANNOUNCEMENTS_PER_PUBLISH
        assert await read_all(introducer) == announced


class IntroducerSuite(PublishingSuite, ReadingSuite):
    """Everything."""
