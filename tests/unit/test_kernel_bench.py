"""The benchmark of the kernel runs, and records what it promises."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "kernel.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_kernel", BENCH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.seed("S-122", "S-140")
def test_the_trade_of_memory_for_speed_and_the_saving_of_fewer_blocks_are_recorded(bench: ModuleType) -> None:
    figures = bench.run(seconds=0)
    sizes = figures["sizes"]
    assert len(sizes) == 3
    assert all(row["rate"] > 0 for row in sizes.values())
    for size, row in sizes.items():
        assert 7 / 3 * size <= row["peak_memory"] <= 1.1 * 10 / 3 * size + 10_000
    assert set(figures["fewer_blocks"]) == {7, 4, 1}
    assert {"3/10", "25/100"} == set(figures["codec"]) == set(figures["segment"])
