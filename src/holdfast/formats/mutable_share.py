"""Mutable shares as a whole: what is written, and the complete check of what was read.

Source: docs/spec/mutable.md, sections 5, 6, 7 and 14 (step 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from holdfast.crypto.buffers import Buffer
from holdfast.crypto.rsa_keys import VerifyingKey
from holdfast.errors import CorruptShareError
from holdfast.formats.mutable_encoding import EncodedVersion, VersionTrees
from holdfast.formats.mutable_keys import FileKeys, decrypted_private_key, verified_public_key
from holdfast.formats.mutable_layout import MutableHeader, MutableOffsets, parse_mutable_header
from holdfast.formats.mutable_proof import VersionProof
from holdfast.formats.mutable_segmentation import MutableSegmentation

Write = tuple[int, Buffer]
"""An offset in a share, and what goes there."""


@dataclass(frozen=True, slots=True)
class SignedVersion:
    """A version ready to be written: everything but the records, of which it knows the hashes.

    Raises:
        ValueError: keys that do not fit into an MDMF share.
    """

    header: MutableHeader
    signature: bytes = field(repr=False)
    keys: FileKeys
    trees: VersionTrees = field(repr=False)
    offsets: MutableOffsets = field(init=False)

    def __post_init__(self) -> None:
        offsets = MutableOffsets.plan(
            self.header.segmentation,
            public_key_size=len(self.keys.public_key),
            signature_size=len(self.signature),
            private_key_size=len(self.keys.encrypted_private_key),
        )
        object.__setattr__(self, "offsets", offsets)

    @classmethod
    def sign(
        cls,
        segmentation: MutableSegmentation,
        sequence: int,
        salt: bytes,
        trees: VersionTrees,
        keys: FileKeys,
    ) -> SignedVersion:
        """Sign a version.

        Args:
            salt: that of the header: none in MDMF.

        Raises:
            ValueError: a sequence number above 64 bits, or a key that cannot sign.
        """
        header = MutableHeader(sequence, trees.root_hash, salt, segmentation)
        return cls(header, keys.signing_key.sign(header.signed_prefix), keys, trees)

    def writes_of_new_share(self, number: int, records: Sequence[Buffer]) -> list[Write]:
        """Return writes that make a complete share, in order and without gaps.

        Args:
            records: all records of the share, in order, in as many pieces as the caller has them in.

        Raises:
            ValueError: they have not the size of all records.
        """
        if sum(memoryview(piece).nbytes for piece in records) != self.offsets.data.size:
            raise ValueError(f"the records of a share have {self.offsets.data.size} bytes")
        return [
            (0, self.front(number)),
            *_successive(self.offsets.data.begin, records),
            (self.offsets.data.end, self.back(number)),
        ]

    def writes_of_update(self, number: int, records: Iterable[Write]) -> list[Write]:
        """Return writes that turn a share of the previous version into one of this, in MDMF.

        Args:
            records: of the changed segments: the offset in the share data, and one record or several.
        """
        if self.header.format != "MDMF":
            raise ValueError("an SDMF share is written as a whole")
        begin = self.offsets.data.begin
        changed = [(begin + offset, data) for offset, data in records]
        return [(0, self.front(number)), *changed, (self.offsets.data.end, self.back(number))]

    def front(self, number: int) -> bytes:
        """Return all that comes before the data."""
        header = self.header.signed_prefix + self.offsets.to_bytes(self.header.format)
        chain, keys = self.trees.chain(number), self.keys
        if self.header.format == "SDMF":
            tree = self.trees.block_trees[number]
            return b"".join([header, keys.public_key, self.signature, chain, tree])
        front = b"".join([header, keys.encrypted_private_key, chain, self.signature, keys.public_key])
        return front.ljust(self.offsets.data.begin, b"\0")

    def back(self, number: int) -> bytes:
        """Return all that comes after the data."""
        if self.header.format == "SDMF":
            return self.keys.encrypted_private_key
        return self.trees.block_trees[number]


def sign_version(encoded: EncodedVersion, sequence: int, keys: FileKeys) -> SignedVersion:
    """Sign what was encoded at once. Raises ValueError as ``SignedVersion.sign``."""
    return SignedVersion.sign(encoded.segmentation, sequence, encoded.salt, encoded.trees, keys)


def build_shares(encoded: EncodedVersion, signed: SignedVersion) -> list[bytes]:
    """Return all shares, whole, in order of their numbers: for tests and small files."""
    return [
        b"".join(data for _, data in signed.writes_of_new_share(number, [encoded.encoded.share(number)]))
        for number in range(encoded.segmentation.shares_total)
    ]


@dataclass(frozen=True, slots=True)
class VerifiedShare:
    """A share all parts of which belong to one signed version. The private key counts only if asked for."""

    number: int
    header: MutableHeader
    offsets: MutableOffsets
    public_key: bytes = field(repr=False)
    encrypted_private_key: bytes = field(repr=False)
    records: Sequence[bytes] = field(repr=False)  # with salts in MDMF
    leaves: Sequence[bytes] = field(repr=False)  # hashes of the records

    def salt(self, segment: int) -> bytes:
        """Return the salt of a segment."""
        return self.header.salt or self.records[segment][: self.header.segmentation.salt_size]

    def block(self, segment: int) -> memoryview:
        """Return the block of a segment."""
        return memoryview(self.records[segment])[self.header.segmentation.salt_size :]


def verify_share(
    data: Buffer, fingerprint: bytes, number: int, write_key: bytes | None = None
) -> VerifiedShare:
    """Check a whole share: key, signature, header, hash trees and every record.

    Not covered by anything, so unchecked: the gap in an MDMF share between public key and data, what follows
    the end of the share, and without a write key the encrypted private key.

    Args:
        data: the share, with whatever follows its end.
        fingerprint: of the capability.
        write_key: of the capability, to check the private key, too.

    Raises:
        CorruptShareError: something is wrong; the message says what.
    """
    header, offsets = verified_header(data, fingerprint, number)
    private_key = offsets.private_key.of(data)
    if write_key is not None:
        decrypted_private_key(write_key, private_key)
    segmentation = header.segmentation
    content = offsets.data.of(data)
    proof = VersionProof(header).share(number)
    proof.offer_tree(offsets.block_tree.of(data), offsets.chain.of(data))
    records = []
    for segment in range(segmentation.segment_count):
        begin = segmentation.record_offset(segment)
        records.append(content[begin : begin + segmentation.record_length(segment)])
    proof.prove(dict(enumerate(records)))
    return VerifiedShare(
        number, header, offsets, offsets.public_key.of(data), private_key, records, proof.leaves()
    )


def verified_header(data: Buffer, fingerprint: bytes, number: int) -> tuple[MutableHeader, MutableOffsets]:
    """Return header and offsets of a share whose first bytes, up to its signature, are ``data``.

    Raises:
        CorruptShareError: the key is another one, the signature is wrong, or the numbers make no sense.
    """
    header, offsets = parse_mutable_header(data, number)
    key = verified_public_key(offsets.public_key.of(data), fingerprint)
    check_signature(header, key, offsets.signature.of(data))
    return header, offsets


class SignedHeaders:
    """The headers of one file's shares that are known to be signed: each is verified once.

    What counts is every byte of key, header and signature: a share of a version known to be authentic passes
    only with that version's signature.
    """

    def __init__(self, fingerprint: bytes) -> None:
        self._fingerprint = fingerprint
        self._signed: set[tuple[bytes, bytes, bytes]] = set()

    def check(self, header: MutableHeader, offsets: MutableOffsets, data: Buffer) -> None:
        """Return if a header is authentic. ``data``: the share up to the end of key and signature.

        Raises:
            CorruptShareError: the key is another one, or the signature is wrong.
        """
        public, signature = bytes(offsets.public_key.of(data)), bytes(offsets.signature.of(data))
        seen = (public, header.signed_prefix, signature)
        if seen not in self._signed:
            check_signature(header, verified_public_key(public, self._fingerprint), signature)
            self._signed.add(seen)


def check_signature(header: MutableHeader, key: VerifyingKey, signature: bytes) -> None:
    """Return if the header is authentic. Raises CorruptShareError if not."""
    if not key.verify(header.signed_prefix, signature):
        raise CorruptShareError("the signature of a share is wrong")


def _successive(begin: int, pieces: Sequence[Buffer]) -> list[Write]:
    writes: list[Write] = []
    for piece in pieces:
        writes.append((begin, piece))
        begin += memoryview(piece).nbytes
    return writes
