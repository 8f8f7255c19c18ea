"""Small files: their shares are made first, whole, and sent with the question whether the
server takes them. Where a server offers it, one request does that for all files stored at the same time.

Source: docs/spec/storage-protocol.md, section 18.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from holdfast.grid.known_server import KnownServer
from holdfast.interfaces.storage import Allocation, StoreRequest
from holdfast.interfaces.storage_errors import NoSuchShareError
from holdfast.interfaces.types import StorageIndex
from holdfast.protocol.storage_extensions import STORE, STORE_ALL, STORE_BODY_MAX, STORE_SHARE_MAX

SHARE_SIZE_MAX = STORE_SHARE_MAX  # bytes; larger shares are allocated, then written


class WholeShares:
    """All shares of one small file, by number."""

    def __init__(
        self,
        index: StorageIndex,
        shares: Sequence[bytes],
        upload_secret: Callable[[KnownServer], bytes],
    ) -> None:
        self._index = index
        self._shares = shares
        self._upload_secret = upload_secret

    async def send(self, server: KnownServer, numbers: set[int], only_if_none: bool) -> Allocation:
        """Have ``server`` store shares; those ``allocated`` in the answer are complete.

        ``only_if_none``: nothing is stored where there is any complete share of the file.

        Raises:
            ServerError, StorageRefusalError: the server did not do its part.
        """
        features = await server.service.features()
        if STORE_ALL not in features and STORE not in features:
            return await self._allocate_and_write(server, numbers, only_if_none)
        gathered = STORE_ALL in features
        per_request = max(1, STORE_BODY_MAX // len(self._shares[0]))
        ordered = sorted(numbers)
        have: frozenset[int] = frozenset()
        stored: frozenset[int] = frozenset()
        for start in range(0, len(ordered), per_request):
            shares = {number: self._shares[number] for number in ordered[start : start + per_request]}
            answer = await self._store(server, shares, only_if_none and start == 0, gathered=gathered)
            have |= answer.already_have - stored
            stored |= answer.allocated
            if only_if_none and have:
                break
        return Allocation(have, stored)

    async def _store(
        self, server: KnownServer, shares: Mapping[int, bytes], only_if_none: bool, *, gathered: bool
    ) -> Allocation:
        lease = server.lease(self._index)
        if gathered:
            return await server.service.store_gathered(StoreRequest(self._index, shares, lease, only_if_none))
        secret = self._upload_secret(server)
        return await server.service.store(self._index, shares, secret, lease, only_if_none=only_if_none)

    async def _allocate_and_write(
        self, server: KnownServer, numbers: set[int], only_if_none: bool
    ) -> Allocation:
        secret = self._upload_secret(server)
        size = len(self._shares[0])
        service = server.service
        answer = await service.allocate(
            self._index, frozenset(numbers), size, secret, server.lease(self._index)
        )
        accepted = answer.allocated & numbers
        if only_if_none and answer.already_have:
            for number in accepted:
                await service.abort(self._index, number, secret)
            return Allocation(answer.already_have, frozenset())
        for number in sorted(accepted):
            try:
                await service.write(self._index, number, secret, 0, [self._shares[number]], size, size)
            except NoSuchShareError:
                # Another upload of the same file by this client may have completed it meanwhile.
                if number not in await service.list_immutable(self._index):
                    raise
        return Allocation(answer.already_have, accepted)
