"""The entry point: runs a command, and turns whatever ends it into an exit status and
one sentence on standard error.

Imports little at first, so that an interrupt is handled from the first moment on.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from holdfast.cli.interrupts import InterruptedBySignalError, exit_on_signals


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    try:
        exit_on_signals()
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may lack some signs
        code = _run(arguments)
        sys.stdout.flush()
    except BaseException as error:
        code = _explain(error)
    if code >= 128:
        # A thread may still wait for a pipe; leaving in the ordinary way would wait for it.
        _leave(code)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    from holdfast.cli.commands import holdfast

    result = holdfast.main(arguments, prog_name="holdfast", standalone_mode=False)
    return result if isinstance(result, int) else 0


def _explain(error: BaseException) -> int:
    if isinstance(error, InterruptedBySignalError):
        return 128 + error.number
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    import click

    from holdfast.cli.commands import OutputGoneError
    from holdfast.cli.exit_codes import ExitCode, exit_code_of
    from holdfast.cli.messages import note, sentence_for

    if isinstance(error, KeyboardInterrupt | click.Abort):
        return ExitCode.INTERRUPTED
    if isinstance(error, BrokenPipeError | OutputGoneError):
        return ExitCode.BROKEN_PIPE
    if isinstance(error, click.UsageError):
        where = f" ({error.ctx.command_path} --help says more)" if error.ctx is not None else ""
        text = error.format_message()
        if text.startswith("Usage:"):  # a group without a command: its help
            sys.stderr.write(text + "\n")
        else:
            note(text + where)
        return ExitCode.USAGE
    if os.environ.get("HOLDFAST_DEBUG") == "1":
        import traceback

        from holdfast.node.redaction import redacted

        sys.stderr.write(redacted("".join(traceback.format_exception(error))))
    error = _innermost(error)
    note(sentence_for(error))
    return exit_code_of(error)


def _innermost(error: BaseException) -> BaseException:
    """Return what went wrong first in a group of tasks."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
