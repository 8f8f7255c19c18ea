"""By which address of its own this machine speaks to another: where others in the same network find it."""

from __future__ import annotations

import socket


def outward_address(host: str, port: int) -> str | None:
    """Return the address, or None if there is no way to ``host``.

    Sends nothing there, but may ask a name server. Blocks.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return None
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(address)  # of a datagram socket: chooses a route, and no more
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return None
