"""One share being read: what it states about itself, proven against the capability
before anything else of it is used.

Source: docs/spec/immutable.md, section 11.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.crypto.merkle import BadHashError, NotEnoughHashesError, PartialTree
from holdfast.errors import CorruptShareError
from holdfast.formats.extension_block import ExtensionBlock, verified_extension_block
from holdfast.formats.segmentation import Segmentation
from holdfast.interfaces.storage import BucketReader
from holdfast.interfaces.types import Hash
from holdfast.planning.leaf_groups import LeafGroups


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What a capability says of a file, apart from its key: all that is trusted at the start."""

    ueb_hash: bytes
    shares_needed: int
    shares_total: int
    size: int


class FileProofs:
    """What is proven of a file so far; common to all its shares."""

    def __init__(self, identity: FileIdentity) -> None:
        self.identity = identity
        self.extension: ExtensionBlock | None = None
        self.plan: Segmentation | None = None
        self.crypttext: LeafGroups | None = None
        self._share_tree = PartialTree(identity.shares_total)

    def take_extension(self, data: bytes) -> None:
        """Prove the URI extension block and learn the sizes from it.

        Raises:
            CorruptShareError: it is not the one the capability names.
            BadFileError: it is, but makes no sense.
        """
        known = self.identity
        block = verified_extension_block(
            data, known.ueb_hash, known.shares_needed, known.shares_total, known.size
        )
        if self.plan is not None:
            return
        plan = Segmentation(known.size, known.shares_needed, known.shares_total, block.segment_size)
        self.extension, self.plan = block, plan
        self.crypttext = LeafGroups(plan.segment_count, block.crypttext_root_hash)
        self._share_tree.set_root(block.share_root_hash)

    def block_tree_root(self, number: int, chain: list[tuple[int, Hash]]) -> bytes:
        """Return the proven root of the block hash tree of share ``number``.

        Raises:
            CorruptShareError: the chain does not lead to the file's root, or belongs to another share.
        """
        try:
            self._share_tree.offer(dict(chain))
        except (BadHashError, NotEnoughHashesError) as error:
            raise CorruptShareError(f"corruption in the share hash chain: {error}") from error
        root = self._share_tree.leaf(number)
        if root is None:
            raise CorruptShareError("the share hash chain belongs to another share")
        return root


class OpenShare:
    """One share whose header, extension block and chain are proven."""

    def __init__(self, number: int, reader: BucketReader, proofs: FileProofs) -> None:
        self.number = number
        self.reader = reader
        self._proofs = proofs
        self._blocks: LeafGroups | None = None

    async def open(self) -> None:
        """Prove what the share states about itself. Raises CorruptShareError and what the reader raises."""
        if self._blocks is not None:
            return
        self._proofs.take_extension(await self.reader.get_uri_extension())
        plan = self._proofs.plan
        assert plan is not None
        root = self._proofs.block_tree_root(self.number, await self.reader.get_share_hashes())
        self.reader.set_segmentation(plan)
        self._blocks = LeafGroups(plan.segment_count, root)

    async def learn_leaves(self, segments: range) -> None:
        """Prove the hashes of this share's blocks, and of the ciphertext, of ``segments``."""
        blocks, crypttext = self._blocks, self._proofs.crypttext
        assert blocks is not None
        assert crypttext is not None
        if wanted := blocks.wanted(segments):
            nodes = await self.reader.get_block_hashes(wanted)
            _take(blocks, segments, wanted, nodes, "block hash tree")
        if wanted := crypttext.wanted(segments):
            nodes = await self.reader.get_crypttext_hashes(wanted)
            _take(crypttext, segments, wanted, nodes, "crypttext hash tree")

    def block_hash(self, segment: int) -> bytes:
        """Return the proven hash of a block whose leaf was learnt."""
        assert self._blocks is not None
        leaf = self._blocks.leaf(segment)
        assert leaf is not None
        return leaf

    def forget_before(self, segment: int) -> None:
        """Let go of hashes that are not needed any more."""
        if self._blocks is not None:
            self._blocks.forget_before(segment)


def _take(groups: LeafGroups, segments: range, wanted: set[int], nodes: list[Hash], what: str) -> None:
    try:
        groups.take(segments, dict(zip(sorted(wanted), nodes, strict=True)))
    except BadHashError as error:
        raise CorruptShareError(f"corruption in the {what}: {error}") from error
