"""What is measured of a node, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import __version__

if TYPE_CHECKING:
    from holdfast.grid.client import Grid
    from holdfast.grid.server_state import ServerState

SERVER_STATES = ("up", "down", "unknown", "incompatible")
TRANSFER_KINDS = ("upload", "download", "check", "verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured quantity.

    Attributes:
        name: with its unit at the end, after Prometheus' rules: ``holdfast_storage_bytes``.
        help: a sentence for people.
        samples: values, each with its labels, which have the same names in all of them.
        counter: True if it only ever grows while the process runs; its name ends in ``_total``.
    """

    name: str
    help: str
    samples: Sequence[tuple[dict[str, str], float]]
    counter: bool = False


def node_figures() -> Iterator[Figure]:
    """Return what can be said of every node."""
    yield Figure(name="holdfast_info", help="The node's software.", samples=[({"version": __version__}, 1.0)])


def grid_figures(grid: Grid) -> Iterator[Figure]:
    """Return what a client sees of its grid."""
    servers = grid.servers
    states = Counter(server.state for server in servers)
    yield Figure(
        name="holdfast_servers",
        help="Known storage servers by state.",
        samples=[({"state": state}, float(states[state])) for state in SERVER_STATES],
    )
    yield _of_servers(
        "holdfast_server_up", "Whether a server answers.", [(s, float(s.state == "up")) for s in servers]
    )
    yield _of_servers(
        "holdfast_server_latency_seconds",
        "Time a server took to answer, lately.",
        [(s, s.latency_s) for s in servers if s.latency_s is not None],
    )
    yield _of_servers(
        "holdfast_server_available_bytes",
        "Space a server offered when last asked.",
        [(s, float(s.available_space)) for s in servers if s.available_space is not None],
    )
    errors = [(s, float(s.errors)) for s in servers]
    yield _of_servers("holdfast_server_errors_total", "Failures to reach a server.", errors, counter=True)
    running = Counter(transfer.kind for transfer in grid.transfers)
    yield Figure(
        name="holdfast_transfers",
        help="Transfers that run at the moment.",
        samples=[({"kind": kind}, float(running[kind])) for kind in TRANSFER_KINDS],
    )


def prometheus_text(figures: Iterable[Figure]) -> bytes:
    """Return ``figures``, and what the system says of this process, as Prometheus reads them."""
    # Loaded when it is first needed: most nodes are never asked.
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

    class Given(Collector):
        def collect(self) -> Iterator[Metric]:
            for figure in figures:
                kind = CounterMetricFamily if figure.counter else GaugeMetricFamily
                names = list(figure.samples[0][0]) if figure.samples else []
                family = kind(figure.name, figure.help, labels=names)
                for labels, value in figure.samples:
                    family.add_metric([labels[name] for name in names], value)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Given())
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _of_servers(
    name: str, what: str, values: Iterable[tuple[ServerState, float]], *, counter: bool = False
) -> Figure:
    return Figure(
        name=name,
        help=what,
        samples=[({"server": s.server_id, "nickname": s.nickname}, value) for s, value in values],
        counter=counter,
    )
