"""Shares that lie in the directory when its catalog is made: those of a node that served
it before are taken over where they are.

Source: docs/spec/storage-disk.md, sections 2, 9 and 10.1.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from holdfast.crypto import base32
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.catalog import ADD_TO_TOTALS, STATEMENTS, Catalog, Changes, Step
from holdfast.servers.storage.directory import StorageDirectory, share_number
from holdfast.servers.storage.share_files import DamagedShareError, look_at

log = logging.getLogger(__name__)

BATCH = 5000  # shares in one transaction


def adopt_shares(catalog: Catalog, directory: StorageDirectory) -> int:
    """Put every sound share of the directory into the catalog, and return their number. Blocks.

    Files that are no sound shares are reported and left alone. Leases inside the files stay there.
    """
    count = 0
    changes = Changes()
    for index, number, path in _share_paths(directory):
        try:
            share = look_at(path)
        except DamagedShareError:
            continue
        if share is None:
            continue
        changes.put_share(index, number, share.kind, share.size)
        count += 1
        if len(changes.steps) == BATCH:
            _store(catalog, changes)
            changes = Changes()
    _store(catalog, changes)
    return count


def _store(catalog: Catalog, changes: Changes) -> None:
    if not changes.steps:
        return
    with catalog.engine.begin() as connection:
        connection.execute(STATEMENTS[Step.PUT_SHARE], [values for _, values in changes.steps])
        totals = {"more_shares": changes.more_shares, "more_bytes": changes.more_bytes}
        connection.execute(ADD_TO_TOTALS, totals)


def _share_paths(directory: StorageDirectory) -> Iterator[tuple[StorageIndex, int, str]]:
    for prefix in os.scandir(directory.shares):
        if prefix.path == directory.incoming or not prefix.is_dir(follow_symlinks=False):
            continue
        for entry in os.scandir(prefix.path):
            index = _index(entry.name)
            if index is None or entry.name[:2] != prefix.name or not entry.is_dir(follow_symlinks=False):
                log.warning("%s is no place for shares, and is ignored", entry.path)
                continue
            for file in os.scandir(entry.path):
                number = share_number(file.name)
                if number is None:
                    log.warning("%s is no share, and is ignored", file.path)
                else:
                    yield index, number, file.path


def _index(name: str) -> StorageIndex | None:
    try:
        index = base32.decode(name)
    except ValueError:
        return None
    return StorageIndex(index) if len(index) == 16 else None
