"""The real tahoe-lafs as a peer: storage servers, and clients that know them by static
lists of servers, over HTTPS alone, without any introducer.

Everything here blocks. Inside an event loop call it through `asyncio.to_thread`, above
all when the client is to reach a server that lives in the same loop.

Source: docs/spec/storage-disk.md, sections 1 and 2; docs/spec/grid.md, section 4;
docs/spec/web-api.md, sections 1, 4 and 11.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.crypto import base32
from holdfast.testing.tahoe_node import POLL_INTERVAL_S, TahoeNode, TahoeNodeError, free_port

CONNECT_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 600.0
BLOCK_SIZE = 1 << 20  # bytes handed to or taken from a socket at a time

Servers = Mapping[str, Mapping[str, object]]
"""The value of `storage` in a servers.yaml: server id to its entry."""


def servers_yaml(servers: Servers) -> str:
    """Return the text of a `private/servers.yaml` that names ``servers``."""
    return yaml.safe_dump({"storage": {name: dict(entry) for name, entry in servers.items()}})


class WebApiError(Exception):
    """A tahoe-lafs client answered with an error.

    Attributes:
        status: the HTTP status.
        text: the body.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:500]}")
        self.status = status
        self.text = text


class TahoeServer(TahoeNode):
    """A storage server. Its identity exists once it has been started for the first time."""

    def __init__(self, command: Path, directory: Path) -> None:
        self.port = free_port()
        super().__init__(command, directory, self._settings(directory.name))

    def _settings(self, nickname: str) -> str:
        return (
            f"[node]\nnickname = {nickname}\nweb.port =\n"
            f"tub.port = tcp:{self.port}:interface=127.0.0.1\ntub.location = tcp:127.0.0.1:{self.port}\n"
            "[storage]\nenabled = true\nreserved_space = 0\n"
        )

    def start_on_another_port(self) -> None:
        """Start it again, where it has a port that is not taken."""
        self.kill()
        self.port = free_port()
        (self.directory / "tahoe.cfg").write_text(self._settings(self.directory.name), encoding="utf-8")
        self.start()

    @property
    def listens(self) -> bool:
        """False if its port was taken: it runs nevertheless, and nobody reaches it."""
        return f"Listener starting on {self.port}\n".encode() in self._said()

    @property
    def server_id(self) -> str:
        return self._text("node.pubkey").removeprefix("pub-")

    @property
    def tub_id(self) -> str:
        """Base32 of the server seed, from which write enablers and lease secrets are made."""
        return self._text("my_nodeid")

    @property
    def permutation_seed(self) -> str:
        """Base32, as the server would announce it."""
        return self._text("permutation-seed")

    @property
    def nurl(self) -> str:
        certificate = x509.load_pem_x509_certificate((self.directory / "private/node.pem").read_bytes())
        spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        spki_hash = base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).rstrip(b"=").decode()
        swissnum = self._text("private/storage.furl").rpartition("/")[2]
        return f"pb://{spki_hash}@127.0.0.1:{self.port}/{swissnum}#v=1"

    @property
    def entry(self) -> dict[str, object]:
        """The entry of this server in a servers.yaml, for tahoe-lafs and Holdfast alike."""
        return {
            "ann": {
                "nickname": self.directory.name,
                "anonymous-storage-FURL": f"pb://{self.tub_id}@/none",
                "anonymous-storage-NURLs": [self.nurl],
                "permutation-seed-base32": self.permutation_seed,
            }
        }

    def share_files(self, storage_index: str) -> dict[int, Path]:
        """Return the complete shares this server holds, by number.

        Args:
            storage_index: in base32, 26 characters.
        """
        folder = self.directory / "storage/shares" / storage_index[:2] / storage_index
        return {int(path.name): path for path in folder.glob("*")} if folder.is_dir() else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How a client encodes what it uploads."""

    shares_needed: int = 3
    happiness: int = 1
    shares_total: int = 10
    convergence: bytes | None = None  # the client makes its own if none is given
    segment_size_max: int | None = None  # bytes, of immutable files; None: the client's default


class TahoeClient(TahoeNode):
    """A client with its web API. Its list of servers is read at start only."""

    def __init__(self, command: Path, directory: Path, servers: Servers, settings: ClientSettings) -> None:
        super().__init__(
            command,
            directory,
            f"[node]\nnickname = {directory.name}\nweb.port = tcp:0:interface=127.0.0.1\n"
            "tub.port = disabled\ntub.location = disabled\n"
            f"[client]\nshares.needed = {settings.shares_needed}\nshares.happy = {settings.happiness}\n"
            f"shares.total = {settings.shares_total}\n{_segment_size(settings)}"
            "[storage]\nenabled = false\n",
        )
        if settings.convergence is not None:
            secret = base32.encode(settings.convergence)
            (directory / "private/convergence").write_text(f"{secret}\n", encoding="ascii")
        self.use(servers)

    def use(self, servers: Servers) -> None:
        """Replace the list of servers, from the next start on."""
        (self.directory / "private/servers.yaml").write_text(servers_yaml(servers), encoding="utf-8")

    @property
    def lease_secret(self) -> bytes:
        """The 32 bytes from which the secrets of its leases are made."""
        return base32.decode(self._text("private/secret"))

    @property
    def web_address(self) -> tuple[str, int]:
        """Host and port of the web API; another one after each start."""
        url = urllib.parse.urlsplit(self._text("node.url"))
        assert url.hostname is not None and url.port is not None
        return url.hostname, url.port

    def connected_servers(self) -> list[str]:
        """Return the ids of the servers the client is connected to now."""
        return [row["nodeid"] for row in self._servers() if row["connection_status"].lower() == "connected"]

    def wait_until_connected(self, count: int) -> None:
        """Wait until the client is connected to at least ``count`` servers.

        Raises:
            TahoeNodeError: it took longer than CONNECT_TIMEOUT_S.
        """
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while (connected := len(self.connected_servers())) < count:
            if time.monotonic() > deadline:
                raise TahoeNodeError(f"{self.directory.name}: connected to {connected} servers, not {count}")
            time.sleep(POLL_INTERVAL_S)

    def wait_until_heard(self, server_ids: Iterable[str], *, space: bool | None = None) -> None:
        """Wait until the client, which asks once a second, has heard from these servers after this call.

        For a moment it goes on believing what was true before a server ended or came back.

        Args:
            space: that they have space, or have none; None: whatever they say.

        Raises:
            TahoeNodeError: it took longer than CONNECT_TIMEOUT_S.
        """
        missing, now = set(server_ids), time.time()
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while missing:
            if time.monotonic() > deadline:
                raise TahoeNodeError(f"{self.directory.name}: heard nothing from {', '.join(missing)}")
            time.sleep(POLL_INTERVAL_S)
            for row in self._servers():
                fresh = row["connection_status"].lower() == "connected" and row["last_received_data"] > now
                if fresh and space in (None, bool(row["available_space"])):
                    missing.discard(row["nodeid"])

    def put(self, data: bytes | BinaryIO, *, size: int | None = None, mutable: str | None = None) -> str:
        """Upload a file and return its capability.

        Args:
            data: the content, or a file to read it from; then ``size`` says how many bytes.
            mutable: format of a mutable file, "SDMF" or "MDMF"; None for an immutable one.
        """
        path = "/uri" if mutable is None else f"/uri?format={mutable}"
        return self.request("PUT", path, data, size=size).decode("ascii")

    def get(self, cap: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Download a file, or the ``length`` bytes from offset ``start`` on."""
        return b"".join(self.get_pieces(cap, start=start, length=length))

    def get_pieces(self, cap: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Download like `get`, in pieces of at most BLOCK_SIZE bytes."""
        whole = start == 0 and length is None
        last = "" if length is None else str(start + length - 1)
        headers = {} if whole else {"Range": f"bytes={start}-{last}"}
        with closing(self._connection()) as connection:
            connection.request("GET", f"/uri/{urllib.parse.quote(cap, safe='')}", headers=headers)
            response = connection.getresponse()
            if response.status != (200 if whole else 206):
                raise WebApiError(response.status, response.read().decode(errors="replace"))
            due = int(response.headers["Content-Length"])
            while piece := response.read(BLOCK_SIZE):
                due -= len(piece)
                yield piece
            if due:
                raise WebApiError(response.status, f"the body ended {due} bytes too early")

    def check(self, cap: str, *, verify: bool = False, add_lease: bool = False) -> dict[str, Any]:
        """Have the client count, or ``verify``, the shares of a file; return its answer (web-api.md, 7.1)."""
        flags = f"verify={verify}&add-lease={add_lease}".lower()
        path = f"/uri/{urllib.parse.quote(cap, safe='')}?t=check&output=JSON&{flags}"
        answer = json.loads(self.request("POST", path))
        assert isinstance(answer, dict)
        return answer

    def request(
        self, method: str, path: str, body: bytes | BinaryIO | None = None, *, size: int | None = None
    ) -> bytes:
        """Call the web API and return the body of the answer.

        Args:
            path: with its query, percent-encoded.
            size: length of the body in bytes, where ``body`` is a file.

        Raises:
            WebApiError: any status but 200 and 201.
        """
        headers = {} if size is None else {"Content-Length": str(size)}
        with closing(self._connection()) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
            if response.status not in (200, 201):
                raise WebApiError(response.status, content.decode(errors="replace"))
            return content

    def _servers(self) -> list[dict[str, Any]]:
        rows = json.loads(self.request("GET", "/?t=json"))["servers"]
        assert isinstance(rows, list)
        return rows

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self.web_address
        return http.client.HTTPConnection(host, port, timeout=REQUEST_TIMEOUT_S, blocksize=BLOCK_SIZE)


def _segment_size(settings: ClientSettings) -> str:
    name = "shares._max_immutable_segment_size_for_testing"
    return "" if settings.segment_size_max is None else f"{name} = {settings.segment_size_max}\n"


class TahoeGrid:
    """Some storage servers and any number of clients, under one directory.

    Use as a context manager: it starts the servers, and ends all processes. The files stay.
    """

    def __init__(self, command: Path, directory: Path, servers: int) -> None:
        """Prepare ``servers`` servers. ``command`` is the `tahoe` of the release to run."""
        self.servers: Sequence[TahoeServer] = [
            TahoeServer(command, directory / f"server{number}") for number in range(servers)
        ]
        self.clients: list[TahoeClient] = []
        self._command = command
        self._directory = directory

    @property
    def entries(self) -> dict[str, dict[str, object]]:
        """Entries of all servers for a servers.yaml."""
        return {server.server_id: server.entry for server in self.servers}

    def start_client(
        self, name: str, settings: ClientSettings, servers: Servers | None = None
    ) -> TahoeClient:
        """Start a client and return once it is connected to all ``servers`` (default: this grid)."""
        servers = self.entries if servers is None else servers
        client = TahoeClient(self._command, self._directory / name, servers, settings)
        self.clients.append(client)
        client.start()
        client.wait_until_connected(len(servers))
        return client

    def share_files(self, storage_index: str) -> dict[str, dict[int, Path]]:
        """Return the shares of one file, by server id and share number; servers with none are left out."""
        held = {server.server_id: server.share_files(storage_index) for server in self.servers}
        return {server_id: files for server_id, files in held.items() if files}

    def stop(self) -> None:
        """End all processes. What is down already stays so."""
        nodes: list[TahoeNode] = [*self.clients, *self.servers]
        for node in nodes:
            node.ask_to_stop()
        for node in nodes:
            node.stop()

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                server.launch()
            for server in self.servers:
                server.wait_until_running()
            while taken := [server for server in self.servers if not server.listens]:
                for server in taken:
                    server.start_on_another_port()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
