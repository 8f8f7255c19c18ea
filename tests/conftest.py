"""Settings shared by all tests.

The usual run repeats the same generated examples, so that a failure belongs to the
change at hand; `make soak` looks for new ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

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


@pytest.fixture(scope="session")
def generated() -> Callable[[str, int], bytes]:
    """Return the function from seed and size to the data that the vectors mean (tests/vectors/README.md)."""

    def data(seed: str, size: int) -> bytes:
        counts = range(-(-size // 32))
        return b"".join(hashlib.sha256(b"%b:%d" % (seed.encode(), i)).digest() for i in counts)[:size]

    return data
