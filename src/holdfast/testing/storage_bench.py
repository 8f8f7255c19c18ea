"""A storage server in a test, and the requests of its protocol as one would write them by
hand: raw, so that wrong ones can be sent too.

Source: docs/spec/storage-protocol.md, section 15.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2

from holdfast.crypto import base32
from holdfast.interfaces.types import StorageIndex
from holdfast.testing.raw_https import RawAnswer
from holdfast.testing.storage_server import ServedStorage

INDEX = StorageIndex(b"0123456789abcdef")
SLOT = StorageIndex(b"fedcba9876543210")
SI = base32.encode(INDEX)
MSI = base32.encode(SLOT)
DATA = bytes(range(48))
CBOR = ("Content-Type", "application/cbor")
RENEW = ("lease-renew-secret", b"r" * 32)
CANCEL = ("lease-cancel-secret", b"c" * 32)
UPLOAD = ("upload-secret", b"u" * 20)
ENABLER = ("write-enabler", b"w" * 32)
ALLOCATE = (RENEW, CANCEL, UPLOAD)
LEASE = (RENEW, CANCEL)
RTW = (ENABLER, RENEW, CANCEL)
MONTH = 31 * 86400

Secret = tuple[str, bytes]
Header = tuple[str, str | bytes]


class Bench:
    """A served storage, and the requests of the protocol as one would write them by hand."""

    def __init__(self, server: ServedStorage) -> None:
        self.server = server
        self.engine = server.engine

    async def request(self, *args: Any, **kwargs: Any) -> RawAnswer:
        return await self.server.request(*args, **kwargs)

    async def restart(self, **settings: Any) -> None:
        await self.server.restart(replace(self.server.settings, **settings))
        self.engine = self.server.engine

    async def allocate(
        self,
        numbers: Collection[int],
        size: int = 48,
        *,
        secrets: Sequence[Secret] = ALLOCATE,
        headers: Sequence[Header] = (CBOR,),
        si: str = SI,
        body: bytes | None = None,
    ) -> RawAnswer:
        if body is None:
            body = cbor2.dumps({"share-numbers": tagged(numbers), "allocated-size": size})
        return await self.request("POST", f"/storage/v1/immutable/{si}", headers, body, secrets=secrets)

    async def allocated(
        self, numbers: Collection[int], size: int = 48, **kwargs: Any
    ) -> tuple[set[int], set[int]]:
        answer = await self.allocate(numbers, size, **kwargs)
        assert answer.status == 200
        message = decoded(answer)
        assert message.keys() == {"already-have", "allocated"}
        return set(message["already-have"]), set(message["allocated"])

    async def write(
        self,
        number: int,
        content_range: str | None,
        body: bytes,
        *,
        secrets: Sequence[Secret] = (UPLOAD,),
        headers: Sequence[Header] = (),
    ) -> RawAnswer:
        lines: list[Header] = [*headers]
        if content_range is not None:
            lines.append(("Content-Range", content_range))
        return await self.request(
            "PATCH", f"/storage/v1/immutable/{SI}/{number}", lines, body, secrets=secrets
        )

    async def store(self, *numbers: int) -> None:
        await self.allocated(numbers)
        for number in numbers:
            assert (await self.write(number, "bytes 0-47/*", DATA)).status == 201

    async def listed(self, kind: str = "immutable", si: str = SI) -> set[int]:
        answer = await self.request("GET", f"/storage/v1/{kind}/{si}/shares")
        assert answer.status == 200
        return set(decoded(answer))

    async def read(
        self,
        number: int,
        range_: str | None = None,
        *,
        kind: str = "immutable",
        si: str = SI,
        headers: Sequence[Header] = (),
    ) -> RawAnswer:
        lines = [*headers, *([("Range", range_)] if range_ is not None else [])]
        return await self.request("GET", f"/storage/v1/{kind}/{si}/{number}", lines)

    async def rtw(
        self,
        vectors: Mapping[Any, Any] | None = None,
        reads: Sequence[tuple[int, int]] = (),
        *,
        secrets: Sequence[Secret] = RTW,
        headers: Sequence[Header] = (CBOR,),
        si: str = MSI,
        body: bytes | None = None,
    ) -> RawAnswer:
        if body is None:
            body = cbor2.dumps(
                {
                    "test-write-vectors": dict(vectors or {}),
                    "read-vector": [{"offset": o, "size": s} for o, s in reads],
                }
            )
        return await self.request(
            "POST", f"/storage/v1/mutable/{si}/read-test-write", headers, body, secrets=secrets
        )

    async def done(
        self, vectors: Mapping[Any, Any] | None = None, reads: Sequence[tuple[int, int]] = (), **kwargs: Any
    ) -> tuple[bool, dict[int, list[bytes]]]:
        answer = await self.rtw(vectors, reads, **kwargs)
        assert answer.status == 200
        message = decoded(answer)
        assert message.keys() == {"success", "data"}
        return message["success"], message["data"]

    async def slot(self, data: bytes = b"hello", number: int = 0) -> None:
        assert (await self.done({number: share(writes=[(0, data)])}))[0]

    async def slot_data(self, number: int = 0) -> bytes:
        return (await self.read(number, kind="mutable", si=MSI)).body

    async def lease(self, si: str = SI, *, secrets: Sequence[Secret] = LEASE, body: bytes = b"") -> RawAnswer:
        return await self.request("PUT", f"/storage/v1/lease/{si}", (), body, secrets=secrets)

    async def advise(
        self,
        message: object,
        *,
        kind: str = "immutable",
        si: str = SI,
        number: int = 0,
        headers: Sequence[Header] = (CBOR,),
    ) -> int:
        """Send an advisory and return the status; bytes are sent as they are."""
        body = message if isinstance(message, bytes) else cbor2.dumps(message)
        return (await self.request("POST", f"/storage/v1/{kind}/{si}/{number}/corrupt", headers, body)).status

    def advisories(self) -> list[Path]:
        """Return the files of advisories."""
        directory = self.server.storage / "corruption-advisories"
        return sorted(directory.iterdir()) if directory.is_dir() else []

    async def expiries(self, number: int = 0, index: StorageIndex = INDEX) -> list[int]:
        return sorted(lease.expiry for lease in await self.engine.leases(index, number))

    @property
    def month_from_now(self) -> int:
        return int(self.server.clock.now) + MONTH


def tagged(numbers: Collection[int]) -> cbor2.CBORTag:
    return cbor2.CBORTag(258, list(numbers))


def decoded(answer: RawAnswer) -> Any:
    assert (answer.header("content-type") or "").split(";")[0] == "application/cbor"
    return cbor2.loads(answer.body)


def share(
    tests: Sequence[tuple[int, int, bytes]] = (),
    writes: Sequence[tuple[int, bytes]] = (),
    new_length: int | None = None,
) -> dict[str, Any]:
    return {
        "test": [{"offset": o, "size": s, "specimen": d} for o, s, d in tests],
        "write": [{"offset": o, "data": d} for o, d in writes],
        "new-length": new_length,
    }


def required(answer: RawAnswer) -> list[tuple[int, int]]:
    return [(r["begin"], r["end"]) for r in decoded(answer)["required"]]


Case = Callable[[Bench], Awaitable[None]]


class Cases:
    """Tests by the id of their row in the table; one function may stand for several rows."""

    def __init__(self) -> None:
        self.by_id: dict[str, Case] = {}

    def __call__(self, *ids: str) -> Callable[[Case], Case]:
        """Register a function for these rows."""

        def register(function: Case) -> Case:
            for id_ in ids:
                assert id_ not in self.by_id, id_
                self.by_id[id_] = function
            return function

        return register
