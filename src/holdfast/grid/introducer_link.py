"""How a client sees one of its introducers: when it last answered, what is wrong with it, when to try again.

Source: docs/spec/control-and-introducer.md, section 3.7.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import structlog

from holdfast.errors import ServerError, WrongServerKeyError
from holdfast.grid.cbor_service import RefusedCallError
from holdfast.grid.introducer_settings import Periods
from holdfast.interfaces.introducer import Introducer, IntroducerState

log = structlog.get_logger(__name__)

JITTER = 0.25
REASON_MAX = 200  # characters


class IntroducerLink:
    """One introducer, shared by all that talk to it."""

    def __init__(
        self,
        petname: str,
        introducer: Introducer,
        periods: Periods,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.petname = petname
        self.introducer = introducer
        self.refusal = ""  # why it does not take what we publish; empty if it does
        self.suspicion = ""  # what was wrong with what it handed out last; empty if nothing
        self.on_return: list[Callable[[], None]] = []  # called when it answers again
        self._periods = periods
        self._clock = clock
        self._monotonic = monotonic
        self._problem = "not tried yet"
        self._last_contact = 0.0
        self._answered_at: float | None = None

    @property
    def connected(self) -> bool:
        """True if it answered lately."""
        return (
            self._answered_at is not None and self._monotonic() - self._answered_at <= self._periods.connected
        )

    @property
    def state(self) -> IntroducerState:
        reason = self._problem or self.refusal or self.suspicion or "answers"
        return IntroducerState(self.petname, self.connected, reason, self._last_contact)

    def answered(self) -> None:
        """Note that it answered a request."""
        had_problem, self._problem = self._problem, ""
        self._last_contact = self._clock()
        self._answered_at = self._monotonic()
        if had_problem:
            log.info("introducer answers", introducer=self.petname)
            for call in self.on_return:
                call()

    def failed(self, error: Exception) -> None:
        """Note that it did not. What it did wrong is logged once."""
        reason = str(error) if isinstance(error, ServerError) else "its answer could not be handled"
        if reason == self._problem:
            return
        self._problem = reason
        if isinstance(error, WrongServerKeyError):
            self._answered_at = None  # whoever answers there now, it is not the introducer
            log.error("introducer refused", introducer=self.petname, reason=reason)
        else:
            log.info("introducer down", introducer=self.petname, reason=reason)


class Backoff:
    """The time until the next attempt: doubling, scattered, long at once for an impostor."""

    def __init__(self, periods: Periods) -> None:
        self._periods = periods
        self._next = periods.retry_first

    def reset(self) -> None:
        self._next = self._periods.retry_first

    def after(self, error: Exception) -> float:
        """Return the seconds to wait after this failure."""
        if isinstance(error, WrongServerKeyError):
            self._next = self._periods.retry_max
        wait = self._next
        self._next = min(self._next * 2, self._periods.retry_max)
        if isinstance(error, RefusedCallError):
            wait = max(wait, error.retry_after_s)
        return wait * (1 + random.uniform(-JITTER, JITTER))  # noqa: S311  (spreads load, protects nothing)


def shown_reason(text: str) -> str:
    """Return what an introducer gives as a reason, fit to be shown and logged.

    It is a stranger's text, so an address in it is left out together with all the rest.
    """
    if "://" in text or not text.isprintable():
        return "it gave a reason that cannot be shown"
    return text[:REASON_MAX]
