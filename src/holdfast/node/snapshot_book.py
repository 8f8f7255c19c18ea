"""What a node remembers of the snapshots it took: ``private/snapshots.json``, the newest last.

Source: docs/spec/vdrive.md, section 14.5.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from holdfast.errors import ConfigError, InputError
from holdfast.node.private_files import write_private_file

SNAPSHOTS_FILE = "snapshots.json"


@dataclass(frozen=True, slots=True)
class KeptSnapshot:
    """One snapshot.

    Attributes:
        name: of the settings that it was taken by.
        kind: freeze or bundle.
        made: Unix seconds.
        checked: when it was last seen to be what there is.
        cap: what it is read, or restored, with.
        version: of the root; None for a directory of the grid.
        left_out: how much is missing in it.
        linked: its name in the directory of snapshots; None if it is not there.
    """

    name: str
    kind: str
    made: int
    checked: int
    cap: str = field(repr=False)
    version: int | None = None
    left_out: int = 0
    linked: str | None = None


class SnapshotBook:
    """The snapshots of one node."""

    def __init__(self, private: Path) -> None:
        self.path = private / SNAPSHOTS_FILE

    def read(self) -> list[KeptSnapshot]:
        """Return all, the newest last.

        Raises:
            ConfigError: the file is damaged, or cannot be read.
        """
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
            return [KeptSnapshot(**value) for value in values]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError):
            raise ConfigError(f"{self.path} is damaged: put it aside, and snapshots are taken anew") from None

    def last(self, name: str) -> KeptSnapshot | None:
        """Return the newest one of a name. Raises as ``read``."""
        return next((one for one in reversed(self.read()) if one.name == name), None)

    def add(self, snapshot: KeptSnapshot, keep: int) -> Sequence[KeptSnapshot]:
        """Add a snapshot, which takes the place of the last one of its name if it is the same; keep so many
        of that name, and return those that were dropped.

        Raises:
            InputError: the file cannot be written.
        """
        others = self.read()
        last = self.last(snapshot.name)
        if last is not None and last.cap == snapshot.cap:
            others.remove(last)
        own = [one for one in others if one.name == snapshot.name]
        dropped = own[: max(0, len(own) + 1 - keep)]
        kept = [one for one in others if one not in dropped]
        try:
            write_private_file(
                self.path, json.dumps([asdict(one) for one in [*kept, snapshot]], indent=1) + "\n"
            )
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}") from None
        return dropped
