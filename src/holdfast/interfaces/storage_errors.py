"""Refusals of a storage server, as errors. Each stands for one status of the wire protocol.

Source: docs/spec/storage-protocol.md, section 15.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from holdfast.errors import HoldfastError


class StorageRefusalError(HoldfastError):
    """A storage server answered that it did not do what it was asked; nothing changed there."""

    status: ClassVar[int] = 500


class BadRequestError(StorageRefusalError):
    """The request is malformed."""

    status = 400


class WrongSecretError(StorageRefusalError):
    """An upload secret, write enabler or swissnum is not the one this needs."""

    status = 401


class NoSuchShareError(StorageRefusalError):
    """There is no such share, upload or index."""

    status = 404


class ShareCompleteError(StorageRefusalError):
    """The share is complete, so there is no upload to abort."""

    status = 405


class ShareConflictError(StorageRefusalError):
    """Other bytes were written before, the index holds the other kind, or the finished share is nonsense."""

    status = 409


class TooLargeError(StorageRefusalError):
    """A body or a share would be larger than allowed."""

    status = 413


class BadRangeError(StorageRefusalError):
    """A byte range is unusable or reaches beyond the share."""

    status = 416


class NoSpaceError(StorageRefusalError):
    """The server is full or read-only."""

    status = 507


REFUSALS: Mapping[int, type[StorageRefusalError]] = {
    refusal.status: refusal
    for refusal in (
        BadRequestError,
        WrongSecretError,
        NoSuchShareError,
        ShareCompleteError,
        ShareConflictError,
        TooLargeError,
        BadRangeError,
        NoSpaceError,
    )
}
"""The refusals by status."""
