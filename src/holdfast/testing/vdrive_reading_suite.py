"""What every virtual drive server shows of directories, be it the engine or a client of one over the network.

Subclass ``VdriveReadingSuite`` and provide ``start`` (see ``vdrive_service_suite``).

Source: docs/spec/vdrive.md, sections 8.5 to 8.7 and 11.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from holdfast.formats.vdrive.changes import changed, check_changes
from holdfast.formats.vdrive.entry import NameEntry, SealedEntry, digests_of
from holdfast.formats.vdrive.head import Head, SignedHead, head_hash, verified_head
from holdfast.formats.vdrive.page import check_page
from holdfast.interfaces.vdrive import HEADS_MAX, PAGE_MAX, SLOTS_MAX
from holdfast.interfaces.vdrive_errors import (
    HistoryPrunedError,
    MalformedVdriveRequestError,
    NoSuchDirectoryError,
    SnapshotExpiredError,
    VdriveTooLargeError,
)
from holdfast.testing.vdrive_service_suite import CHK, Service, Start
from holdfast.testing.vdrive_suite import OTHER, proven
from holdfast.testing.vdrive_writer import DirectoryWriter

HISTORY_S = 900
MANY = 150  # entries: more than a subtree without a row holds


async def listed(
    service: Service,
    writer: DirectoryWriter,
    *,
    at: int | None = None,
    limit: int = 40,
    names_only: bool = False,
) -> tuple[Head, dict[bytes, bytes]]:
    """List a directory page by page, each proven; return the head and the digests by slot."""
    found: dict[bytes, bytes] = {}
    after: bytes | None = None
    while True:
        page = await service.server.page(writer.index, at=at, after=after, limit=limit, names_only=names_only)
        head = verified_head(page.head, writer.keys.verify_key, writer.index)
        entries: Sequence[SealedEntry | NameEntry] = page.entries
        assert all(isinstance(one, NameEntry if names_only else SealedEntry) for one in entries)
        leaves = list(zip([one.slot for one in entries], digests_of(entries), strict=True))
        check_page(page.tree, leaves, after=after, next_=page.next, root=head.root)
        found.update(leaves)
        if page.next is None:
            return head, found
        assert len(entries) == limit
        after, at = page.next, head.version


async def differences(
    service: Service, writer: DirectoryWriter, since: int, *, at: int | None = None, limit: int = 40
) -> tuple[Head, dict[bytes, bytes], list[bytes]]:
    """Return the head, the digests of what was written since, and what was deleted; each page proven."""
    written: dict[bytes, bytes] = {}
    deleted: list[bytes] = []
    after: bytes | None = None
    while True:
        part = await service.server.changes(writer.index, since, at=at, after=after, limit=limit)
        head = verified_head(part.head, writer.keys.verify_key, writer.index)
        leaves = list(zip([one.slot for one in part.entries], digests_of(part.entries), strict=True))
        check_changes(part.tree, leaves, part.deleted, after=after, next_=part.next, root=head.root)
        written.update(leaves)
        deleted += part.deleted
        if part.next is None:
            return head, written, deleted
        after, at = part.next, head.version


class VdriveReadingSuite:
    """See the module."""

    @pytest.fixture
    def start(self) -> Start:
        """Starts a service of its own, with these settings; everything ends with the test."""
        raise NotImplementedError

    @pytest.fixture
    async def service(self, start: Start) -> Service:
        return await start(history_s=HISTORY_S)

    # -- some entries

    async def test_what_is_known_of_a_directory(self, service: Service) -> None:
        writer = await service.directory("a")
        found = await service.server.describe(writer.index)
        assert found.head == writer.head
        assert (found.verify_key, found.commitment) == (writer.keys.verify_key, writer.keys.read.commitment)
        assert not found.condemned
        assert found.size == (await service.used()).size
        assert found.lease_expires is not None

    async def test_there_is_nothing_to_see_of_what_is_not_there(self, service: Service) -> None:
        index = service.writer().index
        server = service.server
        for call in (
            server.describe(index),
            server.child(index, bytes(32)),
            server.context(index, [bytes(32)]),
            server.page(index),
            server.heads(index, 0, 1),
            server.wait(index, 0, 1),
            server.changes(index, 0),
        ):
            with pytest.raises(NoSuchDirectoryError):
                await call

    @pytest.mark.parametrize("count", [0, 1, 2, 64, 65, MANY])
    async def test_that_there_is_a_child_is_proven_and_that_there_is_none(
        self, service: Service, count: int
    ) -> None:
        names = [f"name {number}" for number in range(count)]
        writer = await service.directory(*names)
        for name in (*names[:2], "missing", "not there"):
            slot = writer.slot(name)
            found = proven(await service.server.child(writer.index, slot), writer, slot)
            assert found == ({slot: writer.entries[slot].read} if name in names else {})

    async def test_many_entries_have_one_proof(self, service: Service) -> None:
        writer = await service.directory(*[f"name {number}" for number in range(MANY)])
        slots = [writer.slot(f"name {number}") for number in range(SLOTS_MAX)]
        found = proven(await service.server.context(writer.index, slots), writer, *slots)
        assert set(found) == writer.entries.keys()
        with pytest.raises(VdriveTooLargeError):
            await service.server.context(writer.index, [*slots, bytes(32)])
        with pytest.raises(MalformedVdriveRequestError):
            await service.server.context(writer.index, [])

    # -- listings

    @pytest.mark.parametrize("names_only", [False, True], ids=["entries", "names"])
    async def test_a_listing_is_proven_page_by_page(self, service: Service, names_only: bool) -> None:
        writer = await service.directory(*[f"name {number}" for number in range(MANY)])
        for limit in (7, MANY - 1, MANY, PAGE_MAX):
            head, found = await listed(service, writer, limit=limit, names_only=names_only)
            assert head.count == MANY
            assert found == digests(writer)

    async def test_an_empty_directory_is_listed(self, service: Service) -> None:
        writer = await service.directory()
        assert (await listed(service, writer))[1] == {}

    async def test_every_version_is_listed_as_it_was(self, service: Service) -> None:
        writer = await service.directory()
        states = [digests(writer)]
        for number in range(6):
            adds = {f"{number} {n}": CHK for n in range(40)} | {"same": CHK}
            deletes = [f"{number - 2} {n}" for n in range(40)] if number >= 2 else []
            await service.server.commit(writer.change(adds, deletes), writer.authority())
            states.append(digests(writer))
        for version, state in enumerate(states):
            head, found = await listed(service, writer, at=version)
            assert (head.version, found) == (version, state)

    async def test_a_listing_goes_on_while_the_directory_changes(self, service: Service) -> None:
        writer = await service.directory(*[f"name {number}" for number in range(MANY)])
        state = digests(writer)
        first = await service.server.page(writer.index, limit=50)
        await service.server.commit(
            writer.change({"name 1": OTHER, "new": CHK}, ["name 2", "name 3"]), writer.authority()
        )
        rest = await service.server.page(writer.index, at=1, after=first.next, limit=PAGE_MAX)
        entries = [*first.entries, *rest.entries]
        assert dict(zip([one.slot for one in entries], digests_of(entries), strict=True)) == state
        assert rest.head == first.head

    async def test_a_version_is_listed_as_long_as_history_is_kept(self, service: Service) -> None:
        writer = await service.directory("a")
        await service.put(writer, "b")
        await service.put(writer, "a")
        for passed_s in (HISTORY_S - 1, 1):
            assert (await service.server.page(writer.index, at=1)).next is None
            service.clock.now += passed_s
            await service.keep_house()
        for version in (1, 2, 4):
            with pytest.raises(SnapshotExpiredError):
                await service.server.page(writer.index, at=version)
        assert (await listed(service, writer, at=3))[1] == digests(writer)

    async def test_what_is_no_longer_listed_is_deleted_and_the_rest_is_not(self, service: Service) -> None:
        writer = await service.directory(*[f"name {number}" for number in range(MANY)])
        await service.server.commit(writer.change({}, ["name 1"]), writer.authority())
        service.clock.now += HISTORY_S // 2
        state = digests(writer)
        await service.server.commit(writer.change({}, ["name 2"]), writer.authority())
        service.clock.now += HISTORY_S // 2 + 100
        await service.keep_house()
        assert (await listed(service, writer, at=2))[1] == state
        assert (await listed(service, writer))[1] == digests(writer)

    async def test_pages_have_sizes(self, service: Service) -> None:
        writer = await service.directory("a")
        with pytest.raises(VdriveTooLargeError):
            await service.server.page(writer.index, limit=PAGE_MAX + 1)
        with pytest.raises(MalformedVdriveRequestError):
            await service.server.page(writer.index, limit=0)

    # -- heads

    async def test_heads_are_told_from_the_first_to_the_last(self, service: Service) -> None:
        writer = await service.directory()
        signed = [writer.head]
        for name in "abcd":
            await service.put(writer, name)
            signed.append(writer.head)
        assert await self._heads(service, writer, 0, 4) == (signed, False)
        assert await self._heads(service, writer, 1, 3) == (signed[1:4], False)
        assert await self._heads(service, writer, 3, 10**6) == (signed[3:], False)
        assert await self._heads(service, writer, 5, 9) == ([], False)
        hashes = [head_hash(one.head) for one in signed]
        heads = [verified_head(one, writer.keys.verify_key, writer.index) for one in signed]
        assert [head.previous for head in heads[1:]] == hashes[:-1]

    async def test_heads_are_kept_longer_than_anything_but_not_for_ever(self, start: Start) -> None:
        service = await start(heads_min=3, head_retention_s=1000)
        writer = await service.directory(*"ab")
        for name in "cdefg":
            await service.put(writer, name)
        service.clock.now += 999
        await service.keep_house()
        assert len((await service.server.heads(writer.index, 0, HEADS_MAX)).heads) == 7
        service.clock.now += 1
        await service.keep_house()
        assert await self._heads(service, writer, 4, 9) == ([*(await self._last(service, writer, 3))], False)
        first, more = await self._heads(service, writer, 0, 9)
        assert (len(first), more) == (1, True)
        with pytest.raises(HistoryPrunedError) as caught:
            await service.server.heads(writer.index, 2, 9)
        assert caught.value.oldest == 4

    async def _heads(
        self, service: Service, writer: DirectoryWriter, first: int, last: int
    ) -> tuple[list[SignedHead], bool]:
        found = await service.server.heads(writer.index, first, last)
        return list(found.heads), found.more

    async def _last(self, service: Service, writer: DirectoryWriter, count: int) -> list[SignedHead]:
        found = await service.server.heads(writer.index, writer.version - count + 1, writer.version)
        assert len(found.heads) == count
        return list(found.heads)

    # -- news

    async def test_whoever_waits_is_told_of_the_next_version(self, service: Service) -> None:
        writer = await service.directory("a")
        assert await service.server.wait(writer.index, 0, 5) == writer.head
        assert await service.server.wait(writer.index, 1, 0.05) is None
        waiting = asyncio.ensure_future(service.server.wait(writer.index, 1, 30))
        await asyncio.sleep(0.05)
        await service.put(writer, "b")
        assert await asyncio.wait_for(waiting, 5) == writer.head

    async def test_changes_are_the_difference_of_two_listings(self, service: Service) -> None:
        writer = await service.directory(*[f"name {number}" for number in range(MANY)])
        states = [{}, digests(writer)]
        for number in range(4):
            adds = {f"new {number} {n}": CHK for n in range(20)} | {"name 0": CHK}
            deletes = [f"name {number * 20 + n}" for n in range(1, 20)] + [f"new {number - 1} 3"] * (
                number > 0
            )
            await service.server.commit(writer.change(adds, deletes), writer.authority())
            states.append(digests(writer))
        await service.server.commit(writer.change({"name 1": CHK}), writer.authority())  # deleted before
        states.append(digests(writer))
        for since, before in enumerate(states):
            for at in range(since, len(states)):
                after = states[at]
                head, written, deleted = await differences(service, writer, since, at=at, limit=15)
                assert head.version == at
                assert written == {slot: one for slot, one in after.items() if before.get(slot) != one}
                assert deleted == sorted(before.keys() - after.keys())
                assert changed(before, written.items(), deleted, head.root) == after

    async def test_changes_are_told_as_long_as_history_is_kept(self, service: Service) -> None:
        writer = await service.directory("a")
        await service.put(writer, "b")
        service.clock.now += HISTORY_S
        for since in (0, 1):
            with pytest.raises(SnapshotExpiredError):
                await service.server.changes(writer.index, since)
        assert (await differences(service, writer, 2))[1:] == ({}, [])
        with pytest.raises(SnapshotExpiredError):
            await service.server.changes(writer.index, 3)


def digests(writer: DirectoryWriter) -> dict[bytes, bytes]:
    """Return what a writer knows to be in its directory."""
    entries = list(writer.entries.values())
    return dict(zip([one.slot for one in entries], digests_of(entries), strict=True))
