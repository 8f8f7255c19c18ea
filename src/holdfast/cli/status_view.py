"""What a running node says of itself, as a picture for people: as wide as the terminal.

Names come from other people's machines: each is shown as plain text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from holdfast.cli.messages import plural, printable, size_text
from holdfast.node.durations import duration_text

WIDE = 80  # columns, from which on each server has one line
ID_SHOWN = 8  # characters
UNKNOWN = "-"
COLOURS = {"up": "green", "down": "red", "incompatible": "yellow"}

Part = Mapping[str, Any]
"""An object of the status."""


def status_view(status: Part, now: float, width: int) -> RenderableType:
    """Return the picture of a status that was asked for at ``now`` (Unix seconds)."""
    parts: list[RenderableType] = [_node(status)]
    parts += _own_services(status)
    introducers = status.get("introducers") or ()
    if introducers:
        parts.append(_section("introducers", [_introducer(one, now) for one in introducers]))
    servers = sorted(status.get("servers") or (), key=_name)
    if "client" in status.get("services", ()):
        up = sum(server["state"] == "up" for server in servers)
        title = f"{up} of {plural(len(servers), 'server')} up"
        picture = _table(servers, now) if width >= WIDE else _blocks(servers, now)
        parts.append(_section(title, [picture] if servers else []))
    vdrives = status.get("vdrives") or ()
    if vdrives:
        roots = [f"{name} root" for name, known in (status.get("roots") or {}).items() if known]
        title = "virtual drive servers" + (f"; known: {', '.join(roots)}" if roots else "")
        parts.append(_section(title, [_vdrive(one) for one in vdrives]))
    transfers = status.get("transfers") or ()
    if transfers:
        parts.append(_section("transfers", [_transfers(transfers, width)]))
    return Group(*parts)


def _section(title: str, lines: Sequence[RenderableType]) -> RenderableType:
    return Group(
        "", Text(title, style="bold"), *(Padding(line, (0, 0, 0, 2), expand=False) for line in lines)
    )


def _node(status: Part) -> Text:
    text = Text(printable(str(status.get("nickname", ""))) or "node", style="bold")
    services = ", ".join(status.get("services", ())) or "no service"
    port = f" on port {status['port']}" if status.get("port") else ""
    facts = (
        short_id(str(status.get("node_id", ""))),
        f"Holdfast {status.get('version', '?')}",
        f"runs for {duration_text(float(status.get('uptime_s', 0)))} as process {status.get('pid', '?')}",
        f"{services}{port}",
    )
    return text.append("".join(f" · {printable(fact)}" for fact in facts if fact), style="not bold")


def _own_services(status: Part) -> Iterator[Text]:
    storage = status.get("storage")
    if storage:
        facts = [plural(int(storage["shares"]), "share"), size_text(float(storage["bytes"]))]
        if storage.get("available_space") is not None:
            facts.append(f"{size_text(float(storage['available_space']))} free")
        if storage.get("read_only"):
            facts.append("read-only")
        yield Text(f"storage: {', '.join(facts)}")
    introducer = status.get("introducer")
    if introducer:
        facts = [f"{value} {str(name).replace('_', ' ')}" for name, value in introducer.items()]
        yield Text(printable(f"introducer: {', '.join(facts)}"))
    vdrive = status.get("vdrive")
    if vdrive:
        yield Text(
            printable(f"virtual drive: accounts {vdrive['accounts']}, public root {vdrive['public_root']}")
        )


def _vdrive(service: Part) -> Text:
    name = printable(str(service.get("nickname") or "")) or short_id(str(service["id"]))
    facts = [", ".join(service.get("addresses") or ()), f"accounts {service.get('accounts') or UNKNOWN}"]
    if service.get("announced") != "fresh":
        facts.append(f"announced: {service.get('announced')}")
    if service.get("own"):
        facts.append("new directories go there")
    return Text(f"{name} {short_id(str(service['id']))} · {printable(', '.join(filter(None, facts)))}")


def _introducer(introducer: Part, now: float) -> Text:
    heard = float(introducer.get("last_contact") or 0)
    when = f"heard from {duration_text(max(0, now - heard))} ago" if heard else "never heard from"
    text = Text(f"{printable(str(introducer['petname']))}: ")
    if introducer["connected"]:
        return text.append("connected", style="green").append(f", {when}")
    reason = printable(str(introducer.get("reason") or ""))
    return text.append("not connected", style="red").append(f", {when}{': ' if reason else ''}{reason}")


# -- servers


def _table(servers: Sequence[Part], now: float) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("name", overflow="fold", max_width=24)
    table.add_column("id", no_wrap=True)
    table.add_column("state", overflow="fold", ratio=1)
    table.add_column("free", justify="right", no_wrap=True)
    table.add_column("version", overflow="ellipsis", no_wrap=True, max_width=16)
    table.add_column("latency", justify="right", no_wrap=True)
    table.add_column("errors", justify="right", no_wrap=True)
    for server in servers:
        table.add_row(
            Text(_name(server)),
            short_id(str(server["id"])),
            _state(server, now),
            _free(server),
            Text(_version(server) or UNKNOWN),
            _latency(server),
            str(server.get("errors", 0)),
        )
    return table


def _blocks(servers: Sequence[Part], now: float) -> Group:
    """Return two lines or more a server, for narrow terminals."""
    lines: list[RenderableType] = []
    for server in servers:
        first = Text(f"{_name(server)} {short_id(str(server['id']))} ", overflow="fold")
        free, latency = _free(server), _latency(server)
        facts = (
            f"{free} free" if free != UNKNOWN else "free space unknown",
            _version(server) or "version unknown",
            f"latency {latency}" if latency != UNKNOWN else "latency unknown",
            plural(int(server.get("errors", 0)), "error"),
        )
        lines += [
            first.append(_state(server, now)),
            Padding(Text(", ".join(facts), style="dim"), (0, 0, 0, 2), expand=False),
        ]
    return Group(*lines)


def _name(server: Part) -> str:
    return printable(str(server.get("nickname") or "")) or short_id(str(server["id"]))


def short_id(server_id: str) -> str:
    """Return enough of an id to recognise it."""
    return printable(server_id.removeprefix("v0-"))[:ID_SHOWN]


def _state(server: Part, now: float) -> Text:
    state = str(server["state"])
    since = float(server.get("since") or 0)
    text = Text("not tried yet" if state == "unknown" else printable(state), style=COLOURS.get(state, ""))
    if since and state != "unknown":
        text.append(f" for {duration_text(max(0, now - since))}")
    reason = printable(str(server.get("reason") or ""))
    if reason and state in ("down", "incompatible"):
        text.append(f": {reason}")
    return text if server.get("uploads", True) else text.append("; only read from")


def _version(server: Part) -> str:
    return printable(str(server.get("version") or "")).removeprefix("holdfast/")


def _free(server: Part) -> str:
    space = server.get("available_space")
    return UNKNOWN if space is None else size_text(float(space))


def _latency(server: Part) -> str:
    latency = server.get("latency_s")
    return UNKNOWN if latency is None else f"{float(latency) * 1000:.0f} ms"


# -- transfers


def _transfers(transfers: Sequence[Part], width: int) -> RenderableType:
    if width >= WIDE:
        return _bars(transfers, width // 3, [_what(one) for one in transfers])
    lines: list[RenderableType] = []
    for one in transfers:
        lines += [_what(one), Padding(_bars([one], width // 5), (0, 0, 0, 2), expand=False)]
    return Group(*lines)


def _bars(transfers: Sequence[Part], width: int, names: Sequence[Text] = ()) -> Table:
    """Return a line a transfer. ``width``: of the bar."""
    table = Table.grid(padding=(0, 2, 0, 0))
    if names:
        table.add_column(overflow="fold")
    for _ in ("bar", "percent", "rate"):
        table.add_column(justify="right", no_wrap=True)
    for index, one in enumerate(transfers):
        done, total = int(one["done"]), int(one["total"])
        table.add_row(
            *names[index : index + 1],
            ProgressBar(total=total, completed=done, width=max(5, width)) if total else "",
            f"{done * 100 // total} %" if total else "",
            f"{size_text(float(one['rate']))}/s",
        )
    return table


def _what(transfer: Part) -> Text:
    return Text(printable(f"{transfer['kind']} {transfer['name']}"), overflow="fold")
