"""Mutable shares: the bytes written, and that nothing wrong is ever read."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import kernel
from holdfast.crypto.gf256 import check_rows
from holdfast.crypto.rsa_keys import SigningKey, VerifyingKey
from holdfast.errors import CorruptShareError
from holdfast.formats.mutable_encoding import (
    BlockLeaves,
    EncodedVersion,
    VersionTrees,
    decode_segment,
    encode_segments,
    encode_version,
    stored_leaves,
)
from holdfast.formats.mutable_keys import FileKeys, verified_public_key
from holdfast.formats.mutable_layout import MutableHeader, Section, parse_mutable_header
from holdfast.formats.mutable_proof import ShareProof, VersionProof
from holdfast.formats.mutable_segmentation import MutableFormat, MutableSegmentation
from holdfast.formats.mutable_share import (
    SignedHeaders,
    SignedVersion,
    VerifiedShare,
    Write,
    build_shares,
    sign_version,
    verified_header,
    verify_share,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "mutable.json").read_text())
FILES: list[dict[str, Any]] = VECTORS["files"]
HISTORIES: list[dict[str, Any]] = VECTORS["histories"]
SHARES = [
    (file["name"], int(number), base64.b64decode(share))
    for file in FILES
    for number, share in file.get("shares", {}).items()
    if int(number) in (0, 1, file["n"] - 1)
]
KEY_OF_FILE = {file["name"]: file["key"] for file in FILES}


@cache
def keys(name: str = "A") -> FileKeys:
    return FileKeys.new(SigningKey(base64.b64decode(VECTORS["keys"][name]["private_key_der"])))


def plaintext(label: str, size: int) -> bytes:
    count = -(-size // 32)
    return b"".join(hashlib.sha256(b"%s:%d" % (label.encode(), i)).digest() for i in range(count))[:size]


def salts_of(case: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(salt) for salt in case["salts"]]


def segmentation_of(case: dict[str, Any], k: int, n: int, file_format: MutableFormat) -> MutableSegmentation:
    return MutableSegmentation(file_format, case["data_length"], k, n, case["segment_size"])


def signed_as(case: dict[str, Any], encoded: EncodedVersion, key: FileKeys) -> SignedVersion:
    """Return the version with the reference's signature, as each is different."""
    header = MutableHeader(case["seqnum"], encoded.trees.root_hash, encoded.salt, encoded.segmentation)
    return SignedVersion(header, base64.b64decode(case["signature"]), key, encoded.trees)


def check_shares(case: dict[str, Any], shares: list[bytes]) -> None:
    if "shares" in case:
        assert [base64.b64decode(share) for share in case["shares"].values()] == shares
    else:
        assert list(case["share_sha256"].values()) == [hashlib.sha256(share).hexdigest() for share in shares]
    assert {len(share) for share in shares} == {case["share_length"]}


def contents(shares: list[VerifiedShare], read_key: bytes) -> bytes:
    """Return the plaintext that any k shares hold."""
    segmentation = shares[0].header.segmentation
    return b"".join(
        decode_segment(
            segmentation,
            read_key,
            segment,
            shares[0].salt(segment),
            {share.number: share.block(segment) for share in shares},
        )
        for segment in range(segmentation.segment_count)
    )


# -- the vectors


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["name"])
def test_shares_are_those_of_the_reference(file: dict[str, Any]) -> None:
    key, data = keys(file["key"]), plaintext(file["plaintext_label"], file["size"])
    segmentation = segmentation_of(file, file["k"], file["n"], file["format"])
    encoded = encode_version(data, segmentation, key.read_key, salts_of(file))
    roots = [tree[:32].hex() for tree in encoded.trees.block_trees]
    assert roots == file["block_tree_roots"]
    assert encoded.trees.root_hash.hex() == file["root_hash"]
    check_shares(file, build_shares(encoded, signed_as(file, encoded, key)))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["name"])
def test_any_k_shares_of_the_reference_give_the_file(file: dict[str, Any]) -> None:
    key, data = keys(file["key"]), plaintext(file["plaintext_label"], file["size"])
    if "shares" in file:
        shares = [base64.b64decode(share) for share in file["shares"].values()]
    else:
        segmentation = segmentation_of(file, file["k"], file["n"], file["format"])
        encoded = encode_version(data, segmentation, key.read_key, salts_of(file))
        shares = build_shares(encoded, signed_as(file, encoded, key))
    last = range(file["n"] - 1, file["n"] - 1 - file["k"], -1)
    mixed = [*range(file["k"] // 2), *range(file["n"] - file["k"] + file["k"] // 2, file["n"])]
    for numbers in (range(file["k"]), last, mixed):
        verified = [verify_share(shares[n], key.fingerprint, n, key.write_key) for n in numbers]
        assert contents(verified, key.read_key) == data
    assert hashlib.sha256(data).hexdigest() == file["plaintext_sha256"]


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history["name"])
def test_histories_leave_the_bytes_of_the_reference(history: dict[str, Any]) -> None:
    """Creating, overwriting, and updating in place, share by share, on what was there before."""
    key, data, stored = keys(history["key"]), b"", [bytearray() for _ in range(history["n"])]
    for step in history["steps"]:
        new = plaintext(step["new_data_label"], step["length"] if step["op"] == "update" else step["size"])
        segmentation = segmentation_of(step, history["k"], history["n"], history["format"])
        if step["op"] == "update" and history["format"] == "MDMF":
            data, writes = update_in_place(step, segmentation, key, data, new, stored)
        else:
            offset = step.get("offset", 0)
            data = data[:offset] + new + data[offset + len(new) :] if step["op"] == "update" else new
            encoded = encode_version(data, segmentation, key.read_key, salts_of(step))
            signed = signed_as(step, encoded, key)
            writes = [
                signed.writes_of_new_share(number, [encoded.encoded.share(number)])
                for number in range(history["n"])
            ]
        for share, changes in zip(stored, writes, strict=True):
            for place, piece in changes:
                share.extend(bytes(max(0, place - len(share))))
                share[place : place + len(piece)] = piece
        assert hashlib.sha256(data).hexdigest() == step["result_sha256"]
        check_shares(step, [bytes(share) for share in stored])
        verified = [verify_share(share, key.fingerprint, n, key.write_key) for n, share in enumerate(stored)]
        assert contents(verified[-history["k"] :], key.read_key) == data


def update_in_place(
    step: dict[str, Any],
    segmentation: MutableSegmentation,
    key: FileKeys,
    data: bytes,
    new: bytes,
    stored: list[bytearray],
) -> tuple[bytes, list[list[Write]]]:
    old = [verify_share(share, key.fingerprint, n) for n, share in enumerate(stored)]
    offset, size = step["offset"], segmentation.segment_size
    data = data[:offset] + new + data[offset + len(new) :]
    touched = segmentation.segments_of(offset, len(new))
    pieces = [data[i * size : (i + 1) * size] for i in touched]
    encoded = encode_segments(segmentation, key.read_key, touched[0], pieces, salts_of(step))
    leaves = BlockLeaves(segmentation, [share.leaves for share in old])
    leaves.add(encoded)
    header = MutableHeader(step["seqnum"], leaves.trees().root_hash, b"", segmentation)
    signed = SignedVersion(header, base64.b64decode(step["signature"]), key, leaves.trees())
    place = segmentation.record_offset(touched[0])
    return data, [
        signed.writes_of_update(number, [(place, encoded.share(number))]) for number in range(len(stored))
    ]


def test_the_example_of_the_specification() -> None:
    file = next(file for file in FILES if file["name"] == "sdmf-3of10-100")
    header, offsets = verified_header(base64.b64decode(file["shares"]["0"]), keys("A").fingerprint, 0)
    assert header.signed_prefix.hex() == (
        "000000000000000001f3ce19f14776eb18e849185f7b3d6a2d385e08008dbbdc"
        "9cd6bba4d2e6fb2ba8804bb410ded1a544afa530980626ef07030a0000000000"
        "0000660000000000000064"
    )
    assert (offsets.signature.begin, offsets.chain.begin, offsets.block_tree.begin) == (401, 657, 793)
    assert (offsets.data, offsets.private_key, offsets.end) == (
        Section(825, 859),
        Section(859, 2076),
        2076,
    )


# -- building and reading back


@st.composite
def plans(draw: st.DrawFn) -> MutableSegmentation:
    total = draw(st.integers(1, 12))
    needed = draw(st.integers(1, total))
    size = draw(st.integers(0, 400))
    if draw(st.booleans()):
        return MutableSegmentation.plan("SDMF", size, needed, total)
    return MutableSegmentation("MDMF", size, needed, total, needed * draw(st.integers(1, 40)))


def some_salts(segmentation: MutableSegmentation) -> list[bytes]:
    count = segmentation.segment_count if segmentation.format == "MDMF" else 1
    return [hashlib.sha256(b"%d" % i).digest()[:16] for i in range(count)]


@given(plans(), st.data())
def test_what_is_built_is_right_and_gives_the_file_again(
    segmentation: MutableSegmentation, draw: st.DataObject
) -> None:
    key, data = keys(), plaintext("built", segmentation.size)
    encoded = encode_version(data, segmentation, key.read_key, some_salts(segmentation))
    shares = build_shares(encoded, sign_version(encoded, 5, key))
    numbers = draw.draw(st.permutations(range(segmentation.shares_total)))[: segmentation.shares_needed]
    tail = draw.draw(st.binary(max_size=5))
    verified = [verify_share(shares[n] + tail, key.fingerprint, n, key.write_key) for n in numbers]
    assert contents(verified, key.read_key) == data
    assert {share.header.sequence for share in verified} == {5}
    assert {share.header for share in verified} == {verified[0].header}


@given(plans(), st.data())
def test_encoding_in_batches_gives_the_same(segmentation: MutableSegmentation, draw: st.DataObject) -> None:
    key, salts = keys(), some_salts(segmentation)
    data, size, count = (
        plaintext("x", segmentation.size),
        segmentation.segment_size,
        segmentation.segment_count,
    )
    whole = encode_version(data, segmentation, key.read_key, salts)
    cuts = draw.draw(st.sets(st.integers(1, max(count - 1, 1))))
    bounds = sorted({0, count} | {cut for cut in cuts if cut < count})
    leaves, stored = BlockLeaves(segmentation), [bytearray() for _ in range(segmentation.shares_total)]
    for first, end in pairwise(bounds):
        pieces = [data[i * size : (i + 1) * size] for i in range(first, end)]
        batch = encode_segments(segmentation, key.read_key, first, pieces, salts[first:end])
        leaves.add(batch)
        for number, share in enumerate(stored):
            share += batch.share(number)
    assert leaves.trees() == whole.trees
    assert stored == [whole.encoded.share(number) for number in range(segmentation.shares_total)]


@pytest.mark.parametrize("implementation", kernel.available())
def test_every_kernel_gives_the_same_shares(implementation: str) -> None:
    before = kernel.implementation()
    segmentation = MutableSegmentation("MDMF", 1000, 3, 10, 300)
    expected = encode_version(bytes(1000), segmentation, b"k" * 16, some_salts(segmentation))
    kernel.force(implementation)
    try:
        encoded = encode_version(bytes(1000), segmentation, b"k" * 16, some_salts(segmentation))
    finally:
        kernel.force(before)
    assert encoded.trees == expected.trees
    assert encoded.encoded.records == expected.encoded.records


def test_sizes_that_do_not_fit_are_refused() -> None:
    segmentation = MutableSegmentation("MDMF", 250, 2, 3, 100)
    salts = some_salts(segmentation)
    with pytest.raises(ValueError, match="249 bytes"):
        encode_version(bytes(249), segmentation, b"k" * 16, salts)
    with pytest.raises(ValueError, match="salt"):
        encode_version(bytes(250), segmentation, b"k" * 16, salts[:2])
    with pytest.raises(ValueError, match="segment 0"):
        encode_segments(segmentation, b"k" * 16, 0, [bytes(99)], salts[:1])
    with pytest.raises(ValueError, match="segment 0"):
        encode_segments(segmentation, b"k" * 16, 0, [bytes(100)], [b"short"])
    with pytest.raises(ValueError, match="3 segments"):
        encode_segments(segmentation, b"k" * 16, 3, [bytes(100)], salts[:1])
    with pytest.raises(ValueError, match="blocks"):
        decode_segment(segmentation, b"k" * 16, 0, salts[0], {0: bytes(50)})
    with pytest.raises(ValueError, match="block"):
        decode_segment(segmentation, b"k" * 16, 0, salts[0], {0: bytes(50), 1: bytes(49)})
    with pytest.raises(ValueError, match="not been encoded"):
        BlockLeaves(segmentation).trees()


# -- what a lying server may send


def unprotected(share: VerifiedShare, write_key_known: bool) -> list[Section]:
    """Return the bytes of a share that neither the signature nor a hash covers.

    The encrypted private key is proven by the write key alone. Without it nothing tells how long it is
    either, which in SDMF only the offset of the end says. The gap of MDMF is never read.
    """
    sections = []
    if not write_key_known:
        sections.append(share.offsets.private_key)
        if share.header.format == "SDMF":
            sections.append(Section(99, 107))
    if share.header.format == "MDMF":
        sections.append(Section(share.offsets.public_key.end, share.offsets.data.begin))
    return sections


@given(st.sampled_from(SHARES), st.integers(0, 10**6), st.integers(1, 255), st.booleans())
def test_one_changed_byte_is_noticed(
    case: tuple[str, int, bytes], place: int, change: int, write_key_known: bool
) -> None:
    check_change(case, place % len(case[2]), change, write_key_known)


def test_each_changed_byte_is_noticed() -> None:
    """All places of one share of each format, in fewer ways."""
    for name in ("sdmf-3of10-4", "mdmf-smallseg-3of5-130"):
        case = next(case for case in SHARES if case[0] == name)
        for place in range(len(case[2])):
            check_change(case, place, 0x81, True)


def check_change(case: tuple[str, int, bytes], place: int, change: int, write_key_known: bool) -> None:
    name, number, good = case
    key = keys(KEY_OF_FILE[name])
    write_key = key.write_key if write_key_known else None
    original = verify_share(good, key.fingerprint, number, write_key)
    data = bytearray(good)
    data[place] ^= change
    free = any(begin <= place < end for begin, end in unprotected(original, write_key_known))
    try:
        share = verify_share(data, key.fingerprint, number, write_key)
    except CorruptShareError:
        assert not free or 99 <= place < 107
    else:
        assert free
        assert (share.header, share.records) == (original.header, original.records)


@given(st.sampled_from(SHARES), st.data())
def test_a_share_cut_short_is_corrupt(case: tuple[str, int, bytes], draw: st.DataObject) -> None:
    name, number, good = case
    cut = good[: draw.draw(st.integers(0, len(good) - 1))]
    with pytest.raises(CorruptShareError):
        verify_share(cut, keys(KEY_OF_FILE[name]).fingerprint, number)


@given(st.sampled_from(SHARES), st.integers(-1, 300))
def test_a_share_under_another_number_is_corrupt(case: tuple[str, int, bytes], number: int) -> None:
    name, right, good = case
    if number != right:
        with pytest.raises(CorruptShareError):
            verify_share(good, keys(KEY_OF_FILE[name]).fingerprint, number)


def test_a_share_of_another_file_is_corrupt() -> None:
    for name, number, good in SHARES:
        other = keys("B" if KEY_OF_FILE[name] == "A" else "A")
        with pytest.raises(CorruptShareError, match="public key"):
            verify_share(good, other.fingerprint, number)


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda end: SHARES[0][2][:107] + end))
def test_any_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptShareError):
        verify_share(data, keys().fingerprint, 0)


def test_offsets_that_point_elsewhere_are_corrupt() -> None:
    """They are not signed, so a server may choose them freely."""
    name, number, good = next(case for case in SHARES if case[0] == "mdmf-smallseg-3of5-130")
    for field in range(59, 123, 8):
        for value in (0, 1, 122, 2**63, 2**64 - 1, len(good), len(good) + 1):
            data = bytearray(good)
            data[field : field + 8] = value.to_bytes(8, "big")
            if data != good:
                with pytest.raises(CorruptShareError):
                    verify_share(data, keys(KEY_OF_FILE[name]).fingerprint, number)


def test_a_consistent_block_tree_that_was_not_signed_proves_nothing() -> None:
    """A server can make a tree over other records, but not tie it to the root hash."""
    segmentation, salts = MutableSegmentation("MDMF", 250, 2, 3, 100), [b"s" * 16] * 3
    right = encode_version(bytes(250), segmentation, b"k" * 16, salts)
    wrong = encode_version(b"x" * 250, segmentation, b"k" * 16, salts)
    version = VersionProof(MutableHeader(1, right.trees.root_hash, b"", segmentation))
    record = wrong.encoded.share(1)[:66]
    share = version.share(1)
    for chain in (right.trees.chain(1), wrong.trees.chain(1), b""):
        with pytest.raises(CorruptShareError):
            share.offer_tree(wrong.trees.block_trees[1], chain)
        with pytest.raises(CorruptShareError):
            share.prove({0: record}, nodes_of(wrong.trees.block_trees[1], share.needed(0)), chain)
    share.prove(
        {0: right.encoded.share(1)[:66]},
        nodes_of(right.trees.block_trees[1], share.needed(0)),
        right.trees.chain(1),
    )
    with pytest.raises(CorruptShareError):
        share.offer_tree(wrong.trees.block_trees[1])


def nodes_of(tree: bytes, numbers: set[int]) -> dict[int, bytes]:
    return {number: tree[32 * number : 32 * number + 32] for number in numbers}


def proven_share(encoded: EncodedVersion, number: int) -> ShareProof:
    version = VersionProof(MutableHeader(1, encoded.trees.root_hash, encoded.salt, encoded.segmentation))
    return version.share(number)


@given(plans(), st.data())
def test_records_are_proven_one_by_one_with_only_the_nodes_needed(
    segmentation: MutableSegmentation, draw: st.DataObject
) -> None:
    encoded = encode_version(bytes(segmentation.size), segmentation, b"k" * 16, some_salts(segmentation))
    number = draw.draw(st.integers(0, segmentation.shares_total - 1))
    share, tree = proven_share(encoded, number), encoded.trees.block_trees[number]
    for segment in draw.draw(st.permutations(range(segmentation.segment_count))):
        begin = segmentation.record_offset(segment)
        record = bytes(encoded.encoded.share(number)[begin : begin + segmentation.record_length(segment)])
        chain = encoded.trees.chain(number) if share.chain_needed() else b""
        nodes = nodes_of(tree, share.needed(segment))
        wrong = bytearray(record)
        wrong[draw.draw(st.integers(0, len(record) - 1))] ^= 1
        with pytest.raises(CorruptShareError):
            share.prove({segment: wrong}, nodes, chain)
        with pytest.raises(CorruptShareError):
            share.prove({segment: record[:-1]}, nodes, chain)
        share.prove({segment: record}, nodes, chain)
        assert not share.needed(segment)
        assert not share.chain_needed()
    if segmentation.segment_count:
        assert share.leaves() == stored_leaves(segmentation, tree) == list(encoded.encoded.leaves(number))


def test_proofs_name_what_does_not_exist() -> None:
    segmentation = MutableSegmentation("MDMF", 250, 2, 3, 100)
    encoded = encode_version(bytes(250), segmentation, b"k" * 16, [b"s" * 16] * 3)
    share = proven_share(encoded, 0)
    with pytest.raises(CorruptShareError, match="no segment 3"):
        share.prove({3: bytes(66)})
    with pytest.raises(CorruptShareError, match="impossible length"):
        share.offer_tree(b"x" * 32)
    with pytest.raises(CorruptShareError, match="not known"):
        share.leaves()
    with pytest.raises(CorruptShareError, match="share number 3"):
        VersionProof(MutableHeader(1, bytes(32), b"", segmentation)).share(3)
    share.prove({})


# -- updates


@given(plans(), st.data())
def test_an_update_in_place_equals_a_version_written_whole(
    old: MutableSegmentation, draw: st.DataObject
) -> None:
    if old.format == "SDMF" or not old.size:
        return
    key = keys()
    before, salts = plaintext("old", old.size), some_salts(old)
    offset = draw.draw(st.integers(0, old.size))
    new = plaintext("new", draw.draw(st.integers(1, 300)))
    after = before[:offset] + new + before[offset + len(new) :]
    plan = MutableSegmentation("MDMF", len(after), old.shares_needed, old.shares_total, old.segment_size)
    touched, size = plan.segments_of(offset, len(new)), plan.segment_size
    first = encode_version(before, old, key.read_key, salts)
    shares = build_shares(first, sign_version(first, 1, key))
    proven = [verify_share(share, key.fingerprint, n).leaves for n, share in enumerate(shares)]
    fresh = [hashlib.sha256(b"fresh%d" % i).digest()[:16] for i in touched]
    pieces = [after[i * size : (i + 1) * size] for i in touched]
    batch = encode_segments(plan, key.read_key, touched[0], pieces, fresh)
    leaves = BlockLeaves(plan, proven)
    leaves.add(batch)
    signed = SignedVersion.sign(plan, 2, b"", leaves.trees(), key)
    for number, share in enumerate(shares):
        stored = bytearray(share)
        for place, piece in signed.writes_of_update(
            number, [(plan.record_offset(touched[0]), batch.share(number))]
        ):
            stored[place : place + len(piece)] = piece
        verified = verify_share(stored, key.fingerprint, number, key.write_key)
        assert verified.header == signed.header
        shares[number] = bytes(stored)
    read = [verify_share(share, key.fingerprint, n) for n, share in enumerate(shares)]
    assert contents(read[-plan.shares_needed :], key.read_key) == after


def test_an_sdmf_share_is_never_updated_in_place() -> None:
    segmentation = MutableSegmentation.plan("SDMF", 10, 1, 1)
    encoded = encode_version(bytes(10), segmentation, keys().read_key, [b"s" * 16])
    with pytest.raises(ValueError, match="as a whole"):
        sign_version(encoded, 1, keys()).writes_of_update(0, [])
    with pytest.raises(ValueError, match="10 bytes"):
        sign_version(encoded, 1, keys()).writes_of_new_share(0, [bytes(9)])


def test_leaves_of_an_update_fit_the_file() -> None:
    segmentation = MutableSegmentation("MDMF", 250, 2, 3, 100)
    for old in ([[b"h" * 32] * 4] * 3, [[b"h" * 32] * 3] * 2):
        with pytest.raises(ValueError, match="leaves"):
            BlockLeaves(segmentation, old)


# -- keys


@pytest.mark.parametrize("name", VECTORS["keys"])
def test_stored_keys_are_validated_and_kept_byte_for_byte(name: str) -> None:
    key = keys(name)
    stored = FileKeys.stored(key.write_key, key.public_key, key.encrypted_private_key)
    assert stored.encrypted_private_key == base64.b64decode(VECTORS["keys"][name]["encrypted_private_key"])
    assert stored.storage_index.hex() == VECTORS["keys"][name]["storage_index"]
    assert stored.fingerprint.hex() == VECTORS["keys"][name]["fingerprint"]
    assert verified_public_key(key.public_key, key.fingerprint).public_der == key.public_key


def test_a_private_key_that_is_not_the_files_is_corrupt() -> None:
    key, other = keys("A"), keys("B")
    with pytest.raises(CorruptShareError, match="private key"):
        FileKeys.stored(key.write_key, key.public_key, other.encrypted_private_key)
    with pytest.raises(CorruptShareError, match="does not belong"):
        FileKeys.stored(other.write_key, key.public_key, other.encrypted_private_key)
    with pytest.raises(CorruptShareError, match="does not belong"):
        FileKeys.stored(other.write_key, b"no key", other.encrypted_private_key)


def test_secrets_stay_out_of_repr() -> None:
    key = keys()
    segmentation = MutableSegmentation.plan("SDMF", 10, 1, 1)
    encoded = encode_version(bytes(10), segmentation, key.read_key, [b"s" * 16])
    signed = sign_version(encoded, 1, key)
    share = verify_share(build_shares(encoded, signed)[0], key.fingerprint, 0)
    for value in (key, encoded, signed, share):
        assert repr(key.write_key) not in repr(value)
        assert repr(key.read_key) not in repr(value)
        assert len(repr(value)) < 1500


def test_parsing_alone_trusts_nothing() -> None:
    """A header can be read before the signature; using it is another matter."""
    _, number, good = SHARES[0]
    data = bytearray(good)
    data[8] ^= 1
    assert parse_mutable_header(data, number)[0].sequence != parse_mutable_header(good, number)[0].sequence
    with pytest.raises(CorruptShareError, match="signature"):
        verified_header(bytes(data), keys().fingerprint, number)


@pytest.mark.parametrize("name", ["sdmf-3of10-100", "mdmf-3of10-100"])
def test_shares_of_one_version_are_verified_once_and_all_of_their_bytes_count(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = next(file for file in FILES if file["name"] == name)
    verified: list[bytes] = []
    verify = VerifyingKey.verify

    def counted(key: VerifyingKey, message: bytes, signature: bytes) -> bool:
        verified.append(message)
        return verify(key, message, signature)

    monkeypatch.setattr(VerifyingKey, "verify", counted)
    signed = SignedHeaders(keys("A").fingerprint)
    for number, text in sorted(file["shares"].items()):
        good = base64.b64decode(text)
        header, offsets = parse_mutable_header(good, int(number))
        signed.check(header, offsets, good)
        for section in (offsets.public_key, offsets.signature, Section(1, 41)):
            data = bytearray(good)
            data[section.end - 1] ^= 1
            with pytest.raises(CorruptShareError):
                signed.check(parse_mutable_header(data, int(number))[0], offsets, data)
    assert verified.count(header.signed_prefix) == 1 + len(file["shares"])  # and with each wrong signature
    with pytest.raises(CorruptShareError):
        SignedHeaders(bytes(32)).check(header, offsets, good)


@pytest.mark.parametrize(
    "case", VECTORS["primitives"]["merkle_trees"], ids=lambda case: str(case["leaf_count"])
)
def test_trees_and_chains_are_those_of_the_reference(case: dict[str, Any]) -> None:
    count = case["leaf_count"]
    leaves = [hashlib.sha256(b"leaf %d" % i).digest() for i in range(count)]
    assert VersionTrees.of([leaves]).block_trees[0].hex() == "".join(case["nodes"])
    for number, nodes in case["chain_node_numbers"].items():
        chain = VersionTrees.of([[leaf] for leaf in leaves]).chain(int(number))
        assert [int.from_bytes(chain[i : i + 2], "big") for i in range(0, len(chain), 34)] == sorted(nodes)


@pytest.mark.parametrize(
    "case", VECTORS["primitives"]["erasure_code"], ids=lambda case: f"{case['k']}of{case['n']}"
)
def test_blocks_are_those_of_the_reference(case: dict[str, Any]) -> None:
    pieces = [hashlib.sha256(b"piece %d" % i).digest()[:8] for i in range(case["k"])]
    outputs = [bytearray(8) for _ in range(case["k"], case["n"])]
    if outputs:
        kernel.multiply(check_rows(case["k"], case["n"]), pieces, outputs)
    assert [bytes(block).hex() for block in (*pieces, *outputs)] == case["blocks"]
