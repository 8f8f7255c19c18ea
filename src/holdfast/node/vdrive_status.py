"""What a running client says of virtual drive servers and of its roots. It holds no secrets.

Source: docs/spec/control-and-introducer.md, section 2; docs/spec/vdrive.md, section 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.crypto import base32

if TYPE_CHECKING:
    from holdfast.node.drive_client import DriveClient


def vdrives_of(client: DriveClient) -> list[dict[str, object]]:
    """Return an object for each service that is known, the client's own first."""
    own = client.default.service
    services: list[dict[str, object]] = [
        {
            "id": base32.encode(one.sid),
            "nickname": one.nickname,
            "addresses": [nurl.address for nurl in one.nurls],
            "accounts": one.accounts,
            "public_root": one.public_root,
            "announced": "fresh" if one.fresh else "stale",
            "own": own is not None and one.sid == own.sid,
        }
        for one in client.announced.all()
    ]
    if own is not None and not any(service["own"] for service in services):
        services.append(
            {
                "id": base32.encode(own.sid),
                "nickname": "",
                "addresses": list(own.hints),
                "accounts": "",
                "public_root": "",
                "announced": "no",
                "own": True,
            }
        )
    return sorted(services, key=lambda service: not service["own"])


def roots_of(client: DriveClient) -> dict[str, bool]:
    """Return which roots are known."""
    drive = client.vdrive
    return {
        "private": drive is not None and drive.have_private_root(),
        "public": drive is not None and drive.have_public_root(),
    }
