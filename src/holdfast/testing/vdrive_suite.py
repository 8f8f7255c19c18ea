"""What every virtual drive server does with commits, be it the engine or a client of one over the network.

Subclass ``VdriveCommitSuite`` and provide ``start`` (see ``vdrive_service_suite``).

Source: docs/spec/vdrive.md, sections 8.4 and 11.4.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from holdfast.crypto.netstring import netstring
from holdfast.crypto.vdrive_keys import stored_enabler, tag, write_enabler
from holdfast.formats.vdrive.entry import digests_of
from holdfast.formats.vdrive.head import SignedHead, head_hash, parse_head, sign_head, verified_head
from holdfast.formats.vdrive.operations import Add, Delete, Operation, Replace, encode_operations
from holdfast.formats.vdrive.witness import lookup, value
from holdfast.interfaces.vdrive import (
    CLOCK_SKEW_S,
    DIRECTORIES_MAX,
    Authority,
    CommitRequest,
    Committed,
    Context,
    NewDirectory,
    Section,
)
from holdfast.interfaces.vdrive_errors import (
    BadCreateError,
    BadWriteEnablerError,
    DirectoryExistsError,
    HeadConflictError,
    MalformedVdriveRequestError,
    NoSuchDirectoryError,
    OperationsMismatchError,
    RefusedHeadError,
    RootMismatchError,
    VdriveTooLargeError,
)
from holdfast.testing.vdrive_filling import WitnessWriter, an_entry
from holdfast.testing.vdrive_service_suite import CHK, Service, Start
from holdfast.testing.vdrive_writer import DirectoryWriter

OTHER = "URI:CHK:bbbbbbbbbbbbbbbbbbbbbbbbbb:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb:3:10:1"


def proven(context: Context, writer: DirectoryWriter, *slots: bytes) -> dict[bytes, bytes]:
    """Check a context as a client does; return the read boxes of the entries there are, by slot."""
    head = verified_head(context.head, writer.keys.verify_key, writer.index)
    assert value(context.tree) == head.root
    digests = dict(zip([one.slot for one in context.entries], digests_of(context.entries), strict=True))
    assert {slot: lookup(context.tree, slot) for slot in slots} == {slot: digests.get(slot) for slot in slots}
    assert set(digests) <= set(slots)
    return {one.slot: one.read for one in context.entries}


def together(writers: Sequence[DirectoryWriter], account: str | None = None) -> Authority:
    """Return what the writers of several directories show."""
    return Authority(enablers={writer.index: writer.enabler for writer in writers}, account=account)


def forged(writer: DirectoryWriter, section: Section, **changes: Any) -> Section:
    """Return a section whose head says something else, signed by a writer."""
    return replace(section, head=sign_head(writer.keys, replace(parse_head(section.head.head), **changes)))


class VdriveCommitSuite:
    """See the module."""

    @pytest.fixture
    def start(self) -> Start:
        """Starts a service of its own, with these settings; everything ends with the test."""
        raise NotImplementedError

    @pytest.fixture
    async def service(self, start: Start) -> Service:
        return await start()

    # -- creating

    async def test_a_directory_is_made_empty_and_may_be_made_again(self, service: Service) -> None:
        writer = service.writer()
        for _ in range(2):
            answer = await service.server.commit(writer.creation(), writer.authority(service.account))
            assert answer.directories == (Committed(writer.index, 0, head_hash(writer.head.head)),)
            assert answer.time == int(service.clock.now)
        assert (await service.used()).directories == 1
        await service.put(writer, "a")
        await service.server.commit(writer.creation(), writer.authority(service.account))
        assert parse_head((await service.server.describe(writer.index)).head.head).version == 1

    async def test_a_directory_that_is_there_keeps_its_enabler(self, service: Service) -> None:
        writer = await service.directory()
        enabler = os.urandom(32)
        statement = netstring(tag("enabler")) + writer.index + writer.sid + stored_enabler(enabler)
        other = replace(writer.genesis(), proof=writer.keys.sign(statement))
        authority = Authority(enablers={writer.index: enabler}, account=service.account)
        with pytest.raises(DirectoryExistsError):
            await service.server.commit(CommitRequest((other,), ()), authority)
        await service.put(writer, "a")

    async def test_a_new_directory_needs_an_enabler(self, service: Service) -> None:
        writer = service.writer()
        with pytest.raises(BadWriteEnablerError):
            await service.server.commit(writer.creation(), Authority(account=service.account))

    @pytest.mark.parametrize(
        "break_",
        [
            lambda new, other: replace(new, refresh_id=other.refresh_id),
            lambda new, other: replace(new, commitment=other.commitment),
            lambda new, other: replace(new, verify_key=other.verify_key),
            lambda new, other: replace(new, head=other.head),
            lambda new, other: replace(new, head=SignedHead(new.head.head, bytes(64))),
            lambda new, other: replace(new, proof=other.proof),
        ],
        ids=["rid", "rc", "vk", "head", "signature", "proof"],
    )
    async def test_the_parts_of_a_new_directory_fit_together(
        self, service: Service, break_: Callable[[NewDirectory, NewDirectory], NewDirectory]
    ) -> None:
        writer = service.writer()
        new = break_(writer.genesis(), service.writer().genesis())
        with pytest.raises(BadCreateError):
            await service.server.commit(CommitRequest((new,), ()), writer.authority(service.account))
        with pytest.raises(NoSuchDirectoryError):
            await service.server.describe(writer.index)

    async def test_a_directory_is_made_filled_and_attached_at_once(self, service: Service) -> None:
        parent, child = await service.directory("old"), service.writer()
        request = CommitRequest((child.genesis(),), (child.section({"a": CHK}), parent.section({"c": CHK})))
        answer = await service.server.commit(request, together([parent, child], service.account))
        assert {one.index: one.version for one in answer.directories} == {parent.index: 2, child.index: 1}
        assert await service.server.commit(request, together([parent, child], service.account)) == answer
        context = await service.server.child(parent.index, parent.slot("c"))
        assert proven(context, parent, parent.slot("c"))
        assert (await service.used()).entries == 3

    async def test_what_fails_in_one_directory_is_not_done_in_another(self, service: Service) -> None:
        parent, child = await service.directory("old"), service.writer()
        saved = parent.saved()
        wrong = forged(parent, parent.section({"c": CHK}), count=7)
        request = CommitRequest((child.genesis(),), (child.section({"a": CHK}), wrong))
        before = await service.used()
        with pytest.raises(RootMismatchError):
            await service.server.commit(request, together([parent, child], service.account))
        parent.restore(saved)
        with pytest.raises(NoSuchDirectoryError):
            await service.server.describe(child.index)
        assert await service.used() == before
        await service.put(parent, "c")

    # -- changing

    async def test_entries_are_added_replaced_and_deleted_in_one_commit(self, service: Service) -> None:
        writer = await service.directory("a", "b", "c")
        await service.server.commit(writer.change({"b": OTHER, "d": CHK}, ["a"]), writer.authority())
        slots = [writer.slot(name) for name in "abcd"]
        found = proven(await service.server.context(writer.index, slots), writer, *slots)
        assert found == {slot: entry.read for slot, entry in writer.entries.items()}
        assert sorted(found) == sorted(slots[1:])

    async def test_a_commit_may_change_nothing(self, service: Service) -> None:
        writer = await service.directory("a")
        answer = await service.server.commit(writer.change(), writer.authority())
        assert answer.directories[0].version == 2

    async def test_a_commit_sent_again_has_its_effect_once(self, service: Service) -> None:
        writer = await service.directory()
        request = writer.change({"a": CHK})
        first = await service.server.commit(request, writer.authority())
        await service.put(writer, "b")
        await service.server.commit(writer.change({}, ["a"]), writer.authority())
        again = await service.server.commit(request, writer.authority())
        assert again.directories == first.directories
        context = await service.server.child(writer.index, writer.slot("a"))
        assert proven(context, writer, writer.slot("a")) == {}

    async def test_the_loser_of_two_gets_what_it_needs_to_try_again_at_once(self, service: Service) -> None:
        writer = await service.directory(*[f"old {number}" for number in range(100)])
        operation, other = an_entry(), an_entry()
        loser = WitnessWriter(DirectoryWriter(service.served.sid, writer.keys.write_key))
        seen = await service.server.context(writer.index, [operation.slot, other.slot])
        await service.put(writer, "first")
        section = loser.section(seen, [operation, other], int(service.clock.now))
        with pytest.raises(HeadConflictError) as caught:
            await service.server.commit(CommitRequest((), (section,)), writer.authority())
        [context] = caught.value.contexts
        assert proven(context, writer, operation.slot, other.slot) == {}
        section = loser.section(context, [operation, other], int(service.clock.now))
        answer = await service.server.commit(CommitRequest((), (section,)), writer.authority())
        assert answer.directories[0].version == writer.version + 1

    async def test_a_head_of_a_version_to_come_is_a_conflict(self, service: Service) -> None:
        writer = await service.directory("a")
        writer.section({"b": CHK})
        with pytest.raises(HeadConflictError):
            await service.server.commit(writer.change({"c": CHK}), writer.authority())

    async def test_a_commit_applied_in_part_by_another_one_is_a_conflict(self, service: Service) -> None:
        one, two = await service.directory(), await service.directory()
        first, second = one.section({"a": CHK}), two.section({"a": CHK})
        await service.server.commit(CommitRequest((), (first,)), one.authority())
        with pytest.raises(HeadConflictError) as caught:
            await service.server.commit(CommitRequest((), (first, second)), together([one, two]))
        assert [context.index for context in caught.value.contexts] == [one.index, two.index]
        proven(caught.value.contexts[0], one, one.slot("a"))

    async def test_many_at_once_are_put_in_an_order_and_none_is_lost(self, service: Service) -> None:
        writer = await service.directory()
        operations = [an_entry() for _ in range(12)]

        async def add(operation: Add) -> None:
            own = WitnessWriter(DirectoryWriter(service.served.sid, writer.keys.write_key))
            context = await service.server.child(writer.index, operation.slot)
            while True:
                section = own.section(context, [operation], int(service.clock.now))
                try:
                    await service.server.commit(CommitRequest((), (section,)), writer.authority())
                    return
                except HeadConflictError as conflict:
                    [context] = conflict.contexts

        await asyncio.gather(*map(add, operations))
        slots = [operation.slot for operation in operations]
        context = await service.server.context(writer.index, slots)
        assert len(proven(context, writer, *slots)) == len(slots)
        assert parse_head(context.head.head).version == len(slots)

    # -- refusals, in their order

    async def test_nobody_changes_what_is_not_there(self, service: Service) -> None:
        writer = service.writer()
        with pytest.raises(NoSuchDirectoryError):
            await service.server.commit(writer.change({"a": CHK}), writer.authority())

    async def test_nobody_changes_anything_without_the_enabler(self, service: Service) -> None:
        writer = await service.directory()
        request = writer.change({"a": CHK})
        wrong = write_enabler(writer.keys.write_key, b"another service".ljust(32))
        for authority in (Authority(), Authority(enablers={writer.index: wrong})):
            with pytest.raises(BadWriteEnablerError):
                await service.server.commit(request, authority)
        await service.server.commit(request, writer.authority())
        with pytest.raises(BadWriteEnablerError):  # though the server remembers the directory now
            await service.server.commit(writer.change({"b": CHK}), Authority(enablers={writer.index: wrong}))

    async def test_operations_are_well_formed(self, service: Service) -> None:
        writer = await service.directory()
        section = writer.section({"a": CHK})
        for operations in (b"", b"\xa0", section.operations + b"\x00", b"\x81" + section.operations):
            with pytest.raises(MalformedVdriveRequestError):
                await self._commit(service, writer, replace(section, operations=operations))

    async def test_nobody_does_nothing_or_two_things_with_one_directory(self, service: Service) -> None:
        writer = await service.directory()
        section = writer.section({"a": CHK})
        for request in (CommitRequest((), ()), CommitRequest((), (section, section))):
            with pytest.raises(MalformedVdriveRequestError):
                await service.server.commit(request, writer.authority())

    async def test_a_commit_concerns_so_many_directories_at_most(self, service: Service) -> None:
        writers = [service.writer() for _ in range(DIRECTORIES_MAX + 1)]
        creates = tuple(writer.genesis() for writer in writers)
        with pytest.raises(VdriveTooLargeError):
            await service.server.commit(CommitRequest(creates, ()), together(writers, service.account))
        request = CommitRequest(creates[:-1], tuple(one.section({"a": CHK}) for one in writers[:-1]))
        answer = await service.server.commit(request, together(writers, service.account))
        assert [one.version for one in answer.directories] == [1] * DIRECTORIES_MAX

    async def test_a_head_is_signed_by_a_writer_of_this_directory(self, service: Service) -> None:
        writer, other = await service.directory(), await service.directory()
        section = writer.section({"a": CHK})
        stranger = service.writer()
        for wrong in (
            replace(section, head=SignedHead(section.head.head, bytes(64))),
            replace(section, head=sign_head(stranger.keys, parse_head(section.head.head))),
            replace(section, head=other.section({"a": CHK}).head),
            replace(section, head=SignedHead(b"\xa0", section.head.signature)),
            forged(writer, section, index=other.index),
        ):
            with pytest.raises(RefusedHeadError):
                await self._commit(service, writer, wrong)

    async def test_a_head_is_that_of_its_operations(self, service: Service) -> None:
        writer = await service.directory()
        section = writer.section({"a": CHK})
        with pytest.raises(RefusedHeadError):
            await self._commit(service, writer, replace(section, operations=encode_operations([an_entry()])))

    async def test_a_head_is_not_of_a_time_to_come_nor_much_older_than_the_one_before(
        self, service: Service
    ) -> None:
        writer = await service.directory("a")
        now = int(service.clock.now)
        section = writer.section({"b": CHK})
        for time in (now + CLOCK_SKEW_S + 1, now - CLOCK_SKEW_S - 1):
            with pytest.raises(RefusedHeadError):
                await self._commit(service, writer, forged(writer, section, time=time))
        await self._commit(service, writer, forged(writer, section, time=now - CLOCK_SKEW_S))

    async def test_a_time_from_a_wrong_clock_keeps_nobody_from_writing(self, service: Service) -> None:
        writer = await service.directory("a")
        service.clock.now += 10**6
        later = int(service.clock.now)
        await self._commit(service, writer, writer.section({"b": CHK}, at=later))
        service.clock.now -= 10**6
        await self._commit(service, writer, writer.section({"c": CHK}, at=later))
        with pytest.raises(RefusedHeadError, match="clock"):
            await self._commit(service, writer, writer.section({"d": CHK}, at=later + 1))

    async def test_operations_fit_what_is_there(self, service: Service) -> None:
        writer = await service.directory("a")
        entry = writer.entries[writer.slot("a")]
        boxes = entry[2:]
        free = os.urandom(32)
        wrong: list[Operation] = [
            Add(entry.slot, *boxes),
            Replace(entry.slot, 2, *boxes),
            Replace(free, 1, *boxes),
            Delete(entry.slot, 3),
            Delete(free, 1),
        ]
        saved = writer.saved()
        for operation in wrong:
            section = writer.section_of([operation])
            writer.restore(saved)
            with pytest.raises(OperationsMismatchError):
                await self._commit(service, writer, section)

    async def test_a_head_names_the_content_that_its_operations_lead_to(self, service: Service) -> None:
        writer = await service.directory(*"abc")
        section = writer.section({"d": CHK}, ["a"])
        head = parse_head(section.head.head)
        for wrong in (
            forged(writer, section, count=head.count + 1),
            forged(writer, section, root=head.root[:-1] + bytes([head.root[-1] ^ 1])),
        ):
            with pytest.raises(RootMismatchError):
                await self._commit(service, writer, wrong)
        await self._commit(service, writer, section)

    async def test_a_directory_has_so_many_children_at_most(self, start: Start) -> None:
        service = await start(max_children=3)
        writer = await service.directory(*"abc")
        saved = writer.saved()
        with pytest.raises(VdriveTooLargeError):
            await service.server.commit(writer.change({"d": CHK}), writer.authority())
        writer.restore(saved)
        await service.server.commit(writer.change({"d": CHK}, ["a"]), writer.authority())

    async def _commit(self, service: Service, writer: DirectoryWriter, section: Section) -> None:
        await service.server.commit(CommitRequest((), (section,)), writer.authority())
