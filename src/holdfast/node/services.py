"""What a node serves to others: the services its settings name, each under its own path.

Source: docs/spec/control-and-introducer.md, sections 3 and 4; docs/spec/vdrive.md, section 16.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from holdfast.errors import HoldfastError
from holdfast.node.config import NodeConfig
from holdfast.node.identity import NodeIdentity
from holdfast.node.introducer_nurls import PUBLISH_FILE, nurls_of, read_introducer_nurls
from holdfast.node.storage_identity import StorageIdentity, load_storage_identity
from holdfast.node.swissnums import (
    PUBLISH_SWISSNUM_FILE,
    SUBSCRIBE_SWISSNUM_FILE,
    VDRIVE_SWISSNUM_FILE,
    read_swissnum,
)
from holdfast.wire.http import Handler

if TYPE_CHECKING:
    from holdfast.node.welcome import NewAccount
    from holdfast.servers.introducer.engine import IntroducerEngine
    from holdfast.servers.storage.engine import StorageEngine
    from holdfast.servers.vdrive.engine import VdriveEngine

log = structlog.get_logger(__name__)

STORAGE_DIRECTORY = "storage"
INTRODUCER_DATABASE = "introducer.sqlite"
ACCOUNT_S = 20.0  # to make an account for somebody who joins


@dataclass(slots=True)
class Services:
    """The running services of a node. ``handlers`` by the path prefix that each has."""

    identity: NodeIdentity
    handlers: dict[str, Handler] = field(default_factory=dict)
    storage: StorageEngine | None = None
    storage_identity: StorageIdentity | None = None
    introducer: IntroducerEngine | None = None
    vdrive: VdriveEngine | None = None

    @property
    def names(self) -> list[str]:
        present = {"storage": self.storage, "introducer": self.introducer, "vdrive": self.vdrive}
        return [name for name, engine in present.items() if engine is not None]

    def nurls(self, private: Path, config: NodeConfig, port: int) -> dict[str, tuple[str, ...]]:
        """Return where each service is reached that peers may be told of."""
        found: dict[str, tuple[str, ...]] = {}
        if self.storage_identity is not None:
            found["storage"] = nurls_of(self.identity, config.node, port, self.storage_identity.swissnum)
        if self.introducer is not None:
            found["introducer"] = (read_introducer_nurls(private).subscribe,)
        if self.vdrive is not None:
            swissnum = read_swissnum(private / VDRIVE_SWISSNUM_FILE)
            found["vdrive"] = nurls_of(self.identity, config.node, port, swissnum)
        return found


@asynccontextmanager
async def open_services(
    directory: Path, config: NodeConfig, identity: NodeIdentity
) -> AsyncIterator[Services]:
    """Open what the settings say; yield it.

    Raises:
        HoldfastError: a part of the node directory cannot be used.
    """
    services = Services(identity)
    private = directory / "private"
    async with AsyncExitStack() as stack:
        if config.storage.enabled:
            services.storage_identity = load_storage_identity(private)
            await _open_storage(stack, services, directory / STORAGE_DIRECTORY, config)
        if config.introducer.enabled:
            await _open_introducer(stack, services, private, config)
        if config.vdrive_server.enabled:
            await _open_vdrive(stack, services, directory, config)
        yield services


async def _open_storage(
    stack: AsyncExitStack, services: Services, directory: Path, config: NodeConfig
) -> None:
    from holdfast.servers.storage.engine import open_storage
    from holdfast.servers.storage.handler import storage_handler
    from holdfast.servers.storage.settings import StorageSettings

    assert services.storage_identity is not None
    storage = config.storage
    settings = StorageSettings(
        capacity=storage.capacity,
        reserved_space=storage.reserved_space,
        read_only=storage.read_only,
        durability=storage.durability,
        verify_on_close=storage.verify_on_close,
    )
    identity = services.storage_identity
    engine = await stack.enter_async_context(open_storage(directory, settings, identity.server_seed))
    handler = storage_handler(engine, identity.swissnum)
    services.storage = engine
    services.handlers["/storage"] = services.handlers["/storage-ext"] = handler


async def _open_introducer(
    stack: AsyncExitStack, services: Services, private: Path, config: NodeConfig
) -> None:
    from holdfast.node.welcome import welcome_for
    from holdfast.servers.introducer.engine import open_introducer
    from holdfast.servers.introducer.handler import introducer_handler
    from holdfast.servers.introducer.settings import IntroducerSettings

    chosen = config.introducer
    settings = IntroducerSettings(
        admission=chosen.admission,
        new_keys_per_hour=chosen.new_keys_per_hour,
        new_keys_per_hour_and_address=chosen.new_keys_per_hour_and_address,
    )
    database = private / INTRODUCER_DATABASE
    if not database.exists() and (private / PUBLISH_FILE).exists():
        log.warning(
            "the database is gone: nodes announce themselves again, admissions and invitations are lost",
            file=database.name,
        )
    engine = await stack.enter_async_context(
        open_introducer(database, settings, services.identity.verify_key)
    )
    handler = introducer_handler(
        engine,
        read_swissnum(private / PUBLISH_SWISSNUM_FILE),
        read_swissnum(private / SUBSCRIBE_SWISSNUM_FILE),
        welcome_for(private, config, _accounts_of(services)),
    )
    services.introducer = engine
    services.handlers["/introducer"] = services.handlers["/invitation"] = handler


def _accounts_of(services: Services) -> NewAccount:
    """Return what makes accounts at the virtual drive server of this node, for those who join."""
    loop = asyncio.get_running_loop()

    def new_account(label: str) -> str | None:
        from holdfast.node.vdrive_operating import USUAL_ACCOUNT
        from holdfast.servers.vdrive import accounts

        engine = services.vdrive
        if engine is None or engine.settings.accounts != "token":
            return None
        add = partial(accounts.add, label=label, allowed=USUAL_ACCOUNT, now=int(engine.clock()))
        try:
            made = asyncio.run_coroutine_threadsafe(engine.database.write(add), loop).result(ACCOUNT_S)
        except (HoldfastError, TimeoutError) as error:
            # Without an account the invitation is as good; failing now would waste it.
            log.warning("a node that joins gets no account for directories", reason=str(error))
            return None
        return made.token

    return new_account


async def _open_vdrive(
    stack: AsyncExitStack, services: Services, directory: Path, config: NodeConfig
) -> None:
    from holdfast.node.vdrive_service import open_vdrive_service

    services.vdrive, services.handlers["/vdrive"] = await stack.enter_async_context(
        open_vdrive_service(directory, config, services.identity)
    )
