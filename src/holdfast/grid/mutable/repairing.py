"""Repairs mutable files. A version that only lost shares is kept: its shares are made again, byte for byte,
and no reader notices. If other versions contest it, its contents become a new version.

Source: docs/spec/mutable.md, section 16.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import ConflictError, IntegrityError, ServerError
from holdfast.formats.mutable_encoding import VersionTrees
from holdfast.formats.mutable_keys import FileKeys
from holdfast.formats.mutable_layout import MutableHeader
from holdfast.formats.mutable_share import SignedVersion, check_signature
from holdfast.grid.mutable.checking import MutableCheckResult
from holdfast.grid.mutable.operation import Encoding, Operation
from holdfast.interfaces.storage_errors import StorageRefusalError
from holdfast.planning.publication import Outcome


@dataclass(frozen=True, slots=True)
class MutableRepairResult:
    """What a repair did.

    Attributes:
        attempted: anything was written.
        successful: one version is there now, completely, as far as this repair knows.
        kept_version: missing shares were made again, of the version that was there.
        before: all shares had been verified.
        after: as the writes left it.
    """

    attempted: bool
    successful: bool
    kept_version: bool
    before: MutableCheckResult
    after: MutableCheckResult


def check_repairable(op: Operation) -> None:
    """Raise ConflictError if a repair would choose between contents; a forced one does."""
    seen = op.sighting.map
    newer = seen.unrecoverable_newer()
    if seen.best is not None and newer:
        version = newer[0]
        raise ConflictError(
            f"version {version.sequence} of the file is newer than what can be read, but too few shares of it"
            " were found; a forced repair gives it up"
        )
    if seen.needs_merge:
        raise ConflictError(
            "two versions of the file were written at the same time; merge what they contain, or force the"
            " repair to keep one of them"
        )


def can_keep(op: Operation, best: MutableHeader) -> bool:
    """Tell whether nothing contests the best version: all others are older."""
    return all(version == best or version.sequence < best.sequence for version in op.sighting.map.versions())


async def make_again(op: Operation, version: MutableHeader) -> bool:
    """Write the shares of ``version`` that are missing, bad, or of older versions.

    Returns:
        False if that cannot be done, as its shares were not made together. Nothing was written then.

    Raises:
        UncoordinatedWriteError: somebody else wrote meanwhile.
        NotEnoughSharesError: it cannot be read any more.
    """
    keys = await op.keys()
    async with op.copied(version) as (plaintext, found):
        salts = [version.salt] if version.format == "SDMF" else found
        async with op.encoded(plaintext, version.segmentation, salts) as encoded:
            signed = await _signed(op, version, keys, encoded.trees)
            if signed is None or encoded.trees.root_hash != version.root_hash:
                return False
            outcome = await op.send(signed, encoded, only_missing=True)
    if outcome.surprises:
        outcome.check()
    return True


async def _signed(
    op: Operation, version: MutableHeader, keys: FileKeys, trees: VersionTrees
) -> SignedVersion | None:
    """Return the version with the signature that one of its shares has."""
    for copy in op.sighting.copies_of(version):
        try:
            (signature,) = await copy.sections(op.identity.index, [copy.offsets.signature])
            check_signature(version, keys.signing_key.verifying_key, signature)
            return SignedVersion(version, signature, keys, trees)
        except (IntegrityError, ServerError, StorageRefusalError) as error:
            op.problems.note(copy.server, error, copy.number)
    return None


async def publish_again(op: Operation, version: MutableHeader) -> Outcome:
    """Write the contents of ``version`` as a new one, above all others."""
    encoding = Encoding(version.shares_needed, version.shares_total)
    async with op.copied(version) as (plaintext, _):
        return await op.publish(plaintext, encoding, op.next_sequence())
