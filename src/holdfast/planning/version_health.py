"""How well a mutable file is stored, from what a survey, and verification, found.

Source: docs/spec/mutable.md, sections 15 and 16.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.formats.mutable_layout import MutableHeader
from holdfast.planning.happiness import happiness
from holdfast.planning.server_map import ServerMap


@dataclass(frozen=True, slots=True)
class VersionHealth:
    """Counts of a check. Shares marked bad count as missing."""

    version: MutableHeader | None  # that the counts are about: the best, readable or not, if there is any
    recoverable: bool
    healthy: bool
    needs_repair: bool
    good_shares: int  # distinct share numbers
    hosts: int  # servers with a share of the version
    wrong_shares: int  # shares of other versions, copies included
    recoverable_versions: int
    unrecoverable_versions: int
    bad_shares: int
    happiness: int


def version_health(server_map: ServerMap) -> VersionHealth:
    """Judge a map of a survey that asked all servers."""
    recoverable, unrecoverable = server_map.recoverable(), server_map.unrecoverable()
    version = next(iter((*recoverable, *unrecoverable)), None)
    holders = server_map.holders(version) if version else {}
    right = sum(len(servers) for servers in holders.values())
    single = len(recoverable) == 1 and not unrecoverable
    complete = version is not None and len(holders) >= version.shares_total
    return VersionHealth(
        version=version,
        recoverable=bool(recoverable),
        healthy=single and complete,
        needs_repair=not (single and complete) or bool(server_map.bad),
        good_shares=len(holders),
        hosts=len({server for servers in holders.values() for server in servers}),
        wrong_shares=len(server_map.shares) - right,
        recoverable_versions=len(recoverable),
        unrecoverable_versions=len(unrecoverable),
        bad_shares=len(server_map.bad),
        happiness=_happiness(server_map),
    )


def repair_hindrance(server_map: ServerMap) -> str | None:
    """Return why repair has to be refused unless it is forced; None if nothing stands against it.

    Whether there is anything to repair from is another question: ``server_map.best``.
    """
    newer = server_map.unrecoverable_newer()
    if newer:
        return f"version {newer[0].sequence} cannot be read, and repair would discard it"
    if server_map.needs_merge:
        return "two writers made different versions of one sequence number, and repair would discard one"
    return None


def _happiness(server_map: ServerMap) -> int:
    """Match servers to shares, where those of different versions are different shares."""
    numbers: dict[tuple[MutableHeader, int], int] = {}
    sharemap: dict[int, list[str]] = {}
    for place, found in server_map.shares.items():
        share = numbers.setdefault((found.header, place.number), len(numbers))
        sharemap.setdefault(share, []).append(place.server)
    return happiness(sharemap)
