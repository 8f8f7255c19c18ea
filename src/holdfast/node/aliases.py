"""Names that a user gives to directories on the grid: the file ``private/aliases`` of a client node.

A line ``NAME: CAPABILITY`` for each; blank lines and comments (``#``) stay when lines are added. The last
line of a name counts.

Source: docs/spec/cli.md, section 3.1.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.caps.expecting import directory_cap
from holdfast.caps.slots import ListableCap
from holdfast.errors import CapabilityError, ConfigError, InputError, NotCapableError
from holdfast.grid.durable_files import replace_file
from holdfast.node.private_files import make_private_directory

ALIASES_FILE = "aliases"
DEFAULT_ALIAS = "tahoe"  # where paths without an alias begin
PRIVATE_ROOT = "~"
_CAPABILITY_PREFIXES = ("URI", "ro.URI", "imm.URI")  # what begins so and a colon is a capability
_NAME_SHOWN_MAX = 20  # characters; a longer name may be a piece of a capability


class UnknownAliasError(CapabilityError):
    """No alias has this name."""


class AliasTakenError(InputError):
    """The alias exists already."""


class AliasNameError(InputError, ValueError):
    """The text cannot be the name of an alias; the message says why."""


@dataclass(frozen=True, slots=True)
class Alias:
    """One line of the file."""

    name: str
    text: str = field(repr=False)  # the capability as it is written
    line: int  # counted from 1


class Aliases:
    """The aliases of one node."""

    def __init__(self, private: Path) -> None:
        """``private``: the private directory of the node. Nothing is read yet."""
        self.path = private / ALIASES_FILE

    def read(self) -> Mapping[str, Alias]:
        """Return all aliases by name; none if there is no file.

        Raises:
            ConfigError: a line is none of an alias, or the file cannot be read; the message names the line.
        """
        return parse_aliases(self._text(), self.path)

    def directory(self, name: str) -> ListableCap:
        """Return the directory that ``name`` means.

        Raises:
            UnknownAliasError: there is no such alias.
            ConfigError: the file, or the capability in its line, is not as it must be.
        """
        alias = self.read().get(name)
        if alias is None:
            raise UnknownAliasError(_unknown(name))
        return self.directory_of(alias)

    def directory_of(self, alias: Alias) -> ListableCap:
        """Return the directory of an alias that was read. Raises ConfigError, naming the line."""
        try:
            return listable_directory(alias.text)
        except CapabilityError as error:
            raise ConfigError(f"{self.path}, line {alias.line}: {error}") from None

    def check_new(self, name: str) -> None:
        """Raise what ``add`` would raise for ``name``, now."""
        check_alias_name(name)
        if name in self.read():
            raise AliasTakenError(f"there is an alias {name} already; choose another name")

    def add(self, name: str, cap: ListableCap) -> None:
        """Add an alias. What is in the file stays as it is; concurrent calls lose nothing.

        Raises:
            AliasNameError: the name is impossible.
            AliasTakenError: it is taken.
            ConfigError: the file is not as it must be.
            InputError: it cannot be written.
        """
        try:
            make_private_directory(self.path.parent)
            with _locked(self.path.parent):
                self.check_new(name)
                text = self._text()
                end = "" if not text or text.endswith("\n") else "\n"
                replace_file(self.path, f"{text}{end}{name}: {cap.to_text()}\n".encode())
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}") from error

    def remove(self, name: str) -> str:
        """Remove all lines of an alias; return the capability that it stood for, as it was written.

        Raises:
            UnknownAliasError: there is no such alias.
            ConfigError: the file is not as it must be.
            InputError: it cannot be written.
        """
        try:
            make_private_directory(self.path.parent)
            with _locked(self.path.parent):
                alias = self.read().get(name)
                if alias is None:
                    raise UnknownAliasError(_unknown(name))
                kept = [line for line in self._text().splitlines(keepends=True) if _name_in(line) != name]
                replace_file(self.path, "".join(kept).encode())
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}") from error
        return alias.text

    def _text(self) -> str:
        try:
            return self.path.read_bytes().decode("utf-8")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{self.path} is damaged: it is not a text in UTF-8") from None


def parse_aliases(text: str, path: Path) -> dict[str, Alias]:
    """Return what the lines of a file of aliases say. Capabilities are not looked at.

    Raises:
        ConfigError: a line has no colon, or no name before it; the message names ``path`` and the line.
    """
    aliases = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, colon, cap = stripped.partition(":")
        if not colon or not name:
            raise ConfigError(f"{path}, line {number}: this should be NAME: CAPABILITY")
        aliases[name] = Alias(name, cap.strip(), number)
    return aliases


def _name_in(line: str) -> str | None:
    """Return the name that a line gives a directory; None if it gives none."""
    stripped = line.strip()
    name, colon, _ = stripped.partition(":")
    return None if not colon or stripped.startswith("#") else name


def check_alias_name(name: str) -> None:
    """Raise AliasNameError, saying why, if no alias can be called ``name``."""
    if not name:
        raise AliasNameError("an alias needs a name")
    for what, found in (
        ("colons", ":" in name),
        ("spaces", any(sign.isspace() for sign in name)),
        ("slashes", "/" in name),
        ("signs that cannot be seen", not name.isprintable()),
    ):
        if found:
            raise AliasNameError(f"the name of an alias cannot contain {what}")
    if name.startswith("#"):
        raise AliasNameError("the name of an alias cannot begin with #: its line would be a comment")
    if name == PRIVATE_ROOT:
        raise AliasNameError("~ cannot be the name of an alias: it means the private root")
    if name in _CAPABILITY_PREFIXES:
        raise AliasNameError(f"{name} cannot be the name of an alias: capabilities begin with it")


def listable_directory(text: str) -> ListableCap:
    """Parse what an alias can stand for: the capability of a directory that can be listed.

    Raises:
        BadCapabilityError: the text is no capability that Holdfast knows.
        WrongCapabilityTypeError: it is a file's.
        NotCapableError: it only verifies.
    """
    cap = directory_cap(text)
    if not isinstance(cap, ListableCap):
        raise NotCapableError("this capability only verifies; one that lists the directory is needed here")
    return cap


def _unknown(name: str) -> str:
    shown = f" {name}" if len(name) <= _NAME_SHOWN_MAX else " of that name"
    return f"there is no alias{shown}; see list-aliases, create-alias and add-alias"


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Let one process at a time change the file in ``directory``."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
