"""The six calls by which directories were kept in 2007, with their meaning: an index and hashed names lead to
strings that are opaque here.

What is new is shown by the writer beside them: a directory begins with a head that is signed, and each
change comes with the one section of a commit that makes it. These calls see that it makes that change and
no other.

Source: docs/spec/vdrive.md, sections 1.4 and 11.7; seed-map S-064 to S-087.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast.formats.vdrive.entry import SealedEntry
from holdfast.formats.vdrive.head import parse_head
from holdfast.formats.vdrive.operations import (
    Add,
    Delete,
    MalformedOperationsError,
    Operation,
    Replace,
    parse_operations,
)
from holdfast.interfaces.drive import ChildAlreadyPresentError, NoSuchChildError
from holdfast.interfaces.vdrive import (
    PAGE_DEFAULT,
    Authority,
    CommitRequest,
    NewDirectory,
    Section,
    VirtualDriveServer,
)
from holdfast.interfaces.vdrive_errors import MalformedVdriveRequestError, OperationsMismatchError


class FoundingCalls:
    """The calls of 2007 on a virtual drive server, in process or far away.

    Trees and heads of answers are left to those who verify; whoever needs them asks the server itself.
    """

    def __init__(self, server: VirtualDriveServer, account: str | None = None) -> None:
        """``account``: the token that new directories are charged to."""
        self._server = server
        self._account = account

    async def get_public_root_uri(self) -> str:
        """Return the capability of the root that all share.

        Raises:
            NoPublicRootError: none is offered.
        """
        return await self._server.public_root()

    async def create_directory(self, index: bytes, write_enabler: bytes, *, genesis: NewDirectory) -> bytes:
        """Make an empty directory, which hangs under nothing, and return its index.

        Args:
            genesis: what binds index, keys and enabler together.

        Raises:
            DirectoryExistsError: another one is there. The same may be made again.
        """
        if genesis.index != index:
            raise MalformedVdriveRequestError("what is to begin is another directory")
        authority = Authority(enablers={index: write_enabler}, account=self._account)
        answer = await self._server.commit(CommitRequest((genesis,), ()), authority)
        return answer.directories[0].index

    async def get_entry(self, index: bytes, key: bytes) -> SealedEntry:
        """Return the child of a hashed name.

        Raises:
            NoSuchChildError: there is none (a KeyError and an IndexError).
        """
        context = await self._server.child(index, key)
        if not context.entries:
            raise _no_such_child()
        return context.entries[0]

    async def get(self, index: bytes, key: bytes) -> tuple[bytes, bytes]:
        """Return the sealed read-write and read-only capabilities of a child.

        Raises:
            NoSuchChildError: there is none.
        """
        entry = await self.get_entry(index, key)
        return entry.write, entry.read

    async def iter_entries(self, index: bytes, *, limit: int = PAGE_DEFAULT) -> AsyncIterator[SealedEntry]:
        """Yield all children at one version, asking for ``limit`` of them at once."""
        at: int | None = None
        after: bytes | None = None
        while True:
            page = await self._server.page(index, at=at, after=after, limit=limit)
            for entry in page.entries:
                assert isinstance(entry, SealedEntry), "whole entries were asked for"
                yield entry
            if page.next is None:
                return
            at, after = parse_head(page.head.head).version, page.next

    async def list(self, index: bytes) -> list[tuple[bytes, bytes, bytes]]:
        """Return all children: sealed name, read-write and read-only capability."""
        return [(entry.name, entry.write, entry.read) async for entry in self.iter_entries(index)]

    async def set(
        self,
        index: bytes,
        write_enabler: bytes,
        key: bytes,
        name: bytes,
        write: bytes,
        read: bytes,
        *,
        commit: Section,
    ) -> None:
        """Store a child under its hashed name.

        Args:
            commit: adds this child, or replaces the one that is there.

        Raises:
            ChildAlreadyPresentError: ``commit`` adds it, and there is one (an IndexError).
            NoSuchChildError: ``commit`` replaces it, and there is none.
            BadWriteEnablerError, HeadConflictError: nothing was changed.
        """
        operation = _only_operation(index, commit)
        if isinstance(operation, Delete):
            raise _something_else()
        if (operation.slot, operation.name, operation.write, operation.read) != (key, name, write, read):
            raise _something_else()
        try:
            await self._commit(commit, write_enabler)
        except OperationsMismatchError:
            present = (await self._server.child(index, key)).entries
            if present and isinstance(operation, Add):
                raise ChildAlreadyPresentError(_OPAQUE) from None
            if not present and isinstance(operation, Replace):
                raise _no_such_child() from None
            raise

    async def delete(self, index: bytes, write_enabler: bytes, key: bytes, *, commit: Section) -> None:
        """Remove a child.

        Raises:
            NoSuchChildError: there is none (an IndexError).
            BadWriteEnablerError, HeadConflictError: nothing was changed.
        """
        operation = _only_operation(index, commit)
        if not isinstance(operation, Delete) or operation.slot != key:
            raise _something_else()
        try:
            await self._commit(commit, write_enabler)
        except OperationsMismatchError:
            if not (await self._server.child(index, key)).entries:
                raise _no_such_child() from None
            raise

    async def _commit(self, section: Section, enabler: bytes) -> None:
        request = CommitRequest((), (section,))
        await self._server.commit(request, Authority(enablers={section.index: enabler}))


_OPAQUE = "(sealed)"  # the name of a child, to who cannot read it


def _only_operation(index: bytes, section: Section) -> Operation:
    try:
        operations = parse_operations(section.operations)
    except MalformedOperationsError as error:
        raise MalformedVdriveRequestError(str(error)) from None
    if section.index != index or len(operations) != 1:
        raise _something_else()
    return operations[0]


def _something_else() -> MalformedVdriveRequestError:
    return MalformedVdriveRequestError("the commit does something else")


def _no_such_child() -> NoSuchChildError:
    return NoSuchChildError(_OPAQUE)
