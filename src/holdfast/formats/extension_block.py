"""The URI extension block: a flat mapping that holds what a reader needs to prove a
file, and is itself proven by the hash in the capability.

Source: docs/spec/immutable.md, section 8; docs/spec/seed-map.md, S-039 to S-043.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.crypto.hashing import HASH_SIZE
from holdfast.crypto.immutable_hashes import ueb_hash
from holdfast.crypto.netstring import netstring
from holdfast.errors import BadFileError, CorruptShareError
from holdfast.formats.segmentation import Segmentation

EXTENSION_SIZE_MAX = 1000  # bytes a writer may produce
EXTENSION_SIZE_READ_MAX = 1999  # bytes a reader takes, hashes or parses
SEGMENT_MEMORY_MAX = 64 << 20  # bytes a reader is ready to spend on one segment
_KEY = re.compile(r"[A-Za-z_-]+", re.ASCII)
_ENTRY = re.compile(rb"([A-Za-z_-]+):(0|[1-9][0-9]{0,19}):")  # followed by the value and a comma
_USUAL = re.compile(
    rb"codec_name:3:crs,codec_params:([1-9]\d{0,2}):([\d-]+),crypttext_hash:32:.{32},crypttext_root_hash:32:.{32},"
    rb"needed_shares:([1-9]):(\d+),num_segments:([1-9]\d?):(\d+),segment_size:([1-9]\d?):([1-9]\d{0,19}),"
    rb"share_root_hash:32:.{32},size:([1-9]\d?):(\d+),tail_codec_params:([1-9]\d{0,2}):([\d-]+),"
    rb"total_shares:([1-9]):(\d+),",
    re.DOTALL | re.ASCII,
)
"""The block as writers make it: pairs of the length and the text of each number."""
_DIGITS = re.compile(rb"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class ExtensionBlock:
    """What readers use of the block. ``others`` holds every other key, for the verifier."""

    segment_size: int
    crypttext_root_hash: bytes
    share_root_hash: bytes
    others: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def for_file(
        cls,
        plan: Segmentation,
        crypttext_hash: bytes,
        crypttext_root_hash: bytes,
        share_root_hash: bytes,
    ) -> ExtensionBlock:
        """Return the block a writer makes for a file."""
        k, n = plan.shares_needed, plan.shares_total
        others = {
            "codec_name": b"crs",
            "codec_params": b"%d-%d-%d" % (plan.segment_size, k, n),
            "crypttext_hash": crypttext_hash,
            "needed_shares": b"%d" % k,
            "num_segments": b"%d" % plan.segment_count,
            "size": b"%d" % plan.size,
            "tail_codec_params": b"%d-%d-%d" % (plan.tail_padded_size, k, n),
            "total_shares": b"%d" % n,
        }
        return cls(plan.segment_size, crypttext_root_hash, share_root_hash, others)

    @classmethod
    def from_bytes(cls, data: bytes) -> ExtensionBlock:
        """Parse the stored form; keys that nobody knows are kept.

        Raises:
            ValueError: it does not parse, lacks what every reader needs, or states it in an impossible form.
        """
        mapping = unpack(data)
        missing = {"segment_size", "crypttext_root_hash", "share_root_hash"} - mapping.keys()
        if missing:
            raise ValueError(f"an extension block lacks {', '.join(sorted(missing))}")
        segment_size = _number(mapping.pop("segment_size"))
        roots = mapping.pop("crypttext_root_hash"), mapping.pop("share_root_hash")
        if segment_size < 1 or any(len(root) != HASH_SIZE for root in roots):
            raise ValueError("an extension block states an impossible segment size or hash")
        return cls(segment_size, *roots, mapping)

    @property
    def crypttext_hash(self) -> bytes | None:
        """The hash of the whole ciphertext. Readers cannot check it without having read all, and need not."""
        return self.others.get("crypttext_hash")

    def to_bytes(self) -> bytes:
        """Return the stored form."""
        return pack(
            {
                **self.others,
                "segment_size": b"%d" % self.segment_size,
                "crypttext_root_hash": self.crypttext_root_hash,
                "share_root_hash": self.share_root_hash,
            }
        )


def is_usual(data: bytes) -> bool:
    """True if these bytes are a block as writers make it; anything else has to be parsed to be judged."""
    usual = _USUAL.fullmatch(data)
    if usual is None:
        return False
    numbers = usual.groups()
    return all(len(numbers[i + 1]) == int(numbers[i]) for i in range(0, len(numbers), 2))


def packed_length(plan: Segmentation) -> int:
    """Return the length of the block of a file, known before any hash is."""
    return len(ExtensionBlock.for_file(plan, bytes(32), bytes(32), bytes(32)).to_bytes())


def pack(mapping: Mapping[str, bytes]) -> bytes:
    """Serialise: keys in byte order, each followed by a colon and the netstring of its value.

    Raises:
        ValueError: a key is empty or holds anything but ASCII letters, underscore and hyphen, or the result
            has more than ``EXTENSION_SIZE_MAX`` bytes.
    """
    parts = []
    for key in sorted(mapping):
        if not _KEY.fullmatch(key):
            raise ValueError("a key of an extension block holds letters, underscore and hyphen only")
        parts.append(key.encode("ascii") + b":" + netstring(mapping[key]))
    data = b"".join(parts)
    if len(data) > EXTENSION_SIZE_MAX:
        raise ValueError(f"an extension block has at most {EXTENSION_SIZE_MAX} bytes, not {len(data)}")
    return data


def unpack(data: bytes) -> dict[str, bytes]:
    """Parse; keys may come in any order.

    Raises:
        ValueError: it is not a serialised mapping, a key comes twice, or it has more than
            ``EXTENSION_SIZE_READ_MAX`` bytes.
    """
    if len(data) > EXTENSION_SIZE_READ_MAX:
        raise ValueError(f"an extension block has at most {EXTENSION_SIZE_READ_MAX} bytes, not {len(data)}")
    mapping: dict[str, bytes] = {}
    offset = 0
    while offset < len(data):
        entry = _ENTRY.match(data, offset)
        if entry is None:
            raise ValueError("an extension block has something else than a key and a length")
        key = entry[1].decode("ascii")
        if key in mapping:
            raise ValueError("an extension block has a key twice")
        begin = entry.end()
        offset = begin + int(entry[2]) + 1
        if data[offset - 1 : offset] != b",":
            raise ValueError("an extension block is cut off, or has no comma behind a value")
        mapping[key] = data[begin : offset - 1]
    return mapping


def verified_extension_block(
    data: bytes, expected_hash: bytes, shares_needed: int, shares_total: int, size: int
) -> ExtensionBlock:
    """Return the block once its bytes are shown to be the ones the capability names.

    Raises:
        CorruptShareError: they are not.
        BadFileError: they are, but make no sense: the file cannot be read from any share.
    """
    if len(data) > EXTENSION_SIZE_READ_MAX:
        raise CorruptShareError("corruption in the URI extension block: it is longer than any can be")
    if not hmac.compare_digest(ueb_hash(data), expected_hash):
        raise CorruptShareError("corruption in the URI extension block: its hash is not the capability's")
    try:
        block = ExtensionBlock.from_bytes(data)
    except ValueError as error:
        raise BadFileError(f"the file's extension block is authentic but makes no sense: {error}") from error
    if block.segment_size % shares_needed:
        raise BadFileError("the file's extension block is authentic but names impossible sizes")
    if min(block.segment_size, size + shares_needed) > SEGMENT_MEMORY_MAX:
        raise BadFileError(
            f"the file needs segments of {block.segment_size} bytes, more than this reader takes"
        )
    return block


def stated_segmentation(block: ExtensionBlock) -> Segmentation:
    """Return the sizes that the block itself states, for those who have no capability to take them from.

    Raises:
        BadFileError: it states none, or impossible ones.
    """
    size, shares_needed, shares_total = (
        _number_or_raise(key, block.others.get(key, b"")) for key in ("size", "needed_shares", "total_shares")
    )
    try:
        return Segmentation(size, shares_needed, shares_total, block.segment_size)
    except ValueError as error:
        raise BadFileError(f"the file's extension block names impossible sizes: {error}") from error


def check_redundant(block: ExtensionBlock, plan: Segmentation) -> None:
    """Check, for the verifier, that whatever the block says twice it says right.

    Raises:
        BadFileError: a key contradicts the capability or the sizes that follow from it.
    """
    expected = dict(ExtensionBlock.for_file(plan, b"", b"", b"").others)
    del expected["crypttext_hash"]
    for key, value in expected.items():
        if key not in block.others:
            continue
        stored = block.others[key]
        if key != "codec_name":
            stored = b"-".join(b"%d" % _number_or_raise(key, part) for part in stored.split(b"-"))
        if stored != value:
            raise BadFileError(f"the file's extension block contradicts its capability in {key}")
    if len(block.others.get("crypttext_hash", bytes(HASH_SIZE))) != HASH_SIZE:
        raise BadFileError("the file's extension block holds a hash that is not 32 bytes long")


def _number_or_raise(key: str, digits: bytes) -> int:
    try:
        return _number(digits)
    except ValueError as error:
        raise BadFileError(f"the file's extension block holds no number in {key}") from error


def _number(digits: bytes) -> int:
    if not _DIGITS.fullmatch(digits):
        raise ValueError("not a decimal number")
    return int(digits)
