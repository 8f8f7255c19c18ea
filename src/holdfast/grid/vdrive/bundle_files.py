"""Bundles between servers and files: taken from a server and proven, read from a file and proven, brought to
a server.

Source: docs/spec/vdrive.md, section 14.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.caps.slots import ListableCap, NodeCap
from holdfast.caps.vdrive import VdrivePlace, VdriveReadCap, VdriveVerifyCap, VdriveWriteCap
from holdfast.crypto.vdrive_keys import WriteKeys, enabler_proof, log_name, write_enabler
from holdfast.errors import InputError, IntegrityError
from holdfast.formats.vdrive.bundle import BadBundleError, BundleReader
from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.head import Head, head_hash
from holdfast.formats.vdrive.open_entry import EntryOpener
from holdfast.grid.vdrive.servers import ServerSource
from holdfast.grid.vdrive.views import VerifiedHead
from holdfast.interfaces.vdrive import Committed
from holdfast.interfaces.vdrive_errors import TooManyVdriveRequestsError, VdriveBusyError

PIECE = 256 * 1024  # bytes
ATTEMPTS_MAX = 20  # of a server that is busy
PAUSE_S = 0.5

ExportableCap = VdriveWriteCap | VdriveReadCap | VdriveVerifyCap


class Export:
    """One bundle on its way from a server. Only when all pieces have come is it known to be good."""

    def __init__(self, servers: ServerSource, cap: ExportableCap, known: VerifiedHead | None = None) -> None:
        """``known``: what the bundle must not be older than, nor of another history."""
        self._server = servers.server(cap.place)
        self._index = cap.index
        self._known = known
        self._reader = BundleReader(cap.index)

    @property
    def head(self) -> Head:
        """That of the version in the bundle, once the first pieces have come."""
        assert self._reader.head is not None
        return self._reader.head

    @property
    def head_hash(self) -> bytes:
        assert self._reader.header is not None
        return head_hash(self._reader.header.head.head)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bundle.

        Raises:
            BadBundleError: it is not what it should be. What was yielded is worth nothing.
            VdriveRefusalError, ServerError: the server does not give it.
        """
        held = bytearray()
        async for piece in self._served():
            held += piece
            if len(held) >= PIECE:
                yield await self._proven(held)
                held.clear()
        if held:
            yield await self._proven(held)
        self._reader.finish()
        self._check_history()

    async def _served(self) -> AsyncIterator[bytes]:
        """Yield what the server sends; wait where it has no room for this request yet."""
        begun = False
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                async for piece in self._server.export(self._index):
                    begun = True
                    yield piece
            except (TooManyVdriveRequestsError, VdriveBusyError) as error:
                if begun or attempt == ATTEMPTS_MAX:
                    raise
                await asyncio.sleep(max(PAUSE_S, error.retry_after_s))
            else:
                return

    async def _proven(self, held: bytearray) -> bytes:
        data = bytes(held)
        await asyncio.to_thread(self._reader.feed, data)
        return data

    def _check_history(self) -> None:
        known, header = self._known, self._reader.header
        assert header is not None
        if known is None:
            return
        back = self.head.version - known.version
        if back == 0:
            same = self.head_hash == known.head_hash
        else:
            same = back > len(header.tail) or (back > 0 and header.tail[-back] == known.signed)
        if not same:
            raise BadBundleError(
                f"bundle of directory {log_name(self._index)}: its history is not the one that was seen here"
            )


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A proven bundle in a file.

    Attributes:
        below: the directories that it leads to, as far as they can be read with the keys given.
    """

    path: Path
    head: Head
    head_hash: bytes
    below: tuple[tuple[str, ListableCap], ...]


async def read_bundle(path: Path, index: bytes, keys: WriteKeys | None = None) -> BundleFile:
    """Prove the bundle in a file.

    Args:
        keys: to look into it; None: what is in it remains unknown.

    Raises:
        BadBundleError: it is not one of this directory, cut off, or not what its head vouches for.
        InputError: the file cannot be read.
    """
    return await asyncio.to_thread(_read, path, index, keys)


async def bring(servers: ServerSource, place: VdrivePlace, keys: WriteKeys, bundle: BundleFile) -> Committed:
    """Give a bundle to the service at ``place``.

    Raises:
        DirectoryExistsError: there is another history of the directory, or a later version.
        VdriveRefusalError, ServerError: the service does not take it.
    """
    sid = servers.service_id(place)
    return await servers.server(place).import_bundle(
        keys.read.index,
        _pieces_later(bundle.path),
        write_enabler(keys.write_key, sid),
        enabler_proof(keys, sid),
        servers.account(sid),
    )


def _read(path: Path, index: bytes, keys: WriteKeys | None) -> BundleFile:
    reader = BundleReader(index)
    opener = None if keys is None else EntryOpener(keys.read, keys)
    below: list[tuple[str, ListableCap]] = []
    for piece in _pieces(path):
        entries = reader.feed(piece)
        if opener is not None:
            below += _directories(opener, entries)
    reader.finish()
    assert reader.header is not None
    assert reader.head is not None
    return BundleFile(path, reader.head, head_hash(reader.header.head.head), tuple(below))


def _directories(opener: EntryOpener, entries: Sequence[SealedEntry]) -> Iterator[tuple[str, ListableCap]]:
    for sealed in entries:
        try:
            entry = opener.open(sealed)
        except IntegrityError:
            continue  # nobody can follow a link that cannot be opened
        cap: NodeCap | None = entry.child.cap
        if isinstance(cap, ListableCap):
            yield entry.name, cap


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                yield piece
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


async def _pieces_later(path: Path) -> AsyncIterator[bytes]:
    pieces = _pieces(path)
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece
