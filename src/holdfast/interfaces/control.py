"""What a running node lets programs of its own user do with it.

Source: docs/spec/control-and-introducer.md, section 2; docs/spec/seed-map.md, section T.
"""

from __future__ import annotations

from typing import Protocol


class ControlClient(Protocol):
    """The calls of the founding interface ``RIControlClient``."""

    async def wait_for_client_connections(self, num_clients: int, timeout: float | None = None) -> int:
        """Return, once that many storage servers are connected, how many are (S-209).

        Raises:
            TimeoutError: ``timeout`` seconds went by before; None waits for ever.
        """
        ...

    async def upload_from_file_to_uri(self, filename: str, *, on_node: bool = False) -> str:
        """Store the file of this absolute name; return its capability (S-210, S-211).

        ``on_node``: the node opens the file, if it is below one of its configured roots.
        """
        ...

    async def download_from_uri_to_file(
        self, uri: str, filename: str, *, on_node: bool = False, overwrite: bool = False
    ) -> str:
        """Read a file back into the file of this absolute name; return that name (S-212 to S-214)."""
        ...

    async def get_memory_usage(self) -> dict[str, int]:
        """Return at least VmPeak, VmSize and VmData, in bytes; 0 where the system cannot tell (S-216)."""
        ...
