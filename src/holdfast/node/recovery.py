"""Making a client again by its recovery line: it has its private root, its aliases, its convergence secret
and the settings that count elsewhere. It gets secrets of its own for leases, as any other client.

Source: docs/spec/vdrive.md, section 10.5.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from holdfast.crypto import base32
from holdfast.drive.file_nodes import ImmutableFileNode, LiteralFileNode
from holdfast.drive.known_node import KnownNode
from holdfast.drive.stored_directory import StoredDirectoryNode
from holdfast.errors import ConfigError, InputError, IntegrityError
from holdfast.grid.targets import DataTarget
from holdfast.interfaces.drive import Node, UnreadableEntry
from holdfast.node.aliases import Aliases, AliasNameError, AliasTakenError, listable_directory
from holdfast.node.client_secrets import CONVERGENCE_FILE, SECRET_SIZE
from holdfast.node.config import ClientConfig, NodeConfig, NodeSettings
from holdfast.node.creation import create_client_node, create_node_directory
from holdfast.node.drive_client import DriveClient
from holdfast.node.kept_settings import (
    KEPT_MAX,
    KeptSettings,
    parse_kept_settings,
    private_root_kind,
)
from holdfast.node.meeting import CACHE_FILE
from holdfast.node.private_files import write_private_file
from holdfast.node.private_root import PRIVATE_ROOT_FILE
from holdfast.node.roots_directory import (
    ALIAS_PREFIX,
    CONVERGENCE,
    PRIVATE_ROOT,
    ROOTS_FILE,
    SETTINGS,
)
from holdfast.node.vdrive_places import write_vdrive_places
from holdfast.node.wiring import open_drive
from holdfast.protocol.recovery_line import RecoveryLine

Children = Mapping[str, Node | UnreadableEntry]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What came back. ``aliases`` in order; ``unreadable``: entries that could not be used."""

    directory: Path
    private_root: bool
    aliases: tuple[str, ...]
    unreadable: tuple[str, ...]


async def recover(line: RecoveryLine, directory: Path, on_problem: Callable[[str], None]) -> Recovered:
    """Make ``directory``, an absolute path, the client that ``line`` leads to.

    Raises:
        ConfigError: the directory exists and is not empty.
        InputError: it cannot be made.
        HoldfastError: the roots directory cannot be read; nothing was made.
    """
    _check_free(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".new", dir=directory.parent))
    except OSError as error:
        raise InputError(f"cannot make {directory}: {error.strerror}") from error
    try:
        first, whole = place / "first", place / "node"
        introducers = {f"introducer-{n}": nurl for n, nurl in enumerate(line.introducers, 1)}
        create_client_node(first, introducers=introducers)
        async with open_drive(first, on_problem=on_problem) as client:
            children = await _roots(client, line.roots)
            kept = parse_kept_settings(await _contents(client, children.get(SETTINGS), SETTINGS))
            convergence = (await _contents(client, children.get(CONVERGENCE), CONVERGENCE)).strip()
        result = _fill(whole, directory, line, children, kept, convergence)
        shutil.copyfile(first / "private" / CACHE_FILE, whole / "private" / CACHE_FILE)
        _check_free(directory)
        os.rename(whole, directory)
    except OSError as error:
        raise InputError(f"cannot make {directory}: {error.strerror}") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return result


def _check_free(directory: Path) -> None:
    if os.path.lexists(directory) and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"{directory} exists and is not an empty directory; nothing was changed")


async def _roots(client: DriveClient, cap: str) -> Children:
    node = client.drive.node(cap)
    assert isinstance(node, StoredDirectoryNode), "the line was parsed"
    return await node.list()


async def _contents(client: DriveClient, node: Node | UnreadableEntry | None, name: str) -> bytes:
    if not isinstance(node, ImmutableFileNode | LiteralFileNode):
        raise IntegrityError(f"the roots directory has no file {name!r}: it is not one, or damaged")
    return (await client.grid.download(node.get_uri(), DataTarget(), size=KEPT_MAX)).value


def _fill(
    node: Path,
    directory: Path,
    line: RecoveryLine,
    children: Children,
    kept: KeptSettings,
    convergence: bytes,
) -> Recovered:
    """Make the node directory."""
    create_node_directory(
        node,
        NodeConfig(
            node=NodeSettings(nickname=kept.nickname),
            client=ClientConfig(enabled=True, encoding=kept.encoding),
            vdrive=private_root_kind(kept),
        ),
        kept.introducers,
    )
    private = node / "private"
    write_private_file(private / CONVERGENCE_FILE, _secret(convergence) + "\n")
    write_vdrive_places(private, kept.places)
    write_private_file(private / ROOTS_FILE, line.roots + "\n")
    aliases, found, unreadable = Aliases(private), list[str](), list[str]()
    root = children.get(PRIVATE_ROOT)
    if isinstance(root, KnownNode):
        write_private_file(private / PRIVATE_ROOT_FILE, root.get_uri() + "\n")
    elif root is not None:
        unreadable.append(PRIVATE_ROOT)
    for name, child in sorted(children.items()):
        if not name.startswith(ALIAS_PREFIX):
            continue
        alias = name.removeprefix(ALIAS_PREFIX)
        try:
            if not isinstance(child, StoredDirectoryNode):
                raise AliasNameError("it leads to something else")
            aliases.add(alias, listable_directory(child.get_uri()))
        except (AliasNameError, AliasTakenError):
            unreadable.append(name)
        else:
            found.append(alias)
    return Recovered(directory, isinstance(root, KnownNode), tuple(found), tuple(unreadable))


def _secret(text: bytes) -> str:
    try:
        secret = base32.decode(text.decode("ascii"))
    except ValueError:
        secret = b""
    if len(secret) != SECRET_SIZE:
        raise IntegrityError("the convergence secret kept in the roots directory is damaged")
    return base32.encode(secret)
