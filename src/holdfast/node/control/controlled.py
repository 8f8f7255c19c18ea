"""What the control interface needs of the node that it controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from holdfast.grid.client import Grid
    from holdfast.grid.settings import EncodingSettings
    from holdfast.node.metrics import Figure


class ControlledNode(Protocol):
    """A running node."""

    @property
    def grid(self) -> Grid | None:
        """The client side of the node; None if it has none."""
        ...

    @property
    def encoding(self) -> EncodingSettings:
        """How files are encoded where a call does not say otherwise."""
        ...

    def status(self) -> Mapping[str, object]:
        """Return what there is to say of the node, as a JSON object without secrets."""
        ...

    def figures(self) -> Iterable[Figure]:
        """Return what is measured of the node's services, beyond its process and its client side."""
        ...

    async def wait_for_connections(self, count: int, timeout_s: float) -> int:
        """Return how many storage servers are connected and compatible: once ``count`` are, or in the end.

        The node's own storage counts if it uses itself as a server. Servers not tried yet are tried.
        """
        ...

    def stop(self) -> None:
        """Let the node end in an orderly way, soon after this call."""
        ...
