"""The errors of the control interface, and the one form in which errors cross it:
a status, and ``{"error": code, "message": sentence}``, from which the other side
makes the same error again.

The code of an error of ``holdfast.errors`` is the name of its class.

Source: docs/spec/control-and-introducer.md, section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast import errors
from holdfast.errors import HoldfastError, InputError


class BadRequestError(InputError):
    """The request makes no sense: an argument is missing, wrong, or unknown."""


class TooLargeError(InputError):
    """The body is longer than such a request can be."""


class NoSuchCallError(InputError):
    """There is no call of this name."""


class WrongMethodError(InputError):
    """The call wants another method."""


class UnauthorizedError(HoldfastError):
    """No token, or one that is wrong, expired or revoked."""


class OutOfScopeError(HoldfastError):
    """The token is not meant for this call."""


class ForeignRequestError(HoldfastError):
    """The request comes from another user, or from a page that a browser shows."""


class NoSuchTokenError(InputError):
    """There is no token of this id."""


class NotAbsoluteError(InputError, ValueError):
    """A file name must be absolute, and without parts that lead back."""


class PathNotAllowedError(InputError):
    """The node does not touch this file; whether it exists is not told."""


class AlreadyThereError(InputError):
    """The file exists, and was not to be replaced."""


class DefectError(HoldfastError):
    """The node failed in a way nobody foresaw; its log says where."""


_CODES: dict[type[HoldfastError], str] = {
    BadRequestError: "BadRequest",
    TooLargeError: "TooLarge",
    NoSuchCallError: "NoSuchCall",
    WrongMethodError: "WrongMethod",
    UnauthorizedError: "Unauthorized",
    OutOfScopeError: "OutOfScope",
    ForeignRequestError: "ForeignRequest",
    NoSuchTokenError: "NoSuchToken",
    NotAbsoluteError: "NotAbsolute",
    PathNotAllowedError: "PathNotAllowed",
    AlreadyThereError: "AlreadyThere",
    DefectError: "Defect",
}
_CLASSES = {code: kind for kind, code in _CODES.items()}

_NUMBERS: dict[type[HoldfastError], tuple[str, ...]] = {
    errors.UnhappyError: ("servers", "happiness", "shares_needed", "happiness_wanted"),
    errors.NotEnoughSharesError: ("found", "needed"),
    errors.NotEnoughServersError: ("placed", "needed"),
    errors.RolledBackError: ("sequence_found", "sequence_remembered"),
    errors.UncoordinatedWriteError: ("sequence_found",),
}

# The first class that fits counts.
_STATUSES: tuple[tuple[type[HoldfastError], int], ...] = (
    (TooLargeError, 413),
    (NoSuchCallError, 404),
    (NoSuchTokenError, 404),
    (WrongMethodError, 405),
    (UnauthorizedError, 401),
    (OutOfScopeError, 403),
    (ForeignRequestError, 403),
    (PathNotAllowedError, 403),
    (AlreadyThereError, 409),
    (errors.SourceChangedError, 409),
    (errors.ConflictError, 409),
    (errors.CancelledTransferError, 409),
    (errors.InputError, 400),
    (errors.CapabilityError, 400),
    (errors.IntegrityError, 502),
    (errors.UnavailableError, 503),
)


def status_of(error: HoldfastError) -> int:
    """Return the status of an answer that tells of ``error``."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def error_as_json(error: HoldfastError) -> dict[str, object]:
    """Return what tells the other side of ``error``."""
    value: dict[str, object] = {"error": _code_of(type(error)), "message": str(error)}
    names = _numbers_of(type(error))
    if names:
        value["detail"] = {name: getattr(error, name) for name in names}
    return value


def error_from_json(value: Any, status: int = 500) -> HoldfastError:
    """Return the error that ``value`` tells of; for one of no known code, a base error by its status."""
    value = value if isinstance(value, dict) else {}
    message = str(value.get("message") or f"the node answered with status {status}")
    kind = _class_of(value.get("error"))
    if kind is None:
        kind = InputError if 400 <= status < 500 else errors.UnavailableError
    detail = value.get("detail")
    numbers = detail if isinstance(detail, dict) else {}
    # Every error with numbers takes them by name.
    make: Callable[..., HoldfastError] = kind
    return make(message, **{name: _number(numbers.get(name)) for name in _numbers_of(kind)})


def _numbers_of(kind: type[HoldfastError]) -> tuple[str, ...]:
    """Return the names of the numbers that errors of a class hold."""
    return next((names for base, names in _NUMBERS.items() if issubclass(kind, base)), ())


def _code_of(kind: type[HoldfastError]) -> str:
    """Return the code of a class, or of the nearest base that the other side knows."""
    known = (base for base in kind.__mro__ if base in _CODES or getattr(errors, base.__name__, None) is base)
    nearest = next(known)
    return _CODES.get(nearest, nearest.__name__)


def _class_of(code: object) -> type[HoldfastError] | None:
    if not isinstance(code, str):
        return None
    kind = _CLASSES.get(code) or getattr(errors, code, None)
    return kind if isinstance(kind, type) and issubclass(kind, HoldfastError) else None


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
