"""Servers of tahoe-lafs and of Holdfast side by side, for clients of both to use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from enum import Enum
from pathlib import Path

import yaml

import holdfast
from holdfast.caps import ImmutableReadCap, parse_cap
from holdfast.crypto import base32
from holdfast.grid.client import Grid
from holdfast.grid.settings import DEFAULT_SEGMENT_SIZE_MAX, ClientSettings, EncodingSettings
from holdfast.node.local_grid import LocalGrid
from holdfast.protocol.server_record import records_from_tahoe
from holdfast.testing import tahoe_peer
from holdfast.testing.stored_shares import StoredShare, stored_shares
from holdfast.testing.tahoe_peer import TahoeClient, TahoeGrid, TahoeServer

LEASE_SECRET = bytes(range(100, 132))


class Kind(Enum):
    """Whose servers a client knows."""

    TAHOE = "tahoe"
    HOLDFAST = "holdfast"
    MIXED = "mixed"


class MixedGrid:
    """Two grids that run, seen as one or as two."""

    def __init__(self, tahoe: TahoeGrid, own: LocalGrid) -> None:
        self.tahoe = tahoe
        self.own = own
        self._clients = 0

    def entries(self, kind: Kind) -> dict[str, Mapping[str, object]]:
        """Return the servers as the `servers.yaml` of either client names them."""
        entries: dict[str, Mapping[str, object]] = {}
        if kind is not Kind.HOLDFAST:
            entries |= self.tahoe.entries
        if kind is not Kind.TAHOE:
            text = (self.own.server_list).read_text(encoding="utf-8")
            entries |= yaml.safe_load(text)["storage"]
        return entries

    def nodes(self, kind: Kind) -> dict[Path, str]:
        """Return the directory of each server, and its id."""
        nodes: dict[Path, str] = {}
        if kind is not Kind.HOLDFAST:
            nodes |= {server.directory: server.server_id for server in self.tahoe.servers}
        if kind is not Kind.TAHOE:
            ids = self.own.server_ids()
            nodes |= {self.own.directory / name: server_id for name, server_id in ids.items()}
        return nodes

    def shares(self, cap: str, kind: Kind = Kind.MIXED) -> list[StoredShare]:
        """Return the shares of the file ``cap`` that are on the disks of these servers."""
        return stored_shares(self.nodes(kind), storage_index_of(cap))

    def holders(self, cap: str, kind: Kind = Kind.MIXED) -> dict[int, list[str]]:
        """Return share number to the ids of its servers, as the disks show it."""
        nodes = self.nodes(kind)
        holders: dict[int, list[str]] = {}
        for share in self.shares(cap, kind):
            holders.setdefault(share.number, []).append(nodes[share.node])
        return {number: sorted(ids) for number, ids in holders.items()}

    def connect(
        self, kind: Kind, encoding: EncodingSettings, lease_secret: bytes = LEASE_SECRET
    ) -> AbstractAsyncContextManager[Grid]:
        """Open Holdfast's client of these servers."""
        records, problems = records_from_tahoe({"storage": self.entries(kind)})
        assert not problems, problems
        settings = ClientSettings(lease_secret=lease_secret, encoding=encoding)
        return holdfast.connect(servers=records, settings=settings)

    @contextmanager
    def without(self, nodes: Iterable[Path]) -> Iterator[None]:
        """Kill these servers; start them again behind the block."""
        nodes = list(nodes)
        for node in nodes:
            self._stop(node)
        try:
            yield
        finally:
            for node in nodes:
                self._start(node)

    @contextmanager
    def changed(self, node: Path, old: str, new: str) -> Iterator[None]:
        """Restart a server with ``new`` for ``old`` in its configuration; undo that behind the block."""
        name = "holdfast.toml" if node.parent == self.own.directory else "tahoe.cfg"
        before = (node / name).read_text(encoding="utf-8")
        assert old in before
        try:
            with self.without([node]):
                (node / name).write_text(before.replace(old, new), encoding="utf-8")
            yield
        finally:
            with self.without([node]):
                (node / name).write_text(before, encoding="utf-8")

    def _stop(self, node: Path) -> None:
        if node.parent == self.own.directory:
            self.own.kill(node.name)
        else:
            self._tahoe_server(node).kill()

    def _start(self, node: Path) -> None:
        if node.parent == self.own.directory:
            self.own.revive(node.name)
        else:
            self._tahoe_server(node).start()

    def _tahoe_server(self, node: Path) -> TahoeServer:
        (server,) = [server for server in self.tahoe.servers if server.directory == node]
        return server

    def start_tahoe_client(self, kind: Kind, encoding: EncodingSettings) -> TahoeClient:
        """Start tahoe-lafs' client of these servers; it is ended with them, or before."""
        default = DEFAULT_SEGMENT_SIZE_MAX  # of both; so that this is what is tested
        settings = tahoe_peer.ClientSettings(
            shares_needed=encoding.shares_needed,
            happiness=encoding.happiness,
            shares_total=encoding.shares_total,
            convergence=encoding.convergence_secret,
            segment_size_max=None if encoding.segment_size_max == default else encoding.segment_size_max,
        )
        self._clients += 1
        return self.tahoe.start_client(f"mixed-client{self._clients}", settings, self.entries(kind))


def storage_index_of(cap: str) -> str:
    """Return the storage index of an immutable file, base32."""
    parsed = parse_cap(cap)
    assert isinstance(parsed, ImmutableReadCap)
    return base32.encode(parsed.storage_index)
