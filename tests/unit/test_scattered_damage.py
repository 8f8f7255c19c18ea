"""Every share of a file has a bad block, each in another segment: the file can be read all the same."""

from __future__ import annotations

import pytest

from holdfast.errors import NotEnoughSharesError
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.sources import DataSource
from holdfast.grid.targets import DataTarget
from holdfast.testing.memory_grid import CONVERGENCE, MemoryGrid, memory_grid

DATA = bytes(range(256)) * 40  # 10,240 bytes, 11 segments of 1002
BLOCKS, BLOCK_SIZE = 36, 334  # where the blocks of a share begin, and how long they are
ENCODING = EncodingSettings(
    shares_total=4, happiness=4, segment_size_max=1000, convergence_secret=CONVERGENCE
)


async def damaged(grid: MemoryGrid, bad_blocks: set[tuple[int, int]]) -> str:
    """Store a file, 3 of 4, and spoil the blocks (share, segment); return its capability."""
    result = await grid.grid.upload(DataSource(DATA), ENCODING)
    for share, segment in bad_blocks:
        faults = grid.holder(dict(result.shares), share).faults
        faults.flip = {*faults.flip, (share, BLOCKS + segment * BLOCK_SIZE + 5)}
    return result.uri


async def test_a_bad_block_costs_no_more_than_itself() -> None:
    async with memory_grid() as grid:
        uri = await damaged(grid, {(0, 0), (1, 1), (2, 5), (3, 10)})

        result = await grid.grid.download(uri, DataTarget())

        assert result.value == DATA
        assert {problem.share for problem in result.problems} == {0, 1, 2, 3}


async def test_a_segment_without_enough_good_blocks_is_an_error() -> None:
    async with memory_grid() as grid:
        uri = await damaged(grid, {(0, 0), (1, 1), (2, 7), (3, 7)})

        with pytest.raises(NotEnoughSharesError):
            await grid.grid.download(uri, DataTarget())

        part = await grid.grid.download(uri, DataTarget(), offset=0, size=7 * 3 * BLOCK_SIZE)
        assert part.value == DATA[: 7 * 3 * BLOCK_SIZE]
