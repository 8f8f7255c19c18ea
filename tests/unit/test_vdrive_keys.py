"""The keys of a virtual drive directory are those of the specification, and a second program's."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import vdrive_keys
from holdfast.crypto.vdrive_keys import ReadKeys, WriteKeys, slot_of

TESTS = Path(__file__).parent.parent
VECTORS = json.loads((TESTS / "vectors" / "vdrive.json").read_text())
APPENDIX = VECTORS["appendix"]
COMPUTED = {name.removesuffix("_hex"): bytes.fromhex(value) for name, value in VECTORS["keys"].items()}
KEYS = WriteKeys(bytes.fromhex(APPENDIX["W"]))
SID = bytes.fromhex(APPENDIX["sid"])


@pytest.fixture(scope="module")
def reference() -> Any:
    spec = importlib.util.spec_from_file_location("vdrive_reference", TESTS / "vdrive_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_vectors_are_those_of_the_specification_and_of_the_reference(reference: Any) -> None:
    assert reference.vectors() == VECTORS
    keys = reference.Keys(bytes.fromhex(APPENDIX["W"]))
    assert keys.index.hex() == APPENDIX["index"]
    assert [part.hex() for part in keys.first_head()] == [APPENDIX["head 0"], APPENDIX["signature 0"]]
    slot = keys.slot("na\u00efve.txt")
    metadata = bytes.fromhex(APPENDIX["m plaintext"])
    assert keys.box(slot, "m", b"\x04" * 16, metadata).hex() == APPENDIX["m"]


def test_keys_are_derived_as_specified() -> None:
    read = KEYS.read
    enabler = vdrive_keys.write_enabler(KEYS.write_key, SID)
    derived = {
        "signing seed": KEYS.signing_seed,
        "VK": KEYS.verify_key,
        "R": read.read_key,
        "RC": read.commitment,
        "index": read.index,
        "rid": read.refresh_id,
        "WE": enabler,
        "WS": vdrive_keys.stored_enabler(enabler),
        "enabler proof": vdrive_keys.enabler_proof(KEYS, SID),
        "NK": read.name_key,
        "SRK": read.seal_key,
        "SWK": KEYS.seal_key,
    }
    assert hashlib.sha256(b"holdfast vdrive test service").digest() == SID
    assert {name: value.hex() for name, value in derived.items()} == {
        name: APPENDIX[name] for name in derived
    }


def test_keys_are_derived_as_by_the_reference() -> None:
    keys, sid = WriteKeys(COMPUTED["write_key"]), COMPUTED["sid"]
    enabler = vdrive_keys.write_enabler(keys.write_key, sid)
    lease_secret = vdrive_keys.lease_secret(COMPUTED["lease_seed"], keys.read.refresh_id)
    assert {
        "write_key": keys.write_key,
        "sid": sid,
        "signing_seed": keys.signing_seed,
        "verify_key": keys.verify_key,
        "read_key": keys.read.read_key,
        "index": keys.read.index,
        "refresh_id": keys.read.refresh_id,
        "write_enabler": enabler,
        "stored_enabler": vdrive_keys.stored_enabler(enabler),
        "enabler_proof": vdrive_keys.enabler_proof(keys, sid),
        "lease_seed": COMPUTED["lease_seed"],
        "lease_secret": lease_secret,
        "stored_lease_secret": vdrive_keys.stored_lease_secret(lease_secret),
    } == COMPUTED


def test_what_readers_derive_is_what_writers_derive() -> None:
    alone = ReadKeys(KEYS.read.read_key, KEYS.verify_key)
    assert alone == KEYS.read
    assert (alone.index, alone.seal_key) == (KEYS.read.index, KEYS.read.seal_key)


@pytest.mark.seed("S-070")
def test_slots_of_names_are_those_of_the_specification_however_composed() -> None:
    name_key = KEYS.read.name_key
    assert slot_of(name_key, "na\u00efve.txt").hex() == APPENDIX["naive.txt"]
    assert slot_of(name_key, "nai\u0308ve.txt").hex() == APPENDIX["naive.txt"]
    for name in ("README", "sub"):
        assert slot_of(name_key, name).hex() == APPENDIX[name]
    name_key = WriteKeys(COMPUTED["write_key"]).read.name_key
    for vector in VECTORS["names"]:
        assert slot_of(name_key, vector["name"]).hex() == vector["slot_hex"]


@given(st.binary(min_size=32, max_size=32), st.text(min_size=1))
def test_a_slot_says_nothing_of_its_name_without_the_key(other: bytes, name: str) -> None:
    if any(0xD800 <= ord(character) < 0xE000 for character in name):
        return
    slot = slot_of(KEYS.read.name_key, name)
    assert len(slot) == 32
    assert (slot == slot_of(other, name)) == (other == KEYS.read.name_key)


def test_a_name_that_is_no_text_has_no_slot() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        slot_of(KEYS.read.name_key, "\ud800")


@pytest.mark.seed("X-02")
def test_what_a_server_stores_of_an_enabler_opens_nothing() -> None:
    enabler = vdrive_keys.write_enabler(KEYS.write_key, SID)
    stored = vdrive_keys.stored_enabler(enabler)
    assert enabler not in stored
    assert vdrive_keys.stored_enabler(stored) != stored
    elsewhere = vdrive_keys.write_enabler(KEYS.write_key, bytes(32))
    assert elsewhere != enabler  # what one service was shown is no use at another


def test_the_proof_of_an_enabler_binds_directory_service_and_enabler() -> None:
    enabler = vdrive_keys.write_enabler(KEYS.write_key, SID)
    stored, proof = vdrive_keys.stored_enabler(enabler), vdrive_keys.enabler_proof(KEYS, SID)
    right = [KEYS.verify_key, KEYS.read.index, SID, stored, proof]
    assert vdrive_keys.enabler_proof_holds(*right)
    for number, part in enumerate(right):
        for wrong in (bytes(len(part)), part[:-1], bytes((part[0] ^ 1,)) + part[1:]):
            assert not vdrive_keys.enabler_proof_holds(*right[:number], wrong, *right[number + 1 :])


def test_no_secret_shows_in_a_text_of_keys() -> None:
    shown = repr(KEYS) + repr(KEYS.read) + str(vars(KEYS.read).keys())
    for secret in (KEYS.write_key, KEYS.signing_seed, KEYS.read.read_key, KEYS.read.name_key):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def test_a_directory_is_called_by_eight_characters_in_logs() -> None:
    assert vdrive_keys.log_name(KEYS.read.index) == "3xfrwtui"
