"""A node's connection to its introducers: what it believes, and, if it serves, what it announces.

Source: docs/spec/control-and-introducer.md, sections 3.4 and 3.7.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from holdfast import __version__
from holdfast.grid.announced_servers import near
from holdfast.grid.announcement_cache import AnnouncementCache
from holdfast.grid.http_introducer import HttpIntroducer
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.grid.introducer_publishing import Announcer
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.interfaces.introducer import Introducer
from holdfast.node.config import MeetingConfig, NodeConfig
from holdfast.node.identity import NodeIdentity
from holdfast.node.introducer_list import INTRODUCERS_FILE, load_introducers
from holdfast.node.introducer_nurls import own_introducer
from holdfast.protocol.versions import OLDEST_SUPPORTED
from holdfast.wire.pinning import pinning_ssl_context

if TYPE_CHECKING:
    from holdfast.node.services import Services

log = structlog.get_logger(__name__)

CACHE_FILE = "announcements.cbor"
SEQUENCE_FILE = "announcement-seq"
ITSELF = "this node"  # petname of an introducer in the same process


@asynccontextmanager
async def open_meeting(
    private: Path,
    settings: IntroducerClientSettings,
    *,
    announcer: Announcer | None = None,
    own: Introducer | None = None,
) -> AsyncIterator[IntroducerClient]:
    """Yield the running client of the introducers that a node directory lists.

    Args:
        announcer: of a node that publishes.
        own: the introducer that this very process runs.

    Raises:
        ConfigError: the list of introducers is wrong.
    """
    context = pinning_ssl_context()
    others = {name: HttpIntroducer(nurl, context) for name, nurl in load_introducers(private).items()}
    introducers: dict[str, Introducer] = dict(others)
    if own is not None:
        introducers[ITSELF] = own
    if announcer is not None and not introducers:
        log.warning(
            "no introducer is listed; nobody is told of this node", file=str(private / INTRODUCERS_FILE)
        )
    client = IntroducerClient(
        introducers, AnnouncementCache(private / CACHE_FILE), settings, signer=announcer
    )
    try:
        async with client.running():
            yield client
    finally:
        for introducer in others.values():
            introducer.close()


def meeting_settings(private: Path, config: MeetingConfig) -> IntroducerClientSettings:
    """Return what ``config`` means to the client of the introducers of the node: those it lists, and its own.

    A grid whose introducer is in a private network, or on this machine, is there as a whole.

    Raises:
        ConfigError: the list of introducers is wrong.
    """
    introducers = [*load_introducers(private).values(), *own_introducer(private)]
    return IntroducerClientSettings(
        use_stale=config.use_stale,
        forget_after_s=config.forget_after_s,
        allow_private_addresses=config.allow_private_addresses or near(introducers),
    )


def announcer_of(private: Path, config: NodeConfig, identity: NodeIdentity) -> Announcer:
    """Return what this node signs its announcements with."""
    return Announcer(
        seed=identity.signing_seed,
        tls_key=identity.tls_key(),
        nickname=config.node.nickname,
        version=(__version__, OLDEST_SUPPORTED),
        sequence_file=private / SEQUENCE_FILE,
    )


def announce_services(
    client: IntroducerClient,
    services: Services,
    nurls: dict[str, tuple[str, ...]],
    node_nurls: tuple[str, ...],
) -> None:
    """Keep the services of this node announced, storage with its seeds."""
    identity = services.storage_identity
    if identity is not None and services.storage is not None:
        properties = {
            "permutation-seed": identity.permutation_seed,
            "server-seed": identity.server_seed,
            "accepts": not services.storage.settings.read_only,
        }
        client.publish("storage", properties, nurls["storage"])
    if services.vdrive is not None:
        settings = services.vdrive.settings
        properties = {"accounts": settings.accounts, "public-root": settings.public_root}
        client.publish("vdrive", properties, nurls["vdrive"])
    client.publish("node", {"services": services.names}, node_nurls)
    # A server that waits for news of something notices at once when an introducer goes, comes back or has
    # forgotten everything, and announces itself again.
    client.subscribe_to("introducer", lambda known: None)
