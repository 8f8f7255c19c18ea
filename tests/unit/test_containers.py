"""The containers of storage servers, against files that tahoe-lafs 1.20 made."""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto.base32 import decode
from holdfast.crypto.lease_secrets import stored_lease_secret
from holdfast.formats import containers
from holdfast.formats.containers import (
    EXTRA_COUNT_SIZE,
    HEADER_SIZE_MAX,
    IMMUTABLE_HEADER_SIZE,
    MUTABLE_HEADER_SIZE,
    DamagedContainerError,
    ForeignContainerError,
    ImmutableContainer,
    MutableContainer,
    StoredLease,
    check_extra_leases,
    leases,
    new_immutable_header,
    new_mutable_header,
    parse_container,
    resized_mutable_header,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/storage.json").read_text())
SEED = bytes(range(20))
ENABLER = bytes(range(32))


def reader(file: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: file[offset : offset + length]


def parse(file: bytes) -> ImmutableContainer | MutableContainer:
    container = parse_container(file[:HEADER_SIZE_MAX], len(file))
    if isinstance(container, MutableContainer):
        count = file[container.extra_offset : container.extra_offset + EXTRA_COUNT_SIZE]
        check_extra_leases(container, count, len(file))
    return container


def data_of(file: bytes) -> bytes:
    container = parse(file)
    return file[container.data_offset : container.data_offset + container.size]


def lease_of(vector: dict[str, Any]) -> StoredLease:
    return StoredLease(
        stored_lease_secret(bytes.fromhex(vector["renew_hex"])),
        stored_lease_secret(bytes.fromhex(vector["cancel_hex"])),
        vector["owner"],
        vector["expires"],
    )


def of_kind(kind: str) -> list[Any]:
    return [pytest.param(c, id=c["name"]) for c in VECTORS["containers"] if c["kind"] == kind]


@pytest.mark.parametrize("vector", of_kind("immutable"))
def test_immutable_containers_give_their_data_and_leases(vector: dict[str, Any]) -> None:
    file = b64decode(vector["file_b64"])
    container = parse(file)

    assert isinstance(container, ImmutableContainer)
    assert container.version == vector["container_version"]
    assert data_of(file) == b64decode(vector["data_b64"])
    assert list(leases(container, reader(file))) == [lease_of(lease) for lease in vector["leases"]]


@pytest.mark.parametrize("vector", of_kind("immutable"))
def test_immutable_containers_keep_their_data_whatever_happens_to_leases(vector: dict[str, Any]) -> None:
    held = [lease_of(lease) for lease in vector["leases"]]
    for step in vector["steps"]:
        file = b64decode(step["file_b64"])
        match step["what"].split()[0], step["lease"]:
            case "add", lease:
                held.append(lease_of(lease))
            case "renew", lease:
                renewed = lease_of(lease)
                held = [
                    StoredLease(*_secrets(old), old.owner, max(old.expiry, renewed.expiry))
                    if old.renew_hash == renewed.renew_hash
                    else old
                    for old in held
                ]
            case "expire", lease:
                gone = stored_lease_secret(bytes.fromhex(lease["cancel_hex"]))
                held = [old for old in held if old.cancel_hash != gone]

        assert data_of(file) == b64decode(vector["data_b64"]), step["what"]
        assert list(leases(parse(file), reader(file))) == held, step["what"]


def _secrets(lease: StoredLease) -> tuple[bytes, bytes]:
    return lease.renew_hash, lease.cancel_hash


@pytest.mark.parametrize("vector", of_kind("mutable"))
def test_mutable_containers_give_their_fields_and_data(vector: dict[str, Any]) -> None:
    created = b64decode(vector["created_b64"])
    container = parse(created)

    assert isinstance(container, MutableContainer)
    assert container.version == vector["container_version"]
    assert container.server_seed == decode(vector["node_id_b32"])
    assert container.write_enabler == bytes.fromhex(vector["write_enabler_hex"])
    assert data_of(created) == b""
    assert list(leases(container, reader(created))) == []
    for step in vector["steps"]:
        assert data_of(b64decode(step["file_b64"])) == b64decode(step["data_b64"]), step["what"]


@pytest.mark.parametrize("vector", of_kind("mutable"))
def test_mutable_containers_give_their_leases_slots_first_then_the_extra_ones(vector: dict[str, Any]) -> None:
    secret = {number: lease_of(lease) for number, lease in vector["lease_secrets"].items()}
    by_hash = {lease.renew_hash: number for number, lease in secret.items()}
    held = []
    for step in vector["steps"]:
        file = b64decode(step["file_b64"])
        found = list(leases(parse(file), reader(file)))
        held.append("".join(by_hash[lease.renew_hash] for lease in found))
        for lease in found:
            assert lease.cancel_hash == secret[by_hash[lease.renew_hash]].cancel_hash
            assert lease.owner == 1

    assert held == ["0", "012345", "012345", "012345", "012345", "012345", "02345", "072345"]


@pytest.mark.parametrize("vector", [c for c in of_kind("mutable") if "2" in c.id])
def test_a_new_mutable_container_is_the_one_of_tahoe(vector: dict[str, Any]) -> None:
    seed, enabler = decode(vector["node_id_b32"]), bytes.fromhex(vector["write_enabler_hex"])

    assert new_mutable_header(seed, enabler) + bytes(EXTRA_COUNT_SIZE) == b64decode(vector["created_b64"])


@pytest.mark.parametrize("vector", of_kind("mutable"))
def test_resizing_a_header_changes_sizes_and_nothing_else(vector: dict[str, Any]) -> None:
    full = b64decode(vector["steps"][1]["file_b64"])
    longer = b64decode(vector["steps"][2]["file_b64"])

    assert resized_mutable_header(full[:468], 32, 500) == longer[:468]
    with pytest.raises(ValueError, match="behind"):
        resized_mutable_header(full[:468], 33, 500)


def test_magic_bytes_are_those_of_tahoe() -> None:
    magic = VECTORS["container_magic"]

    assert containers.MUTABLE_MAGICS[1].hex() == magic["mutable_v1_hex"]
    assert containers.MUTABLE_MAGICS[2].hex() == magic["mutable_v2_hex"]
    for version in (1, 2):
        start = bytes.fromhex(magic[f"immutable_v{version}_hex"]) + bytes(8)
        assert parse(start) == ImmutableContainer(version, 0, 0)


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["name"]) for v in VECTORS["containers_damaged"]])
def test_damaged_files_are_told(vector: dict[str, Any]) -> None:
    with pytest.raises(DamagedContainerError) as told:
        parse(b64decode(vector["file_b64"]))

    assert isinstance(told.value, ForeignContainerError) == ("unknown version" in vector["name"])


def test_a_mutable_file_longer_than_its_leases_is_accepted() -> None:
    file = new_mutable_header(SEED, ENABLER) + bytes(EXTRA_COUNT_SIZE) + b"surplus"

    assert parse(file).size == 0


def test_extra_leases_beyond_the_file_are_damage() -> None:
    file = new_mutable_header(SEED, ENABLER) + struct.pack(">L", 2**32 - 1) + bytes(92)

    with pytest.raises(DamagedContainerError):
        parse(file)


def test_a_file_that_shrinks_meanwhile_is_damage() -> None:
    file = b64decode(VECTORS["containers"][0]["file_b64"])

    with pytest.raises(DamagedContainerError):
        list(leases(parse(file), reader(file[:-1])))
    mutable = MutableContainer(2, SEED, ENABLER, 0, MUTABLE_HEADER_SIZE)
    with pytest.raises(DamagedContainerError):
        check_extra_leases(mutable, bytes(3), MUTABLE_HEADER_SIZE + EXTRA_COUNT_SIZE)


def test_secrets_stay_out_of_what_is_printed() -> None:
    container = parse(new_mutable_header(SEED, b"\xab" * 32) + bytes(EXTRA_COUNT_SIZE))

    assert "xab" not in repr(container)
    assert "xab" not in repr(StoredLease(b"\xab" * 32, b"\xab" * 32, 1, 2))


def test_seeds_and_write_enablers_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="20"):
        new_mutable_header(SEED[1:], ENABLER)
    with pytest.raises(ValueError, match="32"):
        new_mutable_header(SEED, ENABLER[1:])


@given(st.integers(0, 2**50))
def test_a_new_immutable_header_is_read_back(size: int) -> None:
    header = new_immutable_header(size)

    assert parse_container(header, len(header) + size) == ImmutableContainer(2, size, 0)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_resized_mutable_header_is_read_back(size: int, spare: int) -> None:
    extra_offset = MUTABLE_HEADER_SIZE + size + spare
    header = resized_mutable_header(new_mutable_header(SEED, ENABLER), size, extra_offset)
    container = parse_container(header, extra_offset + EXTRA_COUNT_SIZE)

    assert container == MutableContainer(2, SEED, ENABLER, size, extra_offset)
    with pytest.raises(DamagedContainerError):
        parse_container(header, extra_offset + EXTRA_COUNT_SIZE - 1)


starts = st.one_of(
    st.sampled_from([*containers.MUTABLE_MAGICS.values(), struct.pack(">L", 1), struct.pack(">L", 2)]),
    st.binary(max_size=40),
)


@given(starts, st.binary(max_size=700))
def test_any_file_is_parsed_or_refused(start: bytes, rest: bytes) -> None:
    file = start + rest
    try:
        container = parse(file)
    except DamagedContainerError:
        return
    assert container.data_offset + container.size <= len(file)
    assert len(list(leases(container, reader(file)))) <= len(file) // 72


@given(st.binary(max_size=64), st.integers(0, MUTABLE_HEADER_SIZE + EXTRA_COUNT_SIZE - 1))
def test_a_container_cut_within_its_header_is_damage(data: bytes, cut: int) -> None:
    mutable = new_mutable_header(SEED, ENABLER) + bytes(EXTRA_COUNT_SIZE)
    immutable = new_immutable_header(len(data)) + data

    with pytest.raises(DamagedContainerError):
        parse(mutable[:cut])
    with pytest.raises(DamagedContainerError):
        parse(immutable[: cut % IMMUTABLE_HEADER_SIZE])
