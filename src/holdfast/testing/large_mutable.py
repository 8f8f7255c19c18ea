"""What a client does with one large MDMF file, in a process of its own, to see how much memory it takes.

``python -m holdfast.testing.large_mutable SERVERS ONE OTHER NEEDED TOTAL`` stores the file ONE on the
servers of a ``servers.toml``, reads parts, changes some of it in place, overwrites it with OTHER, and prints
the most memory it has used, in KiB.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from holdfast.grid.client import open_grid
from holdfast.grid.mutable import file as file_module
from holdfast.grid.mutable.file import MutableFile
from holdfast.grid.server_list import load_server_list
from holdfast.grid.settings import ClientSettings, EncodingSettings
from holdfast.grid.sources import FileNameSource
from holdfast.testing.peak_memory import peak_memory

MIB = 1 << 20
CHANGE = b"changed in place" * 50_000


async def _use(servers: Path, one: Path, other: Path, encoding: EncodingSettings) -> None:
    records, problems = load_server_list(servers)
    _expect(not problems, "servers.toml")
    settings = ClientSettings(lease_secret=b"l" * 32, encoding=encoding)
    async with open_grid(records, settings) as grid:
        file = await grid.mutable.create(FileNameSource(str(one)), format="MDMF")
        await _expect_contents(file, one)
        at = _size(one) // 2
        await file.update(at, CHANGE)
        around = _part(one, at - 100, 100) + CHANGE + _part(one, at + len(CHANGE), 100)
        _expect(await file.read(at - 100, len(around)) == around, "a change in place")
        await file.overwrite(FileNameSource(str(other)))
        await _expect_contents(file, other)
        _expect((await file.check()).healthy, "all shares")


async def _expect_contents(file: MutableFile, path: Path) -> None:
    size = _size(path)
    _expect(await file.size() == size, "the size")
    for at in (0, size // 3, size - 3 * MIB):
        _expect(await file.read(at, 3 * MIB) == _part(path, at, 3 * MIB), "the contents")


def _size(path: Path) -> int:
    return path.stat().st_size


def _part(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        return os.pread(file.fileno(), size, offset)


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise RuntimeError(f"wrong: {what}")


async def _not_in_place(*arguments: Any) -> Any:
    raise RuntimeError("the file was written as a whole")


def main() -> None:
    """See the module."""
    servers, one, other, needed, total = sys.argv[1:]
    vars(file_module)["rewrite"] = _not_in_place
    encoding = EncodingSettings(shares_needed=int(needed), happiness=1, shares_total=int(total))
    asyncio.run(_use(Path(servers), Path(one), Path(other), encoding))
    sys.stdout.write(f"{peak_memory()}\n")


if __name__ == "__main__":
    main()
