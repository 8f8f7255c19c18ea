"""What of a commit can be checked without the database: form, limits, signatures.

Source: docs/spec/vdrive.md, section 8.4, checks of creates, and 3 and 4 of sections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from holdfast.crypto.vdrive_keys import enabler_proof_holds, index_of, refresh_id, stored_enabler
from holdfast.formats.vdrive.entry import SealedEntry, digests_of
from holdfast.formats.vdrive.head import BadHeadError, Head, head_hash, verified_head
from holdfast.formats.vdrive.operations import (
    Add,
    Delete,
    MalformedOperationsError,
    Operation,
    OperationsTooLargeError,
    Replace,
    operations_digest,
    parse_operations,
)
from holdfast.interfaces.vdrive import (
    DIRECTORIES_MAX,
    Authority,
    CommitRequest,
    NewDirectory,
    Section,
)
from holdfast.interfaces.vdrive_errors import (
    BadCreateError,
    BadWriteEnablerError,
    MalformedVdriveRequestError,
    RefusedHeadError,
    VdriveTooLargeError,
)


@dataclass(frozen=True, slots=True)
class PreparedCreate:
    """A directory to be made.

    Attributes:
        enabler_hash: what is kept of its write enabler.
        hash: of its head.
    """

    new: NewDirectory
    enabler_hash: bytes
    hash: bytes


@dataclass(frozen=True)
class PreparedSection:
    """A change of one directory, signed by a writer of it.

    Attributes:
        hash: of its head.
        entries: those that it writes.
        digests: of them, by slot.
    """

    section: Section
    head: Head
    hash: bytes
    operations: tuple[Operation, ...]
    entries: tuple[SealedEntry, ...]
    digests: Mapping[bytes, bytes]

    @cached_property
    def slots(self) -> list[bytes]:
        """What its operations name, ascending."""
        return [operation.slot for operation in self.operations]

    @cached_property
    def deleted(self) -> list[bytes]:
        return [operation.slot for operation in self.operations if isinstance(operation, Delete)]


@dataclass(frozen=True, slots=True)
class PreparedCommit:
    """A commit that needs only the database to be checked further."""

    creates: tuple[PreparedCreate, ...]
    sections: tuple[PreparedSection, ...]
    authority: Authority


def check_shape(request: CommitRequest) -> None:
    """See that a request is one.

    Raises:
        MalformedVdriveRequestError: nothing is to be done, or two things with one directory.
        VdriveTooLargeError: too much is to be done.
    """
    if not (request.creates or request.sections):
        raise MalformedVdriveRequestError("a commit has at least one section")
    for parts in (request.creates, request.sections):
        if len(parts) > DIRECTORIES_MAX:
            raise VdriveTooLargeError(f"a commit concerns at most {DIRECTORIES_MAX} directories")
        if len({part.index for part in parts}) < len(parts):
            raise MalformedVdriveRequestError("two sections of a commit are of one directory")


def prepare(
    request: CommitRequest, authority: Authority, verify_keys: Mapping[bytes, bytes], sid: bytes
) -> PreparedCommit:
    """Check what can be checked, and hash what is to be hashed. To be run in a thread.

    Args:
        verify_keys: by index, of the directories of all sections.

    Raises:
        VdriveRefusalError: of section 8.4.
    """
    return PreparedCommit(
        tuple(_prepared_create(new, authority.enablers.get(new.index), sid) for new in request.creates),
        tuple(prepare_section(section, verify_keys[section.index]) for section in request.sections),
        authority,
    )


def prepare_section(section: Section, verify_key: bytes) -> PreparedSection:
    """Check the form of what one section does, and that a writer of the directory wants it."""
    try:
        operations = parse_operations(section.operations)
    except OperationsTooLargeError as error:
        raise VdriveTooLargeError(str(error)) from None
    except MalformedOperationsError as error:
        raise MalformedVdriveRequestError(str(error)) from None
    try:
        head = verified_head(section.head, verify_key, section.index)
    except BadHeadError as error:
        raise RefusedHeadError(str(error)) from None
    if operations_digest(section.operations) != head.operations_digest:
        raise RefusedHeadError("a head is not that of the operations that came with it")
    entries = tuple(_entries(operations, head.version))
    digests = dict(zip([entry.slot for entry in entries], digests_of(entries), strict=True))
    return PreparedSection(section, head, head_hash(section.head.head), operations, entries, digests)


def _prepared_create(new: NewDirectory, enabler: bytes | None, sid: bytes) -> PreparedCreate:
    if enabler is None:
        raise BadWriteEnablerError("a new directory needs a write enabler")
    if new.index != index_of(new.commitment, new.verify_key) or new.refresh_id != refresh_id(new.index):
        raise BadCreateError("the parts of a new directory do not fit together")
    try:
        head = verified_head(new.head, new.verify_key, new.index)
    except BadHeadError as error:
        raise BadCreateError(str(error)) from None
    if head.version != 0:
        raise BadCreateError("the first head of a directory has version 0")
    enabler_hash = stored_enabler(enabler)
    if not enabler_proof_holds(new.verify_key, new.index, sid, enabler_hash, new.proof):
        raise BadCreateError("the proof of a write enabler does not hold")
    return PreparedCreate(new, enabler_hash, head_hash(new.head.head))


def _entries(operations: Sequence[Operation], version: int) -> list[SealedEntry]:
    return [
        SealedEntry(operation.slot, version, *operation[-4:])
        for operation in operations
        if isinstance(operation, Add | Replace)
    ]
