"""The blocking client before a node that does what it should not."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import HoldfastError
from holdfast.node.control import calls
from holdfast.wire.local_client import BrokenOffError, LocalAnswer, LocalClient, NotRunningError


@contextmanager
def impostor(private: Path, behave: Callable[[socket.socket], object]) -> Iterator[LocalClient]:
    """Let ``behave`` answer one connection."""
    private.mkdir(mode=0o700, exist_ok=True)
    (private / "control.token").write_text("token\n")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(private / "control.sock"))
    listener.listen()

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            behave(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield LocalClient(private)
    finally:
        thread.join(5)
        listener.close()
        (private / "control.sock").unlink()


def test_a_node_that_ends_before_it_answers_does_not_run(tmp_path: Path) -> None:
    for behave in (lambda connection: connection.recv(1), lambda connection: None):
        with impostor(tmp_path, behave) as client, pytest.raises(NotRunningError):
            calls.call(client, "GET", "memory")
    file = io.BytesIO(b"x" * 1000)
    with (
        impostor(tmp_path, lambda connection: connection.recv(9999)) as client,
        pytest.raises(NotRunningError),
    ):
        calls.upload(client, file)
    assert file.tell() == 0


@pytest.mark.parametrize("part", [b"HTTP", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}"])
def test_a_node_that_ends_inside_its_answer_is_noticed(tmp_path: Path, part: bytes) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(9999)
        connection.sendall(part)

    with impostor(tmp_path, behave) as client, pytest.raises(BrokenOffError):
        calls.call(client, "GET", "memory")


def test_an_answer_before_the_file_is_taken_is_heard(tmp_path: Path) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(9999)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.recv(10)
        connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 44\r\n\r\n")
        connection.sendall(b'{"error": "NoServersError", "message": "oh"}')

    with impostor(tmp_path, refuse) as client, pytest.raises(HoldfastError, match="oh"):
        calls.upload(client, io.BytesIO(bytes(50 << 20)), 50 << 20)


OK = b"HTTP/1.1 200 OK\r\n"
HEAD = st.sampled_from(
    [b"", OK + b"\r\n"]
    + [OK + b"Content-Length: %d\r\n\r\n" % length for length in (-1, 0, 2, 9)]
    + [OK + b"Transfer-Encoding: chunked\r\n\r\n"]
)
BODY = st.binary(max_size=60) | st.lists(
    st.sampled_from([b"1\r\n7\r\n", b"3\r\n[]\n\r\n", b"0\r\n\r\n", b"-1\r\n", b"zz\r\n", b"{}", b"\n"]),
    max_size=6,
).map(b"".join)


@given(HEAD, BODY, st.booleans())
def test_whatever_answers_is_read_or_refused(head: bytes, body: bytes, lines: bool) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(head + body)
    theirs.close()
    ours.settimeout(5)
    answer = LocalAnswer(ours)
    try:
        answer.read_head()
        list(answer.lines()) if lines else answer.read_json()
    except BrokenOffError:
        pass
    finally:
        answer.close()
