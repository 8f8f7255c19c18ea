"""The seed-row check: it finds markers in source, and complains in each case it promises to."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def seed_rows() -> ModuleType:
    spec = importlib.util.spec_from_file_location("seed_rows", Path(__file__).parent.parent / "seed_rows.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_markers_are_found_wherever_they_stand(seed_rows: ModuleType) -> None:
    source = """
import pytest
pytestmark = [pytest.mark.slow, pytest.mark.seed("A")]
@pytest.mark.seed("B", "C")
class TestSuite:
    @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.seed("D"))])
    @pytest.mark.seed(name)
    def test(self, x): ...
"""

    assert sorted(seed_rows.marked_rows(source), key=str) == [
        (3, "A"),
        (4, "B"),
        (4, "C"),
        (6, "D"),
        (7, None),
    ]


@pytest.mark.parametrize(
    ("tested", "missing", "complaint"),
    [
        ({"S-001": ["t.py:1"]}, {"S-002"}, None),
        ({"S-001": ["t.py:1"]}, set(), "S-002 has no test"),
        ({"S-001": ["t.py:1"], "S-002": ["t.py:2"]}, {"S-002"}, "S-002 has a test now"),
        ({"S-001": ["t.py:1"], "S-009": ["t.py:2"]}, {"S-002"}, "t.py:2: S-009 is no row"),
        ({"S-001": ["t.py:1"]}, {"S-002", "S-009"}, "S-009 is no row"),
    ],
)
def test_complaints(
    seed_rows: ModuleType, tested: dict[str, list[str]], missing: set[str], complaint: str | None
) -> None:
    found = list(seed_rows.complaints_about(["S-001", "S-002"], tested, missing))

    assert len(found) == (complaint is not None)
    assert complaint is None or complaint in found[0]
