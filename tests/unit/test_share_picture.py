"""The picture of which server holds which shares."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.share_picture import HELD, PictureRow, share_picture

ROWS = [PictureRow("v0-a", "amber"), PictureRow("v0-b", "basil", "down: refused"), PictureRow("v0-c", "kale")]


def test_a_row_per_server_a_column_per_share_and_a_remark() -> None:
    shares = {0: ("v0-a",), 2: ("v0-a", "v0-c"), 3: ("v0-c",)}
    assert share_picture(shares, ROWS, 4) == (
        "       0 1 2 3\namber  ■ · ■ ·\nbasil  · · · ·   down: refused\nkale   · · ■ ■"
    )


def test_columns_are_as_wide_as_the_numbers() -> None:
    lines = share_picture({11: ("v0-a",)}, ROWS[:1], 12).splitlines()
    assert lines == [
        "        0  1  2  3  4  5  6  7  8  9 10 11",
        "amber   ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ■",
    ]


def test_many_shares_are_listed_as_ranges() -> None:
    shares = dict.fromkeys((0, 1, 2, 7, 99), ("v0-a",))
    assert share_picture(shares, ROWS[:2], 100) == "amber  0-2, 7, 99\nbasil  ·   down: refused"


def test_a_holder_that_is_not_listed_is_shown_by_its_id() -> None:
    assert share_picture({0: ("v0-unlisted-server",)}, [], 1) == "             0\nv0-unlisted  ■"


@given(
    st.dictionaries(st.integers(0, 31), st.sets(st.sampled_from([row.server_id for row in ROWS])).map(tuple))
)
def test_every_held_share_is_drawn_once_per_holder(shares: dict[int, tuple[str, ...]]) -> None:
    assert share_picture(shares, ROWS, 32).count(HELD) == sum(map(len, shares.values()))
