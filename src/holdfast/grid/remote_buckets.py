"""A server as a keeper of buckets: allocation gives writers, an index gives readers.

Source: docs/spec/seed-map.md, section F.
"""

from __future__ import annotations

from holdfast.formats.extension_block import packed_length
from holdfast.formats.segmentation import Segmentation
from holdfast.formats.share_layout import ShareLayout
from holdfast.grid.bucket_reader import RemoteBucketReader
from holdfast.grid.bucket_writer import RemoteBucketWriter
from holdfast.grid.known_server import lease_secrets_for
from holdfast.interfaces.storage import BucketReader, BucketWriter, StorageService
from holdfast.interfaces.types import StorageIndex


class RemoteStorageServer:
    """Implements ``interfaces.storage.StorageServer`` over any storage service."""

    def __init__(self, service: StorageService, lease_secret: bytes, server_seed: bytes) -> None:
        self._service = service
        self._lease_secret = lease_secret
        self._seed = server_seed

    async def allocate_buckets(
        self, storage_index: StorageIndex, sharenums: frozenset[int], plan: Segmentation, canary: bytes
    ) -> tuple[frozenset[int], dict[int, BucketWriter]]:
        layout = ShareLayout.plan(plan, packed_length(plan))
        lease = lease_secrets_for(self._lease_secret, storage_index, self._seed)
        answer = await self._service.allocate(storage_index, sharenums, layout.share_length, canary, lease)
        writers: dict[int, BucketWriter] = {
            number: RemoteBucketWriter(self._service, storage_index, number, canary, plan, layout)
            for number in sorted(answer.allocated)
        }
        return answer.already_have, writers

    async def get_buckets(self, storage_index: StorageIndex) -> dict[int, BucketReader]:
        numbers = await self._service.list_immutable(storage_index)
        return {
            number: RemoteBucketReader(self._service, storage_index, number) for number in sorted(numbers)
        }
