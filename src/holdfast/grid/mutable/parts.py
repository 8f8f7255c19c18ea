"""What all mutable files of one client share."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.grid.memory import MemoryBudget
from holdfast.grid.mutable.keys import KeyPool
from holdfast.grid.mutable.known_versions import KnownVersions
from holdfast.grid.mutable.rollback_store import RollbackStore
from holdfast.grid.servers import Servers
from holdfast.grid.settings import EncodingSettings
from holdfast.grid.workers import Workers


@dataclass(frozen=True, slots=True)
class MutableParts:
    """``retry_scale``: of the waits after a collision."""

    servers: Servers
    encoding: EncodingSettings
    workers: Workers
    memory: MemoryBudget
    keys: KeyPool
    rollback: RollbackStore
    retry_scale: float = 1.0
    known: KnownVersions = field(default_factory=KnownVersions)
