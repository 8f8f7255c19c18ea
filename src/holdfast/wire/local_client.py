"""A blocking client of the control interface of a node on this machine: HTTP/1.1 over
its Unix socket, or else over the loopback address. One connection a request.

Loads next to nothing, since many a command is over sooner than an HTTP library is loaded.

Source: docs/spec/control-and-introducer.md, section 2.2.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, cast

from holdfast.errors import InputError, SourceChangedError, UnavailableError
from holdfast.wire.socket_paths import ShortPath

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from typing import BinaryIO, Protocol

    class Writable(Protocol):
        """What bytes can be written to: a file, say."""

        def write(self, data: memoryview, /) -> int | None: ...


SOCKET_FILE = "control.sock"
URL_FILE = "control.url"
TOKEN_FILE = "control.token"  # noqa: S105  (the name of a file)

PIECE = 1 << 20  # bytes sent or taken at once
READ_MAX = 64 << 20  # bytes of an answer that is read as a whole
LINE_MAX = 64 << 10  # bytes of a line of a head
HEADERS_MAX = 100


class NotRunningError(UnavailableError):
    """Nothing listens: the node does not run."""


class BrokenOffError(UnavailableError):
    """The node went away inside its answer, or the answer is no HTTP. What was received is not whole."""


class LocalClient:
    """Speaks to the node whose private directory this is, with the node's master token.

    One request at a time; ``close`` may be called from another thread and ends it.
    """

    def __init__(self, private: str | os.PathLike[str], token: str | None = None) -> None:
        """``token``: a minted one, in place of the master token."""
        self._private = os.fspath(private)
        self._given = token
        self._token = token or ""
        self._socket: socket.socket | None = None
        self._closed = False

    def request(
        self,
        method: str,
        target: str,
        *,
        body: bytes | BinaryIO = b"",
        length: int | None = None,
        accept: str | None = None,
        timeout_s: float = 120.0,
    ) -> LocalAnswer:
        """Send a request; return its answer, of whatever status, whose body is still to be read.

        Args:
            body: a file is read from where it stands, once the node has agreed to take it.
            length: bytes of a file, if known.
            timeout_s: how long the node may be silent, or not take what it is sent.

        Raises:
            NotRunningError: nothing listens, or what listened ended before it answered or took a file.
            SourceChangedError: ``body`` has fewer bytes than ``length``.
            BrokenOffError, UnavailableError: the node went away, or was silent too long.
        """
        if not self._token:
            self._read_token()
        answer = self._exchange(method, target, body, length, accept, timeout_s)
        if answer.status == 401 and self._read_token():
            answer.close()
            answer = self._exchange(method, target, body, length, accept, timeout_s)
        return answer

    def close(self) -> None:
        """End the request at hand, if there is one, and allow no other."""
        self._closed = True
        connection = self._socket
        if connection is not None:
            with suppress(OSError):  # the other end was faster
                connection.shutdown(socket.SHUT_RDWR)

    # -- the rest is private

    def _read_token(self) -> bool:
        """Read the master token; True if it is another one than before."""
        if self._given is not None:
            return False
        path = os.path.join(self._private, TOKEN_FILE)
        try:
            with open(path, encoding="ascii") as file:
                token = file.read().strip()
        except FileNotFoundError:
            raise self._not_running() from None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"{path} is damaged; the next start of the node makes another") from None
        changed = token != self._token
        self._token = token
        return changed

    def _exchange(
        self,
        method: str,
        target: str,
        body: bytes | BinaryIO,
        length: int | None,
        accept: str | None,
        timeout_s: float,
    ) -> LocalAnswer:
        connection, host = self._connect(timeout_s)
        self._socket = connection
        answer = LocalAnswer(connection)
        if self._closed:
            answer.close()
            raise UnavailableError("the request was given up")
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {host}",
            f"Authorization: Bearer {self._token}",
            "Connection: close",
        ]
        if accept is not None:
            lines.append(f"Accept: {accept}")
        whole = body if isinstance(body, bytes) else None
        if whole is not None:
            lines.append(f"Content-Length: {len(whole)}")
        else:
            lines.append("Expect: 100-continue")
            lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
        try:
            answer.send(head + (whole or b""))
            if not answer.begins():
                raise self._not_running()  # it was about to end when it was asked
            answer.read_head()
            if answer.status == 100:
                assert not isinstance(body, bytes)
                _send_file(answer, body, length)
                answer.read_head()
        except BaseException:
            answer.close()
            raise
        return answer

    def _connect(self, timeout_s: float) -> tuple[socket.socket, str]:
        path = os.path.join(self._private, SOCKET_FILE)
        if hasattr(socket, "AF_UNIX") and os.path.exists(path):
            with ShortPath(path) as name:
                connection = self._connected(socket.AF_UNIX, name, timeout_s)
            if connection is not None:
                return connection, "localhost"
        address = self._loopback_address()
        if address is not None:
            connection = self._connected(socket.AF_INET, address, timeout_s)
            if connection is not None:
                return connection, f"{address[0]}:{address[1]}"
        raise self._not_running()

    def _connected(
        self, family: int, address: str | tuple[str, int], timeout_s: float
    ) -> socket.socket | None:
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except OSError as error:
            connection.close()
            raise UnavailableError(f"cannot reach the node: {error.strerror or error}") from None
        return connection

    def _loopback_address(self) -> tuple[str, int] | None:
        try:
            with open(os.path.join(self._private, URL_FILE), encoding="ascii") as file:
                host, _, port = file.read().strip().removeprefix("http://").rpartition(":")
            return host, int(port)
        except (OSError, ValueError):
            return None

    def _not_running(self) -> NotRunningError:
        return NotRunningError(f"the node {os.path.dirname(os.path.abspath(self._private))} does not run")


class LocalAnswer:
    """An answer, whose body is read once, by one of the methods; then the connection is closed."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = cast("io.BufferedReader", connection.makefile("rb", buffering=64 << 10))
        self.status = 0
        self.headers: dict[str, str] = {}  # by name in lower case

    def __enter__(self) -> LocalAnswer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the node notices if it has not sent all."""
        self._reader.close()
        self._connection.close()

    def read_json(self) -> Any:
        """Return the body as the JSON value that it is."""
        parts = []
        size = 0
        for piece in self._pieces():
            size += len(piece)
            if size > READ_MAX:
                raise BrokenOffError("the node's answer is too long")
            parts.append(bytes(piece))
        return _parsed(b"".join(parts))

    def lines(self) -> Iterator[Any]:
        """Yield the JSON value of each line as it comes."""
        rest = b""
        for piece in self._pieces():
            *whole, rest = (rest + bytes(piece)).split(b"\n")
            if len(rest) > READ_MAX:
                raise BrokenOffError("the node's answer is too long")
            for line in whole:
                yield _parsed(line)
        if rest:
            yield _parsed(rest)

    def copy_to(self, file: Writable, on_bytes: Callable[[int], object] | None = None) -> int:
        """Write the body to ``file`` as it comes; return its length. ``on_bytes`` is told of each piece.

        Raises:
            BrokenOffError: the node broke off; so many bytes as ``on_bytes`` was told are written and right.
            OSError: ``file`` does not take them.
        """
        count = 0
        for piece in self._pieces():
            view = piece
            while view:
                written = file.write(view)
                view = view[len(view) if written is None else written :]
            count += len(piece)
            if on_bytes is not None:
                on_bytes(len(piece))
        return count

    # -- the rest is for LocalClient

    def send(self, data: bytes) -> bool:
        """Send ``data``; False if the node takes no more, and its answer tells why."""
        try:
            self._connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        except OSError as error:
            self._failed(error)
        return True

    def begins(self) -> bool:
        """Wait for the first byte; False if the node ends the connection instead."""
        try:
            return bool(self._reader.peek(1))
        except ConnectionError:
            return False
        except OSError as error:
            self._failed(error)

    def read_head(self) -> None:
        """Read status and headers."""
        words = self._line().split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise BrokenOffError("what answers is not the node")
        self.status = int(words[1])
        self.headers = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name.strip().lower()] = value.strip()
            if len(self.headers) > HEADERS_MAX:
                raise BrokenOffError("the head of the node's answer is too long")

    def _pieces(self) -> Iterator[memoryview]:
        """Yield the body in pieces, each valid until the next; close the connection in the end."""
        try:
            if self.headers.get("transfer-encoding") == "chunked":
                while size := _number(self._line(), 16):
                    yield from self._exactly(size)
                    self._line()
            else:
                yield from self._exactly(_number(self.headers.get("content-length", "0"), 10))
        finally:
            self.close()

    def _exactly(self, size: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(size, PIECE)))
        while size:
            try:
                count = self._reader.readinto1(buffer[: min(size, len(buffer))])
            except OSError as error:
                self._failed(error)
            if not count:
                raise BrokenOffError("the node broke off its answer")
            size -= count
            yield buffer[:count]

    def _line(self) -> bytes:
        try:
            line = self._reader.readline(LINE_MAX)
        except OSError as error:
            self._failed(error)
        if not line.endswith(b"\n"):
            raise BrokenOffError("the node broke off its answer")
        return line.rstrip(b"\r\n")

    def _failed(self, error: OSError) -> NoReturn:
        if isinstance(error, TimeoutError):
            raise UnavailableError(f"the node was silent for {self._connection.gettimeout():.0f} s") from None
        raise BrokenOffError(f"the node broke off: {error.strerror or error}") from None


def _send_file(answer: LocalAnswer, file: BinaryIO, length: int | None) -> None:
    """Send what ``file`` holds from where it stands: ``length`` bytes, or all in chunked coding."""
    left = length
    while left is None or left:
        piece = file.read(PIECE if left is None else min(PIECE, left))
        if left is None:
            if not answer.send(b"%x\r\n%b\r\n" % (len(piece), piece)) or not piece:
                return
            continue
        if not piece:
            raise SourceChangedError("the file became shorter while it was read; nothing was stored")
        if not answer.send(piece):
            return
        left -= len(piece)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise BrokenOffError("the node's answer makes no sense") from None


def _number(text: bytes | str, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError:
        number = -1
    if number < 0:
        raise BrokenOffError("the node's answer makes no sense")
    return number
