"""Clients of introducers, for tests: fast ones, clocks that go as told, subscribers that remember."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from holdfast.grid.announcement_book import BookLimits
from holdfast.grid.announcement_cache import AnnouncementCache
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.grid.introducer_publishing import Announcer
from holdfast.grid.introducer_settings import IntroducerClientSettings, Periods
from holdfast.interfaces.introducer import Introducer, KnownAnnouncement, NewPeers
from holdfast.testing.introducer_suite import AnnouncingNode

FAST = Periods(
    wait=0.5,
    retry_first=0.005,
    retry_max=0.02,
    quiet_min=0.005,
    pause_first=0.001,
    pause_max=0.005,
    heartbeat=0.01,
    tick=0.01,
    save=0.01,
    recovery=0.1,
    ready=0.5,
    republish_min=0.02,
    refused=0.03,
)
PATIENCE_S = 10.0  # for what should take milliseconds, on a machine that others use too
FAST_SETTINGS = IntroducerClientSettings(periods=FAST)
START = 1_800_000_000.0


class Time:
    """A wall clock and a steady one. They stand still until ``go`` or, for the wall clock alone, ``set``."""

    def __init__(self, now: float = START) -> None:
        self.now = now
        self._steady = 0.0

    def clock(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self._steady

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self._steady += seconds

    def set(self, now: float) -> None:
        """Set the wall clock, as people and time servers do."""
        self.now = now


class Heard:
    """A subscriber: ``news`` in order, ``latest`` by server id."""

    def __init__(self) -> None:
        self.news: list[KnownAnnouncement] = []

    def __call__(self, known: KnownAnnouncement) -> None:
        self.news.append(known)

    @property
    def latest(self) -> dict[str, KnownAnnouncement]:
        return {known.server_id: known for known in self.news}

    @property
    def freshness(self) -> dict[str, str]:
        """Return the last freshness told, by nickname."""
        return {known.nickname: known.freshness for known in self.news}


def announcer(node: AnnouncingNode, directory: Path) -> Announcer:
    """Return what ``node`` signs with; its sequence file lies in ``directory`` under its name."""
    return Announcer(
        seed=node.seed,
        tls_key=node.tls_key,
        nickname=node.name,
        version=("1.0.0", "0.1.0"),
        sequence_file=directory / f"{node.name}-seq",
    )


def introducer_client(
    introducers: Mapping[str, Introducer],
    *,
    signer: Announcer | None = None,
    cache: AnnouncementCache | None = None,
    settings: IntroducerClientSettings = FAST_SETTINGS,
    time: Time | None = None,
    on_new_peers: NewPeers | None = None,
    limits: BookLimits | None = None,
) -> IntroducerClient:
    """Return a fast client. With a ``time`` of the test's own, else the real one."""
    clocks = {} if time is None else {"clock": time.clock, "monotonic": time.monotonic}
    return IntroducerClient(
        introducers,
        cache,
        settings,
        signer=signer,
        on_new_peers=on_new_peers,
        limits=limits,
        **clocks,
    )


async def until(condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Return once ``condition`` holds. Raises TimeoutError if it never does."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  (what is waited for has no event)
            await asyncio.sleep(0.002)
