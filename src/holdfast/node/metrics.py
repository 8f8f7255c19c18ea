"""What is measured of a node, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured quantity.

    Attributes:
        name: with its unit at the end, after Prometheus' rules: ``holdfast_storage_shares``.
        help: a sentence for people.
        samples: values, each by its labels (name and value pairs, none in common).
        counter: True if it only ever grows while the process runs; its name ends in ``_total``.
    """

    name: str
    help: str
    samples: Sequence[tuple[dict[str, str], float]]
    counter: bool = False
