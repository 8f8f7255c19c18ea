"""Immutable files between Holdfast and the real tahoe-lafs when shares are missing or
corrupt, servers dead, full or read-only; and the leases that clients of both leave.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import pytest

import holdfast
from holdfast.crypto import base32
from holdfast.crypto.lease_secrets import stored_lease_secret
from holdfast.grid.client import Grid
from holdfast.grid.known_server import lease_secrets_for
from holdfast.grid.settings import EncodingSettings
from holdfast.protocol.server_record import records_from_tahoe
from holdfast.testing.mixed_grid import LEASE_SECRET, Kind, MixedGrid, storage_index_of
from holdfast.testing.stored_shares import StoredShare
from holdfast.testing.tahoe_peer import TahoeClient, WebApiError

SEGMENT = 131072
BLOCKS = 36  # where the blocks begin in a share of layout version 1
ENCODING = EncodingSettings(
    shares_needed=2,
    happiness=4,
    shares_total=4,
    segment_size_max=SEGMENT,
    convergence_secret=bytes(range(32)),
)
LEASE_PERIOD_S = 31 * 86400


@dataclass(frozen=True)
class Place:
    """Four servers of one kind, each with one share of each file, and a client of tahoe-lafs."""

    kind: Kind
    grid: MixedGrid
    tahoe: TahoeClient

    def shares(self, cap: str) -> list[StoredShare]:
        return self.grid.shares(cap, self.kind)

    def keep(self, cap: str, numbers: set[int]) -> None:
        """Take away all shares but those with these numbers."""
        for share in self.shares(cap):
            if share.number not in numbers:
                share.path.unlink()

    def content(self, what: str, size: int = 3 * SEGMENT) -> bytes:
        return random.Random(f"{self.kind} {what}").randbytes(size)


@pytest.fixture(scope="module", params=[Kind.TAHOE, Kind.HOLDFAST], ids=lambda kind: f"{kind.value}-servers")
def place(request: pytest.FixtureRequest, mixed_grid: MixedGrid) -> Iterator[Place]:
    client = mixed_grid.start_tahoe_client(request.param, ENCODING)
    yield Place(request.param, mixed_grid, client)
    client.stop()


@pytest.fixture
async def grid(place: Place) -> AsyncIterator[Grid]:
    async with place.grid.connect(place.kind, ENCODING) as grid:
        yield grid


async def read(grid: Grid, cap: str) -> bytes:
    return (await grid.download(cap, holdfast.DataTarget())).value


# -- missing shares


@pytest.mark.parametrize("left", [{0, 1}, {2, 3}, {0, 3}], ids=str)
async def test_any_two_shares_of_ours_suffice_them(place: Place, grid: Grid, left: set[int]) -> None:
    data = place.content(f"ours, {left} left")
    cap = (await grid.upload(holdfast.DataSource(data))).uri
    place.keep(cap, left)

    assert place.tahoe.get(cap) == data
    results = place.tahoe.check(cap, verify=True)["results"]
    assert (results["healthy"], results["recoverable"], results["count-shares-good"]) == (False, True, 2)


@pytest.mark.parametrize("left", [{0, 1}, {2, 3}, {0, 3}], ids=str)
async def test_any_two_shares_of_theirs_suffice_us(place: Place, grid: Grid, left: set[int]) -> None:
    data = place.content(f"theirs, {left} left")
    cap = place.tahoe.put(data)
    place.keep(cap, left)

    assert await read(grid, cap) == data
    result = await grid.verify(cap)
    assert (result.healthy, result.recoverable, set(result.shares)) == (False, True, left)


async def test_one_share_is_too_few_for_both(place: Place, grid: Grid) -> None:
    cap = place.tahoe.put(place.content("one left"))
    place.keep(cap, {2})

    with pytest.raises(WebApiError) as caught:
        place.tahoe.get(cap)
    assert caught.value.status == 410
    with pytest.raises(holdfast.NotEnoughSharesError):
        await read(grid, cap)
    assert place.tahoe.check(cap, verify=True)["results"]["recoverable"] is False
    assert (await grid.verify(cap)).recoverable is False


async def test_both_read_while_half_the_servers_are_dead(place: Place, grid: Grid) -> None:
    ours, theirs = place.content("ours, half dead"), place.content("theirs, half dead")
    our_cap = (await grid.upload(holdfast.DataSource(ours))).uri
    their_cap = place.tahoe.put(theirs)

    with place.grid.without(list(place.grid.nodes(place.kind))[1:3]):
        assert place.tahoe.get(our_cap) == ours
        assert await read(grid, their_cap) == theirs
        assert (await grid.check(their_cap)).servers_asked == 2
    place.tahoe.wait_until_heard(place.grid.nodes(place.kind).values())

    async with place.grid.connect(place.kind, ENCODING) as fresh:
        assert (await fresh.check(our_cap)).healthy
    assert place.tahoe.check(our_cap)["results"]["healthy"]


async def test_either_kind_of_server_alone_suffices_both(mixed_grid: MixedGrid) -> None:
    encoding = replace(ENCODING, shares_needed=3, happiness=7, shares_total=10)
    tahoe = mixed_grid.start_tahoe_client(Kind.MIXED, encoding)
    files: dict[str, bytes] = {}
    async with mixed_grid.connect(Kind.MIXED, encoding) as grid:
        for i in range(2):
            data = random.Random(f"either {i}").randbytes(3 * SEGMENT)
            files[(await grid.upload(holdfast.DataSource(data))).uri] = data
            data = random.Random(f"either, theirs {i}").randbytes(3 * SEGMENT)
            files[tahoe.put(data)] = data
    for cap in files:
        assert len(mixed_grid.shares(cap, Kind.TAHOE)) >= 3
        assert len(mixed_grid.shares(cap, Kind.HOLDFAST)) >= 3

    with mixed_grid.without(mixed_grid.nodes(Kind.HOLDFAST)):
        async with mixed_grid.connect(Kind.MIXED, encoding) as grid:
            for cap, data in files.items():
                assert await read(grid, cap) == tahoe.get(cap) == data
    tahoe.wait_until_heard(mixed_grid.nodes(Kind.MIXED).values())
    for cap, data in files.items():
        for share in mixed_grid.shares(cap, Kind.TAHOE):
            share.path.unlink()
        async with mixed_grid.connect(Kind.MIXED, encoding) as grid:
            assert await read(grid, cap) == tahoe.get(cap) == data
    tahoe.stop()


# -- corrupt shares


def corrupt(shares: list[StoredShare], sizes: int) -> dict[int, StoredShare]:
    """Spoil share j in segment j, for three segments: every segment keeps three good blocks less one."""
    for share in shares[:3]:
        share.flip(BLOCKS + share.number * sizes + 5)
    return {share.number: share for share in shares[:3]}


async def test_our_download_survives_bad_blocks_and_tells_the_servers(place: Place, grid: Grid) -> None:
    data = place.content("bad for us")
    cap = place.tahoe.put(data)
    place.keep(cap, {0, 1, 2})
    spoilt = corrupt(place.shares(cap), SEGMENT // 2)

    result = await grid.download(cap, holdfast.DataTarget())

    assert result.value == data
    named = {problem.share for problem in result.problems}
    assert named
    assert named == {number for number, share in spoilt.items() if share.advice()}


async def test_their_download_survives_bad_blocks_and_tells_the_servers(place: Place, grid: Grid) -> None:
    data = place.content("bad for them")
    cap = (await grid.upload(holdfast.DataSource(data))).uri
    place.keep(cap, {0, 1, 2})
    spoilt = corrupt(place.shares(cap), SEGMENT // 2)

    assert place.tahoe.get(cap) == data
    assert any(share.advice() for share in spoilt.values())


@pytest.mark.parametrize("part", ["block", "crypttext tree", "block tree", "chain", "extension"])
async def test_both_verifications_find_the_same_bad_share(place: Place, grid: Grid, part: str) -> None:
    cap = place.tahoe.put(place.content(f"verified, {part}"))
    bad = place.shares(cap)[1]
    offsets = [int.from_bytes(bad.data[at : at + 4], "big") for at in range(0x0C, 0x24, 4)]
    where = {
        "block": offsets[0] + 10,
        "crypttext tree": offsets[2] + 40,
        "block tree": offsets[3] + 40,
        "chain": offsets[4] + 10,
        "extension": offsets[5] + 60,
    }
    bad.flip(where[part])
    server_id = place.grid.nodes(place.kind)[bad.node]

    result = await grid.verify(cap)
    ours = [(problem.server_id, problem.share) for problem in result.corrupt]
    assert len(bad.advice()) == 1
    results = place.tahoe.check(cap, verify=True)["results"]

    assert ours == [(server_id, 1)]
    assert results["list-corrupt-shares"] == [[server_id, storage_index_of(cap), 1]]
    assert sorted(result.shares) == sorted(map(int, results["sharemap"])) == [0, 2, 3]


# -- leases


def expected_lease(place: Place, share: StoredShare, lease_secret: bytes) -> tuple[bytes, bytes]:
    records, _ = records_from_tahoe({"storage": place.grid.entries(place.kind)})
    server_id = place.grid.nodes(place.kind)[share.node]
    (record,) = [record for record in records if record.server_id == server_id]
    secrets = lease_secrets_for(lease_secret, base32.decode(share.storage_index), record.server_seed)
    return stored_lease_secret(secrets.renew), stored_lease_secret(secrets.cancel)


async def test_leases_of_both_clients_lie_side_by_side(place: Place, grid: Grid) -> None:
    data = place.content("leases", 1000)

    def leases() -> list[set[tuple[bytes, bytes]]]:
        found = []
        for share in place.shares(cap):
            there = share.leases()
            assert all(0 <= time.time() + LEASE_PERIOD_S - lease.expiry < 300 for lease in there)
            pairs = {(lease.renew_hash, lease.cancel_hash) for lease in there}
            assert len(pairs) == len(there)
            found.append(pairs)
        return found

    def expected(*lease_secrets: bytes) -> list[set[tuple[bytes, bytes]]]:
        shares = place.shares(cap)
        assert len(shares) == 4
        return [{expected_lease(place, share, secret) for secret in lease_secrets} for share in shares]

    cap = (await grid.upload(holdfast.DataSource(data))).uri
    assert leases() == expected(LEASE_SECRET)
    await grid.upload(holdfast.DataSource(data))
    assert leases() == expected(LEASE_SECRET)
    place.tahoe.put(data)
    assert leases() == expected(LEASE_SECRET, place.tahoe.lease_secret)
    place.tahoe.check(cap, add_lease=True)
    assert leases() == expected(LEASE_SECRET, place.tahoe.lease_secret)


async def test_a_lease_of_one_is_renewed_by_the_other(place: Place) -> None:
    data = place.content("renewed", 1000)
    cap = place.tahoe.put(data)
    async with place.grid.connect(place.kind, ENCODING, lease_secret=place.tahoe.lease_secret) as same:
        stored = await same.upload(holdfast.DataSource(data))

    assert (stored.pushed, stored.found, stored.problems) == (0, 4, ())
    for share in place.shares(cap):
        (lease,) = share.leases()
        assert (lease.renew_hash, lease.cancel_hash) == expected_lease(place, share, place.tahoe.lease_secret)


# -- servers that take nothing new


NOTHING_NEW = {
    Kind.TAHOE: {
        "read-only": ("[storage]", "[storage]\nreadonly = true"),
        "full": ("reserved_space = 0", "reserved_space = 1000000000G"),
    },
    Kind.HOLDFAST: {
        "read-only": ("read-only = false", "read-only = true"),
        "full": ('# capacity = "100G"', "capacity = 1"),
    },
}


@pytest.mark.parametrize("why", ["read-only", "full"])
async def test_servers_that_take_nothing_new_keep_what_they_have(place: Place, why: str) -> None:
    old, fewer = place.content(f"old, {why}", 1000), replace(ENCODING, happiness=3)
    old_cap = place.tahoe.put(old)
    old_holders = place.grid.holders(old_cap, place.kind)
    node, server_id = next(iter(place.grid.nodes(place.kind).items()))

    with place.grid.changed(node, *NOTHING_NEW[place.kind][why]):
        place.tahoe.wait_until_heard([server_id], space=False)
        async with place.grid.connect(place.kind, fewer) as grid:
            # what is there is found, read and counted
            again = await grid.upload(holdfast.DataSource(old))
            assert (again.uri, again.pushed, again.happiness) == (old_cap, 0, 4)
            # with a lease for this client too, but for tahoe-lafs, which adds none there
            refusing = [problem.server_id for problem in again.problems]
            assert refusing == ([server_id] if place.kind is Kind.TAHOE else [])
            assert [len(share.leases()) for share in place.shares(old_cap)] == [
                1 if place.grid.nodes(place.kind)[share.node] in refusing else 2
                for share in place.shares(old_cap)
            ]
            assert await read(grid, old_cap) == place.tahoe.get(old_cap) == old
            assert place.tahoe.put(old) == old_cap
            assert place.grid.holders(old_cap, place.kind) == old_holders
            # what is new goes elsewhere
            stored = await grid.upload(holdfast.DataSource(place.content(f"new, {why}", 1000)))
            assert stored.happiness == 3
            assert sorted(stored.shares) == [0, 1, 2, 3]
            assert server_id not in {holder for ids in stored.shares.values() for holder in ids}
            # and four servers cannot be had by either client
            with pytest.raises(holdfast.UnhappyError):
                await grid.upload(holdfast.DataSource(place.content(f"ours, {why}", 1000)), ENCODING)
            with pytest.raises(WebApiError) as caught:
                place.tahoe.put(place.content(f"theirs, {why}", 1000))
            assert "UploadUnhappinessError" in caught.value.text
    place.tahoe.wait_until_heard([server_id], space=True)
