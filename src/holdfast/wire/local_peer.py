"""Who is at the other end of a Unix socket, as far as the system tells."""

from __future__ import annotations

import socket
import struct
import sys

_LINUX = struct.Struct("3i")  # process, user, group
_XUCRED = struct.Struct("=IIhxx16I")  # version, user, number of groups, groups
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1  # of BSD and macOS


def user_behind(connection: socket.socket | None) -> int | None:
    """Return the id of the user who made the other end of a Unix socket, or None if the system is silent."""
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    user: int
    try:
        if sys.platform == "linux":
            data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX.size)
            _, user, _ = _LINUX.unpack(data)
        else:
            data = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size)
            user = _XUCRED.unpack(data)[1]
    except (OSError, struct.error):
        return None
    return user
