"""Settings shared by all tests.

The usual run repeats the same generated examples, so that a failure belongs to the
change at hand; `make soak` looks for new ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from holdfast.testing.postgres_server import PostgresServer, postgres_server

settings.register_profile(
    "usual",
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "soak", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("usual")


@pytest.fixture(scope="session", autouse=True)
def loggers_stay_open_to_capture() -> Iterator[None]:
    """Loggers that were used follow what is configured later, as ``capture_logs`` needs."""
    configure = structlog.configure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            structlog,
            "configure",
            lambda **chosen: configure(**chosen | {"cache_logger_on_first_use": False}),
        )
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL; ``postgres.new_database()`` gives the URL of a fresh database."""
    with postgres_server() as server:
        yield server
