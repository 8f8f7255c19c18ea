"""Mutable files over servers that behave: what was written last is read, by whoever may."""

from __future__ import annotations

import pytest

from holdfast.crypto.rsa_keys import SigningKey
from holdfast.formats.mutable_segmentation import MutableFormat
from holdfast.grid.mutable.keys import new_signing_key
from holdfast.testing.memory_grid import memory_grid

FORMATS: tuple[MutableFormat, ...] = ("SDMF", "MDMF")


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return new_signing_key()


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 5000, 131_073, 400_000])
async def test_what_was_written_is_read(key: SigningKey, file_format: MutableFormat, size: int) -> None:
    async with memory_grid() as grid:
        data = bytes(i % 251 for i in range(size))
        file = await grid.grid.mutable.create(data, format=file_format, key=key)
        assert await file.read() == data
        assert await file.size() == size
        await file.overwrite(data + b"more")
        assert await file.read() == data + b"more"
        await file.overwrite(b"")
        assert await file.read() == b""
