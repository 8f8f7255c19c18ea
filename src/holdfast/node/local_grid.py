"""A whole grid on this machine, for trying and testing: an introducer and storage servers,
each an ordinary node and a process of its own, and the directory of a client.

    DIR/grid.json     names of the servers
    DIR/introducer/   node directory of the introducer, which is the virtual drive server too
    DIR/<name>/       node directory of a server
    DIR/client/       node directory of the client
    DIR/servers.yaml  the servers, for clients of tahoe-lafs

Every call takes a lock, brings what it finds towards what is wanted, and can be repeated after
any interruption: a crash, kill -9, or a restart of the machine.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from holdfast.errors import ConfigError, InputError, UnavailableError
from holdfast.grid.settings import EncodingSettings
from holdfast.node.config import NodeSettings, VdriveServerConfig, load_config
from holdfast.node.creation import create_client_node, create_introducer, create_server_node
from holdfast.node.introducer_list import INTRODUCERS_FILE, write_introducers
from holdfast.node.introducer_nurls import PUBLISH_FILE, read_introducer_nurls
from holdfast.node.introduction import introduce
from holdfast.node.logs import LOG_DIRECTORY
from holdfast.node.places import GRID_CLIENT, GRID_FILE, GRID_INTRODUCER
from holdfast.node.private_files import write_private_file
from holdfast.node.running import RunningNode, process_of, running_node
from holdfast.node.server_records import known_records, server_list_text
from holdfast.node.share_count import count_shares

# fmt: off
NAMES = (
    "amber", "basil", "cedar", "dahlia", "elder", "fennel", "ginger", "hazel", "iris", "jasmine", "kale",
    "laurel", "maple", "nettle", "olive", "poplar", "quince", "rowan", "sorrel", "thyme", "umber", "violet",
    "willow", "xenia", "yarrow", "zinnia",
)
# fmt: on
SERVER_LIST = "servers.yaml"
SERVERS_MAX = 256
OUTPUT_FILE = "output.log"  # what a server's process prints: why it did not start
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
POLL_INTERVAL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """One server of a local grid. ``state`` is running, starting or stopped."""

    name: str
    state: str
    pid: int | None
    port: int | None
    shares: int
    bytes_used: int  # by finished shares


class LocalGrid:
    """The local grid in a directory. All methods block."""

    def __init__(self, directory: Path, *, attached: bool = False) -> None:
        """``attached``: servers started here end with this process, however that ends."""
        self.directory = directory.absolute()
        self._attached = attached
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def client_directory(self) -> Path:
        return self.directory / GRID_CLIENT

    @property
    def server_list(self) -> Path:
        """The file that names every server that has ever listened; tahoe-lafs reads its form."""
        return self.directory / SERVER_LIST

    @property
    def exists(self) -> bool:
        """True once the grid was made, or began to be."""
        return (self.directory / GRID_FILE).exists()

    @property
    def names(self) -> list[str]:
        """Return the names of the servers.

        Raises:
            InputError: there is no grid here.
        """
        try:
            return [
                str(name) for name in json.loads((self.directory / GRID_FILE).read_text("utf-8"))["servers"]
            ]
        except FileNotFoundError:
            raise InputError(f"{self.directory} holds no grid; make one with: holdfast grid start") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{self.directory / GRID_FILE} is damaged") from None

    def start(
        self,
        servers: int | None = None,
        encoding: EncodingSettings | None = None,
        on_running: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Make the grid unless it exists, and start every server that does not run; return when all serve.

        Args:
            servers: how many; None: as many as there are. A grid can grow, not shrink.
            encoding: how the client encodes files; only for a new grid.
            on_running: told the name of each server when it serves.

        Raises:
            InputError: the directory is no place for a grid, or the grid there is another one.
            UnavailableError: a server did not start; the message says why. The others run.
        """
        if servers is not None and not 1 <= servers <= SERVERS_MAX:
            raise InputError(f"a local grid has 1 to {SERVERS_MAX} servers")
        self._make_place(new=servers is not None)
        with self._lock():
            names = self._names_wanted(servers, encoding)
            failures = self._start_introducer()
            self._create(names, encoding)
            failures += self._start(names, on_running)
            self._make_known(names)
        if failures:
            raise UnavailableError("; ".join(failures))

    def revive(self, name: str) -> None:
        """Start one server.

        Raises:
            InputError: there is none of this name, or it runs.
            UnavailableError: it did not start.
        """
        self._check_name(name)
        with self._lock():
            if process_of(self.directory / name) is not None:
                raise InputError(f"{name} is running")
            failures = self._start([name], lambda name: None)
            self._make_known(self.names)
        if failures:
            raise UnavailableError("; ".join(failures))

    def kill(self, name: str) -> None:
        """End one server as a power cut would (SIGKILL).

        Raises:
            InputError: there is none of this name, or it does not run.
        """
        self._check_name(name)
        with self._lock():
            pid = process_of(self.directory / name)
            if pid is None:
                raise InputError(f"{name} is not running")
            self._signal(pid, signal.SIGKILL)
            self._wait_until_gone([name])

    def stop(self) -> None:
        """End every server in an orderly way; kill those that take longer than STOP_TIMEOUT_S."""
        names = [*self.names, GRID_INTRODUCER]
        with self._lock():
            for number in (signal.SIGTERM, signal.SIGKILL):
                for name in names:
                    pid = process_of(self.directory / name)
                    if pid is not None:
                        self._signal(pid, number)
                if self._wait_until_gone(names):
                    return
            raise UnavailableError("some servers cannot be ended: " + ", ".join(self._running(names)))

    def status(self) -> list[ServerStatus]:
        """Return how each server is.

        Raises:
            InputError: there is no grid here.
        """
        return [self._status(name) for name in self.names]

    def introducer_status(self) -> ServerStatus:
        """Return how the introducer is; it holds no shares."""
        return self._status(GRID_INTRODUCER)

    def server_ids(self) -> dict[str, str]:
        """Return the server id of each server that has ever run, by name."""
        records = known_records(self.directory / name for name in self.names)
        return {record.nickname: record.server_id for record in records}

    # -- making

    def _make_place(self, *, new: bool) -> None:
        if not new or self.exists:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            found = [path.name for path in self.directory.iterdir() if path.name != ".lock"]
        except OSError as error:
            raise InputError(f"cannot make a grid in {self.directory}: {error.strerror}") from error
        if found:
            raise InputError(f"{self.directory} is not empty and holds no grid; give another directory")

    def _names_wanted(self, servers: int | None, encoding: EncodingSettings | None) -> list[str]:
        """Write down which servers there are to be, if that is new; return their names."""
        existing = self.names if servers is None or self.exists else []
        names = existing if servers is None else [_name(number) for number in range(servers)]
        if len(names) < len(existing):
            raise InputError(
                f"the grid in {self.directory} has {len(existing)} servers; it can grow, not shrink"
            )
        if encoding is not None and self.client_directory.exists():
            raise InputError(
                f"the client exists; change its encoding in {self.client_directory / 'holdfast.toml'}"
            )
        if names != existing:
            write_private_file(self.directory / GRID_FILE, json.dumps({"servers": names}) + "\n")
        return names

    def _create(self, names: Sequence[str], encoding: EncodingSettings | None) -> None:
        """Make what is missing. Servers and client learn of the introducer, once it has ever served."""
        private = self.directory / GRID_INTRODUCER / "private"
        nurls = read_introducer_nurls(private) if (private / PUBLISH_FILE).exists() else None
        publish = {} if nurls is None else {GRID_INTRODUCER: nurls.publish}
        subscribe = {} if nurls is None else {GRID_INTRODUCER: nurls.subscribe}
        for name in names:
            self._create_node(self.directory / name, publish, partial(_create_server, name=name))
        settings = encoding or default_encoding(len(names))
        self._create_node(self.client_directory, subscribe, partial(_create_client, encoding=settings))

    def _create_node(
        self,
        directory: Path,
        introducers: Mapping[str, str],
        create: Callable[[Path, Mapping[str, str]], None],
    ) -> None:
        if not directory.exists():
            create(directory, introducers)
        elif introducers and not (directory / "private" / INTRODUCERS_FILE).exists():
            write_introducers(directory / "private", introducers)

    # -- starting

    def _start_introducer(self) -> list[str]:
        """Make and start the introducer; return what went wrong. The grid works without one."""
        if not (self.directory / GRID_INTRODUCER).exists():
            create_introducer(
                self.directory / GRID_INTRODUCER,
                NodeSettings(nickname=self.directory.name[:64]),
                vdrive=VdriveServerConfig(enabled=True, accounts="open"),
            )
        return self._start([GRID_INTRODUCER], lambda name: None)

    def _start(self, names: Sequence[str], on_running: Callable[[str], None]) -> list[str]:
        """Start what does not run, and wait until all serve or have ended; return what went wrong."""
        failures: list[str] = []
        waiting = set(names)
        for name in names:
            if process_of(self.directory / name) is None:
                self._launch(name)
        deadline = time.monotonic() + START_TIMEOUT_S
        while waiting:
            for name in sorted(waiting):
                if running_node(self.directory / name) is not None:
                    on_running(name)
                elif not self._ended(name) and time.monotonic() < deadline:
                    continue
                else:
                    failures.append(f"{name} did not start: {self._last_words(name)}")
                waiting.discard(name)
            time.sleep(POLL_INTERVAL_S if waiting else 0)
        return failures

    def _make_known(self, names: Sequence[str]) -> None:
        """Write the list of servers, and let the client hear of those that run, before anybody uses it."""
        with suppress(ConfigError):  # a damaged server did not start; the list stays as it was
            self._write_server_list()
        storage = [running.server_id for name in names if (running := running_node(self.directory / name))]
        introducer = running_node(self.directory / GRID_INTRODUCER)
        if introducer is not None:
            keeps_directories = load_config(self.directory / GRID_INTRODUCER).vdrive_server.enabled
            introduce(
                self.client_directory,
                {"storage": storage, "vdrive": [introducer.server_id] if keeps_directories else []},
            )

    def _launch(self, name: str) -> None:
        logs = self.directory / name / LOG_DIRECTORY
        logs.mkdir(mode=0o700, exist_ok=True)
        with open(logs / OUTPUT_FILE, "wb") as output:
            stdin = subprocess.PIPE if self._attached else subprocess.DEVNULL
            self._children[name] = self._process(self.directory / name, stdin, output)

    def _process(self, node: Path, stdin: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the process of a node."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "holdfast.node.process", node],
            cwd=node,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _ended(self, name: str) -> bool:
        child = self._children.get(name)
        return process_of(self.directory / name) is None if child is None else child.poll() is not None

    def _last_words(self, name: str) -> str:
        path = self.directory / name / LOG_DIRECTORY / OUTPUT_FILE
        lines = (
            path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
        )
        return lines[-1] if lines else f"see {path.parent}"

    def _write_server_list(self) -> None:
        """Name every server that has ever listened, running or not."""
        path = self.server_list
        text = server_list_text(known_records(self.directory / name for name in self.names))
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_private_file(path, text)

    # -- ending

    def _signal(self, pid: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def _wait_until_gone(self, names: Sequence[str]) -> bool:
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self._running(names):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_INTERVAL_S)
        for name in names:
            child = self._children.pop(name, None)
            if child is not None:
                if child.stdin is not None:
                    child.stdin.close()
                child.wait()
        return True

    def _running(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if process_of(self.directory / name) is not None]

    # -- looking

    def _status(self, name: str) -> ServerStatus:
        node = self.directory / name
        pid = process_of(node)
        running: RunningNode | None = running_node(node)
        shares, size = count_shares(node / "storage" / "shares")
        return ServerStatus(
            name=name,
            state="stopped" if pid is None else "starting" if running is None else "running",
            pid=pid,
            port=None if running is None else running.port,
            shares=shares,
            bytes_used=size,
        )

    def _check_name(self, name: str) -> None:
        if name not in self.names and name != GRID_INTRODUCER:
            raise InputError(
                f"no server is called {name}; there are: {', '.join([*self.names, GRID_INTRODUCER])}"
            )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one call at a time change the grid."""
        try:
            descriptor = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise InputError(f"{self.directory} holds no grid; make one with: holdfast grid start") from None
        except OSError as error:
            raise InputError(f"cannot work in {self.directory}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def default_encoding(servers: int) -> EncodingSettings:
    """Return the usual encoding, with no more happiness than ``servers`` can give."""
    usual = EncodingSettings()
    return EncodingSettings(happiness=min(usual.happiness, servers))


def _create_server(directory: Path, introducers: Mapping[str, str], *, name: str) -> None:
    create_server_node(directory, NodeSettings(nickname=name), introducers=introducers)


def _create_client(directory: Path, introducers: Mapping[str, str], *, encoding: EncodingSettings) -> None:
    create_client_node(directory, encoding, nickname=GRID_CLIENT, introducers=introducers)


def _name(number: int) -> str:
    turn, index = divmod(number, len(NAMES))
    return NAMES[index] if turn == 0 else f"{NAMES[index]}{turn + 1}"
