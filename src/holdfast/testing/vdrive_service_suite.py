"""What every virtual drive server does beside commits and reading: accounts, leases, turns, enablers,
bundles, the public root, and the calls of 2007; be it the engine or a client of one over the network.

Subclass ``VdriveServiceSuite`` and provide ``start``.

Source: docs/spec/vdrive.md, sections 8.3, 8.8 to 8.10, 12 to 14.4, 17; seed-map S-064 to S-087.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.caps.parsing import parse_cap
from holdfast.caps.slots import child_slots
from holdfast.caps.vdrive import VdrivePlace, VdriveReadCap, VdriveWriteCap
from holdfast.crypto.sealed_boxes import BoxCipher, SealedBoxError
from holdfast.crypto.vdrive_keys import WriteKeys, enabler_proof
from holdfast.formats.vdrive.bundle import BundleReader
from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.head import SignedHead, first_head, parse_head
from holdfast.formats.vdrive.witness import lookup, value
from holdfast.interfaces.drive import ChildAlreadyPresentError, NoSuchChildError
from holdfast.interfaces.vdrive import (
    Authority,
    CommitRequest,
    Committed,
    Counts,
    NewDirectory,
    VirtualDriveServer,
)
from holdfast.interfaces.vdrive_errors import (
    BadCreateError,
    BadProofError,
    BadWriteEnablerError,
    DirectoryExistsError,
    HeadConflictError,
    MalformedVdriveRequestError,
    NoPublicRootError,
    NoSuchDirectoryError,
    NotAuthorisedToCreateError,
    QuotaExceededError,
    RefusedBundleError,
    RefusedHeadError,
    SnapshotExpiredError,
    TurnTakenError,
    VdriveRefusalError,
)
from holdfast.servers.vdrive.founding import FoundingCalls
from holdfast.servers.vdrive.housekeeping import Housekeeping
from holdfast.servers.vdrive.settings import DAY_S
from holdfast.testing.storage_server import FakeClock
from holdfast.testing.vdrive_server import LOTS, ServedVdrive
from holdfast.testing.vdrive_writer import DirectoryWriter

CHK = "URI:CHK:aaaaaaaaaaaaaaaaaaaaaaaaaa:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb:3:10:28733"
FILES = (
    CHK,
    "URI:LIT:mfrggzdfmy",
    "URI:SSK:aaaaaaaaaaaaaaaaaaaaaaaaaa:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbba",
    "URI:MDMF:aaaaaaaaaaaaaaaaaaaaaaaaaa:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbba",
)
SECRET = b"lease secret".ljust(32, b".")
DIRECTORY_SIZE = 1000
ENTRY_SIZE = 200


@dataclass
class Service:
    """A running service: as its operator sees it, and as a client does."""

    served: ServedVdrive
    server: VirtualDriveServer
    clock: FakeClock
    account: str

    def writer(self, write_key: bytes | None = None) -> DirectoryWriter:
        """Return who writes a directory, a new one unless its key is given."""
        return DirectoryWriter(self.served.sid, write_key, clock=self.clock)

    async def directory(self, *names: str, account: str | None = None) -> DirectoryWriter:
        """Make a directory with children of these names."""
        writer = self.writer()
        await self.server.commit(writer.creation(), writer.authority(account or self.account))
        if names:
            await self.put(writer, *names)
        return writer

    async def put(self, writer: DirectoryWriter, *names: str) -> None:
        """Give children of these names another capability."""
        await self.server.commit(writer.change(dict.fromkeys(names, CHK)), writer.authority())

    async def bundle(self, writer: DirectoryWriter) -> bytes:
        """Export a directory."""
        return b"".join([piece async for piece in self.server.export(writer.index)])

    async def load(self, writer: DirectoryWriter, bundle: bytes, account: str | None = None) -> Committed:
        """Import a directory."""
        return await self.server.import_bundle(
            writer.index, pieces(bundle), writer.enabler, writer.proof, account or self.account
        )

    async def used(self, account: str | None = None) -> Counts:
        """Return what an account has used up."""
        return (await self.server.account(account or self.account)).used

    async def keep_house(self) -> None:
        """Do what is done each minute."""
        engine = self.served.engine
        await Housekeeping(engine.database, engine.settings, engine.clock).run()


async def pieces(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    """Yield ``data`` in pieces."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


Start = Callable[..., Awaitable[Service]]


class VdriveServiceSuite:
    """See the module."""

    @pytest.fixture
    def start(self) -> Start:
        """Starts a service of its own, with these settings; everything ends with the test."""
        raise NotImplementedError

    @pytest.fixture
    async def service(self, start: Start) -> Service:
        return await start()

    @pytest.fixture
    def founding(self, service: Service) -> FoundingCalls:
        return FoundingCalls(service.server, service.account)

    # -- the calls of 2007

    @pytest.mark.seed("S-064", "X-09")
    async def test_the_public_root_may_be_written_by_all_and_stays_the_same(self, start: Start) -> None:
        service = await start(public_root="read-write")
        uri = await FoundingCalls(service.server).get_public_root_uri()
        cap = parse_cap(uri)
        assert isinstance(cap, VdriveWriteCap)
        assert cap.place == service.served.place
        ann, ben = service.writer(cap.write_key), service.writer(cap.write_key)
        await service.put(ann, "of ann")
        ben.restore(ann.saved())
        await service.put(ben, "of ben")
        names = [ann.open(slot, "n", name) for slot, _, name, *_ in (await entries(service, ann))]
        assert sorted(names) == ["of ann", "of ben"]
        key = service.served.settings.private / "public_root.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        await service.served.restart()
        assert await service.served.engine.public_root() == uri

    async def test_a_public_root_that_only_the_operator_writes(self, start: Start) -> None:
        service = await start(public_root="read-only")
        cap = parse_cap(await service.server.public_root())
        assert isinstance(cap, VdriveReadCap)
        assert (await service.server.describe(cap.index)).head == first_head(
            WriteKeys(key_of_root(service.served.settings.private))
        )
        assert (await service.server.version()).public_root == "read-only"

    @pytest.mark.seed("S-065")
    async def test_without_a_public_root_asking_for_it_raises(self, founding: FoundingCalls) -> None:
        with pytest.raises(NoPublicRootError):
            await founding.get_public_root_uri()

    async def test_the_public_root_has_a_quota_and_no_lease(self, start: Start) -> None:
        service = await start(public_root="read-write", public_root_entries=2, expire_enabled=True)
        cap = parse_cap(await service.server.public_root())
        assert isinstance(cap, VdriveWriteCap)
        writer = service.writer(cap.write_key)
        await service.put(writer, "1", "2")
        saved = writer.saved()
        with pytest.raises(QuotaExceededError):
            await service.put(writer, "3")
        writer.restore(saved)
        service.clock.now += 200 * DAY_S
        await service.keep_house()
        service.clock.now += 200 * DAY_S
        await service.keep_house()
        assert not (await service.server.describe(writer.index)).condemned

    @pytest.mark.seed("S-066", "S-067", "S-068")
    async def test_a_new_directory_is_empty_and_hangs_under_nothing(
        self, service: Service, founding: FoundingCalls
    ) -> None:
        writer = service.writer()
        index = await founding.create_directory(writer.index, writer.enabler, genesis=writer.genesis())
        assert index == writer.index
        assert await founding.list(index) == []
        assert parse_head((await service.server.describe(index)).head.head).version == 0

    @pytest.mark.seed("S-067")
    async def test_making_and_attaching_a_directory_is_one_step(self, service: Service) -> None:
        parent = await service.directory()
        child = service.writer()
        attach = parent.section({"child": CHK})
        request = CommitRequest((child.genesis(),), (attach, child.section({"inside": CHK})))
        enablers = {parent.index: parent.enabler, child.index: child.enabler}
        with pytest.raises(BadWriteEnablerError):
            await service.server.commit(
                request, Authority({**enablers, parent.index: bytes(32)}, {}, service.account)
            )
        with pytest.raises(NoSuchDirectoryError):
            await service.server.describe(child.index)
        await service.server.commit(request, Authority(enablers, {}, service.account))
        assert len(await entries(service, parent)) == len(await entries(service, child)) == 1

    @pytest.mark.seed("S-069", "X-01")
    async def test_a_directory_is_made_again_only_by_the_same_request(
        self, service: Service, founding: FoundingCalls
    ) -> None:
        writer = await service.directory("child")
        await founding.create_directory(writer.index, writer.enabler, genesis=writer.genesis())
        assert len(await founding.list(writer.index)) == 1
        assert await service.used() == (1, 1, DIRECTORY_SIZE + await size_of_entries(service, writer))
        for enabler, proof in ((os.urandom(32), writer.proof), (os.urandom(32), bytes(64))):
            genesis = writer.genesis()
            taken = NewDirectory(
                genesis.index, genesis.refresh_id, genesis.verify_key, genesis.commitment, genesis.head, proof
            )
            with pytest.raises((BadCreateError, DirectoryExistsError)):
                await founding.create_directory(writer.index, enabler, genesis=taken)
        await service.put(writer, "still mine")

    @pytest.mark.seed("S-070", "S-071", "S-072", "S-073", "S-083")
    async def test_what_was_set_is_got(self, service: Service, founding: FoundingCalls) -> None:
        writer = await service.directory()
        put = writer.put("child", CHK, write="URI:SSK:x")
        section = writer.section_of([put])
        await founding.set(
            writer.index, writer.enabler, put.slot, put.name, put.write, put.read, commit=section
        )
        write, read = await founding.get(writer.index, writer.slot("child"))
        assert (write, read) == (put.write, put.read)
        assert writer.open(put.slot, "w", write) == "URI:SSK:x"
        assert writer.open(put.slot, "r", read) == CHK
        entry = await founding.get_entry(writer.index, put.slot)
        assert (entry.version, entry.metadata) == (1, put.metadata)
        assert await founding.list(writer.index) == [(put.name, put.write, put.read)]

    @pytest.mark.seed("S-074", "S-075", "S-076")
    async def test_what_the_slots_of_each_kind_of_child_hold(
        self, service: Service, founding: FoundingCalls
    ) -> None:
        parent, child = await service.directory(), await service.directory("grandchild")
        place = VdrivePlace(service.served.sid, service.served.swissnum, service.served.settings.hints)
        full = VdriveWriteCap(place, child.keys.write_key)
        weak = full.read_only.to_text()
        children = {
            "read-write directory": child_slots(full.to_text().encode(), None),
            "read-only directory": child_slots(None, weak.encode()),
            **{f"file {number}": child_slots(text.encode(), None) for number, text in enumerate(FILES)},
        }
        operations = [
            parent.put(name, text_of(slots.ro), write=None if slots.rw is None else text_of(slots.rw))
            for name, slots in children.items()
        ]
        await service.server.commit(CommitRequest((), (parent.section_of(operations),)), parent.authority())
        write, read = await founding.get(parent.index, parent.slot("read-write directory"))
        slot = parent.slot("read-write directory")
        assert parent.open(slot, "w", write) == full.to_text()
        reader = parse_cap(parent.open(slot, "r", read))
        assert isinstance(reader, VdriveReadCap)
        assert len(await founding.list(reader.index)) == 1  # what it leads to is read, and cannot be written
        assert not reader.writable
        for name, slots in children.items():
            write, read = await founding.get(parent.index, parent.slot(name))
            assert parent.open(parent.slot(name), "r", read) == text_of(slots.ro)
            writable = parse_cap(text_of(slots.strongest))
            assert bool(write) == (getattr(writable, "writable", False) is True)
            with pytest.raises(SealedBoxError):  # a reader's key does not open it
                BoxCipher(parent.keys.read.seal_key, parent.index).open(parent.slot(name), "w", write)

    @pytest.mark.seed("S-077")
    async def test_a_child_that_is_not_there_raises_two_ways(
        self, service: Service, founding: FoundingCalls
    ) -> None:
        writer = await service.directory("child")
        with pytest.raises(IndexError):
            await founding.get(writer.index, writer.slot("other"))
        with pytest.raises(KeyError):
            await founding.get(writer.index, writer.slot("other"))
        absence = await service.server.child(writer.index, writer.slot("other"))
        assert value(absence.tree) == parse_head(absence.head.head).root
        assert lookup(absence.tree, writer.slot("other")) is None

    @pytest.mark.seed("S-078", "S-079", "S-080", "S-081", "S-082")
    @pytest.mark.parametrize("count", [0, 1, 100, 101, 1001])
    async def test_all_children_are_listed_at_one_version(
        self, service: Service, founding: FoundingCalls, count: int
    ) -> None:
        writer = await service.directory()
        names = [f"child {number}" for number in range(count)]
        for first in range(0, count, 1000):
            await service.put(writer, *names[first : first + 1000])
        found: list[str] = []
        async for entry in founding.iter_entries(writer.index, limit=100):
            if not found:  # a writer is active meanwhile
                await service.put(writer, "late")
            found.append(writer.open(entry.slot, "n", entry.name))
        assert sorted(found) == sorted(names)
        assert len(await founding.list(writer.index)) == (count + 1 if count else 0)

    @pytest.mark.seed("S-082")
    async def test_a_page_has_as_many_entries_as_were_asked_for_and_5000_at_most(
        self, service: Service
    ) -> None:
        writer = await service.directory(*map(str, range(150)))
        page = await service.server.page(writer.index, limit=100)
        assert len(page.entries) == 100
        with pytest.raises(VdriveRefusalError) as refused:
            await service.server.page(writer.index, limit=5001)
        assert 400 <= refused.value.status < 500

    @pytest.mark.seed("S-084")
    async def test_a_name_that_is_taken_is_not_taken_again(
        self, service: Service, founding: FoundingCalls
    ) -> None:
        writer = await service.directory()
        other = service.writer(writer.keys.write_key)
        await service.put(writer, "child")
        other.restore(writer.saved())
        other.entries = {}  # so that it adds
        put = other.put("child", CHK)
        section = other.section_of([put])
        arguments = (writer.index, writer.enabler, put.slot, put.name, put.write, put.read)
        with pytest.raises(ChildAlreadyPresentError) as present:
            await founding.set(*arguments, commit=section)
        assert isinstance(present.value, IndexError)
        replace = writer.put("child", "URI:LIT:")
        section = writer.section_of([replace])
        await founding.set(
            writer.index,
            writer.enabler,
            replace.slot,
            replace.name,
            replace.write,
            replace.read,
            commit=section,
        )
        assert (await founding.get(writer.index, replace.slot))[1] == replace.read

    @pytest.mark.seed("S-084")
    async def test_of_two_who_add_one_name_one_wins(self, service: Service) -> None:
        writer = await service.directory()
        other = service.writer(writer.keys.write_key)
        outcomes = await asyncio.gather(
            service.put(writer, "child"), service.put(other, "child"), return_exceptions=True
        )
        assert [type(one) for one in outcomes if one is not None] == [HeadConflictError]

    @pytest.mark.seed("S-085")
    async def test_only_who_has_the_enabler_changes_anything(
        self, service: Service, founding: FoundingCalls
    ) -> None:
        writer, stranger = await service.directory("child"), await service.directory()
        before = (await service.server.describe(writer.index)).head
        messages = set()
        for name in ("child", "other"):
            saved = writer.saved()
            put = writer.put(name, CHK)
            section = writer.section_of([put])
            for enabler in (bytes(32), stranger.enabler):
                with pytest.raises(BadWriteEnablerError) as refused:
                    await founding.set(
                        writer.index, enabler, put.slot, put.name, put.write, put.read, commit=section
                    )
                messages.add(str(refused.value))
            with pytest.raises(BadWriteEnablerError):
                await service.server.commit(CommitRequest((), (section,)), Authority())
            writer.restore(saved)
        assert len(messages) == 1  # nothing tells whether there is such a child
        assert (await service.server.describe(writer.index)).head == before

    @pytest.mark.seed("S-086", "S-087")
    async def test_a_child_is_deleted_once(self, service: Service, founding: FoundingCalls) -> None:
        writer = await service.directory("child", "other")
        saved = writer.saved()
        slot = writer.slot("child")
        section = writer.section(deletes=["child"])
        await founding.delete(writer.index, writer.enabler, slot, commit=section)
        assert [entry.slot for entry in await entries(service, writer)] == [writer.slot("other")]
        await founding.delete(writer.index, writer.enabler, slot, commit=section)  # the same again
        late = service.writer(writer.keys.write_key)
        late.restore((writer.head, writer.version, saved[2]))
        with pytest.raises(IndexError):
            await founding.delete(writer.index, writer.enabler, slot, commit=late.section(deletes=["child"]))
        with pytest.raises(NoSuchChildError):
            await founding.get(writer.index, slot)

    async def test_the_calls_of_2007_do_what_they_say_and_nothing_else(
        self, service: Service, founding: FoundingCalls
    ) -> None:
        writer = await service.directory("child")
        put, slot = writer.put("new", CHK), writer.slot("child")
        section = writer.section_of([put])
        good = (writer.index, writer.enabler, put.slot, put.name, put.write, put.read)
        for place in (0, 2, 3, 4, 5):
            wrong = list(good)
            wrong[place] = b"w" * 40 if place > 2 else bytes(32)
            with pytest.raises(MalformedVdriveRequestError):
                await founding.set(*wrong, commit=section)
        with pytest.raises(MalformedVdriveRequestError):
            await founding.delete(writer.index, writer.enabler, slot, commit=section)
        with pytest.raises(MalformedVdriveRequestError):
            await founding.create_directory(bytes(32), writer.enabler, genesis=writer.genesis())

    # -- what a reader can do (V-16)

    @pytest.mark.seed("X-01", "X-02")
    async def test_a_reader_cannot_write_with_anything_that_it_knows(self, service: Service) -> None:
        writer = await service.directory("child")
        read = writer.keys.read
        forger = service.writer()  # has keys, but not these
        enabler = forger.enabler
        proof = forger.keys.sign(b"anything")
        for refresh, commitment, verify_key in (
            (writer.refresh_id, read.commitment, forger.keys.verify_key),
            (writer.refresh_id, read.commitment, read.verify_key),
        ):
            new = NewDirectory(writer.index, refresh, verify_key, commitment, first_head(writer.keys), proof)
            with pytest.raises((BadCreateError, DirectoryExistsError)):
                await service.server.commit(
                    CommitRequest((new,), ()), Authority({writer.index: enabler}, {}, service.account)
                )
        with pytest.raises(BadProofError):
            await service.server.enrol(writer.index, enabler, proof)
        with pytest.raises(BadWriteEnablerError):
            await service.server.turn({writer.index: enabler})
        section = writer.section({"child": CHK})
        forged = SignedHead(section.head.head, forger.keys.sign(section.head.head))
        for shown in (enabler, writer.enabler):  # even with the enabler, the signature is missing
            with pytest.raises((BadWriteEnablerError, RefusedHeadError)):
                await service.server.commit(
                    CommitRequest((), (type(section)(section.index, section.operations, forged),)),
                    Authority({writer.index: shown}),
                )
        bundle = await service.bundle(writer)
        with pytest.raises(BadProofError):
            await service.server.import_bundle(writer.index, pieces(bundle), enabler, proof, service.account)
        await service.server.commit(CommitRequest((), (section,)), writer.authority())

    # -- accounts and quotas (V-21)

    async def test_directories_are_charged_to_who_made_them(self, service: Service) -> None:
        ben = await service.served.new_account(label="ben")
        await service.directory("child", account=ben)
        assert await service.used() == (0, 0, 0)
        state = await service.server.account(ben)
        assert (state.label, state.allowed) == ("ben", LOTS)
        assert state.used.directories == state.used.entries == 1
        with pytest.raises(NotAuthorisedToCreateError):
            await service.server.account("guessed")

    async def test_nothing_is_made_without_an_account(self, service: Service) -> None:
        writer = service.writer()
        for token in (None, "guessed"):
            with pytest.raises(NotAuthorisedToCreateError):
                await service.server.commit(writer.creation(), writer.authority(token))
        with pytest.raises(NoSuchDirectoryError):
            await service.server.describe(writer.index)

    async def test_an_open_service_has_a_common_account(self, start: Start) -> None:
        service = await start(accounts="open", open_directories=2)
        for _ in range(2):
            writer = service.writer()
            await service.server.commit(writer.creation(), writer.authority())
        writer = service.writer()
        with pytest.raises(QuotaExceededError):
            await service.server.commit(writer.creation(), writer.authority())
        assert (await service.server.version()).accounts == "open"

    async def test_quotas_are_exact_and_what_shrinks_always_works(self, service: Service) -> None:
        token = await service.served.new_account(Counts(2, 3, 10**6))
        writer = await service.directory("1", "2", "3", account=token)
        await service.directory(account=token)
        third = service.writer()
        with pytest.raises(QuotaExceededError):
            await service.server.commit(third.creation(), third.authority(token))
        saved = writer.saved()
        with pytest.raises(QuotaExceededError):
            await service.put(writer, "4")
        writer.restore(saved)
        await service.put(writer, "3")  # replaced by something of the same size
        await service.server.commit(
            CommitRequest((), (writer.section({"4": CHK}, deletes=["3"]),)), writer.authority()
        )
        await service.server.commit(writer.change(deletes=["1", "2", "4"]), writer.authority())
        assert await service.used(token) == (2, 0, 2 * DIRECTORY_SIZE)

    async def test_bytes_are_counted_exactly(self, service: Service) -> None:
        token = await service.served.new_account(Counts(1, 10, 10**6))
        writer = await service.directory("1", "2", account=token)
        size = DIRECTORY_SIZE + await size_of_entries(service, writer)
        assert await service.used(token) == (1, 2, size)
        assert (await service.server.describe(writer.index)).size == size

    async def test_many_at_once_do_not_pass_a_quota(self, service: Service) -> None:
        token = await service.served.new_account(Counts(10, 100, 10**6))
        writers = [service.writer() for _ in range(30)]
        outcomes = await asyncio.gather(
            *(service.server.commit(one.creation(), one.authority(token)) for one in writers),
            return_exceptions=True,
        )
        refused = [one for one in outcomes if isinstance(one, BaseException)]
        assert {type(one) for one in refused} == {QuotaExceededError}
        assert len(refused) == 20
        assert await service.used(token) == (10, 0, 10 * DIRECTORY_SIZE)

    # -- leases and collection (V-19, V-20)

    async def test_leases_are_renewed_added_and_cancelled(self, service: Service) -> None:
        writer = await service.directory()
        now = int(service.clock())
        assert (await service.server.describe(writer.index)).lease_expires == now + 31 * DAY_S
        assert await service.server.renew_lease(writer.refresh_id, SECRET, 40 * DAY_S) == now + 40 * DAY_S
        assert await service.server.lease_info(writer.refresh_id, SECRET) == (now + 40 * DAY_S, 2)
        await service.server.cancel_lease(writer.refresh_id, os.urandom(32))
        assert (await service.server.lease_info(writer.refresh_id, SECRET)).leases == 2
        await service.server.cancel_lease(writer.refresh_id, SECRET)
        assert await service.server.lease_info(writer.refresh_id, SECRET) == (now + 31 * DAY_S, 1)

    async def test_a_first_lease_may_be_longer(self, service: Service) -> None:
        writer = service.writer()
        await service.server.commit(writer.creation(lease_s=300 * DAY_S), writer.authority(service.account))
        expires = (await service.server.describe(writer.index)).lease_expires
        assert expires == int(service.clock()) + 300 * DAY_S

    async def test_who_has_refresh_capabilities_keeps_alive_and_fetches_nothing(self, start: Start) -> None:
        service = await start(expire_enabled=True)
        writer = await service.directory("child")
        for _ in range(8):
            service.clock.now += 10 * DAY_S
            await service.server.renew_lease(writer.refresh_id, SECRET, 31 * DAY_S)
            await service.keep_house()
        assert not (await service.server.describe(writer.index)).condemned
        for call in (
            service.server.describe(writer.refresh_id),
            service.server.page(writer.refresh_id),
            service.server.child(writer.refresh_id, writer.slot("child")),
            service.server.heads(writer.refresh_id, 0, 1),
        ):
            with pytest.raises(NoSuchDirectoryError):
                await call

    async def test_what_nobody_wants_is_condemned_archived_and_deleted(
        self, start: Start, tmp_path: Path
    ) -> None:
        archive = tmp_path / "archive"
        archive.mkdir()
        service = await start(expire_enabled=True, expire_archive=archive)
        wanted, unwanted = await service.directory("1"), await service.directory("2", "3")
        await service.server.renew_lease(wanted.refresh_id, SECRET, 366 * DAY_S)
        service.clock.now += 32 * DAY_S
        await service.keep_house()
        assert (await service.server.describe(unwanted.index)).condemned
        assert not (await service.server.describe(wanted.index)).condemned
        service.clock.now += 29 * DAY_S
        await service.keep_house()
        assert len(await entries(service, unwanted)) == 2
        service.clock.now += 2 * DAY_S
        await service.keep_house()
        with pytest.raises(NoSuchDirectoryError):
            await service.server.describe(unwanted.index)
        assert len(await entries(service, wanted)) == 1
        assert (await service.used()).directories == 1
        (kept,) = archive.iterdir()
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        await service.load(unwanted, kept.read_bytes())  # and it is here again
        assert len(await entries(service, unwanted)) == 2

    async def test_a_commit_or_a_lease_revives_what_was_condemned(self, start: Start) -> None:
        service = await start(expire_enabled=True)
        written, leased = await service.directory(), await service.directory()
        service.clock.now += 32 * DAY_S
        await service.keep_house()
        await service.put(written, "child")
        await service.server.renew_lease(leased.refresh_id, SECRET, 60 * DAY_S)
        service.clock.now += 31 * DAY_S - 1
        await service.keep_house()
        for writer in (written, leased):
            assert not (await service.server.describe(writer.index)).condemned

    async def test_nothing_is_collected_unless_that_was_asked_for(self, service: Service) -> None:
        writer = await service.directory("child")
        for _ in range(3):
            service.clock.now += 400 * DAY_S
            await service.keep_house()
        assert not (await service.server.describe(writer.index)).condemned

    async def test_nothing_is_deleted_that_cannot_be_archived(self, start: Start, tmp_path: Path) -> None:
        service = await start(expire_enabled=True, expire_archive=tmp_path / "missing")
        writer = await service.directory("child")
        for _ in range(3):
            service.clock.now += 40 * DAY_S
            await service.keep_house()
        assert (await service.server.describe(writer.index)).condemned

    # -- turns and enablers

    async def test_a_turn_keeps_others_out(self, service: Service) -> None:
        writer = await service.directory()
        turn = await service.server.turn({writer.index: writer.enabler})
        request = writer.change({"child": CHK})
        with pytest.raises(TurnTakenError) as taken:
            await service.server.commit(request, writer.authority())
        assert 0 < taken.value.retry_after_s <= 4
        await service.server.commit(request, writer.authority(turn=turn.turn))
        await service.server.commit(request, writer.authority())  # the same again is no question of turns
        await service.put(writer, "free again")

    async def test_who_asks_for_a_turn_waits_for_those_who_asked_before(self, service: Service) -> None:
        writer = await service.directory()
        enablers = {writer.index: writer.enabler}
        turns = [await service.server.turn(enablers)]
        others = [asyncio.ensure_future(service.server.turn(enablers)) for _ in range(3)]
        for number, other in enumerate(others):
            await asyncio.sleep(0.05)
            assert [one.done() for one in others] == [True] * number + [False] * (3 - number)
            request = writer.change({f"child {number}": CHK})
            await service.server.commit(request, writer.authority(turn=turns[-1].turn))
            turns.append(await asyncio.wait_for(other, 5))
        assert len({one.turn for one in turns}) == 4

    async def test_a_turn_of_several_directories_is_one_of_all_or_none(self, service: Service) -> None:
        one, two, three = [await service.directory() for _ in range(3)]
        enablers = {writer.index: writer.enabler for writer in (one, two)}
        turn = (await service.server.turn(enablers)).turn
        waiting = asyncio.ensure_future(service.server.turn({w.index: w.enabler for w in (two, three)}))
        await asyncio.sleep(0.05)
        await service.put(three, "nobody holds it")
        for writer in (one, two):
            saved = writer.saved()
            with pytest.raises(TurnTakenError):
                await service.put(writer, "out of turn")
            writer.restore(saved)
        assert not waiting.done()
        shown = Authority(enablers, dict.fromkeys(enablers, turn))
        await service.server.commit(one.change({"child": CHK}), shown)
        assert (await asyncio.wait_for(waiting, 5)).turn != turn
        await service.put(one, "free again")
        with pytest.raises(BadWriteEnablerError):
            await service.server.turn({one.index: one.enabler, two.index: one.enabler})

    async def test_an_enabler_is_worth_nothing_at_another_service(self, start: Start) -> None:
        """V-17, as far as the server is concerned: what one service saw and stored opens no other."""
        here, there = await start(), await start()
        writer = await here.directory("child")
        copy = there.writer(writer.keys.write_key)
        await there.load(copy, await here.bundle(writer))
        copy.restore(writer.saved())
        request = copy.change({"new": CHK})
        with pytest.raises(BadWriteEnablerError):
            await there.server.commit(request, writer.authority())
        with pytest.raises(BadProofError):
            await there.server.enrol(writer.index, writer.enabler, writer.proof)
        await there.server.commit(request, copy.authority())

    async def test_a_writer_enrols_its_enabler(self, service: Service) -> None:
        writer = await service.directory()
        await service.server.enrol(writer.index, writer.enabler, enabler_proof(writer.keys, writer.sid))
        await service.put(writer, "child")

    # -- bundles (V-22)

    async def test_a_bundle_is_proven_with_the_index_alone_and_imported_elsewhere(self, start: Start) -> None:
        here, there = await start(), await start()
        writer = await here.directory(*map(str, range(700)))
        await here.put(writer, "1", "2", "new")
        bundle = await here.bundle(writer)
        reader = BundleReader(writer.index)
        assert len(reader.feed(bundle)) == 701
        reader.finish()
        copy = there.writer(writer.keys.write_key)
        committed = await there.load(copy, bundle)
        assert (committed.index, committed.version) == (writer.index, 2)
        assert await there.bundle(copy) == bundle
        assert sorted(await entries(there, copy)) == sorted(writer.entries.values())
        assert await there.used() == await here.used()
        copy.restore(writer.saved())
        await there.put(copy, "1", "later")
        assert (await there.server.heads(copy.index, 1, 3)).heads[:2] == (
            await here.server.heads(copy.index, 1, 2)
        ).heads
        with pytest.raises(SnapshotExpiredError):
            await there.server.page(copy.index, at=1)
        info = await there.server.lease_info(copy.refresh_id, SECRET)
        assert info.leases == 1

    async def test_an_import_brings_what_is_there_forward_and_never_back(self, start: Start) -> None:
        here, there = await start(), await start()
        writer = await here.directory("1", "2")
        copy = there.writer(writer.keys.write_key)
        old = await here.bundle(writer)
        await there.load(copy, old)
        await there.server.renew_lease(copy.refresh_id, SECRET, 100 * DAY_S)
        await here.put(writer, "3")
        await here.server.commit(writer.change(deletes=["1"]), writer.authority())
        new = await here.bundle(writer)
        for _ in range(2):  # the second time there is nothing to do
            assert (await there.load(copy, new)).version == 3
        assert sorted(await entries(there, copy)) == sorted(writer.entries.values())
        assert await there.used() == await here.used()
        assert (await there.server.lease_info(copy.refresh_id, SECRET)).leases == 2
        assert len((await there.server.heads(copy.index, 0, 3)).heads) == 4
        with pytest.raises(DirectoryExistsError):
            await there.load(copy, old)
        copy.restore(writer.saved())
        await there.put(copy, "forked")
        await here.put(writer, "another way")
        await here.put(writer, "and longer")
        with pytest.raises(DirectoryExistsError):
            await there.load(copy, await here.bundle(writer))
        assert len(await entries(there, copy)) == 3
        await there.keep_house()

    async def test_an_owner_keeps_paying_for_what_others_bring_forward(self, start: Start) -> None:
        here, there = await start(), await start()
        writer = await here.directory("1")
        copy = there.writer(writer.keys.write_key)
        await there.load(copy, await here.bundle(writer))
        other = await there.served.new_account()
        await here.put(writer, "2")
        await there.load(copy, await here.bundle(writer), other)
        assert await there.used(other) == (0, 0, 0)
        assert await there.used() == await here.used()

    async def test_a_bundle_that_is_not_whole_changes_nothing(self, start: Start) -> None:
        here, there = await start(), await start()
        writer = await here.directory(*map(str, range(600)))
        copy = there.writer(writer.keys.write_key)
        bundle = bytearray(await here.bundle(writer))
        flipped = bundle.copy()
        flipped[len(flipped) // 2] ^= 1
        for bad in (b"", bundle[:-1], bundle[:-300], bundle[: len(bundle) // 2], bundle + b"\0", flipped):
            with pytest.raises(RefusedBundleError):
                await there.load(copy, bytes(bad))
            with pytest.raises(NoSuchDirectoryError):
                await there.server.describe(copy.index)
            assert await there.used() == (0, 0, 0)
        other = there.writer()
        with pytest.raises(RefusedBundleError):
            await there.server.import_bundle(
                other.index, pieces(bytes(bundle)), other.enabler, other.proof, there.account
            )
        await there.keep_house()

    async def test_an_import_needs_an_account_with_room(self, start: Start) -> None:
        here, there = await start(), await start()
        writer = await here.directory(*map(str, range(600)))
        copy, bundle = there.writer(writer.keys.write_key), await here.bundle(writer)
        small = await there.served.new_account(Counts(1, 599, 10**9))
        with pytest.raises(QuotaExceededError):
            await there.load(copy, bundle, small)
        assert await there.used(small) == (0, 0, 0)
        with pytest.raises(NotAuthorisedToCreateError):
            await there.load(copy, bundle, "guessed")
        exact = await there.served.new_account(Counts(1, 600, 10**9))
        await there.load(copy, bundle, exact)

    async def test_there_is_no_bundle_of_what_is_not_there(self, service: Service) -> None:
        with pytest.raises(NoSuchDirectoryError):
            await service.bundle(service.writer())


async def entries(service: Service, writer: DirectoryWriter) -> list[SealedEntry]:
    """Return all entries of a directory."""
    return [one async for one in FoundingCalls(service.server).iter_entries(writer.index)]


async def size_of_entries(service: Service, writer: DirectoryWriter) -> int:
    """Return what the entries of a directory count for."""
    return sum(ENTRY_SIZE + sum(map(len, one[2:])) for one in await entries(service, writer))


def text_of(cap: bytes | None) -> str:
    """Return a capability as text."""
    return (cap or b"").decode("ascii")


def key_of_root(private: Path) -> bytes:
    """Return the write key of the public root, as its operator knows it."""
    from holdfast.crypto import base32

    return base32.decode((private / "public_root.key").read_text().strip())
