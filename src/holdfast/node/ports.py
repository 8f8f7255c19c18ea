"""The port of a server that may have any: chosen once, and the same ever after, because
the addresses that clients keep hold it.
"""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

from holdfast.errors import ConfigError, InputError

PORT_FILE = "port"
# Below the ports that systems take for outgoing connections: a server that comes back finds its own free.
PORTS = range(12000, 30000)
ATTEMPTS = 100


def ports_to_try() -> list[int]:
    """Return ports, one of which will be free."""
    return random.sample(PORTS, ATTEMPTS)


def remembered_port(node: Path) -> int | None:
    """Return the port that this node had before, if any.

    Raises:
        ConfigError: the file that says so is damaged.
    """
    try:
        text = (node / PORT_FILE).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{node / PORT_FILE} cannot be read: {error.strerror}") from None
    except ValueError:
        text = ""
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ConfigError(
            f"{node / PORT_FILE} is damaged: it must hold the port of this node; write it there again, "
            "or remove the file, and another port is chosen"
        )
    return int(text)


def chosen_port(node: Path, host: str) -> int:
    """Return the port that this node had before; else choose a free one, and keep it.

    Raises:
        ConfigError: the file that says which it had is damaged.
        InputError: none is free.
    """
    port = remembered_port(node)
    for candidate in [] if port is not None else ports_to_try():
        try:
            socket.create_server((host, candidate), family=_family(host)).close()
        except OSError:
            continue
        remember_port(node, candidate)
        return candidate
    if port is None:
        raise InputError(f"{node.name}: found no free port on {host}; set node.port")
    return port


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def remember_port(node: Path, port: int) -> None:
    """Keep ``port`` for the next start."""
    temporary = node / f".{PORT_FILE}.new"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(f"{port}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, node / PORT_FILE)
