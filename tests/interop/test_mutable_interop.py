"""Mutable files between Holdfast and the real tahoe-lafs: clients of both make, read, change and
repair each other's files, of both formats, on servers of both.
"""

from __future__ import annotations

import asyncio
import json
import random
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from holdfast.caps import MutableReadCap, MutableVerifyCap, MutableWriteCap, parse_cap
from holdfast.crypto import base32
from holdfast.formats.mutable_segmentation import MutableFormat
from holdfast.formats.mutable_share import verify_share
from holdfast.grid.client import Grid
from holdfast.grid.mutable.file import MutableFile
from holdfast.grid.settings import EncodingSettings
from holdfast.testing.mixed_grid import Kind, MixedGrid
from holdfast.testing.stored_shares import StoredShare, stored_shares
from holdfast.testing.tahoe_peer import TahoeClient

ENCODING = EncodingSettings(shares_needed=2, happiness=4, shares_total=4, convergence_secret=bytes(range(32)))
FORMATS: tuple[MutableFormat, ...] = ("SDMF", "MDMF")
SEGMENT = 131_072  # bytes, of MDMF, 2 of 4
SIZES = [0, 1, 1000, SEGMENT + 1]

pytestmark = pytest.mark.parametrize("file_format", FORMATS)


@dataclass(frozen=True)
class Place:
    """Four servers, and a client of tahoe-lafs."""

    kind: Kind
    grid: MixedGrid
    tahoe: TahoeClient

    def shares(self, cap: str) -> list[StoredShare]:
        index = base32.encode(mutable_cap(cap).storage_index)
        return stored_shares(self.grid.nodes(self.kind), index)

    async def web(self, method: str, cap: str, query: str = "", body: bytes | None = None) -> bytes:
        """Call the web API of tahoe-lafs for a file."""
        path = f"/uri/{urllib.parse.quote(cap, safe='')}{query}"
        return await asyncio.to_thread(self.tahoe.request, method, path, body)

    async def put(self, data: bytes, file_format: MutableFormat) -> str:
        return await asyncio.to_thread(self.tahoe.put, data, mutable=file_format)

    async def get(self, cap: str) -> bytes:
        return await asyncio.to_thread(self.tahoe.get, cap)

    def content(self, what: str, size: int) -> bytes:
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


def mutable_cap(text: str) -> MutableWriteCap | MutableReadCap | MutableVerifyCap:
    cap = parse_cap(text)
    assert isinstance(cap, MutableWriteCap | MutableReadCap | MutableVerifyCap)
    return cap


def opened(grid: Grid, text: str) -> MutableFile:
    return grid.mutable.open(mutable_cap(text))


def versions(place: Place, cap: str) -> list[int]:
    """Verify every share on the disks; return the sequence numbers by share number."""
    parsed = mutable_cap(cap)
    key = parsed.write_key if isinstance(parsed, MutableWriteCap) else None
    return [
        verify_share(share.data, parsed.fingerprint, share.number, key).header.sequence
        for share in place.shares(cap)
    ]


async def test_each_reads_and_overwrites_what_the_other_made(
    place: Place, grid: Grid, file_format: MutableFormat
) -> None:
    for size in SIZES:
        data = place.content(f"ours {size}", size)
        ours = await grid.mutable.create(data, format=file_format)
        cap = ours.cap.to_text()
        assert await place.get(cap) == data
        assert await place.get(ours.cap.read_only.to_text()) == data
        await place.web("PUT", cap, body=data[:100] + b"theirs")
        assert await ours.read() == data[:100] + b"theirs"
        await ours.overwrite(data + b"ours again")
        assert await place.get(cap) == data + b"ours again"
        assert versions(place, cap) == [3, 3, 3, 3]
        theirs = await place.put(data, file_format)
        file = opened(grid, theirs)
        assert await file.read() == data
        await file.overwrite(b"from us")
        assert await place.get(theirs) == b"from us"
        assert versions(place, theirs) == [2, 2, 2, 2]


async def test_each_updates_in_place_what_the_other_made(
    place: Place, grid: Grid, file_format: MutableFormat
) -> None:
    expected = place.content("update", 3 * SEGMENT + 7)
    cap = await place.put(expected, file_format)
    file = opened(grid, cap)
    for step, offset in enumerate((0, 5, SEGMENT - 2, 2 * SEGMENT, 3 * SEGMENT + 7)):
        new = place.content(f"new {step}", 10)
        if step % 2:
            await place.web("PUT", cap, f"?offset={offset}", new)
        else:
            await file.update(offset, new)
        expected = expected[:offset] + new + expected[offset + 10 :]
        assert await place.get(cap) == expected
        assert await file.read() == expected
    await file.update(len(expected), expected)
    assert await place.get(cap) == expected * 2
    assert len(set(versions(place, cap))) == 1


async def test_each_modifies_what_the_other_made(
    place: Place, grid: Grid, file_format: MutableFormat
) -> None:
    ours = await grid.mutable.create(b"", format=file_format)
    text = ours.cap.to_text()
    directory = text.replace("URI:SSK:", "URI:DIR2:").replace("URI:MDMF:", "URI:DIR2-MDMF:")
    await place.web("PUT", directory, "/first?t=uri", b"URI:LIT:mzuxe43u")
    assert b"first" in await ours.read()
    before = await ours.read()
    assert await ours.modify(lambda old, first: old + old.replace(b"5:first", b"5:other")) != before
    children = json.loads(await place.web("GET", directory, "?t=json"))[1]["children"]
    assert set(children) == {"first", "other"}
    await place.web("PUT", directory, "/third?t=uri", b"URI:LIT:mzuxe43u")
    assert b"third" in await ours.read()
    assert len(set(versions(place, text))) == 1


async def test_each_checks_and_repairs_what_the_other_made(
    place: Place, grid: Grid, file_format: MutableFormat
) -> None:
    data = place.content("repair", SEGMENT + 5)
    ours = await grid.mutable.create(data, format=file_format)
    theirs = await place.put(data, file_format)
    for cap in (ours.cap.to_text(), theirs):
        file = opened(grid, cap)
        assert (await file.check(verify=True, add_lease=True)).healthy
        before = {share.number: share.data for share in place.shares(cap)}
        place.shares(cap)[0].path.unlink()
        place.shares(cap)[0].flip(len(before[1]) - 3 if file_format == "MDMF" else 900)
        verified = json.loads(await place.web("POST", cap, "?t=check&verify=true&output=json"))
        check = await file.check(verify=True)
        assert not check.healthy
        assert len(check.shares) == verified["results"]["count-shares-good"] == 2
        result = await file.repair()
        assert (result.successful, result.kept_version) == (True, True)
        assert {share.number: share.data for share in place.shares(cap)} == before
        verified = json.loads(await place.web("POST", cap, "?t=check&verify=true&output=json"))
        assert verified["results"]["healthy"]
        place.shares(cap)[3].path.unlink()
        await place.web("POST", cap, "?t=check&verify=true&repair=true&output=json")
        assert (await file.check(verify=True)).healthy
        assert await file.read() == data
        assert versions(place, cap) == [2, 2, 2, 2]
