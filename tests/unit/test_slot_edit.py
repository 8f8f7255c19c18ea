"""What a write to a mutable share keeps of the old one."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.interfaces.storage import WriteVector
from holdfast.servers.storage.slot_edit import kept_ranges

WRITES = st.lists(st.builds(WriteVector, st.integers(0, 60), st.binary(max_size=30)), max_size=6)


@settings(deadline=None, max_examples=100)
@given(WRITES, st.integers(0, 50))
def test_every_byte_is_kept_or_written_and_none_is_both(writes: list[WriteVector], size: int) -> None:
    kept = [position for begin, end in kept_ranges(writes, size) for position in range(begin, end)]
    written = {w.offset + i for w in writes for i in range(len(w.data))}
    assert kept == sorted(set(range(size)) - written)


def test_of_a_share_that_is_written_whole_nothing_is_kept() -> None:
    whole = [WriteVector(3, b"defghi"), WriteVector(0, b"abc")]
    assert kept_ranges(whole, 9) == kept_ranges(whole, 5) == []
    assert kept_ranges(whole, 11) == [(9, 11)]
    assert kept_ranges(whole[:1], 9) == [(0, 3)]
