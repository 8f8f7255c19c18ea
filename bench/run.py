"""Measure Holdfast beside tahoe-lafs 1.20, on the same machine in the same run, and the kernel beside the
libraries it replaces. Writes `bench/results/results.json`, a table and a chart, and the table of the README.

Each side runs ten storage servers and one client as it comes (fsync on for Holdfast); what is compared is
the ratio, since a machine's speed drifts. Files and directories are measured in rounds in which the two
sides follow one another; what is shown is the median of the rounds. Before each job the disk gets to write
what is left of the one before.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import directories
import kernel
import vdrive
from holdfast_side import ROUNDS, measure_holdfast, median_of_rounds
from opponent import measure_opponent

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
SPARSE_SIZE = 10_000_000_000  # bytes
REPEATS = 2  # of the file of 100 MB in each round
SECONDS_KEPT_MAX = 100  # measurements of one figure that are written down
BEGIN, END = "<!-- figures of make bench: begin -->", "<!-- figures of make bench: end -->"

JOBS = {
    "put_100MB": ("store a file of 100 MB", 5.0),
    "get_100MB": ("read a file of 100 MB", 7.0),
    "put_1GB": ("store a file of 1 GB", 5.0),
    "get_1GB": ("read a file of 1 GB", 7.0),
    "put_small_1": ("store 200 files of 20 KB, one after another", 15.0),
    "put_small_8": ("store 200 files of 20 KB, 8 at a time", 15.0),
    "get_small_1": ("read 200 files of 20 KB, one after another", 0.0),
    "get_small_8": ("read 200 files of 20 KB, 8 at a time", 0.0),
    "first_4KiB": ("first 4 KiB of the 1 GB file", 5.0),
    **directories.JOBS,
    **vdrive.JOBS,
}
"""What each figure is called, and the least ratio that is wanted (0: none was set)."""


KERNEL_JOBS = {
    ("codec", "3/10", "zfec"): ("erasure coding alone, 3 of 10, one thread", 15.0),
    ("codec", "25/100", "zfec"): ("erasure coding alone, 25 of 100, one thread", 20.0),
    ("segment", "3/10", "libraries"): ("encrypt, code and hash 1 MiB segments, 3 of 10, one thread", 4.0),
}
"""What the figures of `kernel.py` are called, whom they are compared with, and the least ratio wanted."""


def machine() -> str:
    """Describe the machine in a line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}"
    )


def ratio(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """How many times better: rates as they are, times upside down.

    It is the median of the ratios of all rounds, if both sides were measured in the same ones.
    """
    a, b = ours[name], theirs[name]
    together = len(rounds_of(a)) == len(rounds_of(b))
    pairs = list(zip(rounds_of(a), rounds_of(b), strict=True)) if together else [(a["value"], b["value"])]
    return float(statistics.median(b / a if ours[name]["unit"] == "ms" else a / b for a, b in pairs))


def rounds_of(figure: dict[str, Any]) -> list[float]:
    """Return the values of a figure in each round; its value, if there was but one."""
    values: list[float] = figure.get("rounds", [figure["value"]])
    return values


def table(results: dict[str, Any]) -> str:
    """Return the comparison as Markdown."""
    ours, theirs = results["holdfast"]["figures"], results["opponent"]["figures"]
    lines = ["| job | tahoe-lafs 1.20 | Holdfast | ratio | wanted |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, (title, wanted) in JOBS.items():
        if name in ours and name in theirs:
            unit = ours[name]["unit"]
            least = f"{wanted:g}" if wanted else ""
            lines.append(
                f"| {title} | {theirs[name]['value']:.1f} {unit} | {ours[name]['value']:.1f} {unit}"
                f" | {ratio(name, ours, theirs):.1f} | {least} |"
            )
    for (kind, code, rival), (title, wanted) in KERNEL_JOBS.items():
        values = results["kernel"][kind][code]
        lines.append(
            f"| {title} | {values[rival]:.0f} MB/s ({rival}) | {values['holdfast']:.0f} MB/s"
            f" | {values['ratio']:.1f} | {wanted:g} |"
        )
    if "client_memory_sparse" in ours:
        peak = ours["client_memory_sparse"]["value"]
        lines.append(f"| client memory, 10 GB there and back | | {peak:.0f} MiB | | at most 200 |")
    if "vdrive" in results:
        lines += ["", vdrive.table(results["vdrive"])]
    lines += ["", f"{results['machine']}; {results['date']}. Repeat with `make bench`."]
    return "\n".join(lines)


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the ratios as bars."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ours, theirs = results["holdfast"]["figures"], results["opponent"]["figures"]
    names = [name for name in JOBS if name in ours and name in theirs][::-1]
    ratios = [ratio(name, ours, theirs) for name in names]
    figure, axes = pyplot.subplots(figsize=(9, 0.5 * len(names) + 1.6))
    bars = axes.barh([JOBS[name][0] for name in names], ratios, color="#2f6f6b")
    axes.bar_label(bars, labels=[f"{value:.1f}x" for value in ratios], padding=3)
    axes.axvline(1, color="#888888", linewidth=1)
    axes.set_xlim(0, max(ratios) * 1.12)
    axes.set_xlabel("times as fast as tahoe-lafs 1.20 (same machine, same run)")
    axes.set_title("Holdfast: ten storage servers, one client, 3 of 10, fsync on")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def write_readme(text: str) -> None:
    """Put the table between its marks in the README."""
    readme = ROOT / "README.md"
    content = readme.read_text()
    before, _, rest = content.partition(BEGIN)
    _, _, after = rest.partition(END)
    if after:
        readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def measure_files(directory: Path, *, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure immutable files on both sides in turn; return the results of tahoe-lafs and of Holdfast."""
    theirs, ours = [], []
    rounds = 1 if quick else ROUNDS
    repeats = 1 if quick else REPEATS
    for number in range(rounds):
        print(f"measuring files, round {number + 1} of {rounds} ...", file=sys.stderr, flush=True)
        place = directory / f"files-{number}"
        for side in ("tahoe", "holdfast"):
            (place / side).mkdir(parents=True)
        sparse_size = SPARSE_SIZE if number + 1 == rounds and not quick else 0
        theirs.append(measure_opponent(place / "tahoe", repeats=repeats, gigabyte=not quick))
        ours.append(
            measure_holdfast(place / "holdfast", repeats=repeats, gigabyte=not quick, sparse_size=sparse_size)
        )
        shutil.rmtree(place)
    return median_of(theirs), median_of(ours)


def median_of(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return results whose figures are the medians of all rounds that have them."""
    return {**results[-1], "figures": median_of_rounds([result["figures"] for result in results])}


def without_long_lists(value: Any) -> Any:
    """Return a result without lists of so many measurements that nobody reads them."""
    if isinstance(value, dict):
        return {name: without_long_lists(each) for name, each in value.items()}
    return [] if isinstance(value, list) and len(value) > SECONDS_KEPT_MAX else value


def measure(*, quick: bool) -> dict[str, Any]:
    """Measure everything, and return it with a description of the machine."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=os.environ.get("BENCH_DIR")) as directory:
        theirs, ours = measure_files(Path(directory), quick=quick)
        print("measuring mutable files and directories ...", file=sys.stderr, flush=True)
        their_directories, our_directories = directories.measure_directories(
            Path(directory) / "directories", quick=quick
        )
        theirs["figures"] |= their_directories
        ours["figures"] |= our_directories
        print("measuring directories at virtual drive servers ...", file=sys.stderr, flush=True)
        drives = vdrive.measure_vdrive(Path(directory) / "vdrive", quick=quick)
        theirs["figures"] |= vdrive.compared(
            their_directories["add_large"], their_directories["add_large_rate"]
        )
        ours["figures"] |= vdrive.compared(drives["sqlite"]["add_large"], drives["sqlite"]["add_at_once"])
        print("measuring the kernel ...", file=sys.stderr, flush=True)
        return {
            "machine": machine(),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "opponent": theirs,
            "holdfast": ours,
            "kernel": kernel.run(),
            "vdrive": drives,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="leave out 1 GB and the sparse 10 GB; write nothing"
    )
    parser.add_argument("--show", action="store_true", help="measure nothing: show the last results again")
    arguments = parser.parse_args()
    stored = RESULTS / "results.json"
    results = json.loads(stored.read_text()) if arguments.show else measure(quick=arguments.quick)
    if not arguments.quick:
        RESULTS.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps(without_long_lists(results), indent=1) + "\n")
    text = table(results)
    print(text)
    if not arguments.quick:
        (RESULTS / "results.md").write_text(text + "\n")
        draw(results, RESULTS / "ratios.png")
        write_readme(text)


if __name__ == "__main__":
    main()
