"""Downloads of a node into files of its own disk."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from holdfast.node.control.downloads import _PlaceTarget
from holdfast.node.control.paths import Place
from holdfast.node.control.whole_file import WholeFile


async def test_a_file_is_given_up_only_when_no_thread_writes_to_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its descriptor may be another file's a moment later."""
    events: list[str] = []
    write, abandon = WholeFile.write, WholeFile.abandon

    def slow_write(file: WholeFile, data: bytes) -> int:
        events.append("begins to write")
        time.sleep(0.1)
        events.append("has written")
        return write(file, data)

    def noted_abandon(file: WholeFile) -> None:
        events.append("given up")
        abandon(file)

    monkeypatch.setattr(WholeFile, "write", slow_write)
    monkeypatch.setattr(WholeFile, "abandon", noted_abandon)
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        target = _PlaceTarget(Place(directory, "out"), overwrite=True)
        target.open(4)
        task = asyncio.create_task(target.write(b"data"))
        while not events:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as error:
            await task
        target.fail(error.value)
    finally:
        os.close(directory)
    assert events == ["begins to write", "has written", "given up"]
    assert list(tmp_path.iterdir()) == []
