"""The accounts of a storage server."""

from __future__ import annotations

import pytest

from holdfast.errors import ConfigError
from holdfast.servers.storage.admission import Admission
from holdfast.servers.storage.settings import StorageSettings


def admission(*, free: int = 1000, stored: int = 0, **settings: object) -> Admission:
    return Admission(StorageSettings(**settings), stored, lambda: free)  # type: ignore[arg-type]


@pytest.mark.seed("S-060")
def test_what_is_promised_is_not_promised_twice() -> None:
    accounts = admission(capacity=100)

    assert [accounts.reserve(25) for _ in range(3)] == [True] * 3
    assert accounts.available == 25
    assert accounts.reserve(25)
    assert not accounts.reserve(25)
    for _ in range(3):
        accounts.release(25, backed=False)
    assert accounts.available == 75


def test_a_kept_promise_stays_used() -> None:
    accounts = admission(capacity=100, stored=10)
    accounts.reserve(40)
    accounts.keep(40, backed=False, stored=40)

    assert (accounts.stored, accounts.reserved, accounts.available) == (50, 0, 50)


def test_allocated_blocks_are_used_space_and_not_counted_again() -> None:
    accounts = admission(free=1000)
    accounts.reserve(400)
    assert accounts.available == 600

    accounts.backed(400)  # the file system has taken them off the free space by itself
    assert accounts.available == 1000
    accounts.release(400, backed=True)
    assert accounts.available == 1000


def test_the_reserve_of_the_disk_is_left_alone() -> None:
    assert admission(free=1000, reserved_space=300).available == 700
    assert admission(free=1000, reserved_space=3000).available == 0


def test_a_read_only_server_has_no_room() -> None:
    accounts = admission(read_only=True)
    assert accounts.available == 0
    assert not accounts.reserve(0)


@pytest.mark.parametrize(
    "settings",
    [
        {"capacity": -1},
        {"reserved_space": -1},
        {"durability": "maybe"},
        {"verify_on_close": "always"},
        {"workers": 0},
        {"read_test_write_body_max": 1},
    ],
)
def test_settings_without_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        StorageSettings(**settings)  # type: ignore[arg-type]
