"""What one address may ask of a virtual drive server: requests, polls, signatures that do not hold,
long answers. Addresses without limits are those of this machine itself.

Source: docs/spec/vdrive.md, section 13.3.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.interfaces.vdrive_errors import (
    BadCreateError,
    BadProofError,
    RefusedHeadError,
    TooManyVdriveRequestsError,
    VdriveRefusalError,
)
from holdfast.servers.limits import Place, Places, TokenBuckets, address_key
from holdfast.servers.vdrive.settings import VdriveServerSettings

PAUSE_S = 60.0  # for an address whose signatures do not hold
POLL_RETRY_S = 30.0
BIG_ANSWER_RETRY_S = 1.0

_FORGED = (BadCreateError, BadProofError, RefusedHeadError)


class RequestLimits:
    """The limits of one server. For use on its event loop."""

    def __init__(self, settings: VdriveServerSettings, clock: Callable[[], float]) -> None:
        self._limit_loopback = settings.limit_loopback
        self._requests = TokenBuckets(1 / settings.requests_per_s, settings.requests_burst, clock)
        self._signatures = TokenBuckets(
            1 / settings.bad_signatures_per_s, settings.bad_signatures_per_s, clock
        )
        self._pauses = TokenBuckets(PAUSE_S, 1, clock)
        self._polls = Places(settings.polls_max, settings.polls_per_address)
        self._big_answers = Places(settings.big_answers_max, settings.big_answers_per_address)

    def count(self, peer: str) -> str | None:
        """Count a request of an address; return by which key it is known from here on.

        Raises:
            TooManyVdriveRequestsError: there were too many.
        """
        address = address_key(peer, limit_loopback=self._limit_loopback)
        if address is not None:
            wait_s = self._pauses.wait_s(address) or self._requests.take(address)
            if wait_s > 0:
                raise TooManyVdriveRequestsError("too many requests", retry_after_s=wait_s)
        return address

    def refused(self, address: str | None, refusal: VdriveRefusalError) -> None:
        """Count what an address was refused, if a signature was the reason."""
        if address is not None and isinstance(refusal, _FORGED) and self._signatures.take(address) > 0:
            self._pauses.take(address)

    def poll(self, address: str | None) -> Place:
        """Return a place for waiting, to be left.

        Raises:
            TooManyVdriveRequestsError: there is none.
        """
        return _taken(self._polls, address, "too many wait for news", POLL_RETRY_S)

    def big_answer(self, address: str | None) -> Place:
        """Return a place for an answer that takes much memory or long, to be left.

        Raises:
            TooManyVdriveRequestsError: there is none.
        """
        return _taken(self._big_answers, address, "too many long answers at once", BIG_ANSWER_RETRY_S)


def _taken(places: Places, address: str | None, refusal: str, retry_s: float) -> Place:
    place = places.take(address)
    if place is None:
        raise TooManyVdriveRequestsError(refusal, retry_after_s=retry_s)
    return place
