"""Calls that take long: they end when their client goes away, and tell how far they
are, in lines of JSON, to a client that wants to know.

Source: docs/spec/control-and-introducer.md, section 2.4.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from holdfast.errors import HoldfastError
from holdfast.grid.progress import Progress, ProgressCallback, ignore_progress
from holdfast.node.control.answers import JSON_LINES, json_answer, json_line
from holdfast.node.control.errors import DefectError, error_as_json
from holdfast.wire.http import Request, Response

log = structlog.get_logger(__name__)

LINES = "application/x-ndjson"
INTERVAL_S = 0.1  # between two lines of progress
SILENCE_MAX_S = 10.0  # then a line is sent again, so that the client sees life

Work = Callable[[ProgressCallback], Awaitable[dict[str, object]]]


async def answer_to(request: Request, work: Work, begin_lines: asyncio.Event | None = None) -> Response:
    """Carry out ``work``, and answer with what it returns.

    A client that accepts lines gets a last line with that, or with the error. The lines begin when
    ``begin_lines`` is set, if given: what fails before that is answered with a status of its own.
    """
    cancel_when_gone(request)
    if LINES not in (request.header("accept") or ""):
        return json_answer(await work(ignore_progress))
    lines = _Lines(work)
    try:
        await lines.begun(begin_lines)
    except BaseException:
        await lines.aclose()
        raise
    return Response(200, JSON_LINES, lines)


def cancel_when_gone(request: Request) -> None:
    """From now on, cancel the task that answers ``request`` if its client goes away."""
    task = asyncio.current_task()
    assert task is not None
    request.when_gone(task.cancel)


async def cancelled(task: asyncio.Task[object]) -> None:
    """Cancel ``task`` and wait for its end, however it ends."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # is seen, and of no more interest


class _Lines(AsyncIterator[bytes]):
    """The progress of one piece of work as it goes on, then its outcome."""

    def __init__(self, work: Work) -> None:
        self._progress: Progress | None = None
        self._shown: Progress | None = None
        self._shown_at = time.monotonic()
        self._ended = False
        self._task = asyncio.ensure_future(work(self._note))

    async def begun(self, begin: asyncio.Event | None) -> None:
        """Return when lines may be sent; raise what the work failed with before."""
        if begin is not None:
            waiter = asyncio.ensure_future(begin.wait())
            try:
                await asyncio.wait([self._task, waiter], return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiter.cancel()
        if self._task.done():
            self._task.result()

    async def __anext__(self) -> bytes:
        while not self._ended:
            done, _ = await asyncio.wait([self._task], timeout=INTERVAL_S)
            if done:
                self._ended = True
                return json_line(self._outcome())
            now = time.monotonic()
            progress = self._progress
            if progress is not self._shown or now - self._shown_at > SILENCE_MAX_S:
                self._shown, self._shown_at = progress, now
                return json_line(_as_json(progress))
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the work if it still goes on."""
        await cancelled(self._task)

    def _note(self, progress: Progress) -> None:
        self._progress = progress

    def _outcome(self) -> dict[str, object]:
        try:
            return self._task.result()
        except HoldfastError as error:
            return error_as_json(error)
        except asyncio.CancelledError:
            raise ConnectionError("the work was cancelled") from None
        except Exception:
            log.exception("a call failed inside the node")
            return error_as_json(DefectError("this is a defect of the node; its log says where"))


def _as_json(progress: Progress | None) -> dict[str, object]:
    if progress is None:
        return {"progress": 0}
    return {"progress": progress.done, "total": progress.total, "stage": progress.stage}
