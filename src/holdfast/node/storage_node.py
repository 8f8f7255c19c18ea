"""The process of one storage server: opens its shares, listens, serves, stops in order.

python -m holdfast.node.storage_node DIRECTORY [--exit-with-parent]
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import structlog

from holdfast.errors import ConfigError, HoldfastError, InputError
from holdfast.node.config import NodeConfig, StorageConfig, load_config
from holdfast.node.event_loop import loop_factory
from holdfast.node.identity import load_identity
from holdfast.node.logs import LOG_DIRECTORY, LOG_FILE, log_to_directory
from holdfast.node.ports import ports_to_try, remember_port, remembered_port
from holdfast.node.redaction import redacted
from holdfast.node.running import RunningNode, announce, the_only_process, withdraw
from holdfast.node.server_records import record_of
from holdfast.node.wiring import open_storage_service
from holdfast.wire.http import Handler
from holdfast.wire.server import serve, server_ssl_context

LOGGER = "holdfast.node.storage_node"  # not __name__, which is __main__ in a process of its own
log = structlog.get_logger(LOGGER)

EXIT_FAILED = 1


def run_storage_node(
    directory: Path,
    *,
    exit_with_parent: bool = False,
    on_serving: Callable[[RunningNode], None] = lambda running: None,
) -> None:
    """Serve the storage of a node directory until SIGTERM, SIGINT or SIGHUP, or until standard input ends.

    Args:
        exit_with_parent: look at standard input at all.
        on_serving: told once that the server can be reached.

    Raises:
        ConfigError: the directory, its settings or its identity are not as they must be.
        AlreadyRunningError: another process runs this node.
        InputError: the port is taken.
    """
    config = load_config(directory)
    if not config.storage.enabled:
        raise ConfigError(f"{directory}: storage.enabled is false, so there is nothing to run")
    with the_only_process(directory):
        withdraw(directory)
        log_to_directory(directory)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_run(directory, config, exit_with_parent, on_serving))


async def _run(
    directory: Path,
    config: NodeConfig,
    exit_with_parent: bool,
    on_serving: Callable[[RunningNode], None],
) -> None:
    identity = load_identity(directory / "private")
    stop = asyncio.Event()
    with _stopped_by_signals(stop):
        if exit_with_parent:
            _when_input_ends(stop.set)
        async with AsyncExitStack() as stack:
            handler = await stack.enter_async_context(
                open_storage_service(directory / "storage", config.storage, identity)
            )
            port = await _listen(stack, handler, config.storage, directory, str(identity.tls_path))
            record = record_of(config, identity, port)
            nurls = tuple(nurl.to_text() for nurl in record.nurls)
            running = RunningNode(pid=os.getpid(), port=port, server_id=record.server_id, nurls=nurls)
            announce(directory, running)
            log.info("serving", server=record.server_id, nickname=config.nickname, port=port)
            try:
                on_serving(running)
                await stop.wait()
            finally:
                withdraw(directory)
                log.info("stopping")
    log.info("stopped")


async def _listen(
    stack: AsyncExitStack, handler: Handler, config: StorageConfig, directory: Path, tls_path: str
) -> int:
    """Listen until ``stack`` closes; return the port, the same at every start."""
    context = server_ssl_context(tls_path, tls_path)
    fixed = config.port or remembered_port(directory)
    for port in [fixed] if fixed else ports_to_try():
        try:
            await stack.enter_async_context(serve(handler, config.host, port, context))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and not fixed:
                continue
            why = error.strerror or str(error)
            raise InputError(
                f"{directory.name}: cannot listen on {config.host} port {port}: {why}"
            ) from error
        if not fixed:
            remember_port(directory, port)
        return port
    raise InputError(f"{directory.name}: found no free port on {config.host}; set storage.port")


@contextmanager
def _stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _when_input_ends(call: Callable[[], object]) -> None:
    """Call ``call`` in the event loop once standard input is closed at its other end."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        while os.read(0, 1024):
            pass
        loop.call_soon_threadsafe(call)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def main() -> int:
    """Run as a program; say on standard error, in one sentence, why it did not work."""
    parser = argparse.ArgumentParser(prog="holdfast-storage-node", description="Run one storage server.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args()
    try:
        run_storage_node(arguments.directory, exit_with_parent=arguments.exit_with_parent)
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
