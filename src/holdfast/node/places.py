"""What the directory that a user names is: a client node, or a local grid with one inside."""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import ConfigError
from holdfast.node.config import CONFIG_FILE

GRID_FILE = "grid.json"  # marks the directory of a local grid
GRID_CLIENT = "client"  # the client node inside it
GRID_INTRODUCER = "introducer"  # and the introducer


def client_directory(directory: Path) -> Path:
    """Return the client node that ``directory`` means: itself, or the one inside a local grid.

    Raises:
        ConfigError: it is neither.
    """
    if (directory / GRID_FILE).is_file():
        return directory / GRID_CLIENT
    if (directory / CONFIG_FILE).is_file():
        return directory
    what = f"has neither {CONFIG_FILE} nor {GRID_FILE}" if directory.is_dir() else "does not exist"
    raise ConfigError(f"{directory} is neither a client node nor a local grid: it {what}")
