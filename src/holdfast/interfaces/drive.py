"""Files and directories as objects: what may be done with each, whatever it is stored in.

There is one interface for every kind of directory: mutable and immutable ones in the grid,
and those of a virtual drive server. Methods keep the names of the founding interfaces.

Making a node asks nobody anything. What writes to a node that allows reading alone raises
``NotMutableError`` before any request is made. Nodes are equal, and hash alike, if their
capabilities are equal.

Source: docs/spec/seed-map.md, sections H, I and S; docs/spec/vdrive.md, section 9;
docs/spec/directories.md, section 7.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeVar

from holdfast.errors import (
    ConflictError,
    InputError,
    IntegrityError,
    NotCapableError,
    UnavailableError,
)
from holdfast.formats.directory_metadata import Metadata
from holdfast.interfaces.transfer import AsyncUploadable, DownloadTarget, Uploadable

T = TypeVar("T")

Replace = bool | Literal["only-files"]
"""Whether a child may take the place of another: never, always, or unless that is a directory."""
Expected = bytes | Literal["absent"]
"""What a name has to lead to for a change to be made: the version of its entry, or nothing."""
Path = str | Sequence[str]
"""Names from a directory down: joined by slashes, where empty ones do not count; or one by one, taken
literally, so that a name may hold a slash."""


class NotMutableError(NotCapableError):
    """What was to be changed cannot be changed by this node: it never changes, or the node only reads."""


class NotWriteableError(NotMutableError):
    """It can be changed, but not with the capability this node has."""


class NoSuchChildError(InputError, KeyError, IndexError):
    """A directory has no child of this name.

    Attributes:
        name: the name that led nowhere.
        depth: how many names of a path were found before it.
    """

    def __init__(self, name: str, depth: int = 0) -> None:
        super().__init__(name, depth)
        self.name = name
        self.depth = depth

    def __str__(self) -> str:
        return f"there is no {self.name!r} here"


class NotADirectoryNodeError(InputError, IndexError):
    """A path leads on through something that is not a directory.

    Attributes:
        name: of what is not a directory.
        depth: how many names of the path lead to it, its own not counted.
    """

    def __init__(self, name: str, depth: int = 0) -> None:
        super().__init__(f"{name!r} is not a directory")
        self.name = name
        self.depth = depth


class ChildAlreadyPresentError(ConflictError, IndexError):
    """The name is taken, and what has it was not to be replaced.

    Attributes:
        name: the name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a {name!r} here already")
        self.name = name


class VersionMismatchError(ConflictError):
    """A name does not lead to what the caller expected there.

    Attributes:
        name: the name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} was changed by somebody else")
        self.name = name


class ChildOfWrongTypeError(InputError):
    """The child is a file where only a directory may be deleted, or the other way round.

    Attributes:
        name: the name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} is of the other kind")
        self.name = name


class UnreadableChildError(IntegrityError):
    """There is an entry of this name, but it makes no sense here.

    Attributes:
        name: the name.
        reason: what is wrong, as a sentence for people.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r} cannot be read: {reason}")
        self.name = name
        self.reason = reason


class MoveIncompleteError(UnavailableError):
    """A child was linked in its new place, but its old link could not be removed: now there are two.

    Attributes:
        name: the name that could not be removed.
        new_name: the name in the new place.
    """

    def __init__(self, name: str, new_name: str) -> None:
        super().__init__(f"{new_name!r} is in place, but {name!r} could not be removed from where it was")
        self.name = name
        self.new_name = new_name


class LinksIncompleteError(UnavailableError):
    """Several children were to be linked in more than one change, and only the first changes were made.

    Attributes:
        made: how many children are linked: those that came first.
    """

    def __init__(self, made: int, wanted: int) -> None:
        super().__init__(f"only the first {made} of {wanted} children could be linked")
        self.made = made


class FileNode(Protocol):
    """A file: immutable, literal or mutable."""

    @property
    def kind(self) -> Literal["file"]: ...

    def is_mutable(self) -> bool:
        """Return True if its contents can be changed by this node."""
        ...

    def is_readonly(self) -> bool:
        """Return True if this node only reads: always, if the file is immutable."""
        ...

    def get_uri(self) -> str:
        """Return the capability this node was made from: it gives others the same access (S-090)."""
        ...

    def get_immutable_uri(self) -> str:
        """Return the capability that gives others access for reading alone."""
        ...

    def get_refresh_capability(self) -> str | None:
        """Return what lets others renew leases, and no more (S-091); None for a literal file."""
        ...

    async def download(self, target: DownloadTarget[T]) -> T:
        """Send the contents to ``target``; return what its ``finish`` returned (S-088).

        However a download ends before that, ``target.fail`` was called.
        """
        ...

    async def download_to_data(self, offset: int = 0, size: int | None = None) -> bytes:
        """Return up to ``size`` bytes of the contents from ``offset`` on, all by default (S-089)."""
        ...


class UnknownNode(Protocol):
    """A child of a kind that this version does not know. It can be listed, linked elsewhere and removed."""

    @property
    def kind(self) -> Literal["unknown"]: ...

    def get_uri(self) -> str | None:
        """Return the capability that allows most of those known; None if there is none."""
        ...

    def get_immutable_uri(self) -> str | None:
        """Return the capability for readers, with the prefix that says so; None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class UnreadableEntry:
    """Stands in listings for an entry that makes no sense here. Its bytes are kept until its name is set or
    deleted.

    Attributes:
        name: its name.
        reason: what is wrong, as a sentence for people.
    """

    name: str
    reason: str

    @property
    def kind(self) -> Literal["unreadable"]:
        return "unreadable"


class ListedChild(NamedTuple):
    """One child, as its directory describes it.

    Attributes:
        name: in Normalization Form C.
        node: what it leads to.
        metadata: of the link.
        version: another one whenever the entry is set anew; see ``Expected``.
    """

    name: str
    node: Node | UnreadableEntry
    metadata: Metadata
    version: bytes


class NewChild(NamedTuple):
    """A child to be linked.

    Attributes:
        node: what the name shall lead to.
        metadata: of the link. None leaves that of a child which is replaced; an empty object clears it.
            A true ``no-write`` links the child without the right to write.
    """

    node: Node
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class LinkResult:
    """How several children were linked.

    Attributes:
        atomic: True if it was one change; False if others could see some of them linked and some not yet.
    """

    atomic: bool


@dataclass(frozen=True, slots=True)
class MoveResult:
    """How a move was done.

    Attributes:
        atomic: True if there was no moment with the child in both places.
    """

    atomic: bool


@dataclass(frozen=True, slots=True)
class ManifestItem:
    """One object below a directory, as ``iter_manifest`` meets it.

    Attributes:
        path: names from that directory; empty for itself.
        node: what is there. A child or directory that cannot be read is an ``UnreadableEntry``.
        verify_capability: None for literal and unknown objects.
        refresh_capability: the same.
    """

    path: tuple[str, ...]
    node: Node | UnreadableEntry
    verify_capability: str | None = None
    refresh_capability: str | None = field(default=None, repr=False)


class DirectoryNode(Protocol):
    """A directory of any kind. Names are normalised to Normalization Form C before anything else; one that
    cannot be a name here raises ``BadChildNameError``.

    Where a method changes one directory, the change is made as a whole or not at all, and it is made to what
    is there at that moment, even if others are writing too. The keywords of methods that link a child:

    * ``replace``: what to do if the name is taken; ``ChildAlreadyPresentError`` is raised by default.
    * ``expect``: link only if the name leads to this; else ``VersionMismatchError``. It overrides
      ``replace``.
    * ``metadata``: see ``NewChild``.
    """

    @property
    def kind(self) -> Literal["directory"]: ...

    def is_mutable(self) -> bool:
        """Return True if it can be changed by this node (S-092)."""
        ...

    def is_readonly(self) -> bool:
        """Return True if this node only reads: always, if the directory is immutable."""
        ...

    def get_uri(self) -> str:
        """Return the capability this node was made from; whoever gets it may do what this node may (S-093,
        S-094). To let others read only, use ``get_immutable_uri`` (S-095)."""
        ...

    def get_immutable_uri(self) -> str:
        """Return the capability for reading, also of a node that may write (S-098). The directory may change
        nevertheless."""
        ...

    def get_refresh_capability(self) -> str | None:
        """Return what lets others renew leases, and no more (S-100); None for a literal directory."""
        ...

    async def list(
        self, *, on_error: Literal["keep", "raise"] = "keep"
    ) -> Mapping[str, Node | UnreadableEntry]:
        """Return all children by name (S-101). With the right to write, children are held with theirs.

        Raises:
            UnreadableChildError: with ``on_error="raise"``, for the first entry that cannot be read.
        """
        ...

    def iter_children(self) -> AsyncIterator[ListedChild]:
        """Yield all children in the order of their names, with metadata; those of one version (S-101)."""
        ...

    async def get(self, name: str) -> Node:
        """Return one child (S-102).

        Raises:
            NoSuchChildError: there is none of this name.
            UnreadableChildError: its entry cannot be read.
        """
        ...

    async def get_listed(self, name: str) -> ListedChild:
        """Return one child with its metadata and version, even if its entry cannot be read.

        Raises:
            NoSuchChildError: there is none of this name.
        """
        ...

    async def has_child(self, name: str) -> bool:
        """Tell whether there is an entry of this name, readable or not."""
        ...

    async def get_child_at_path(self, path: Path) -> Node:
        """Return what a path leads to (S-103 to S-105); this node itself if the path is empty.

        Raises:
            NoSuchChildError: with the name that was not found.
            NotADirectoryNodeError: the path goes on behind a file or an unknown child.
            UnreadableChildError: an entry on the way cannot be read.
        """
        ...

    async def set_uri(
        self,
        name: str,
        child_uri: str,
        *,
        replace: Replace = False,
        expect: Expected | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Link what a capability stands for (S-106); any valid one, a directory's too (S-096, S-107).

        Raises:
            BadCapabilityError: the capability is malformed, or nobody knows whether it allows writing.
            NotMutableError: this node only reads (S-108).
        """
        ...

    async def set_node(
        self,
        name: str,
        child: NodeT,
        *,
        replace: Replace = False,
        expect: Expected | None = None,
        metadata: Metadata | None = None,
    ) -> NodeT:
        """Link a node, and return it (S-109, S-110)."""
        ...

    async def set_children(self, children: Mapping[str, NewChild], *, replace: Replace = False) -> LinkResult:
        """Link several nodes, in order; in one change, or in a few where the kind of directory has a limit.

        Raises:
            LinksIncompleteError: the first changes were made, another could not.
        """
        ...

    async def set_metadata(self, name: str, metadata: Metadata) -> None:
        """Give a link other metadata. A true ``no-write`` takes the right to write from it, for ever.

        Raises:
            NoSuchChildError: there is none of this name.
            UnreadableChildError: its entry cannot be read.
        """
        ...

    async def add_file(
        self,
        name: str,
        uploadable: Uploadable | AsyncUploadable,
        *,
        replace: Replace = False,
        expect: Expected | None = None,
        metadata: Metadata | None = None,
    ) -> FileNode:
        """Store an immutable file, link it, and return its node (S-111).

        That this node may write and that the name is free is checked before anything is stored, and the
        name again when it is linked. If storing fails, nothing is linked.
        """
        ...

    async def delete(
        self,
        name: str,
        *,
        must_exist: bool = True,
        must_be_directory: bool = False,
        must_be_file: bool = False,
    ) -> None:
        """Remove a link, nothing else (S-112). It may be one that cannot be read.

        Raises:
            NoSuchChildError: there is none, and it had to exist.
            ChildOfWrongTypeError: the child is known to be of the other kind.
        """
        ...

    async def create_empty_directory(
        self,
        name: str,
        *,
        replace: Replace = False,
        metadata: Metadata | None = None,
    ) -> DirectoryNode:
        """Make a directory of the same kind as this one, link it, and return it, writable (S-113)."""
        ...

    async def move_child_to(
        self,
        name: str,
        new_parent: DirectoryNode,
        new_name: str | None = None,
        *,
        replace: Replace = False,
    ) -> MoveResult:
        """Move a child to another directory, or to another name in this one (S-114).

        The user's metadata moves along. At no moment is the child in neither place. To move it to where it
        is does nothing and succeeds.

        Raises:
            NoSuchChildError: there is nothing to be moved.
            ChildAlreadyPresentError: the new name is taken.
            NotMutableError: one of the two nodes only reads.
            MoveIncompleteError: the child is in both places now.
        """
        ...

    async def build_manifest(self) -> frozenset[str]:
        """Return the refresh capabilities of everything reachable, this directory included (S-115).

        Raises:
            UnreadableChildError: something on the way cannot be read; ``iter_manifest`` goes on.
        """
        ...

    def iter_manifest(self) -> AsyncIterator[ManifestItem]:
        """Yield everything reachable, this directory first, each object once, circles or not."""
        ...


Node = FileNode | DirectoryNode | UnknownNode
NodeT = TypeVar("NodeT", bound=Node)
