"""The pool of key pairs for new mutable files."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.crypto.rsa_keys import SigningKey, load_private
from holdfast.grid.mutable import keys
from holdfast.grid.mutable.keys import KeyPool


class Maker:
    """Makes key pairs at once, and counts them."""

    def __init__(self, key: SigningKey) -> None:
        self.made = 0
        self._der = key.private_der

    def __call__(self) -> SigningKey:
        self.made += 1
        return SigningKey(self._der)


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return keys.new_signing_key()


@pytest.fixture
def maker(key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> Maker:
    maker = Maker(key)
    monkeypatch.setattr(keys, "new_signing_key", maker)
    monkeypatch.setattr(keys, "QUIET_S", 0.2)
    return maker


async def filled(pool: KeyPool, count: int) -> None:
    for _ in range(1000):
        if pool.ready >= count:
            return
        await asyncio.sleep(0.002)
    raise AssertionError(f"{pool.ready} keys are ready")


def test_a_new_key_is_one_that_any_client_takes(key: SigningKey) -> None:
    again = load_private(key.private_der)
    assert again.public_der == key.public_der
    assert len(key.public_der) == 294


async def test_nothing_is_made_before_the_first_is_asked_for(maker: Maker) -> None:
    pool = KeyPool(3)
    await asyncio.sleep(0.01)
    assert maker.made == 0
    pool.close()


async def test_it_fills_to_its_size_and_no_further(maker: Maker) -> None:
    pool = KeyPool(3)
    taken = await pool.take()
    await filled(pool, 3)
    await asyncio.sleep(0.01)
    assert maker.made == 4
    assert await pool.take() is not taken
    await filled(pool, 3)
    assert maker.made == 5
    pool.close()


async def test_while_keys_are_taken_only_a_few_are_made(maker: Maker) -> None:
    pool = KeyPool(10)
    await pool.take()
    await filled(pool, 10)
    made = maker.made
    for _ in range(8):
        await pool.take()
        await asyncio.sleep(0.01)
    assert (maker.made, pool.ready) == (made, 2)
    await pool.take()
    await filled(pool, 2)  # few are left: they are not waited for
    assert maker.made == made + 1
    await filled(pool, 10)
    pool.close()


async def test_all_who_wait_get_one_of_their_own(maker: Maker) -> None:
    pool = KeyPool(1)
    taken = await asyncio.gather(*(pool.take() for _ in range(10)))
    assert len(set(map(id, taken))) == 10
    pool.close()


async def test_who_is_cancelled_takes_none(maker: Maker) -> None:
    pool = KeyPool(1)
    first, second = asyncio.create_task(pool.take()), asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    first.cancel()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    await filled(pool, 1)
    assert maker.made == 2
    pool.close()


async def test_once_closed_it_gives_none_and_nobody_waits(maker: Maker) -> None:
    pool = KeyPool(2)
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        await waiting
    with pytest.raises(RuntimeError, match="closed"):
        await pool.take()


async def test_an_error_reaches_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> SigningKey:
        raise OSError("no randomness")

    monkeypatch.setattr(keys, "new_signing_key", broken)
    pool = KeyPool(2)
    with pytest.raises(OSError, match="randomness"):
        await pool.take()
    pool.close()
