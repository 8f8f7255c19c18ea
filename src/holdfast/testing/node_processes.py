"""Nodes as processes of their own, in one directory, for tests: made, started, stopped, killed,
paused, and asked how they are through their control sockets.

Whatever happens in a test, all of them have ended when the block ends; and if the process of the
test itself is killed, they end with it, since the other ends of their standard inputs close.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from holdfast.errors import HoldfastError
from holdfast.grid.settings import EncodingSettings
from holdfast.node.config import (
    CONFIG_FILE,
    Admission,
    ClientConfig,
    IntroducerConfig,
    NodeConfig,
    NodeSettings,
    StorageConfig,
)
from holdfast.node.control.calls import call
from holdfast.node.creation import create_node_directory
from holdfast.node.introducer_nurls import read_introducer_nurls
from holdfast.node.running import RunningNode, running_node
from holdfast.testing.command_line import environment
from holdfast.testing.warm_processes import WarmProcess
from holdfast.wire.local_client import LocalClient

PATIENCE_S = 30.0  # for what takes a second at most, on a machine that others use too
POLL_S = 0.02
START_S = 60.0
ONE_OF_ONE = EncodingSettings(shares_needed=1, happiness=1, shares_total=1)

Status = dict[str, Any]
"""What ``/control/v1/status`` answers."""


class NodeProcess:
    """One node directory, and at most one process that runs it. All methods block."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.private = directory / "private"
        self.output_file = directory.with_name(directory.name + ".output")  # what its process prints
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.directory.name

    def configure(self, line: str, changed: str) -> None:
        """Put ``changed`` in the place of a line of the file of settings; it counts from the next start."""
        path = self.directory / CONFIG_FILE
        text = path.read_text("utf-8")
        assert text.count(f"{line}\n") == 1, f"{path} has no such line, or several: {line}"
        path.write_text(text.replace(f"{line}\n", f"{changed}\n"), "utf-8")

    # -- running

    def launch(self, *arguments: str, stdin: int = subprocess.PIPE) -> None:
        """Start a process, and do not wait for anything."""
        assert not self.runs, f"{self.name} runs already"
        self.end()
        with open(self.output_file, "wb") as output:
            self._process = WarmProcess(
                "holdfast.node.process",
                [self.directory, *arguments],
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(None),
                start_new_session=True,
            )

    def start(self, *arguments: str, stdin: int = subprocess.PIPE) -> RunningNode:
        """Start a process; return once it serves."""
        self.launch(*arguments, stdin=stdin)
        return self.wait_until_serving()

    def wait_until_serving(self, within_s: float = START_S) -> RunningNode:
        """Return what the node says of itself, once it serves.

        Raises:
            AssertionError: its process ended instead, or it took too long.
        """
        deadline = time.monotonic() + within_s
        while (running := running_node(self.directory)) is None or running.pid != self.pid:
            assert self.runs, f"{self.name} did not start: {self.output}"
            assert time.monotonic() < deadline, f"{self.name} does not serve after {within_s:g} s"
            time.sleep(POLL_S)
        return running

    def wait_until_ended(self, within_s: float = PATIENCE_S) -> int:
        """Return the exit status; that of a process killed by a signal is the signal's number, negative.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        assert self._process is not None, f"{self.name} was never started"
        return self._process.wait(within_s)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Ask it to end; return the seconds that took."""
        began = time.monotonic()
        self.send(number)
        code = self.wait_until_ended()
        assert code == 0, f"{self.name} ended with status {code}: {self.output}"
        return time.monotonic() - began

    def kill(self) -> None:
        """End it as a power cut would."""
        self.send(signal.SIGKILL)
        self.wait_until_ended()

    def pause(self) -> None:
        """Let it do nothing until ``resume``."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None and self.runs, f"{self.name} does not run: {self.output}"
        self._process.send_signal(number)

    def close_input(self) -> None:
        """Close the other end of its standard input, as happens when whoever started it dies."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self) -> None:
        """Make sure that no process is left, whatever state it is in."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    # -- looking

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def port(self) -> int:
        """Where it listens, or did when it last ran."""
        return int((self.directory / "port").read_text())

    @property
    def output(self) -> str:
        """What its last process printed."""
        return self.output_file.read_text("utf-8", "replace").strip() if self.output_file.exists() else ""

    @property
    def log(self) -> str:
        """All that is in its log files."""
        return "".join(path.read_text("utf-8") for path in sorted((self.directory / "logs").glob("*")))

    def client(self) -> LocalClient:
        """Return what speaks to its control interface."""
        return LocalClient(self.private)

    def call(self, method: str, name: str, body: Mapping[str, object] | None = None) -> Any:
        """Make a call of the control interface; ``name``: what follows ``/control/v1/``."""
        return call(self.client(), method, name, body, timeout_s=PATIENCE_S)

    def status(self) -> Status:
        return dict(self.call("GET", "status"))

    def wait_for(
        self, condition: Callable[[Status], object], within_s: float = PATIENCE_S, what: str = "it"
    ) -> Status:
        """Return the status of the node once ``condition`` holds for it.

        Raises:
            AssertionError: that took too long; the message has the last status.
        """
        deadline = time.monotonic() + within_s
        while True:
            try:
                status = self.status()
            except HoldfastError as error:  # it starts, or was killed just now
                assert time.monotonic() < deadline, f"{what}: {self.name} cannot be asked: {error}"
            else:
                if condition(status):
                    return status
                assert time.monotonic() < deadline, f"{what}: not within {within_s:g} s; {_shown(status)}"
            time.sleep(POLL_S)


class NodeProcesses:
    """The nodes of one test, by name; a context manager that ends them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._nodes: dict[str, NodeProcess] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self._nodes.values():
            node.end()

    def __getitem__(self, name: str) -> NodeProcess:
        return self._nodes[name]

    # -- making

    def make(self, name: str, config: NodeConfig, introducers: Iterable[NodeProcess] = ()) -> NodeProcess:
        """Make a node. It knows ``introducers``, which have served before, under their names."""
        nurls = {one.name: read_introducer_nurls(one.private) for one in introducers}
        known = {
            petname: nurl.publish if config.serves else nurl.subscribe for petname, nurl in nurls.items()
        }
        create_node_directory(self.directory / name, config, known)
        return self.adopt(name)

    def adopt(self, name: str) -> NodeProcess:
        """Take care of a node directory that is there."""
        self._nodes[name] = NodeProcess(self.directory / name)
        return self._nodes[name]

    def introducer(
        self, name: str = "introducer", *, port: int = 0, admission: Admission = "open"
    ) -> NodeProcess:
        """Make an introducer. Port 0: one of its own choice."""
        settings = NodeSettings(nickname=name, port=port)
        introducer = IntroducerConfig(enabled=True, admission=admission)
        return self.make(name, NodeConfig(node=settings, introducer=introducer))

    def server(
        self, name: str, introducers: Iterable[NodeProcess], *, location: Sequence[str] = ()
    ) -> NodeProcess:
        """Make a storage server. ``location``: where it says that it is reached."""
        settings = NodeSettings(nickname=name, location=tuple(location))
        config = NodeConfig(node=settings, storage=StorageConfig(enabled=True))
        return self.make(name, config, introducers)

    def client(
        self,
        name: str,
        introducers: Iterable[NodeProcess],
        encoding: EncodingSettings = ONE_OF_ONE,
    ) -> NodeProcess:
        """Make a client, which serves nothing."""
        client = ClientConfig(enabled=True, encoding=encoding)
        config = NodeConfig(node=NodeSettings(nickname=name), client=client)
        return self.make(name, config, introducers)

    # -- running

    def start(self, *nodes: NodeProcess) -> None:
        """Start nodes at the same time; return once all serve."""
        for node in nodes:
            node.launch()
        for node in nodes:
            node.wait_until_serving()


# -- what a status says


def _shown(status: Status) -> Status:
    """Return what fits into a message."""
    return {name: value[:20] if isinstance(value, list) else value for name, value in status.items()}


def server_of(status: Status, name: str) -> Status:
    """Return what a client says of the server of this nickname; {} if it knows none."""
    return next((server for server in status["servers"] if server["nickname"] == name), {})


def state_of(status: Status, name: str) -> str:
    """Return the state in which a client sees a server; "" if it knows none of this nickname."""
    return str(server_of(status, name).get("state", ""))


def introducer_of(status: Status, petname: str) -> Status:
    """Return what a node says of one of its introducers."""
    return next(one for one in status["introducers"] if one["petname"] == petname)
