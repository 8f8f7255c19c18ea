"""The introducer's engine on a database of its own: what it takes, keeps and hands out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.servers.introducer.engine import IntroducerEngine, open_introducer
from holdfast.servers.introducer.settings import IntroducerSettings
from holdfast.testing.introducer_suite import IntroducerSuite

VERIFY_KEY = bytes(range(32))
UNLIMITED = IntroducerSettings(new_keys_per_hour=1000, changes_burst=1000)


class TestEngine(IntroducerSuite):
    @pytest.fixture
    async def introducer(self, tmp_path: Path) -> AsyncIterator[IntroducerEngine]:
        async with open_introducer(tmp_path / "introducer.sqlite", UNLIMITED, VERIFY_KEY) as engine:
            yield engine
