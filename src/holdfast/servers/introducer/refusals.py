"""Why an introducer does not do what it is asked: each reason has a status and a name on the wire.

Source: docs/spec/control-and-introducer.md, section 3.10.
"""

from __future__ import annotations

import math
from typing import ClassVar

from holdfast.errors import ServerError


class IntroducerRefusalError(ServerError):
    """A request was refused. The message is a sentence for people, without a secret or an address."""

    status: ClassVar[int]
    code: ClassVar[str]
    headers: tuple[tuple[str, str], ...] = ()


class MalformedError(IntroducerRefusalError):
    """The request is not one of the protocol."""

    status = 400
    code = "Malformed"


class UnauthorizedError(IntroducerRefusalError):
    """The request shows no secret that this introducer knows."""

    status = 401
    code = "Unauthorized"


class PublishNotAllowedError(IntroducerRefusalError):
    """The secret shown allows reading alone."""

    status = 403
    code = "PublishNotAllowed"


class NotFoundError(IntroducerRefusalError):
    """There is no such thing here."""

    status = 404
    code = "NotFound"


class MethodNotAllowedError(IntroducerRefusalError):
    """The path takes another method."""

    status = 405
    code = "MethodNotAllowed"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"only {allowed} is possible here")
        self.headers = (("Allow", allowed),)


class TooLargeError(IntroducerRefusalError):
    """The body is larger than any that is allowed."""

    status = 413
    code = "TooLarge"


class WrongMediaTypeError(IntroducerRefusalError):
    """The body does not claim to be CBOR."""

    status = 415
    code = "UnsupportedMediaType"


class TooManyRequestsError(IntroducerRefusalError):
    """A limit of section 3.9 is reached; it may be tried again after ``retry_after_s`` seconds."""

    status = 429
    code = "TooManyRequests"

    def __init__(self, what: str, retry_after_s: float) -> None:
        seconds = max(1, math.ceil(retry_after_s))
        super().__init__(f"{what}; try again in {seconds} s")
        self.retry_after_s = seconds
        self.headers = (("Retry-After", str(seconds)),)


class UnavailableDatabaseError(IntroducerRefusalError):
    """The database cannot be written at the moment."""

    status = 503
    code = "Unavailable"
    headers = (("Retry-After", "5"),)


class FullError(IntroducerRefusalError):
    """There is no room for more."""

    status = 507
    code = "Full"
