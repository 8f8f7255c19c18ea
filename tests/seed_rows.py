"""Check that the promises numbered in docs/spec/seed-map.md are kept by tests.

A test that keeps a row carries `@pytest.mark.seed("S-042")`. The rows still without
a test are listed in seed-rows-missing.txt beside this file, a ratchet: the check
fails when

* a marker names no row, or not by a literal text,
* a row that is not on the list has no test,
* a row on the list has a test (run with --update to strike it off), or
* the list names no row.

The markers are read from the source, without running it: those of the tests, and of
the suites in holdfast.testing, which tests subclass.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SEED_MAP = ROOT / "docs/spec/seed-map.md"
MISSING = ROOT / "tests/seed-rows-missing.txt"
MARKED = (ROOT / "tests", ROOT / "src/holdfast/testing")
ROW = re.compile(r"^\| ((?:S|X)-\d+) \|", re.MULTILINE)


def marked_rows(source: str) -> Iterator[tuple[int, str | None]]:
    """Yield (line, row id) for each `pytest.mark.seed`; None stands for an id that is not a literal."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="mark"), attr="seed"), args=ids):
                for argument in ids:
                    match argument:
                        case ast.Constant(value=str(row)):
                            yield node.lineno, row
                        case _:
                            yield node.lineno, None


def find_tests() -> tuple[dict[str, list[str]], list[str]]:
    """Return the places that mark each row, and complaints about markers that cannot be read."""
    places: dict[str, list[str]] = defaultdict(list)
    complaints = []
    for path in sorted(path for folder in MARKED for path in folder.rglob("*.py")):
        for line, row in marked_rows(path.read_text(encoding="utf-8")):
            place = f"{path.relative_to(ROOT)}:{line}"
            if row is None:
                complaints.append(f"{place}: a seed marker takes literal row ids only")
            else:
                places[row].append(place)
    return places, complaints


def complaints_about(rows: list[str], tested: dict[str, list[str]], missing: set[str]) -> Iterator[str]:
    """Compare the rows of the map with the rows that tests name and with the list of missing ones."""
    for row in sorted(set(tested) - set(rows)):
        yield f"{', '.join(tested[row])}: {row} is no row of {SEED_MAP.relative_to(ROOT)}"
    for row in sorted(missing - set(rows)):
        yield f"{MISSING.relative_to(ROOT)}: {row} is no row of {SEED_MAP.relative_to(ROOT)}"
    for row in rows:
        if row in tested and row in missing:
            yield f"{row} has a test now: strike it off with `python tests/seed_rows.py --update`"
        elif row not in tested and row not in missing:
            yield f"{row} has no test"


def main() -> int:
    parser = argparse.ArgumentParser(description="Check which rows of the seed map have a test.")
    parser.add_argument("--update", action="store_true", help="strike rows that have a test off the list")
    parser.add_argument("--list", action="store_true", help="list the rows without a test, with their titles")
    options = parser.parse_args()

    text = SEED_MAP.read_text(encoding="utf-8")
    rows = ROW.findall(text)
    tested, complaints = find_tests()
    missing = MISSING.read_text(encoding="utf-8").split()
    if options.update:
        missing = [row for row in missing if row not in tested]
        MISSING.write_text("".join(f"{row}\n" for row in missing), encoding="utf-8")
    if options.list:
        for line in text.splitlines():
            if (found := ROW.match(line)) and found[1] not in tested:
                print(" ".join(line.split("|")[1:3]))
    complaints += complaints_about(rows, tested, set(missing))
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    print(f"seed rows: {len(rows)}, with a test: {len(set(rows) & set(tested))}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
