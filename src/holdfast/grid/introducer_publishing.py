"""Keeping a node's own announcements known to all its introducers: signed, sent, sent again to those that
were down or forgot, and renewed.

Source: docs/spec/control-and-introducer.md, sections 3.4 ("Identity", "Renewal"), 3.5 and 3.7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from holdfast.crypto.signatures import verify_key_of
from holdfast.errors import ServerError
from holdfast.grid.introducer_link import Backoff, IntroducerLink, shown_reason
from holdfast.grid.introducer_settings import Periods
from holdfast.grid.sequence_file import SequenceFile
from holdfast.interfaces.introducer import ANNOUNCEMENTS_PER_PUBLISH, PublishResult, SignedBytes
from holdfast.protocol.announcement import (
    LIFE_DEFAULT_S,
    Announcement,
    BadAnnouncementError,
    SignedAnnouncement,
    prove_location,
    sign_announcement,
    verified_announcement,
)

log = structlog.get_logger(__name__)

CLOCK_BACK_S = 3600.0  # a clock set back by more makes what was signed before come from the future


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcer:
    """What a node signs its announcements with.

    Attributes:
        seed: of the node key, 32 bytes.
        tls_key: whose hash stands in the node's NURLs.
        version: this software's, and the oldest it can talk to.
        sequence_file: ``private/announcement-seq``.
    """

    seed: bytes = field(repr=False)
    tls_key: PrivateKeyTypes = field(repr=False)
    nickname: str
    version: tuple[str, str]
    sequence_file: Path


@dataclass(frozen=True, slots=True)
class _Offer:
    """What is to be announced of one service."""

    properties: Mapping[str, object] = field(repr=False)
    nurls: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Published:
    offer: _Offer
    signed: SignedAnnouncement


class Publisher:
    """A node's announcements. Nothing is signed before its sequence number is on stable storage."""

    def __init__(
        self,
        announcer: Announcer,
        links: Sequence[IntroducerLink],
        periods: Periods,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._announcer = announcer
        self._verify_key = verify_key_of(announcer.seed)
        self._file = SequenceFile(announcer.sequence_file)
        self._periods = periods
        self._clock = clock
        self._sequence: int | None = None  # None: not read yet
        self._floor = 0  # what introducers are known to hold of us
        self._offers: dict[str, _Offer] = {}
        self._published: dict[str, _Published] = {}
        self._wake = asyncio.Event()
        self._senders = [_Sender(link, self, periods, monotonic) for link in links]

    def offer(self, service: str, properties: Mapping[str, object], nurls: Sequence[str]) -> None:
        """Announce this of ``service`` from now on.

        Raises:
            ValueError: nobody would accept it (a NURL of another TLS key, say).
        """
        offer = _Offer(dict(properties), tuple(nurls))
        self._signed(service, offer, 0)  # refuses what readers would refuse
        if self._offers.get(service) != offer:
            self._offers[service] = offer
            self._wake.set()

    def forgotten_by(self, link: IntroducerLink) -> None:
        """Tell an introducer everything again."""
        for sender in self._senders:
            if sender.link is link:
                sender.forget()

    async def run(self) -> None:
        """Sign and send until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_signed())
            for sender in self._senders:
                group.create_task(sender.run())

    # -- for the senders

    @property
    def published(self) -> Mapping[str, SignedAnnouncement]:
        """What is signed and valid, by service."""
        return {service: published.signed for service, published in self._published.items()}

    def raise_above(self, pair: SignedBytes) -> bool:
        """Sign anew above ``pair``, if it proves that we once signed what is not older than what we publish.

        False: it proves nothing of the kind.
        """
        try:
            found = verified_announcement(*pair).announcement
        except BadAnnouncementError:
            return False
        published = self._published.get(found.service)
        if found.verify_key != self._verify_key or published is None:
            return False
        ours = published.signed
        if found.sequence < ours.announcement.sequence or pair == ours.bytes_pair:
            return False
        if found.sequence > self._floor:
            self._floor = found.sequence
            log.warning("an introducer holds a newer announcement of this node; continuing above it")
        self._wake.set()
        return True

    async def own_at(self, link: IntroducerLink) -> list[SignedBytes]:
        """Return what the introducer says it holds of this node."""
        return await link.introducer.own(self._verify_key)

    # -- signing

    async def _keep_signed(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._sign_due()
            except OSError as error:
                log.error("the sequence number cannot be kept; nothing is signed", reason=error.strerror)
            except Exception:
                log.exception("announcements cannot be signed")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._periods.tick):
                    await self._wake.wait()

    async def _sign_due(self) -> None:
        due = [(service, offer) for service, offer in self._offers.items() if self._is_due(service, offer)]
        if not due:
            return
        if self._sequence is None:
            self._sequence = await self._found_sequence()
        for service, offer in due:
            number = max(self._sequence, self._floor) + 1
            await asyncio.to_thread(self._file.write, number)
            self._sequence = number
            self._published[service] = _Published(offer, self._signed(service, offer, number))
        for sender in self._senders:
            sender.wake()

    def _is_due(self, service: str, offer: _Offer) -> bool:
        published = self._published.get(service)
        if published is None or published.offer != offer:
            return True
        announcement = published.signed.announcement
        if announcement.sequence <= self._floor:
            return True
        age = self._clock() - announcement.issued
        return not -CLOCK_BACK_S <= age < (announcement.expires - announcement.issued) / 2

    def _signed(self, service: str, offer: _Offer, sequence: int) -> SignedAnnouncement:
        announcer = self._announcer
        issued = max(0, int(self._clock()))
        announcement = Announcement(
            service=service,
            verify_key=self._verify_key,
            sequence=sequence,
            issued=issued,
            expires=issued + LIFE_DEFAULT_S,
            locations=tuple(
                prove_location(self._verify_key, nurl, announcer.tls_key) for nurl in offer.nurls
            ),
            nickname=announcer.nickname,
            version=announcer.version,
            properties=offer.properties,
        )
        return sign_announcement(announcement, announcer.seed)

    async def _found_sequence(self) -> int:
        """Return the last number used; if it is lost, one that is certainly not below it.

        The time counts even if an introducer answers: it may have lost its memory too, while clients
        remember. The numbers of the introducers count because clocks may be wrong.
        """
        kept = await asyncio.to_thread(self._file.read)
        if kept is not None:
            return kept
        found = [0]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._periods.recovery), asyncio.TaskGroup() as group:
                for sender in self._senders:
                    group.create_task(self._ask_number(sender.link, found))
        return max(*found, int(self._clock()))

    async def _ask_number(self, link: IntroducerLink, found: list[int]) -> None:
        with suppress(ServerError):
            for pair in await self.own_at(link):
                with suppress(BadAnnouncementError):
                    announcement = verified_announcement(*pair).announcement
                    if announcement.verify_key == self._verify_key:
                        found.append(announcement.sequence)


class _Sender:
    """Brings what is published to one introducer."""

    def __init__(
        self, link: IntroducerLink, publisher: Publisher, periods: Periods, monotonic: Callable[[], float]
    ) -> None:
        self.link = link
        self._publisher = publisher
        self._periods = periods
        self._monotonic = monotonic
        self._backoff = Backoff(periods)
        self._accepted: dict[str, int] = {}  # service to sequence number
        self._refused: dict[str, tuple[int, float]] = {}  # service to sequence number, when to try again
        self._not_before = 0.0  # how long an introducer that keeps forgetting has to wait
        self._forgot_at = float("-inf")
        self._changed = asyncio.Event()
        link.on_return.append(self.wake)

    def wake(self) -> None:
        """Look again: there is something new, or the introducer is back."""
        self._changed.set()

    def forget(self) -> None:
        """Send everything again, soon."""
        self._accepted.clear()
        self._refused.clear()
        self._not_before = self._forgot_at + self._periods.republish_min
        self._forgot_at = self._monotonic()
        self.wake()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            self._changed.clear()
            try:
                pause = await self._send()
                self._backoff.reset()
            except Exception as error:
                if not isinstance(error, ServerError):
                    log.exception("publishing failed", introducer=self.link.petname)
                self.link.refusal = f"publishing failed: {error}"
                pause = self._backoff.after(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def _send(self) -> float | None:
        """Send what the introducer lacks; return the seconds until there may be more, None: until woken."""
        now = self._monotonic()
        missing = self._missing(now)
        if missing and now < self._not_before:
            return self._not_before - now
        while batch := missing[:ANNOUNCEMENTS_PER_PUBLISH]:
            missing = missing[ANNOUNCEMENTS_PER_PUBLISH:]
            results = await self.link.introducer.publish([signed.bytes_pair for _, signed in batch])
            if len(results) != len(batch):
                raise ServerError("its answer is malformed: the number of results is wrong")
            self.link.answered()
            for (service, signed), result in zip(batch, results, strict=True):
                await self._take(service, signed, result)
        waiting = [when for _, when in self._refused.values()]
        return max(0.0, min(waiting) - self._monotonic()) if waiting else None

    def _missing(self, now: float) -> list[tuple[str, SignedAnnouncement]]:
        missing = []
        for service, signed in self._publisher.published.items():
            number = signed.announcement.sequence
            refused_number, again_at = self._refused.get(service, (-1, 0.0))
            if self._accepted.get(service) == number or (refused_number == number and now < again_at):
                continue
            missing.append((service, signed))
        return missing

    async def _take(self, service: str, signed: SignedAnnouncement, result: PublishResult) -> None:
        self._refused.pop(service, None)
        number = signed.announcement.sequence
        if result.status in ("stored", "duplicate"):
            self._accepted[service] = number
            self.link.refusal = ""
            return
        if await self._catches_up(result):
            return
        reason = shown_reason(result.reason) or shown_reason(result.status)
        if self.link.refusal != reason:
            log.warning("introducer refuses", introducer=self.link.petname, service=service, reason=reason)
        self.link.refusal = reason
        self._refused[service] = (number, self._monotonic() + self._periods.refused)

    async def _catches_up(self, result: PublishResult) -> bool:
        """Return true if the introducer has proof that our number is too low, so that we sign again."""
        if result.status == "stale" and result.current is not None:
            return self._publisher.raise_above(result.current)
        if result.status == "conflict":
            proofs = await self._publisher.own_at(self.link)
            return sum(map(self._publisher.raise_above, proofs)) > 0
        return False
