"""The aliases of the node that a command uses."""

from __future__ import annotations

from pathlib import Path

from holdfast.cli.options import needed_node
from holdfast.node.aliases import Aliases
from holdfast.node.places import client_directory


def aliases_of(node: Path | None) -> Aliases:
    """Return the aliases of ``node``.

    Raises:
        ConfigError: no node was named, or it is none.
    """
    return Aliases(client_directory(needed_node(node)) / "private")


def alias_name(argument: str) -> str:
    """Return the name in an argument that may be written as in a path: with a colon at its end."""
    return argument.strip(" ").removesuffix(":")
