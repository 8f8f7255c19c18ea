"""The catalogue of a virtual drive server's backup."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.formats.vdrive.backup import (
    BackedAccount,
    BackedDirectory,
    BackedLease,
    BackupCatalogue,
    BackupPointer,
    BadBackupError,
    BundlePlace,
    encode_catalogue,
    parse_catalogue,
    parse_pointer,
)

numbers = st.integers(0, 2**63 - 1)
keys = st.binary(min_size=32, max_size=32)
accounts = st.builds(
    BackedAccount,
    st.integers(-1, 100),
    st.text(),
    st.none() | keys,
    numbers,
    numbers,
    numbers,
    st.booleans(),
    numbers,
)
leases = st.lists(st.builds(BackedLease, keys, numbers, numbers), max_size=2).map(tuple)
places = st.builds(BundlePlace, st.just(0), numbers, numbers)
directories = st.builds(
    BackedDirectory,
    keys,
    numbers,
    keys,
    keys,
    st.integers(-1, 9),
    st.booleans(),
    numbers,
    numbers,
    st.none() | numbers,
    leases,
    places,
)
catalogues = st.builds(
    BackupCatalogue,
    keys,
    st.none() | keys,
    st.lists(accounts, max_size=2).map(tuple),
    st.just((("URI:CHK:x", 5),)),
    st.lists(directories, max_size=3, unique_by=lambda one: one.idx).map(lambda all_: tuple(sorted(all_))),
)


@given(catalogues)
def test_a_catalogue_reads_back(catalogue: BackupCatalogue) -> None:
    assert parse_catalogue(encode_catalogue(catalogue)) == catalogue


@given(catalogues, st.data())
def test_a_catalogue_that_is_cut_is_none(catalogue: BackupCatalogue, data: st.DataObject) -> None:
    whole = encode_catalogue(catalogue)
    with pytest.raises(BadBackupError):
        parse_catalogue(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(BadBackupError):
        parse_catalogue(whole + b"\x00")


@given(catalogues, st.data())
def test_whatever_a_catalogue_becomes_it_is_one_or_refused(
    catalogue: BackupCatalogue, data: st.DataObject
) -> None:
    damaged = bytearray(encode_catalogue(catalogue))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadBackupError):
        assert all(one.bundle.pack == 0 for one in parse_catalogue(bytes(damaged)).directories)


@given(st.binary())
def test_any_bytes_are_a_pointer_or_refused(data: bytes) -> None:
    with suppress(BadBackupError):
        parse_pointer(data)


def test_a_pointer_reads_back_and_shows_no_secret() -> None:
    pointer = BackupPointer("URI:CHK:secret", 5)
    assert parse_pointer(pointer.to_bytes()) == pointer
    assert "secret" not in repr(pointer)
    with pytest.raises(BadBackupError):
        parse_pointer(pointer.to_bytes() + b"\x00")
