"""What a node tells its peers about itself.

Two forms: the node itself, and the HTTPS client of another one. One suite tests both.

Source: docs/spec/control-and-introducer.md, section 4; docs/spec/seed-map.md, section C.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from holdfast.errors import HoldfastError
from holdfast.interfaces.types import NodeId, NodeId20


class NoSuchServiceError(HoldfastError):
    """The node offers no service of this name, or does not tell."""


@dataclass(frozen=True, slots=True)
class NodeVersions:
    """Attributes:
    mine, oldest: PEP 440 versions: of this node, and of the oldest peer it can talk to.
    protocols: major versions by service.
    features: flags and their values; an unknown one means nothing.
    packages: versions of what the node runs on; empty unless it tells.
    """

    mine: str
    oldest: str
    protocols: Mapping[str, Sequence[int]] = field(default_factory=dict)
    features: Mapping[str, object] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)


class NodeService(Protocol):
    """The calls of the founding interface ``RIClient``."""

    async def get_versions(self) -> tuple[str, str]:
        """Return this node's version, and the oldest it can talk to (S-023)."""
        ...

    async def get_version_document(self) -> NodeVersions: ...

    async def get_service(self, name: str) -> str:
        """Return the NURL of a service (S-028).

        Raises:
            NoSuchServiceError: there is none of this name, or its name is not told.
        """
        ...

    async def get_nodeid(self) -> NodeId20:
        """Return the first 20 bytes of the node id (S-029)."""
        ...

    async def get_node_id32(self) -> NodeId: ...
