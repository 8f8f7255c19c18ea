"""The calls of the control interface as a program makes them, blocking. Errors are
those that the node met: of ``holdfast.errors``, and of ``node.control.errors``.

Loads next to nothing, like the client below it.

Source: docs/spec/control-and-introducer.md, section 2.4.
"""

from __future__ import annotations

import json
import os
import stat
import time
from typing import TYPE_CHECKING, Any, cast

from holdfast.errors import SourceChangedError
from holdfast.node.control.errors import error_from_json
from holdfast.wire.local_client import BrokenOffError, LocalAnswer, LocalClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

    from holdfast.wire.local_client import Writable

BASE = "/control/v1"
LINES = "application/x-ndjson"
WAIT_STEP_S = 30.0  # of one request that waits
PATIENCE_S = 120.0  # silence of the node that is borne
NAME_MAX = 255  # characters
DOWNLOAD_PATIENCE_S = 600.0  # until the first bytes are proven


def call(
    client: LocalClient,
    method: str,
    name: str,
    body: Mapping[str, object] | None = None,
    *,
    timeout_s: float = PATIENCE_S,
) -> Any:
    """Make a call that answers with JSON; return that.

    ``name``: what follows ``/control/v1/``, with the query.
    """
    data = b"" if body is None else json.dumps(body).encode("ascii")
    answer = client.request(method, f"{BASE}/{name}", body=data, timeout_s=timeout_s)
    return checked(answer).read_json()


def checked(answer: LocalAnswer) -> LocalAnswer:
    """Return ``answer``, or raise the error that it tells of."""
    if answer.status < 400:
        return answer
    try:
        value = answer.read_json()
    except BrokenOffError:
        value = None
    raise error_from_json(value, answer.status)


def wait_for_connections(client: LocalClient, count: int, timeout_s: float | None = None) -> int:
    """Return how many storage servers are connected, once ``count`` are.

    Raises:
        TimeoutError: ``timeout_s`` went by before; None: wait for ever.
    """
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        step = WAIT_STEP_S if end is None else max(0.0, min(WAIT_STEP_S, end - time.monotonic()))
        answer = call(client, "GET", f"connections/wait?n={count}&timeout={step:.3f}")
        connected = int(answer["connected"])
        if connected >= count:
            return connected
        if end is not None and time.monotonic() >= end:
            raise TimeoutError(f"{connected} of {count} storage servers are connected")


def upload(
    client: LocalClient,
    file: bytes | BinaryIO,
    length: int | None = None,
    *,
    random_key: bool = False,
    encoding: tuple[int, int, int] | None = None,
    segment_size: int | None = None,
    name: str = "",
    on_progress: Callable[[str, int, int], object] | None = None,
) -> dict[str, Any]:
    """Store what ``file`` gives from where it stands; return the node's answer, with ``uri``.

    Args:
        length: bytes it gives, if known.
        name: of the file, for whoever looks at what the node does.
        encoding: needed, happiness, total; None: as the node is used to.
        on_progress: told stage, bytes done, bytes in all.

    Raises:
        SourceChangedError: the file changed while it was read; nobody has learned its capability.
    """
    query = [f"convergence={'random' if random_key else 'default'}"]
    if encoding is not None:
        query.append("encoding={}/{}/{}".format(*encoding))
    if segment_size is not None:
        query.append(f"segment-size={segment_size}")
    if name:
        query.append(f"name={_quoted(name[:NAME_MAX])}")
    before = None if isinstance(file, bytes) else _fingerprint(file)
    target = f"{BASE}/upload?{'&'.join(query)}"
    with client.request(
        "POST", target, body=file, length=length, accept=LINES, timeout_s=PATIENCE_S
    ) as answer:
        checked(answer)
        if before is not None and not isinstance(file, bytes) and _fingerprint(file) != before:
            raise SourceChangedError("the file changed while it was read; try again when it rests")
        return last_line(answer, on_progress)


def upload_file(
    client: LocalClient, path: str, on_progress: Callable[[str, int, int], object] | None = None
) -> dict[str, Any]:
    """Let the node store a file of its own disk; return its answer, with ``uri``."""
    data = json.dumps({"path": path}).encode("ascii")
    with client.request(
        "POST", f"{BASE}/upload-file", body=data, accept=LINES, timeout_s=PATIENCE_S
    ) as answer:
        return last_line(checked(answer), on_progress)


def download_file(
    client: LocalClient,
    uri: str,
    path: str,
    *,
    overwrite: bool = False,
    on_progress: Callable[[str, int, int], object] | None = None,
) -> str:
    """Let the node write a file of its own disk; return the file's absolute name."""
    data = json.dumps({"uri": uri, "path": path, "overwrite": overwrite}).encode("ascii")
    with client.request(
        "POST", f"{BASE}/download-file", body=data, accept=LINES, timeout_s=PATIENCE_S
    ) as answer:
        return str(last_line(checked(answer), on_progress)["path"])


def last_line(
    answer: LocalAnswer, on_progress: Callable[[str, int, int], object] | None = None
) -> dict[str, Any]:
    """Return what the last line of an answer says; raise it if it is an error."""
    for line in answer.lines():
        if not isinstance(line, dict):
            break
        if "error" in line:
            raise error_from_json(line)
        if "progress" not in line:
            return line
        if on_progress is not None and "total" in line:
            on_progress(str(line["stage"]), int(line["progress"]), int(line["total"]))
    raise BrokenOffError("the node's answer has no end")


def download(
    client: LocalClient,
    uri: str,
    file: Writable,
    *,
    offset: int = 0,
    size: int | None = None,
    on_bytes: Callable[[int, int], object] | None = None,
) -> int:
    """Write the bytes ``[offset, offset + size)`` of a stored file to ``file``; return how many they are.

    If the node breaks off, it is asked for the rest, or for what is wrong.

    Args:
        on_bytes: told how many are written, and how many there will be.
    """
    done = 0
    total: int | None = None

    def count(piece: int) -> None:
        nonlocal done
        done += piece
        if on_bytes is not None:
            on_bytes(done, cast(int, total))

    while True:
        before = done
        body: dict[str, object] = {"uri": uri, "offset": offset + done}
        if total is not None:
            body["size"] = total - done
        elif size is not None:
            body["size"] = size
        data = json.dumps(body).encode("ascii")
        try:
            with client.request(
                "POST", f"{BASE}/download", body=data, timeout_s=DOWNLOAD_PATIENCE_S
            ) as answer:
                checked(answer)
                if total is None:
                    total = int(answer.headers["content-length"])
                answer.copy_to(file, count)
            return done
        except BrokenOffError:
            if done == before:
                raise


def _quoted(text: str) -> str:
    """Return ``text`` as it may stand in a query."""
    return "".join(
        chr(byte) if byte < 128 and chr(byte).isalnum() else f"%{byte:02X}"
        for byte in text.encode("utf-8", "replace")
    )


def _fingerprint(file: BinaryIO) -> tuple[int, int] | None:
    """Return what tells that a regular file changed; None for anything else."""
    try:
        status = os.fstat(file.fileno())
    except (OSError, AttributeError):  # no file of the system
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
