"""From the log of small shares to files in their places, in peace and after a crash.

The files are not synchronised one by one: until the file system has brought them to stable storage, the log
has them, and a restart makes them good.

Source: docs/spec/storage-disk.md, section 8.1.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from holdfast.formats.containers import new_immutable_header
from holdfast.interfaces.types import StorageIndex
from holdfast.servers.storage.catalog import ADD_TO_TOTALS, STATEMENTS, Catalog, Changes, Kind, Step
from holdfast.servers.storage.directory import StorageDirectory
from holdfast.servers.storage.disk import Disk
from holdfast.servers.storage.redo import synchronise_places
from holdfast.servers.storage.share_log import LoggedShare, ShareLog, log_paths
from holdfast.servers.storage.slot_images import image_of

log = logging.getLogger(__name__)

Place = tuple[StorageIndex, int]


def put_into_place(
    disk: Disk, directory: StorageDirectory, shares: Sequence[LoggedShare]
) -> tuple[list[LoggedShare], OSError | None]:
    """Make the files of shares, not synchronised. Blocks.

    Where there should be no file of an immutable share, but one has appeared meanwhile, it stays, as it would
    if the share came now. The file of a mutable one is replaced as a whole.

    Returns:
        The shares that are in their places, and why the others are not.
    """
    placed: list[LoggedShare] = []
    for share in shares:
        try:
            disk.make_directory(directory.index_directory(share.index))
            if share.kind is Kind.MUTABLE:
                _put(disk, directory, share)
            else:
                _create(disk, directory.share(share.index, share.number), _content(share))
        except OSError as error:
            return placed, error
        placed.append(share)
    return placed, None


def recover_logs(catalog: Catalog, disk: Disk, directory: StorageDirectory) -> int:
    """Make good what a crash may have undone of the shares in the logs, and remove the logs. Blocks.

    Returns:
        The number of shares looked at. Repeating it after a crash inside it does no harm.
    """
    logs = [ShareLog(path, disk) for path in log_paths(directory)]
    found = sorted([(each.read(), each) for each in logs], key=lambda pair: pair[1].generation)
    shares = [share for read, _ in found for share in read]  # in the order in which they came
    for share in {(share.index, share.number): share for share in shares}.values():
        _restore(disk, directory, share)
    synchronise_places(disk, directory, [(share.index, share.number) for share in shares])
    _enter(catalog, entries(catalog, shares))
    for _, each in found:  # the older one first: alone, it would put old versions over new ones
        if Path(each.path).exists():
            each.remove()
            disk.sync_directory(directory.private)
    return len(shares)


def _create(disk: Disk, path: str, content: bytes) -> None:
    try:
        disk.create_with(path, content)
    except FileExistsError:
        if Path(path).read_bytes() != content:
            log.warning("%s appeared while a share of this number was being stored; it stays", path)


def _restore(disk: Disk, directory: StorageDirectory, share: LoggedShare) -> None:
    place, content = directory.share(share.index, share.number), _content(share)
    try:
        if Path(place).read_bytes() == content:
            return
    except FileNotFoundError:
        pass
    disk.make_directory(directory.index_directory(share.index))
    _put(disk, directory, share)


def _put(disk: Disk, directory: StorageDirectory, share: LoggedShare) -> None:
    """Make the file of a share in place of what is there. Whoever reads that goes on reading it."""
    waiting = directory.waiting("logged")
    disk.remove(waiting)
    disk.create_with(waiting, _content(share))
    disk.replace_unsynchronised(waiting, directory.share(share.index, share.number))


def entries(catalog: Catalog, shares: Sequence[LoggedShare]) -> Changes:
    """Return what makes the catalog know these shares. It may know some, or others whose files were lost."""
    changes = Changes()
    entered: dict[Place, int] = {}
    for share in shares:
        size, place = _size(share), (share.index, share.number)
        row = catalog.shares_of(share.index).get(share.number)
        known = entered.get(place, None if row is None else row.size)
        if known != size:
            changes.put_share(share.index, share.number, share.kind, size, replaces=known)
        for lease in (*share.earlier, share.lease):
            changes.put_lease(share.index, share.number, lease)
        entered[place] = size
    return changes


def _enter(catalog: Catalog, changes: Changes) -> None:
    if not changes.steps:
        return
    with catalog.engine.begin() as connection:
        for step in (Step.PUT_SHARE, Step.PUT_LEASE):
            rows = [values for which, values in changes.steps if which is step]
            if rows:
                connection.execute(STATEMENTS[step], rows)
        totals = {"more_shares": changes.more_shares, "more_bytes": changes.more_bytes}
        connection.execute(ADD_TO_TOTALS, totals)


def _content(share: LoggedShare) -> bytes:
    """Return the container of a share."""
    if share.kind is Kind.MUTABLE:
        return share.data
    return new_immutable_header(len(share.data)) + share.data


def _size(share: LoggedShare) -> int:
    """Return the bytes of share data."""
    return image_of(share.data).size if share.kind is Kind.MUTABLE else len(share.data)
