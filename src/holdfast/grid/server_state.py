"""How a client sees one server, as a value for people and programs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server at one moment. It holds no secret.

    Attributes:
        state: up, down, unknown (not tried yet) or incompatible.
        reason: why, as a clause for people.
        since: when ``state`` or ``reason`` last changed, in Unix seconds.
        version: what the server calls its software; empty until it said so.
        available_space: bytes it offered when last asked; None if it was not.
        latency_s: of asking for the version, lately, with connecting where that was necessary.
        errors: times it could not be reached, hung or broke off, since this client began.
        addresses: "host:port" of each place where it answers.
        uploads: false for one that is only read from.
        last_contact: of its last answer, in Unix seconds; 0: none yet.
    """

    server_id: str
    nickname: str
    state: str
    reason: str
    since: float
    version: str = ""
    available_space: int | None = None
    latency_s: float | None = None
    errors: int = 0
    addresses: tuple[str, ...] = ()
    uploads: bool = True
    last_contact: float = 0.0
