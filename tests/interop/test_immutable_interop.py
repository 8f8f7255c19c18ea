"""Immutable files between Holdfast and the real tahoe-lafs: clients of both store and read
on servers of both, and make the same shares of the same file, byte for byte.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import holdfast
from holdfast.crypto import base32
from holdfast.grid.client import Grid
from holdfast.grid.settings import EncodingSettings
from holdfast.testing.command_line import run_holdfast
from holdfast.testing.mixed_grid import Kind, MixedGrid
from holdfast.testing.tahoe_peer import TahoeClient, servers_yaml

CONVERGENCE = bytes(range(32))
CASES = {
    "1-of-1": (Kind.HOLDFAST, Kind.TAHOE, 1, 1, 1, 1 << 20),
    "2-of-4": (Kind.TAHOE, Kind.HOLDFAST, 2, 4, 4, 1 << 20),
    "3-of-10": (Kind.HOLDFAST, Kind.TAHOE, 3, 4, 10, 131072),
    "25-of-100": (Kind.HOLDFAST, Kind.TAHOE, 25, 4, 100, 131072),
    "3-of-10-mixed": (Kind.MIXED, Kind.HOLDFAST, 3, 7, 10, 131072),
}


@dataclass(frozen=True)
class Case:
    """One encoding, with a client of tahoe-lafs."""

    name: str
    grid: MixedGrid
    tahoe: TahoeClient
    servers: Kind  # the servers that client knows
    others: Kind  # other servers, to which Holdfast's client stores the same
    encoding: EncodingSettings

    @property
    def sizes(self) -> list[int]:
        """Sizes around every edge: of literals, of one segment, of two."""
        most, needed = self.encoding.segment_size_max, self.encoding.shares_needed
        segment = -(-most // needed) * needed
        return [56, 57, *sorted({most, segment, segment + 1, 2 * segment - 1, 2 * segment, 2 * segment + 1})]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, mixed_grid: MixedGrid) -> Iterator[Case]:
    servers, others, needed, happiness, total, segment = CASES[request.param]
    encoding = EncodingSettings(
        shares_needed=needed,
        happiness=happiness,
        shares_total=total,
        segment_size_max=segment,
        convergence_secret=CONVERGENCE,
    )
    client = mixed_grid.start_tahoe_client(servers, encoding)
    yield Case(request.param, mixed_grid, client, servers, others, encoding)
    client.stop()


@pytest.fixture
async def grid(case: Case) -> AsyncIterator[Grid]:
    """Holdfast's client of the servers that the client of tahoe-lafs uses."""
    async with case.grid.connect(case.servers, case.encoding) as grid:
        yield grid


def content(case: Case, what: str, size: int) -> bytes:
    return random.Random(f"{case.name} {what} {size}").randbytes(size)


async def test_both_make_the_same_shares(case: Case) -> None:
    encoding = replace(case.encoding, happiness=min(4, case.encoding.happiness))  # no influence on any byte
    async with case.grid.connect(case.others, encoding) as elsewhere:
        for size in case.sizes:
            data = content(case, "same", size)
            cap = case.tahoe.put(data)

            stored = await elsewhere.upload(holdfast.DataSource(data))

            assert stored.uri == cap, size
            theirs = {share.number: share.data for share in case.grid.shares(cap, case.servers)}
            ours = {share.number: share.data for share in case.grid.shares(cap, case.others)}
            assert sorted(ours) == list(range(case.encoding.shares_total))
            assert ours == theirs, size


async def test_each_reads_what_the_other_stored(case: Case, grid: Grid) -> None:
    for size in case.sizes:
        theirs, ours = content(case, "theirs", size), content(case, "ours", size)
        cap = case.tahoe.put(theirs)
        stored = await grid.upload(holdfast.DataSource(ours))

        assert case.tahoe.get(stored.uri) == ours, size
        assert (await grid.download(cap, holdfast.DataTarget())).value == theirs, size


async def test_many_small_files_stored_at_once_are_read_by_both(case: Case, grid: Grid) -> None:
    contents = [random.Random(f"{case.name} {number}").randbytes(300 + number) for number in range(12)]
    results = await asyncio.gather(*(grid.upload(holdfast.DataSource(content)) for content in contents))
    assert all(len(result.shares) == case.encoding.shares_total for result in results)
    for content, result in zip(contents, results, strict=True):
        assert (await grid.download(result.uri, holdfast.DataTarget())).value == content
        assert await asyncio.to_thread(case.tahoe.get, result.uri) == content


async def test_the_last_shares_suffice_both(case: Case, grid: Grid) -> None:
    size, needed = case.sizes[-1], case.encoding.shares_needed
    theirs, ours = content(case, "theirs, last shares", size), content(case, "ours, last shares", size)
    their_cap = case.tahoe.put(theirs)
    our_cap = (await grid.upload(holdfast.DataSource(ours))).uri

    for cap, data in ((their_cap, theirs), (our_cap, ours)):
        for share in case.grid.shares(cap):
            if share.number < case.encoding.shares_total - needed:
                share.path.unlink()
        assert case.tahoe.get(cap) == data
        assert (await grid.download(cap, holdfast.DataTarget())).value == data


async def test_small_files_are_in_their_capabilities(case: Case, grid: Grid) -> None:
    for size in (0, 1, 54, 55):
        data = content(case, "literal", size)

        stored = await grid.upload(holdfast.DataSource(data))

        assert stored.uri == case.tahoe.put(data)
        assert case.tahoe.get(stored.uri) == data
        assert (await grid.download(stored.uri, holdfast.DataTarget())).value == data


async def test_ranges_of_our_files_come_through_their_gateway(case: Case, grid: Grid) -> None:
    size = case.sizes[-1]
    data = content(case, "ranges", size)
    cap = (await grid.upload(holdfast.DataSource(data))).uri
    segment = case.sizes[-1] // 2

    for start, length in ranges(size, segment):
        assert case.tahoe.get(cap, start=start, length=length) == data[start : start + length]
    assert case.tahoe.get(cap, start=size - 1) == data[-1:]


async def test_ranges_of_their_files_come_through_our_client(case: Case, grid: Grid) -> None:
    size = case.sizes[-1]
    data = content(case, "their ranges", size)
    cap = case.tahoe.put(data)
    segment = case.sizes[-1] // 2

    for start, length in ranges(size, segment):
        part = await grid.download(cap, holdfast.DataTarget(), offset=start, size=length)
        assert part.value == data[start : start + length]


def ranges(size: int, segment: int) -> list[tuple[int, int]]:
    return [(0, 1), (1, 100), (segment - 1, 2), (segment, segment), (segment - 1, segment + 2), (size - 1, 1)]


@pytest.mark.parametrize("size", [5000, 500_000])
async def test_our_upload_finds_every_share_of_theirs(case: Case, grid: Grid, size: int) -> None:
    for turn in range(4):  # another order of servers each time
        data = content(case, f"found by us {turn}", size)
        cap = case.tahoe.put(data)
        before = case.grid.holders(cap)

        stored = await grid.upload(holdfast.DataSource(data))

        after = case.grid.holders(cap)
        assert stored.uri == cap
        assert {number: sorted(ids) for number, ids in stored.shares.items()} == after
        if size < 60_000 and case.encoding.shares_total < len(case.grid.nodes(case.servers)):
            # small shares go out with the question, so one may come to lie on a second server
            assert all(set(ids) <= set(after[number]) for number, ids in before.items())
        else:
            assert (stored.pushed, stored.found) == (0, case.encoding.shares_total)
            assert after == before


async def test_their_upload_takes_our_shares_as_they_are(case: Case, grid: Grid) -> None:
    data = content(case, "found by them", 5000)
    stored = await grid.upload(holdfast.DataSource(data))
    before = case.grid.holders(stored.uri)
    contents = {share.data for share in case.grid.shares(stored.uri)}

    assert case.tahoe.put(data) == stored.uri
    after = case.grid.holders(stored.uri)
    assert all(set(ids) <= set(after[number]) for number, ids in before.items())
    # It may send some once more (docs/spec/grid.md, section 10); they are the same.
    assert {share.data for share in case.grid.shares(stored.uri)} == contents


async def test_their_check_finds_our_files_healthy(case: Case, grid: Grid) -> None:
    stored = await grid.upload(holdfast.DataSource(content(case, "checked by them", case.sizes[-1])))

    for verify in (False, True):
        results = case.tahoe.check(stored.uri, verify=verify)["results"]

        assert results["healthy"] and results["recoverable"]
        assert results["count-shares-good"] == case.encoding.shares_total
        assert results["count-happiness"] == stored.happiness
        assert results["count-corrupt-shares"] == 0
        sharemap = {int(number): tuple(sorted(ids)) for number, ids in results["sharemap"].items()}
        assert sharemap == stored.shares


async def test_our_check_finds_their_files_healthy(case: Case, grid: Grid) -> None:
    cap = case.tahoe.put(content(case, "checked by us", case.sizes[-1]))

    for result in (await grid.check(cap), await grid.verify(cap)):
        assert result.healthy and result.recoverable and not result.corrupt and not result.problems
        assert {number: list(ids) for number, ids in result.shares.items()} == case.grid.holders(cap)
        assert result.servers_asked == result.servers_known == len(case.grid.nodes(case.servers))


async def test_files_with_a_random_key_are_read(case: Case, grid: Grid) -> None:
    data = content(case, "random key", 5000)
    encoding = replace(case.encoding, convergence_secret=None)

    first, second = [(await grid.upload(holdfast.DataSource(data), encoding)).uri for _ in range(2)]

    assert first != second
    assert case.tahoe.get(first) == case.tahoe.get(second) == data


async def test_a_dry_run_names_the_capability_they_give(case: Case, tmp_path: Path) -> None:
    size = case.sizes[-1]
    path = tmp_path / "file"
    path.write_bytes(content(case, "dry run", size))
    encoding = case.encoding

    outcome = await asyncio.to_thread(
        run_holdfast,
        "put",
        path,
        "--dry-run",
        "--quiet",
        f"--encoding={encoding.shares_needed}/{encoding.happiness}/{encoding.shares_total}",
        f"--segment-size={encoding.segment_size_max}",
        f"--convergence-secret={base32.encode(CONVERGENCE)}",
    )

    assert outcome.code == 0, outcome.stderr
    assert outcome.text == case.tahoe.put(path.read_bytes())


async def test_a_list_written_for_tahoe_serves_our_client(mixed_grid: MixedGrid, tmp_path: Path) -> None:
    servers = tmp_path / "servers.yaml"
    servers.write_text(servers_yaml(mixed_grid.entries(Kind.TAHOE)), encoding="utf-8")

    async with holdfast.connect(servers=servers) as grid:
        stored = await grid.upload(
            holdfast.DataSource(bytes(1000)), EncodingSettings(shares_needed=2, happiness=4, shares_total=4)
        )
        states = {server.server_id: server.state for server in grid.servers}

    assert states == dict.fromkeys(mixed_grid.entries(Kind.TAHOE), "up")
    assert sorted(mixed_grid.holders(stored.uri, Kind.TAHOE)) == [0, 1, 2, 3]
