"""What the operations of a client return: what was done, where, and who failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServerProblem:
    """One server did not do its part. ``what`` is a clause for people: "hung", "sent a corrupt block", ..."""

    server_id: str
    nickname: str
    what: str
    share: int | None = None

    def __str__(self) -> str:
        share = "" if self.share is None else f" (share {self.share})"
        return f"{self.nickname or self.server_id}{share}: {self.what}"


@dataclass(frozen=True, slots=True)
class UploadResult:
    """A stored file. ``str()`` of it is its capability.

    Attributes:
        shares: share number to the ids of the servers that hold it, as far as known.
        pushed: shares this upload sent.
        found: shares that were on their servers before.
    """

    uri: str = field(repr=False)
    size: int
    shares: Mapping[int, tuple[str, ...]]
    happiness: int
    pushed: int
    found: int
    problems: tuple[ServerProblem, ...] = ()

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True, slots=True)
class DownloadResult(Generic[T]):
    """``value`` is what the target's ``finish`` returned; ``used`` maps shares read to server ids."""

    value: T
    size: int
    problems: tuple[ServerProblem, ...] = ()
    used: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Where the shares of a file are.

    Attributes:
        shares: number of each good share to the ids of its servers.
        corrupt: shares that failed verification (or are of no known version).
        servers_asked: servers that answered.
        servers_known: servers in the list.
    """

    healthy: bool
    recoverable: bool
    shares: Mapping[int, tuple[str, ...]]
    shares_needed: int
    shares_total: int
    happiness: int
    corrupt: tuple[ServerProblem, ...] = ()
    problems: tuple[ServerProblem, ...] = ()
    servers_asked: int = 0
    servers_known: int = 0
