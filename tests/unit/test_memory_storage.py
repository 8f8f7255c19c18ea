"""The storage in memory keeps the promises that the real ones keep, so that tests with it tell the truth."""

from __future__ import annotations

import pytest

from holdfast.interfaces.storage import StorageService
from holdfast.testing.memory_storage import MemoryStorage
from holdfast.testing.storage_suite import StorageServiceSuite


class TestMemoryStorage(StorageServiceSuite):
    @pytest.fixture
    def service(self) -> StorageService:
        return MemoryStorage()
