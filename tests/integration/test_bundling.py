"""Trees of which bundles are stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.drive.bundling import bundle_tree
from holdfast.grid.vdrive.servers import VdriveServers
from holdfast.interfaces.drive import NewChild
from holdfast.testing.vdrive_directories import link, new_directory
from holdfast.testing.vdrive_rig import VdriveRig, services_over_https, vdrive_rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[VdriveRig]:
    async with vdrive_rig(services_over_https(tmp_path)) as rig:
        yield rig


async def test_what_cannot_be_followed_is_told(rig: VdriveRig) -> None:
    drive = rig.drive()
    below = await new_directory(drive, {"x": link(drive)})
    top = await new_directory(drive, {"below": NewChild(below)})
    await below.set_uri("unknown", "ro.URI:NEW:abc")
    servers = VdriveServers()
    made = await bundle_tree(drive, servers, top.contents.cap)
    servers.close()
    assert made.bundles == 2
    assert [(one.path, "not known here" in one.reason) for one in made.left_out] == [
        (("below", "unknown"), True)
    ]
