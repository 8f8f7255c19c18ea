"""``check`` of a directory at a virtual drive server: what its server shows is proven, entry by entry if that
is wanted, and held against what was seen before.

Source: docs/spec/vdrive.md, sections 7.2, 8.6 and 14.4; docs/spec/cli.md, section 7.1.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from holdfast.caps.parsing import VdriveCap
from holdfast.caps.vdrive import VdriveVerifyCap
from holdfast.cli.check_targets import Wishes
from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.messages import plural
from holdfast.crypto import base32
from holdfast.crypto.vdrive_keys import index_of, log_name
from holdfast.errors import NotCapableError
from holdfast.formats.vdrive.bundle import BundleReader
from holdfast.formats.vdrive.head import head_hash, verified_head
from holdfast.grid.vdrive.healing import HealReport
from holdfast.interfaces.vdrive import DirectoryInfo
from holdfast.interfaces.vdrive_errors import ServerMisbehavedError
from holdfast.node.drive_client import DriveClient

BUNDLE_SIZE_MAX = 64 << 30  # bytes
CHARACTERS_COMPARED = 20  # of the hash of a head, in base32


@dataclass(frozen=True, slots=True)
class VdriveChecked:
    """What was found.

    Attributes:
        version: the newest one, signed by a writer.
        head_hash: of its head, 32 bytes.
        entries: how many there are in it.
        verified: every entry was proven.
        unreadable: entries that could not be opened, of those proven.
        followed: True if every version since the first one seen here is known to follow the one before.
        lease_expires: Unix seconds; None if nobody holds a lease.
        condemned: it is to be deleted, for want of leases.
        healed: what was given back to the server, if that was wanted.
    """

    version: int
    head_hash: bytes
    entries: int
    verified: bool
    unreadable: int
    followed: bool
    lease_expires: int | None
    condemned: bool
    healed: HealReport | None = None

    @property
    def status(self) -> ExitCode:
        return ExitCode.UNHEALTHY if self.unreadable or self.condemned else ExitCode.DONE

    def to_json(self) -> dict[str, object]:
        """Return a JSON object."""
        return {
            "kind": "vdrive",
            "healthy": self.status == ExitCode.DONE,
            "version": self.version,
            "head": compared_part(self.head_hash),
            "entries": self.entries,
            "verified": self.verified,
            "unreadable": self.unreadable,
            "followed": self.followed,
            "lease-expires": self.lease_expires,
            "condemned": self.condemned,
            "resent": None if self.healed is None else list(self.healed.resent),
        }

    def lines(self) -> list[str]:
        """Return the lines for people."""
        healthy = "healthy" if self.status == ExitCode.DONE else "not healthy"
        entries = "1 entry" if self.entries == 1 else f"{self.entries} entries"
        proven = "all proven" if self.verified else "signed by a writer"
        lines = [f"{healthy}: version {self.version}, {entries}, {proven}"]
        if self.healed is not None:
            sent = plural(len(self.healed.resent), "version")
            lines.append(f"given back to the server: {sent}")
        if not self.followed:
            lines.append("the server does not have all versions since the first one that was seen here")
        if self.unreadable:
            lines.append(f"{self.unreadable} of them cannot be read, as a writer left them")
        if self.condemned:
            lines.append("the server is going to delete it, since nobody holds a lease: --add-lease keeps it")
        elif self.lease_expires is not None:
            until = time.strftime("%Y-%m-%d", time.localtime(self.lease_expires))
            lines.append(f"kept until {until} at least")
        return lines


def compared_part(hash_: bytes) -> str:
    """Return what people compare of the hash of a head."""
    return base32.encode(hash_)[:CHARACTERS_COMPARED]


async def check_vdrive(client: DriveClient, cap: VdriveCap, wishes: Wishes) -> VdriveChecked:
    """Look at a directory as ``wishes`` say.

    Raises:
        NotCapableError: ``repair`` with a capability that only verifies.
        RollbackDetectedError, ForkDetectedError, ServerMisbehavedError: the server lies, or lost something.
    """
    healed = None
    if wishes.repair:
        if isinstance(cap, VdriveVerifyCap):
            raise NotCapableError(
                "--repair takes a capability that reads the directory, and this one does not"
            )
        healed = await client.vdrive_client.heal(cap)
    if wishes.add_lease:
        await client.vdrive_client.renew_lease(cap)
    verify = wishes.verify or wishes.repair
    if isinstance(cap, VdriveVerifyCap):
        return await _check_unread(client, cap, verify)
    directory = client.vdrive_client.directory(cap)
    info = await directory.describe()
    head = await directory.head()
    version, count, unreadable = head.version, head.head.count, 0
    found_hash = head.head_hash
    if verify:
        listing = directory.listing()
        async for page in listing.pages():
            unreadable += sum(entry.fault is not None for entry in page)
        unreadable += len(listing.unreadable)
        assert listing.head is not None
        version, count, found_hash = listing.head.version, listing.head.head.count, listing.head.head_hash
    return VdriveChecked(
        version,
        found_hash,
        count,
        verify,
        unreadable,
        head.chain_verified,
        info.lease_expires,
        info.condemned,
        healed,
    )


async def _check_unread(client: DriveClient, cap: VdriveVerifyCap, verify: bool) -> VdriveChecked:
    """Check what can be checked without reading anything: who signed it, and that all of it is there."""
    server = client.vdrive_servers.server(cap.place)
    info: DirectoryInfo = await server.describe(cap.index)
    if index_of(info.commitment, info.verify_key) != cap.index:
        raise ServerMisbehavedError(f"directory {log_name(cap.index)}: the server names keys of another one")
    signed = info.head
    if verify:
        reader = BundleReader(cap.index)
        async for piece in server.export(cap.index):
            reader.feed(piece)
        reader.finish()
        assert reader.header is not None
        signed = reader.header.head
    head = verified_head(signed, info.verify_key, cap.index)
    return VdriveChecked(
        head.version, head_hash(signed.head), head.count, verify, 0, True, info.lease_expires, info.condemned
    )
