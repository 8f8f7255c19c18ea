"""Making an invitation: a secret that the introducer will accept once, beside the place and the key by
which the introducer is found and recognised.

The introducer may run meanwhile, in another process: both use its database.

Source: docs/spec/control-and-introducer.md, section 3.11.
"""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path
from typing import Literal

from holdfast.errors import ConfigError, InputError, UnavailableError
from holdfast.node.config import load_config
from holdfast.node.introducer_nurls import PUBLISH_FILE, read_introducer_nurls
from holdfast.node.places import GRID_FILE, GRID_INTRODUCER
from holdfast.node.services import INTRODUCER_DATABASE
from holdfast.protocol.announcement import NICKNAME_MAX
from holdfast.protocol.invitation import Invitation, parse_invitation, pin_of
from holdfast.protocol.nurl import Nurl, parse_nurl

Role = Literal["client", "server"]

LIFE_MAX_S = 30 * 24 * 3600


def introducer_directory(directory: Path) -> Path:
    """Return the node that ``directory`` means when it should invite: itself, or that of a local grid."""
    return directory / GRID_INTRODUCER if (directory / GRID_FILE).is_file() else directory


def make_invitation(directory: Path, role: Role, nickname: str, life_s: int) -> Invitation:
    """Return a new invitation into the grid whose introducer is in ``directory``. Blocks.

    Of its secret only the hash is stored.

    Args:
        directory: of an introducer, or of a local grid.
        nickname: for the node that joins; empty: it chooses.
        life_s: seconds until it is worth nothing.

    Raises:
        ConfigError: there is no introducer, or it never ran, so that nobody knows where it will be.
        InputError: the nickname or the life make no sense, or too many invitations are outstanding.
        UnavailableError: the introducer's database cannot be written now.
    """
    if len(nickname) > NICKNAME_MAX or not nickname.isprintable():
        raise InputError(f"a nickname has at most {NICKNAME_MAX} characters, all of which can be shown")
    if not 0 < life_s <= LIFE_MAX_S:
        raise InputError(f"an invitation can be good for one second to {LIFE_MAX_S // (24 * 3600)} days")
    node = introducer_directory(directory)
    place = _place(node)
    secret = _stored_secret(node / "private" / INTRODUCER_DATABASE, role, nickname, life_s)
    return Invitation(secret, pin_of(place.spki_hash), place.host, place.port)


def only_for_this_machine(host: str) -> bool:
    """Return whether a host of an invitation means, on any machine, that machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _place(node: Path) -> Nurl:
    """Return where the introducer in ``node`` is, and its key."""
    if not load_config(node).introducer.enabled:
        raise ConfigError(
            f"{node} is no introducer (introducer.enabled is false): only an introducer can invite"
        )
    private = node / "private"
    if not (private / PUBLISH_FILE).exists():
        raise ConfigError(
            f"{node} has never run, so it has no address yet; start it with: holdfast run {node}"
        )
    try:
        place = parse_nurl(read_introducer_nurls(private).publish)
    except ValueError as error:
        raise ConfigError(f"{private / PUBLISH_FILE} is damaged: {error}") from None
    sample = Invitation(bytes(10), bytes(16), place.host, place.port)
    try:
        parse_invitation(sample.to_text())
    except ValueError:
        raise ConfigError(
            f"{node}: node.location names a host that cannot stand in an invitation: {place.host}"
        ) from None
    return place


def _stored_secret(database: Path, role: Role, nickname: str, life_s: int) -> bytes:
    from sqlalchemy.exc import DBAPIError

    from holdfast.servers.introducer import invitations
    from holdfast.servers.introducer.refusals import FullError
    from holdfast.servers.introducer.settings import IntroducerSettings
    from holdfast.servers.introducer.tables import open_tables

    tables = open_tables(database, synchronise=True)
    try:
        with tables.begin() as connection:
            return invitations.create(
                connection,
                role,
                nickname,
                now=time.time(),
                life_s=life_s,
                outstanding_max=IntroducerSettings().invitations_max,
            )
    except FullError as error:
        raise InputError(f"{error}; wait until some have been, or have expired") from None
    except DBAPIError as error:
        raise UnavailableError(f"the database {database} cannot be written now: {error.orig}") from error
    finally:
        tables.dispose()
