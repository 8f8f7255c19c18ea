"""The mutable files of a grid: made, and opened by their capabilities.

Source: docs/spec/mutable.md, sections 2 and 12.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakValueDictionary

from holdfast.caps import MutableReadCap, MutableVerifyCap, MutableWriteCap, parse_cap
from holdfast.crypto.rsa_keys import SigningKey
from holdfast.errors import BadCapabilityError
from holdfast.formats.mutable_keys import FileKeys
from holdfast.formats.mutable_segmentation import MutableFormat
from holdfast.grid.mutable.file import Contents, MutableFile, open_contents
from holdfast.grid.mutable.file_identity import AnyMutableCap
from holdfast.grid.mutable.parts import MutableParts
from holdfast.grid.progress import ProgressCallback
from holdfast.grid.settings import EncodingSettings


class MutableFiles:
    """Makes and opens mutable files. While somebody holds a file, all who open it get that one."""

    def __init__(self, parts: MutableParts) -> None:
        self._parts = parts
        self._files: WeakValueDictionary[AnyMutableCap, MutableFile] = WeakValueDictionary()
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    @property
    def keys_ready(self) -> int:
        """Return how many files can be made without waiting for a key pair."""
        return self._parts.keys.ready

    def open(self, cap: AnyMutableCap) -> MutableFile:
        """Return the file of a capability. Nothing is asked of the grid."""
        file = self._files.get(cap)
        if file is None:
            turns = self._turns.setdefault(cap.storage_index, asyncio.Lock())
            file = self._files[cap] = MutableFile(cap, self._parts, turns)
        return file

    async def create(
        self,
        data: Contents = b"",
        *,
        format: MutableFormat = "SDMF",  # noqa: A002  (the specification's word)
        key: SigningKey | None = None,
        encoding: EncodingSettings | None = None,
        progress: ProgressCallback | None = None,
    ) -> MutableFile:
        """Make a file that contains ``data``.

        Args:
            key: a key pair of the caller's, never used for another file; None: a new one.

        Raises:
            UncoordinatedWriteError: there is a file with this key.
            NoServersError, NotEnoughServersError: too little of the grid answered.
        """
        keys = FileKeys.new(key or await self._parts.keys.take())
        return await self._create(keys, data, format, encoding, progress)

    async def create_with(
        self,
        make: Callable[[bytes], bytes],
        *,
        format: MutableFormat = "SDMF",  # noqa: A002
        key: SigningKey | None = None,
        encoding: EncodingSettings | None = None,
    ) -> MutableFile:
        """Make a file whose contents depend on its write key, 16 bytes, which ``make`` is given."""
        keys = FileKeys.new(key or await self._parts.keys.take())
        return await self._create(keys, make(keys.write_key), format, encoding, None)

    async def upload_ssk(self, write_capability: str, new_version: int | None, data: Contents) -> str:
        """Publish ``data`` as version ``new_version`` of a file; return its capability to read.

        Args:
            new_version: one more than that of the newest version; None: whatever that is.

        Raises:
            BadCapabilityError: this is no capability of a mutable file.
            NotCapableError: it does not allow writing.
            UncoordinatedWriteError: another version is the newest. Nothing was written.
            Others as ``MutableFile.overwrite``.
        """
        cap = parse_cap(write_capability.strip())
        if not isinstance(cap, MutableWriteCap | MutableReadCap | MutableVerifyCap):
            raise BadCapabilityError("this is not a capability of a mutable file")
        await self.open(cap).overwrite(data, new_version=new_version)
        return cap.read_only.to_text()

    async def _create(
        self,
        keys: FileKeys,
        data: Contents,
        file_format: MutableFormat,
        encoding: EncodingSettings | None,
        progress: ProgressCallback | None,
    ) -> MutableFile:
        file = self.open(
            MutableWriteCap("MDMF" if file_format == "MDMF" else "SSK", keys.write_key, keys.fingerprint)
        )
        plaintext = await open_contents(data)
        try:
            await file.create(keys, plaintext, encoding, progress)
        finally:
            await plaintext.close()
        return file
