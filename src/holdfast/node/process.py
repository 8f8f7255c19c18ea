"""The process of one node: opens its services, listens, meets others, serves, stops in order.

python -m holdfast.node.process DIRECTORY [--allow-stdin-close]

Source: docs/spec/control-and-introducer.md.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from holdfast.errors import ConfigError, HoldfastError, InputError
from holdfast.node.config import NodeConfig, load_config
from holdfast.node.controlled_node import ControlledProcess
from holdfast.node.event_loop import loop_factory, prefer_the_event_loop
from holdfast.node.freed_memory import keep_freed_memory
from holdfast.node.identity import NodeIdentity, load_node_identity
from holdfast.node.introducer_nurls import nurls_of, write_introducer_nurls
from holdfast.node.listening import listening
from holdfast.node.logs import LOG_DIRECTORY, LOG_FILE, log_to_directory
from holdfast.node.meeting import announce_services, announcer_of, meeting_settings, open_meeting
from holdfast.node.node_service import node_handler, node_of
from holdfast.node.redaction import redacted
from holdfast.node.routing import by_prefix
from holdfast.node.running import RunningNode, announce, the_only_process, withdraw
from holdfast.node.services import Services, open_services
from holdfast.node.signals import input_has_another_end, stopped_by_signals, when_input_ends
from holdfast.node.swissnums import NODE_SWISSNUM_FILE, kept_swissnum
from holdfast.wire.server import ServerLimits

if TYPE_CHECKING:
    from holdfast.grid.introducer_client import IntroducerClient
    from holdfast.node.client_side import ClientSide

LOGGER = "holdfast.node.process"  # not __name__, which is __main__ in a process of its own
log = structlog.get_logger(LOGGER)

EXIT_FAILED = 1
POLLED_CONNECTIONS_MAX = 12_000  # each waiting poll is one
STOP_S = 2.5  # for what peers have under way; with the control interface's, less than 5 s in all


def run_node(
    directory: Path,
    *,
    exit_with_parent: bool = True,
    on_serving: Callable[[RunningNode], None] = lambda running: None,
) -> None:
    """Run a node until SIGTERM, SIGINT or SIGHUP, until it is told to stop, or until standard input ends.

    Args:
        exit_with_parent: end when the other end of standard input is closed, if that is a pipe or a socket.
        on_serving: told once that the node serves.

    Raises:
        ConfigError: the directory, its settings or its identity are not as they must be.
        AlreadyRunningError: another process runs this node.
        InputError: the port is taken, or a file cannot be read or written.
    """
    config = load_config(directory)
    if not config.serves and not config.client.enabled:
        raise ConfigError(f"{directory}: no service is enabled, so there is nothing to run")
    with _files_named(), the_only_process(directory):
        withdraw(directory)
        log_to_directory(directory, config.logs)
        prefer_the_event_loop()
        keep_freed_memory()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_Process(directory, config).run(exit_with_parent, on_serving))


@contextmanager
def _files_named() -> Iterator[None]:
    """Say which file could not be read or written: that is no defect, but a full disk, say, or its mode."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        name = error.filename2 or error.filename  # of a renamed file, the name it was to have
        raise InputError(f"{name} cannot be used: {error.strerror}") from error


class _Process:
    """One run of a node."""

    def __init__(self, directory: Path, config: NodeConfig) -> None:
        self._directory = directory
        self._private = directory / "private"
        self._config = config
        self._stop = asyncio.Event()

    async def run(self, exit_with_parent: bool, on_serving: Callable[[RunningNode], None]) -> None:
        with stopped_by_signals(self._stop):
            if exit_with_parent and input_has_another_end():
                when_input_ends(self._stop.set)
            async with AsyncExitStack() as stack:
                running = await self._start(stack)
                announce(self._directory, running)
                log.info("serving", node=running.server_id, port=running.port)
                try:
                    on_serving(running)
                    await self._stop.wait()
                finally:
                    withdraw(self._directory)
                    log.info("stopping")
        log.info("stopped")

    async def _start(self, stack: AsyncExitStack) -> RunningNode:
        """Start everything; what was started is stopped in the opposite order."""
        config, identity = self._config, load_node_identity(self._private)
        services = await stack.enter_async_context(open_services(self._directory, config, identity))
        port = await self._listen(stack, services) if config.serves else 0
        meeting = await stack.enter_async_context(
            open_meeting(
                self._private,
                meeting_settings(self._private, config.meeting),
                announcer=announcer_of(self._private, config, identity) if config.serves else None,
                own=services.introducer,
            )
        )
        nurls = self._announce(services, meeting, identity, port) if config.serves else {}
        client = await self._open_client(stack, meeting) if config.client.enabled else None
        if client is not None:
            await self._back_up(stack, services, client)
        node = ControlledProcess(
            config=config, services=services, meeting=meeting, client=client, port=port, stop_event=self._stop
        )
        await stack.enter_async_context(node.serving(self._private))
        return RunningNode(
            pid=os.getpid(), port=port, server_id=identity.server_id, nurls=nurls.get("storage", ())
        )

    async def _listen(self, stack: AsyncExitStack, services: Services) -> int:
        limits = (
            ServerLimits(connections_max=POLLED_CONNECTIONS_MAX, stop_s=STOP_S)
            if services.introducer is not None or services.vdrive is not None
            else ServerLimits(stop_s=STOP_S)
        )
        handler = by_prefix(services.handlers)  # the node's own is added once the port is known
        port = await stack.enter_async_context(
            listening(self._directory, self._config.node, services.identity.tls_path, handler, limits)
        )
        # What waits for news would hold up the end of the listener.
        if services.vdrive is not None:
            stack.callback(services.vdrive.release_polls)
        if services.introducer is not None:
            stack.callback(services.introducer.release_polls)
            write_introducer_nurls(self._private, services.identity, self._config.node, port)
        return port

    def _announce(
        self, services: Services, meeting: IntroducerClient, identity: NodeIdentity, port: int
    ) -> dict[str, tuple[str, ...]]:
        """Offer the node's own calls, and keep all announced; return the NURLs by service."""
        swissnum = kept_swissnum(self._private / NODE_SWISSNUM_FILE)
        nurls = services.nurls(self._private, self._config, port)
        told = {name: places[0] for name, places in nurls.items()}
        services.handlers["/node"] = node_handler(node_of(identity, self._config, told), swissnum)
        announce_services(meeting, services, nurls, nurls_of(identity, self._config.node, port, swissnum))
        return nurls

    async def _open_client(self, stack: AsyncExitStack, meeting: IntroducerClient) -> ClientSide:
        # Servers do without what only clients need.
        from holdfast.node.client_node import load_client_settings, load_listed_servers
        from holdfast.node.client_side import open_client_side

        records, problems = load_listed_servers(self._directory)
        for problem in problems:
            log.warning("a server of the list cannot be used", problem=problem)
        return await stack.enter_async_context(
            open_client_side(
                self._private,
                records,
                load_client_settings(self._directory),
                self._config.vdrive,
                meeting,
                meeting_settings(self._private, self._config.meeting),
            )
        )

    async def _back_up(self, stack: AsyncExitStack, services: Services, client: ClientSide) -> None:
        every_s = self._config.vdrive_server.backup_every_s
        if services.vdrive is not None and every_s:
            from holdfast.node.vdrive_backup import backing_up

            engine = services.vdrive
            await stack.enter_async_context(
                backing_up(client.grid, engine.database, engine.settings, every_s)
            )


def main() -> int:
    """Run as a program; say on standard error, in one sentence, why it did not work."""
    parser = argparse.ArgumentParser(prog="holdfast-node", description="Run one node.")
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "--allow-stdin-close", action="store_true", help="go on when a pipe at standard input is closed"
    )
    arguments = parser.parse_args()
    try:
        run_node(arguments.directory, exit_with_parent=not arguments.allow_stdin_close)
    except HoldfastError as error:
        if logging.getLogger().handlers:  # the log was open already
            logging.getLogger(LOGGER).error("%s", error)
        sys.stderr.write(f"{redacted(str(error))}\n")
        return EXIT_FAILED
    except Exception as error:
        # The log hides secrets in tracebacks; the interpreter would not.
        logging.getLogger(LOGGER).critical("a defect", exc_info=True)
        sys.stderr.write(f"a defect ({type(error).__name__}); see {LOG_DIRECTORY}/{LOG_FILE}\n")
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
