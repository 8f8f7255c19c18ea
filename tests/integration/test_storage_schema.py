"""Messages outside the schema are refused, whole, and nothing has happened."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.servers.storage.settings import StorageSettings
from holdfast.testing.storage_bench import LEASE, MSI, SI, Bench, share, tagged
from holdfast.testing.storage_server import ServedStorage

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "storage.json").read_text())
REJECTED = VECTORS["cbor_rejected_400"]
ACCEPTED = VECTORS["cbor_accepted_unusual"]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with ServedStorage(tmp_path, settings=StorageSettings(durability="os")) as server:
        yield Bench(server)


async def nothing_happened(bench: Bench) -> bool:
    listed = await bench.listed("mutable", MSI)
    return bench.engine.reserved_bytes == 0 and listed == set() and bench.advisories() == []


@pytest.mark.parametrize("entry", REJECTED, ids=lambda entry: entry["name"])
@pytest.mark.seed("S-011")
async def test_messages_outside_the_schema_change_nothing(entry: dict[str, str], bench: Bench) -> None:
    body = bytes.fromhex(entry["hex"])
    if entry["name"].startswith("allocate"):
        assert (await bench.allocate((), body=body)).status == 400
    elif entry["name"].startswith("advisory"):
        await bench.store(0)
        assert await bench.advise(body) == 400
    else:
        assert (await bench.rtw(body=body)).status == 400
    assert await nothing_happened(bench)


@pytest.mark.parametrize("entry", ACCEPTED, ids=lambda entry: entry["name"])
async def test_unusual_forms_of_right_messages_are_taken(entry: dict[str, str], bench: Bench) -> None:
    body = bytes.fromhex(entry["hex"])
    answer = await (bench.allocate((), body=body) if b"allocated-size" in body else bench.rtw(body=body))
    assert answer.status == 200


GOOD = (
    cbor2.dumps({"share-numbers": tagged({0, 1}), "allocated-size": 48}),
    cbor2.dumps({"test-write-vectors": {0: share([(0, 1, b"")], [(0, b"hello")])}, "read-vector": []}),
    cbor2.dumps({"reason": "it is corrupt"}),
)


@pytest.mark.seed("S-011")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    good=st.sampled_from(GOOD), position=st.integers(0, 200), byte=st.integers(0, 255), cut=st.integers(0, 3)
)
async def test_a_damaged_message_is_refused_or_understood(
    bench: Bench, good: bytes, position: int, byte: int, cut: int
) -> None:
    body = bytearray(good)
    body[position % len(body)] = byte
    damaged = bytes(body[: len(body) - cut])
    statuses = {
        (await bench.allocate((), body=damaged)).status,
        (await bench.rtw(body=damaged)).status,
        await bench.advise(damaged),
    }
    assert statuses <= {200, 400, 404, 413, 507}
    await bench.engine.step()


@pytest.mark.seed("S-011")
async def test_secrets_of_another_call_are_refused(bench: Bench) -> None:
    assert (await bench.request("PUT", f"/storage/v1/lease/{SI}", secrets=(*LEASE, LEASE[0]))).status == 400
