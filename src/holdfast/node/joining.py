"""Joining a grid by an invitation: from the code to a node directory, in one step.

The code is good once, so whatever can be known to fail fails before it is used up: options that make no
sense, and a directory that cannot be made.

Source: docs/spec/control-and-introducer.md, section 3.11.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.errors import ConfigError, HoldfastError, InputError
from holdfast.grid.invitation_client import InvitationError, redeem
from holdfast.grid.settings import EncodingSettings
from holdfast.node.config import CONFIG_FILE, NodeConfig, NodeSettings, StorageConfig, parse_config
from holdfast.node.config_text import new_config_text
from holdfast.node.creation import create_client_node, create_server_node
from holdfast.node.locations import WILDCARD_HOSTS, split_location
from holdfast.node.outward_address import outward_address
from holdfast.node.vdrive_places import VdrivePlaces, write_vdrive_places
from holdfast.protocol.invitation import Invitation, Welcome, parse_invitation
from holdfast.protocol.nurl import parse_nurl

NODE_SPACE = 64 * 1024  # bytes, more than a new node directory takes
PETNAME_MAX = 60  # characters, which leaves room for a number
DEFAULT_PETNAME = "introducer"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinOptions:
    """What whoever joins says for himself. All but the nickname is for servers.

    Attributes:
        nickname: empty: what the invitation says.
        host: to listen on; None: the loopback address if the introducer is on it, else every address.
        port: to listen on; None: the one of ``location``, else any free one.
        location: how others reach the server; empty: the address by which it reaches the introducer.
        reserved_space: bytes of the disk that stay free.
    """

    nickname: str = ""
    host: str | None = None
    port: int | None = None
    location: tuple[str, ...] = ()
    reserved_space: int = 0

    @property
    def for_servers(self) -> bool:
        """True if something is said that a client has no use for."""
        return replace(self, nickname="") != JoinOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinResult:
    """What came of it.

    Attributes:
        role: client, or server.
        grid: the name by which the introducer calls the grid; may be empty.
        introducers: petnames, as they stand in the new node's list.
        settings: of the new node.
    """

    directory: Path
    role: str
    grid: str
    introducers: tuple[str, ...]
    settings: NodeSettings


async def join(code: str, directory: Path, options: JoinOptions | None = None) -> JoinResult:
    """Make ``directory`` a node of the grid that ``code`` invites to: a client, or a server that is one too.

    Raises:
        InvitationError: the code is none, or the introducer does not accept it (any more).
        ConfigError: an option makes no sense, or the directory exists and is not empty.
        InputError: the directory cannot be made. If the code was used up by then, the message says so.
        ServerError: the introducer cannot be used; WrongServerKeyError: it is another one.
    """
    options = options or JoinOptions()
    invitation = _parsed(code)
    settings = await asyncio.to_thread(_server_settings, options, invitation)
    directory = await asyncio.to_thread(_creatable, directory)
    welcome = await redeem(invitation)
    try:
        # Not in a thread: an interruption must not cost the node now that the invitation is used up.
        return _create(directory, welcome, settings, options)
    except (HoldfastError, OSError) as error:
        reason = str(error) if isinstance(error, HoldfastError) else error.strerror
        raise InputError(
            f"the invitation is used up, but {directory} could not be made: {reason}; ask for a new one"
        ) from error


def _parsed(code: str) -> Invitation:
    try:
        return parse_invitation(code)
    except ValueError as error:
        raise InvitationError(f"this is no invitation: {error}") from None


# -- before the code is used up


def _server_settings(options: JoinOptions, invitation: Invitation) -> NodeSettings:
    """Return the settings that a server would have.

    Raises:
        ConfigError: they make no sense.
    """
    outward = outward_address(invitation.host, invitation.port)
    address = None if outward is None else ipaddress.ip_address(outward.partition("%")[0])
    everywhere = "::" if isinstance(address, ipaddress.IPv6Address) else "0.0.0.0"  # noqa: S104  (it serves others)
    host, location = options.host, options.location
    if host is None:
        if address is None:  # the introducer will not be reached either
            host = NodeSettings().host
        else:
            host = str(address) if address.is_loopback and not location else everywhere
    if host in WILDCARD_HOSTS and not location and address is not None:
        location = (f"[{address}]" if address.version == 6 else str(address),)
    port = _port_in(location) if options.port is None else options.port
    settings = NodeSettings(nickname=options.nickname, host=host, port=port, location=location)
    storage = StorageConfig(enabled=True, reserved_space=options.reserved_space)
    parse_config(new_config_text(NodeConfig(node=settings, storage=storage)), CONFIG_FILE)
    if any(place in WILDCARD_HOSTS for place, _ in settings.advertised_hosts):
        raise ConfigError("node.location must be an address that others can go to, not every address")
    return settings


def _port_in(location: tuple[str, ...]) -> int:
    """Return the port that all places name that name one; 0 if there is none, or several."""
    try:
        named = {port for _, port in map(split_location, location) if port is not None}
    except ValueError:  # which is explained where settings are checked
        return 0
    return named.pop() if len(named) == 1 else 0


def _creatable(directory: Path) -> Path:
    """Return ``directory`` in full if a node can be made there. Tries it: permissions alone say too little.

    Raises:
        ConfigError: something is there already.
        InputError: nothing can be written there.
    """
    directory = directory.absolute()
    try:
        if os.path.lexists(directory):
            if directory.is_symlink() or not directory.is_dir() or any(directory.iterdir()):
                raise ConfigError(f"{directory} exists and is not an empty directory; nothing was changed")
            if directory.is_mount():
                raise ConfigError(f"{directory} is a mount point; name a directory inside it")
        parent = directory.parent
        while not os.path.lexists(parent):
            parent = parent.parent
        with (
            tempfile.TemporaryDirectory(prefix=f".{directory.name}.", suffix=".new", dir=parent) as temporary,
            open(Path(temporary) / "space", "wb") as file,
        ):
            file.write(bytes(NODE_SPACE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"cannot make {directory}: {error.strerror}; the invitation was not used") from error
    return directory


# -- afterwards


def _create(directory: Path, welcome: Welcome, settings: NodeSettings, options: JoinOptions) -> JoinResult:
    introducers = dict(zip(_petnames(welcome), welcome.introducers, strict=True))
    nickname = options.nickname or welcome.nickname
    encoding = EncodingSettings()
    if welcome.encoding is not None:
        needed, happiness, total = welcome.encoding
        encoding = EncodingSettings(shares_needed=needed, happiness=happiness, shares_total=total)
    if welcome.role == "server":
        settings = replace(settings, nickname=nickname)
        storage = StorageConfig(enabled=True, reserved_space=options.reserved_space)
        create_server_node(directory, settings, introducers=introducers, storage=storage, encoding=encoding)
    else:
        settings = NodeSettings(nickname=nickname)
        create_client_node(directory, encoding, nickname=nickname, introducers=introducers)
    if welcome.vdrive is not None:
        service, token = welcome.vdrive
        write_vdrive_places(directory / "private", VdrivePlaces(service=parse_nurl(service), account=token))
    return JoinResult(
        directory=directory,
        role=welcome.role,
        grid=welcome.grid,
        introducers=tuple(introducers),
        settings=settings,
    )


def _petnames(welcome: Welcome) -> list[str]:
    """Return a name for each introducer, from the grid's: what cannot stand in a petname becomes a dash."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", welcome.grid, flags=re.ASCII).strip("-")[:PETNAME_MAX]
    name = name or DEFAULT_PETNAME
    return [name, *(f"{name}-{number}" for number in range(2, len(welcome.introducers) + 1))]
