"""The announcements in memory: whatever was put, replaced and removed, readers find the rest in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.interfaces.introducer import AnnouncementPage
from holdfast.protocol.introducer_messages import decode_page
from holdfast.servers.introducer.index import AnnouncementIndex, Held
from holdfast.servers.introducer.pages import PAGE_SIZE_MAX, PAGES_MAX, Pages

EPOCH = bytes(16)
SERVICES = ("storage", "node", "vdrive")


def held(cursor: int, service: str = "storage", key: int = 0, size: int = 100) -> Held:
    return Held(service, bytes([key]) * 32, b"%0*d" % (size, cursor), bytes(64), cursor, 10**9)


steps = st.lists(
    st.tuples(st.booleans(), st.sampled_from(SERVICES), st.integers(0, 5)),
    max_size=80,
)


@given(steps, st.sets(st.sampled_from(SERVICES)), st.integers(0, 80), st.integers(1, 10))
def test_readers_find_what_a_plain_list_would_give(
    steps: list[tuple[bool, str, int]], services: set[str], since: int, limit: int
) -> None:
    index = AnnouncementIndex([], 0)
    model: dict[tuple[str, bytes], Held] = {}
    for cursor, (removes, service, key) in enumerate(steps, 1):
        one = held(cursor, service, key)
        if removes:
            index.remove(one.name)
            model.pop(one.name, None)
        else:
            index.put(one)
            model[one.name] = one

    expected = sorted(
        (one for one in model.values() if one.cursor > since and (not services or one.service in services)),
        key=lambda one: one.cursor,
    )
    assert index.after(services, since, limit) == expected[:limit]
    assert len(index) == len(model)
    assert index.keys == len({key for _, key in model})
    for key in range(6):
        verify_key = bytes([key]) * 32
        own = [model[service, verify_key] for service in sorted(SERVICES) if (service, verify_key) in model]
        assert index.of_key(verify_key) == own
    for cursor in range(1, len(steps) + 1):
        name = held(cursor).ann
        assert index.holds(name, bytes(64), 0) == any(one.ann == name for one in model.values())


def test_an_index_is_the_same_when_it_is_made_again() -> None:
    everything = [held(cursor, key=cursor) for cursor in (5, 2, 9)]
    index = AnnouncementIndex(everything, 12)

    assert [one.cursor for one in index.after((), 0, 10)] == [2, 5, 9]
    assert index.counter == 12


def test_only_the_very_bytes_before_their_expiry_are_held() -> None:
    one = held(1)
    index = AnnouncementIndex([one], 1)

    assert index.holds(one.ann, one.signature, one.expires - 1)
    assert not index.holds(one.ann, one.signature, one.expires)
    assert not index.holds(one.ann, b"\x01" * 64, 0)
    assert not index.holds(one.ann + b" ", one.signature, 0)


def test_replacing_often_keeps_the_index_small() -> None:
    index = AnnouncementIndex([], 0)
    for cursor in range(1, 10_000):
        index.put(held(cursor, key=cursor % 7))
    assert len(index._all._numbers) < 100
    assert len(index._of_service["storage"]._numbers) < 100


def test_a_page_is_encoded_once_for_all_who_ask_for_it() -> None:
    pages = Pages(AnnouncementIndex([held(1), held(2, "node")], 2), EPOCH)

    page = pages.after(["storage", "node"], 0, 500)

    assert pages.after(["node", "storage", "node"], 0, 500) is page
    assert page.encoded is page.encoded
    assert decode_page(page.encoded) == AnnouncementPage(EPOCH, 2, False, list(page.page.announcements))
    pages.forget()
    assert pages.after(["storage", "node"], 0, 500) is not page


def test_pages_are_bounded_in_size_and_number() -> None:
    index = AnnouncementIndex([held(i, key=i, size=16_000) for i in range(1, 20)], 19)
    pages = Pages(index, EPOCH)
    since, seen = 0, []
    while True:
        page = pages.after((), since, 500).page
        assert sum(len(ann) for _, ann, _ in page.announcements) <= PAGE_SIZE_MAX
        seen += [cursor for cursor, _, _ in page.announcements]
        since = page.cursor
        if not page.more:
            break
    assert seen == list(range(1, 20))
    for limit in range(1, 500):
        pages.after((), 0, limit)
    assert len(pages._made) <= PAGES_MAX


def test_one_announcement_larger_than_a_page_still_gets_through() -> None:
    page = Pages(AnnouncementIndex([held(1, size=2 * PAGE_SIZE_MAX)], 1), EPOCH).after((), 0, 5).page
    assert (len(page.announcements), page.more) == (1, False)


def test_a_reader_of_one_service_does_not_come_back_to_the_others() -> None:
    pages = Pages(AnnouncementIndex([held(1), held(2, "node"), held(3, "node", 1)], 7), EPOCH)
    assert pages.after(["storage"], 0, 500).page.cursor == 7
    assert pages.after(["node"], 0, 1).page.cursor == 2
