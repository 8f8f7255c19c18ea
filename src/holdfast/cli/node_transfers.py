"""put and get by a node that runs: this process only hands the bytes over, so it loads next
to nothing, and connections to the servers are open already.

What the node cannot be asked for, or refuses before a byte was handed over, is left to this
process, which then says itself what is wrong with it.

Source: docs/spec/control-and-introducer.md, section 2.4.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from holdfast.cli.interrupts import raising_on_signals
from holdfast.cli.messages import note
from holdfast.cli.progress_bars import drawn_stages
from holdfast.cli.running_node import client_of
from holdfast.errors import InputError, UnavailableError
from holdfast.node.control import calls
from holdfast.node.control.errors import ForeignRequestError, OutOfScopeError, UnauthorizedError
from holdfast.wire.local_client import NotRunningError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, BinaryIO

    from holdfast.cli.files import InputFile, OutputFile
    from holdfast.cli.progress_bars import Draw
    from holdfast.errors import HoldfastError

_LOCKED_OUT = (UnauthorizedError, ForeignRequestError, OutOfScopeError)
_DECLINED = (NotRunningError, InputError, *_LOCKED_OUT)


def stored_by_node(
    node: Path,
    file: InputFile,
    *,
    random_key: bool,
    encoding: tuple[int, int, int] | None,
    segment_size: int | None,
    quiet: bool,
) -> dict[str, Any] | None:
    """Let the node that runs in ``node`` store ``file``; return what it says.

    None: it does not, and nothing of ``file`` was read.

    Raises:
        HoldfastError: what the node met; or it went away meanwhile.
    """
    with raising_on_signals(), drawn_stages(show=not quiet) as draw:
        handed_over = HandedOver(file, draw)
        try:
            return calls.upload(
                client_of(node),
                cast("BinaryIO", handed_over),
                file.size,
                random_key=random_key,
                encoding=encoding,
                segment_size=segment_size,
                name="" if file.size is None else os.path.basename(file.name),
                on_progress=draw,
            )
        except _DECLINED as error:
            if handed_over.begun:
                raise
            _note_locked_out(error, quiet)
            return None


def read_by_node(
    node: Path, cap: str, output: OutputFile, *, offset: int, size: int | None, quiet: bool
) -> bool:
    """Let the node that runs in ``node`` read the file of ``cap``, or a range of it, into ``output``.

    False: it does not, and nothing was written.

    Raises:
        HoldfastError: what the node met; or it went away meanwhile.
    """
    with raising_on_signals(), output, drawn_stages(show=not quiet) as draw:
        try:
            calls.download(
                client_of(node),
                cap,
                output,
                offset=offset,
                size=size,
                on_bytes=lambda *count: draw("downloading", *count),
            )
            output.begin()
        except NotRunningError:
            if output.begun:
                raise UnavailableError(
                    "the node stopped before the download was complete; try again"
                ) from None
            return False
        except _DECLINED as error:
            if output.begun:
                raise
            _note_locked_out(error, quiet)
            return False
        return True


class HandedOver:
    """A file to be stored, as the client of a node reads it. ``begun``: it has begun to."""

    def __init__(self, file: InputFile, draw: Draw) -> None:
        self._file = file
        self._draw = draw
        self._count = 0
        self.begun = False

    def fileno(self) -> int:
        return self._file.descriptor

    def read(self, size: int) -> bytes:
        self.begun = True
        try:
            piece = os.read(self._file.descriptor, size)
        except OSError as error:
            raise InputError(f"cannot read {self._file.name}: {error.strerror}") from error
        self._count += len(piece)
        if self._file.size is not None:
            self._draw("handing over", self._count, self._file.size)
        return piece


def _note_locked_out(error: HoldfastError, quiet: bool) -> None:
    if isinstance(error, _LOCKED_OUT) and not quiet:
        note(f"done without the node that runs: {error}")
