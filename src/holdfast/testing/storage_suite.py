"""What every storage service does, be it an engine on a disk, one in memory, or a client
of one over the network. Subclass the suite and provide ``service``.

Source: docs/spec/storage-protocol.md, sections 8 to 10, 13 and 15.
"""

from __future__ import annotations

import asyncio

import pytest

from holdfast.interfaces.storage import (
    Allocation,
    ByteRange,
    LeaseSecrets,
    ShareVectors,
    StorageService,
    TestVector,
    WriteVector,
)
from holdfast.interfaces.storage_errors import (
    BadRangeError,
    BadRequestError,
    NoSuchShareError,
    ShareCompleteError,
    ShareConflictError,
    WrongSecretError,
)
from holdfast.interfaces.types import StorageIndex

INDEX = StorageIndex(b"index of a file.")
SLOT = StorageIndex(b"index of a slot.")
SECRET = b"u" * 32
OTHER_SECRET = b"v" * 32
LEASE = LeaseSecrets(b"r" * 32, b"c" * 32)
ENABLER = b"w" * 32
DATA = bytes(range(48))
ABSENT = TestVector(0, 1, b"")


async def store(service: StorageService, number: int, data: bytes, index: StorageIndex = INDEX) -> None:
    """Store one immutable share in one piece."""
    await service.allocate(index, frozenset({number}), len(data), SECRET, LEASE)
    assert await service.write(index, number, SECRET, 0, [data], len(data)) == []


async def put_slot(service: StorageService, data: bytes, number: int = 0) -> None:
    """Write a mutable share from its beginning."""
    vectors = {number: ShareVectors(writes=[WriteVector(0, data)])}
    assert (await service.read_test_write(SLOT, ENABLER, LEASE, vectors, [])).success


class ImmutableStorageSuite:
    """Immutable shares, from allocation to reading."""

    async def test_what_was_written_is_read(self, service: StorageService) -> None:
        await store(service, 3, DATA)

        assert await service.list_immutable(INDEX) == {3}
        assert await service.read_immutable(INDEX, 3, 0, 48) == DATA
        assert await service.read_immutable(INDEX, 3, 10, 5) == DATA[10:15]

    async def test_reading_past_the_end_is_short(self, service: StorageService) -> None:
        await store(service, 0, DATA)

        assert await service.read_immutable(INDEX, 0, 40, 100) == DATA[40:]
        assert await service.read_immutable(INDEX, 0, 48, 100) == b""
        assert await service.read_immutable(INDEX, 0, 2**40, 1) == b""

    async def test_an_unknown_index_is_empty(self, service: StorageService) -> None:
        assert await service.list_immutable(INDEX) == frozenset()
        with pytest.raises(NoSuchShareError):
            await service.read_immutable(INDEX, 0, 0, 1)

    async def test_ranges_come_in_any_order_and_overlap(self, service: StorageService) -> None:
        await service.allocate(INDEX, frozenset({0}), 48, SECRET, LEASE)

        assert await service.write(INDEX, 0, SECRET, 32, [DATA[32:]], 16) == [ByteRange(0, 32)]
        assert await service.write(INDEX, 0, SECRET, 8, [DATA[8:12], DATA[12:16]], 8) == [
            ByteRange(0, 8),
            ByteRange(16, 32),
        ]
        assert await service.write(INDEX, 0, SECRET, 8, [DATA[8:24]], 16) == [
            ByteRange(0, 8),
            ByteRange(24, 32),
        ]
        assert await service.write(INDEX, 0, SECRET, 0, [DATA[:40]], 40) == []
        assert await service.read_immutable(INDEX, 0, 0, 48) == DATA

    async def test_other_bytes_conflict_and_nothing_is_stored(self, service: StorageService) -> None:
        await service.allocate(INDEX, frozenset({0}), 48, SECRET, LEASE)
        await service.write(INDEX, 0, SECRET, 16, [DATA[16:32]], 16)

        with pytest.raises(ShareConflictError):
            await service.write(INDEX, 0, SECRET, 0, [bytes(48)], 48)

        assert await service.write(INDEX, 0, SECRET, 0, [DATA[:8]], 8) == [
            ByteRange(8, 16),
            ByteRange(32, 48),
        ]

    async def test_an_unfinished_share_is_invisible(self, service: StorageService) -> None:
        await service.allocate(INDEX, frozenset({0}), 48, SECRET, LEASE)
        await service.write(INDEX, 0, SECRET, 0, [DATA[:47]], 47)

        assert await service.list_immutable(INDEX) == frozenset()
        with pytest.raises(NoSuchShareError):
            await service.read_immutable(INDEX, 0, 0, 1)
        with pytest.raises(NoSuchShareError):
            await service.add_lease(INDEX, LEASE)
        with pytest.raises(NoSuchShareError):
            await service.advise_corrupt_immutable(INDEX, 0, "odd")

    async def test_allocation_names_what_is_there_and_what_is_accepted(self, service: StorageService) -> None:
        await store(service, 1, DATA)

        answer = await service.allocate(INDEX, frozenset({1, 2}), 48, SECRET, LEASE)

        assert answer == Allocation(frozenset({1}), frozenset({2}))

    async def test_allocation_names_shares_that_were_not_asked_for(self, service: StorageService) -> None:
        await store(service, 7, DATA)

        assert await service.allocate(INDEX, frozenset(), 48, SECRET, LEASE) == Allocation(
            frozenset({7}), frozenset()
        )

    async def test_an_upload_of_another_is_in_neither_set(self, service: StorageService) -> None:
        await service.allocate(INDEX, frozenset({0}), 48, SECRET, LEASE)

        answer = await service.allocate(INDEX, frozenset({0, 1}), 48, OTHER_SECRET, LEASE)

        assert answer == Allocation(frozenset(), frozenset({1}))

    async def test_the_same_uploader_resumes(self, service: StorageService) -> None:
        await service.allocate(INDEX, frozenset({0}), 48, SECRET, LEASE)
        await service.write(INDEX, 0, SECRET, 0, [DATA[:20]], 20)

        answer = await service.allocate(INDEX, frozenset({0}), 48, SECRET, LEASE)

        assert answer == Allocation(frozenset(), frozenset({0}))
        assert await service.write(INDEX, 0, SECRET, 20, [DATA[20:]], 28) == []

    async def test_the_upload_secret_is_needed(self, service: StorageService) -> None:
        await service.allocate(INDEX, frozenset({0}), 48, SECRET, LEASE)

        with pytest.raises(WrongSecretError):
            await service.write(INDEX, 0, OTHER_SECRET, 0, [DATA], 48)
        with pytest.raises(WrongSecretError):
            await service.abort(INDEX, 0, OTHER_SECRET)

    async def test_no_write_reaches_beyond_the_share(self, service: StorageService) -> None:
        await service.allocate(INDEX, frozenset({0}), 48, SECRET, LEASE)

        with pytest.raises(BadRangeError):
            await service.write(INDEX, 0, SECRET, 40, [DATA[:9]], 9)
        with pytest.raises(BadRangeError):
            await service.write(INDEX, 0, SECRET, 0, [DATA[:8]], 8, total=47)
        assert await service.write(INDEX, 0, SECRET, 0, [DATA[:8]], 8, total=48) == [ByteRange(8, 48)]

    async def test_a_complete_share_takes_no_writes_and_no_abort(self, service: StorageService) -> None:
        await store(service, 0, DATA)

        with pytest.raises(NoSuchShareError):
            await service.write(INDEX, 0, SECRET, 0, [DATA], 48)
        with pytest.raises(ShareCompleteError):
            await service.abort(INDEX, 0, SECRET)
        assert await service.read_immutable(INDEX, 0, 0, 48) == DATA

    async def test_an_aborted_upload_is_gone(self, service: StorageService) -> None:
        await service.allocate(INDEX, frozenset({0}), 48, SECRET, LEASE)
        await service.abort(INDEX, 0, SECRET)

        with pytest.raises(NoSuchShareError):
            await service.write(INDEX, 0, SECRET, 0, [DATA], 48)
        with pytest.raises(NoSuchShareError):
            await service.abort(INDEX, 0, SECRET)
        answer = await service.allocate(INDEX, frozenset({0}), 10, OTHER_SECRET, LEASE)
        assert answer.allocated == {0}

    async def test_of_many_writers_at_once_one_completes(self, service: StorageService) -> None:
        data = bytes(range(256)) * 8000
        piece = len(data) // 8
        await service.allocate(INDEX, frozenset({0}), len(data), SECRET, LEASE)

        async def write(part: int) -> bool:
            offset = part * piece
            missing = await service.write(INDEX, 0, SECRET, offset, [data[offset : offset + piece]], piece)
            return not missing

        assert sum(await asyncio.gather(*(write(part) for part in range(8)))) == 1
        assert await service.read_immutable(INDEX, 0, 0, len(data)) == data

    async def test_share_numbers_and_sizes_have_bounds(self, service: StorageService) -> None:
        with pytest.raises(BadRequestError):
            await service.allocate(INDEX, frozenset({256}), 48, SECRET, LEASE)
        with pytest.raises(BadRequestError):
            await service.allocate(INDEX, frozenset({0}), 0, SECRET, LEASE)
        every = frozenset(range(256))
        assert (await service.allocate(INDEX, every, 8, SECRET, LEASE)).allocated == every

    async def test_a_lease_is_taken_for_what_is_there(self, service: StorageService) -> None:
        await store(service, 0, DATA)
        await service.add_lease(INDEX, LEASE)
        await service.add_lease(INDEX, LeaseSecrets(b"R" * 32, b"C" * 32))

        with pytest.raises(NoSuchShareError):
            await service.add_lease(SLOT, LEASE)

    async def test_an_advisory_changes_nothing(self, service: StorageService) -> None:
        await store(service, 0, DATA)
        await service.advise_corrupt_immutable(INDEX, 0, "the hash of block 3 is wrong")

        assert await service.read_immutable(INDEX, 0, 0, 48) == DATA
        with pytest.raises(NoSuchShareError):
            await service.advise_corrupt_mutable(INDEX, 0, "not of this kind")


class MutableStorageSuite:
    """Mutable slots."""

    async def test_a_slot_is_created_once(self, service: StorageService) -> None:
        vectors = {0: ShareVectors(tests=[ABSENT], writes=[WriteVector(0, b"hello")])}

        first = await service.read_test_write(SLOT, ENABLER, LEASE, vectors, [(0, 9)])
        again = await service.read_test_write(SLOT, ENABLER, LEASE, vectors, [(0, 9)])

        assert (first.success, dict(first.data)) == (True, {})
        assert (again.success, again.data[0]) == (False, [b"hello"])
        assert await service.list_mutable(SLOT) == {0}
        assert await service.read_mutable(SLOT, 0, 1, 100) == b"ello"

    async def test_one_failed_test_stops_all_writes(self, service: StorageService) -> None:
        await put_slot(service, b"zero", 0)
        await put_slot(service, b"one", 1)

        result = await service.read_test_write(
            SLOT,
            ENABLER,
            LEASE,
            {
                0: ShareVectors([TestVector(0, 4, b"zero")], [WriteVector(0, b"ZERO")]),
                1: ShareVectors([TestVector(0, 3, b"two")], [WriteVector(0, b"ONE")]),
            },
            [(0, 10)],
        )

        assert not result.success
        assert result.data == {0: [b"zero"], 1: [b"one"]}
        assert await service.read_mutable(SLOT, 0, 0, 10) == b"zero"

    async def test_a_test_looks_at_what_is_there(self, service: StorageService) -> None:
        await put_slot(service, b"hello")

        async def passes(test: TestVector) -> bool:
            return (
                await service.read_test_write(SLOT, ENABLER, LEASE, {0: ShareVectors([test])}, [])
            ).success

        assert await passes(TestVector(0, 50, b"hello"))
        assert not await passes(TestVector(0, 3, b"hello"))
        assert await passes(TestVector(9, 5, b""))
        assert not await passes(TestVector(0, 5, b"hellO"))

    async def test_holes_and_cut_parts_read_as_zeros(self, service: StorageService) -> None:
        await put_slot(service, b"secret")
        await service.read_test_write(SLOT, ENABLER, LEASE, {0: ShareVectors(new_length=2)}, [])
        assert await service.read_mutable(SLOT, 0, 0, 10) == b"se"

        await service.read_test_write(
            SLOT, ENABLER, LEASE, {0: ShareVectors(writes=[WriteVector(5, b"x")])}, []
        )
        assert await service.read_mutable(SLOT, 0, 0, 10) == b"se\0\0\0x"

        await service.read_test_write(
            SLOT, ENABLER, LEASE, {0: ShareVectors(writes=[WriteVector(9, b"y")], new_length=100)}, []
        )
        assert await service.read_mutable(SLOT, 0, 0, 20) == b"se\0\0\0x\0\0\0y"

    async def test_writes_apply_in_their_order(self, service: StorageService) -> None:
        writes = [WriteVector(0, b"aaaa"), WriteVector(2, b"bb"), WriteVector(1, b"c")]
        await service.read_test_write(SLOT, ENABLER, LEASE, {0: ShareVectors(writes=writes)}, [])

        assert await service.read_mutable(SLOT, 0, 0, 10) == b"acbb"

    async def test_a_new_length_of_zero_deletes(self, service: StorageService) -> None:
        await put_slot(service, b"zero", 0)
        await put_slot(service, b"one", 1)

        gone = ShareVectors(writes=[WriteVector(0, b"never")], new_length=0)
        await service.read_test_write(SLOT, ENABLER, LEASE, {0: gone, 5: gone}, [])
        assert await service.list_mutable(SLOT) == {1}

        await service.read_test_write(SLOT, ENABLER, LEASE, {1: gone}, [])
        assert await service.list_mutable(SLOT) == frozenset()
        fresh = {0: ShareVectors([ABSENT], [WriteVector(0, b"new")])}
        assert (await service.read_test_write(SLOT, b"W" * 32, LEASE, fresh, [])).success

    async def test_an_empty_share_can_be_made(self, service: StorageService) -> None:
        await service.read_test_write(SLOT, ENABLER, LEASE, {0: ShareVectors()}, [])

        assert await service.list_mutable(SLOT) == {0}
        assert await service.read_mutable(SLOT, 0, 0, 10) == b""

    async def test_the_write_enabler_guards_reads_and_writes(self, service: StorageService) -> None:
        await put_slot(service, b"mine")

        for vectors in ({}, {0: ShareVectors(writes=[WriteVector(0, b"yours")])}):
            with pytest.raises(WrongSecretError):
                await service.read_test_write(SLOT, b"W" * 32, LEASE, vectors, [(0, 4)])
        assert await service.read_mutable(SLOT, 0, 0, 10) == b"mine"

    async def test_reads_come_from_all_shares(self, service: StorageService) -> None:
        await put_slot(service, b"hello", 0)
        await put_slot(service, b"there", 4)

        result = await service.read_test_write(SLOT, ENABLER, LEASE, {}, [(0, 100), (1, 4), (5, 1)])

        assert result.success
        assert {n: list(d) for n, d in result.data.items()} == {
            0: [b"hello", b"ello", b""],
            4: [b"there", b"here", b""],
        }

    async def test_the_two_kinds_do_not_mix(self, service: StorageService) -> None:
        await put_slot(service, b"mutable")
        await store(service, 0, DATA)

        with pytest.raises(ShareConflictError):
            await service.allocate(SLOT, frozenset({1}), 10, SECRET, LEASE)
        with pytest.raises(ShareConflictError):
            await service.read_test_write(INDEX, ENABLER, LEASE, {}, [])
        assert await service.list_immutable(SLOT) == frozenset()
        assert await service.list_mutable(INDEX) == frozenset()
        with pytest.raises(NoSuchShareError):
            await service.read_immutable(SLOT, 0, 0, 1)
        with pytest.raises(NoSuchShareError):
            await service.read_mutable(INDEX, 0, 0, 1)

    async def test_large_slots_are_as_small_ones(self, service: StorageService) -> None:
        data = bytes(range(256)) * 4096
        await put_slot(service, data)
        await service.read_test_write(
            SLOT, ENABLER, LEASE, {0: ShareVectors(writes=[WriteVector(500_000, b"changed")])}, []
        )

        assert await service.read_mutable(SLOT, 0, 0, 2**20) == (data[:500_000] + b"changed" + data[500_007:])

    async def test_changes_of_a_slot_do_not_mix(self, service: StorageService) -> None:
        await put_slot(service, bytes(8))

        async def count(_: int) -> None:
            while True:
                seen = (await service.read_test_write(SLOT, ENABLER, LEASE, {}, [(0, 8)])).data[0][0]
                more = (int.from_bytes(seen, "big") + 1).to_bytes(8, "big")
                vectors = {0: ShareVectors([TestVector(0, 8, seen)], [WriteVector(0, more)])}
                if (await service.read_test_write(SLOT, ENABLER, LEASE, vectors, [])).success:
                    return

        await asyncio.gather(*(count(i) for i in range(10)))

        assert int.from_bytes(await service.read_mutable(SLOT, 0, 0, 8), "big") == 10


class StorageServiceSuite(ImmutableStorageSuite, MutableStorageSuite):
    """All of it."""

    async def test_the_version_says_what_fits(self, service: StorageService) -> None:
        version = await service.version()

        assert 0 < version.maximum_immutable_share_size <= version.available_space
        assert version.application_version
