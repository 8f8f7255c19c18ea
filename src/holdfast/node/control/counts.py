"""What the control interface has done since the node started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from holdfast.node.metrics import Figure


class Counts:
    """Counts answers by call and status, and bytes of files by direction."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.bytes: Counter[str] = Counter()

    def figures(self) -> Iterator[Figure]:
        """Return the counts as figures."""
        yield Figure(
            name="holdfast_control_answers_total",
            help="Answers of the control interface.",
            samples=[
                ({"call": call, "status": str(status)}, float(count))
                for (call, status), count in sorted(self.answers.items())
            ],
            counter=True,
        )
        yield Figure(
            name="holdfast_control_file_bytes_total",
            help="Bytes of files stored and read through the control interface.",
            samples=[({"direction": key}, float(self.bytes[key])) for key in ("upload", "download")],
            counter=True,
        )
