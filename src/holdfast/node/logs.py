"""Where log lines go, in which form, and how much disk they may take.

structlog and the standard library's logging end in the same handler, whose formatter
is the only way out and passes each finished line through the redaction.
"""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

from holdfast.node.config import LogConfig
from holdfast.node.redaction import hide_secret_fields, redacted

LOG_DIRECTORY = "logs"
LOG_FILE = "node.log"


_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders an event, and hides secrets in the rendered text: message, fields and traceback alike."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class PrivateRotatingFileHandler(logging.handlers.RotatingFileHandler):
    """A rotating log of mode 0600."""

    def _open(self) -> io.TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")


def log_to_directory(node: Path, config: LogConfig) -> None:
    """Write this process's log to ``logs/node.log`` of the node: JSON, a line per event, rotated.

    Levels of areas count for the modules below them: ``grid`` for ``holdfast.grid`` and all in it.
    """
    directory = node / LOG_DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    handler = PrivateRotatingFileHandler(
        directory / LOG_FILE, maxBytes=config.file_size, backupCount=config.files_kept, encoding="utf-8"
    )
    _install(handler, structlog.processors.JSONRenderer(), _LEVELS[config.level])
    for area, level in config.levels.items():
        logging.getLogger(f"holdfast.{area}").setLevel(_LEVELS[level])


def log_to_stream(stream: TextIO, level: int) -> None:
    """Write this process's log to ``stream``, for people."""
    _install(logging.StreamHandler(stream), structlog.dev.ConsoleRenderer(colors=False), level)


def log_through_the_standard_library() -> None:
    """Hand events to ``logging``, as a library should, unless the program set up structlog itself.

    A program that set up no logging at all sees none of them: what failed is in the results too.
    """
    logging.getLogger("holdfast").addHandler(logging.NullHandler())
    if not structlog.is_configured():
        _configure([structlog.processors.format_exc_info, hide_secret_fields, _readable_line])


def _install(handler: logging.Handler, renderer: Processor, level: int) -> None:
    handler.setFormatter(
        RedactingFormatter(
            foreign_pre_chain=_before_rendering(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each start otherwise
    logging.raiseExceptions = False  # a full disk must not spill log lines to standard error
    _configure([*_before_rendering(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter])


def _configure(processors: Sequence[Processor]) -> None:
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *processors],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _readable_line(_logger: object, _method: str, event: EventDict) -> str:
    """Render an event as its text and ``name=value`` for each field."""
    text = str(event.pop("event", ""))
    return redacted(" ".join([text, *(f"{name}={value!r}" for name, value in event.items())]))


def _before_rendering() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secret_fields,
    ]
