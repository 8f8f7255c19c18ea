"""The suite of directories over those of a virtual drive server, in every way they are held."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from holdfast.testing.directory_suite import Place, ReadOnlyDirectorySuite, WritableDirectorySuite
from holdfast.testing.vdrive_directories import VdriveDirectories
from holdfast.testing.vdrive_rig import VdriveRig, vdrive_rig


@pytest.fixture
async def rig() -> AsyncIterator[VdriveRig]:
    async with vdrive_rig() as rig:
        yield rig


class TestVdriveDirectory(WritableDirectorySuite):
    any_name = False

    @pytest.fixture
    def place(self, rig: VdriveRig) -> Place:
        return VdriveDirectories(rig)


class TestVdriveDirectoryHeldReadOnly(ReadOnlyDirectorySuite):
    any_name = False

    @pytest.fixture
    def place(self, rig: VdriveRig) -> Place:
        return VdriveDirectories(rig, read_only=True)
