"""Key pairs for new mutable files, made in advance: each takes a tenth of a second or more.

Source: docs/spec/mutable.md, section 2.1.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from holdfast.crypto.rsa_keys import PRIVATE_KEY_BITS, SigningKey

PUBLIC_EXPONENT = 65537
QUIET_S = 0.5  # without anybody who takes keys, before more are made than a few
FEW = 5  # of so many parts of what is kept ready


class KeyPool:
    """Keeps some key pairs ready, once the first was asked for. Closed by its owner.

    One thread makes them; the arithmetic releases the interpreter lock. It stops when enough are ready. While
    keys are taken, and more than a few are left, it leaves the processor to those who make files of them.
    """

    def __init__(self, size: int = 50) -> None:
        """``size``: key pairs kept ready at most."""
        self._size = size
        self._ready: deque[SigningKey] = deque()
        self._waiting: deque[asyncio.Future[SigningKey]] = deque()
        self._thread: ThreadPoolExecutor | None = None
        self._making: asyncio.Future[SigningKey] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._taken = 0.0  # when the last one was
        self._closed = False

    @property
    def ready(self) -> int:
        """Return how many key pairs can be had at once."""
        return len(self._ready)

    async def take(self) -> SigningKey:
        """Return a key pair that nobody else gets. Waits for the next one only if none is ready.

        Raises:
            RuntimeError: the pool is closed.
        """
        if self._closed:
            raise RuntimeError("the pool of keys is closed")
        self._taken = asyncio.get_running_loop().time()
        if self._ready:
            key = self._ready.popleft()
            self._go_on()
            return key
        turn: asyncio.Future[SigningKey] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._go_on()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give(turn.result())  # it came in the same moment: the next one gets it
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def close(self) -> None:
        """Make no more. The key in the making is finished by its thread, and forgotten."""
        self._closed = True
        self._ready.clear()
        if self._later is not None:
            self._later.cancel()
        if self._making is not None:
            self._making.cancel()
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(RuntimeError("the pool of keys is closed"))
        self._waiting.clear()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _go_on(self) -> None:
        if self._closed or self._making is not None:
            return
        if not self._waiting and len(self._ready) >= self._size:
            return
        if not self._waiting and len(self._ready) >= self._size // FEW and self._wait_for_quiet():
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="holdfast-keys")
        self._making = asyncio.get_running_loop().run_in_executor(self._thread, new_signing_key)
        self._making.add_done_callback(self._made)

    def _wait_for_quiet(self) -> bool:
        """Have ``_go_on`` called once nobody has taken keys for a while; False if that is so now."""
        loop = asyncio.get_running_loop()
        quiet_at = self._taken + QUIET_S
        if loop.time() >= quiet_at:
            return False
        if self._later is None:
            self._later = loop.call_at(quiet_at, self._look_again)
        return True

    def _look_again(self) -> None:
        self._later = None
        self._go_on()

    def _made(self, made: asyncio.Future[SigningKey]) -> None:
        self._making = None
        if self._closed or made.cancelled():
            return
        error = made.exception()
        if error is None:
            self._give(made.result())
            self._go_on()
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)

    def _give(self, key: SigningKey) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(key)
                return
        self._ready.append(key)


def new_signing_key() -> SigningKey:
    """Make a key pair. Takes long: not for the event loop."""
    key = rsa.generate_private_key(PUBLIC_EXPONENT, PRIVATE_KEY_BITS)
    return SigningKey(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
