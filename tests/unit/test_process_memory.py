"""Memory figures: their keys, their unit, and systems that tell nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.node.process_memory import process_memory


@pytest.mark.seed("S-217", "S-218")
def test_the_kernels_kilobytes_become_bytes(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Name:\tVmPeak: 7 kB\n"
        "VmPeak:\t     100 kB\nVmSize:\t 90 kB\nVmData:\t5 kB\nVmRSS:\t 4 kB\nVmSwap:\t1 kB\n"
    )
    memory = process_memory(status)
    assert (memory["VmPeak"], memory["VmSize"], memory["VmData"]) == (102400, 92160, 5120)
    assert memory["source"] == "proc"
    extra = memory["extra"]
    assert isinstance(extra, dict)
    assert extra["VmRSS"] == 4096
    assert "VmSwap" not in extra


@pytest.mark.seed("S-217")
def test_a_system_that_tells_nothing_gives_zeros(tmp_path: Path) -> None:
    memory = process_memory(tmp_path / "missing")
    assert (memory["VmPeak"], memory["VmSize"], memory["VmData"], memory["source"]) == (0, 0, 0, "none")
    assert list(memory) == ["VmPeak", "VmSize", "VmData", "source", "extra"]
