"""Which file a capability lets check look at, and what can be wished for it."""

from __future__ import annotations

import pytest

from holdfast.caps import parse_cap
from holdfast.cli.check_targets import Wishes, check_wishes, target_of
from holdfast.errors import BadCapabilityError, NotCapableError, WrongCapabilityTypeError

KEY, HASH = "a" * 26, "a" * 52
NUMBERS = f"{KEY}:{HASH}:2:5:100"
LITERAL = ("URI:LIT:nbswy3dp", "URI:DIR2-LIT:nbswy3dp")
IMMUTABLE = tuple(
    f"URI:{kind}:{NUMBERS}" for kind in ("CHK", "CHK-Verifier", "DIR2-CHK", "DIR2-CHK-Verifier")
)
FAMILIES = ("SSK", "MDMF", "DIR2", "DIR2-MDMF")
WRITING = tuple(f"URI:{family}:{KEY}:{HASH}" for family in FAMILIES)
WEAKER = tuple(f"URI:{family}-{end}:{KEY}:{HASH}" for family in FAMILIES for end in ("RO", "Verifier"))


@pytest.mark.parametrize("text", [*LITERAL, *IMMUTABLE, *WRITING, *WEAKER])
def test_every_kind_leads_to_a_file(text: str) -> None:
    target = target_of(f" {text}\n")
    file_text = text.replace("DIR2-CHK", "CHK").replace("DIR2-LIT", "LIT").replace("DIR2-MDMF", "MDMF")
    assert target == parse_cap(file_text.replace("DIR2", "SSK"))
    check_wishes(target, Wishes(verify=True))


def test_prefixes_of_directories_are_no_part_of_it() -> None:
    assert target_of(f"imm.{IMMUTABLE[1]}") == target_of(IMMUTABLE[1])
    assert target_of(f"ro.{WEAKER[0]}") == target_of(WEAKER[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a capability"),
        ("hello", "not a capability"),
        (f"URI:CHK-Refresh:{KEY}", "not a capability"),
        (f"URI:SSK:{KEY}", "malformed"),
        (f"ro.URI:SSK:{KEY}:{HASH}", "read-only"),
        (f"URI:DIR2-CHK:{KEY}:{HASH}:6:5:100", "impossible"),
    ],
)
def test_what_leads_nowhere_is_told_apart(text: str, said: str) -> None:
    with pytest.raises(BadCapabilityError, match=said) as error:
        target_of(text)
    assert KEY not in str(error.value)


@pytest.mark.parametrize("wishes", [Wishes(repair=True), Wishes(add_lease=True)])
def test_wishes_are_for_what_can_change(wishes: Wishes) -> None:
    for text in IMMUTABLE:
        with pytest.raises(WrongCapabilityTypeError, match="that can change"):
            check_wishes(target_of(text), wishes)
    for text in (*LITERAL, *WRITING):
        check_wishes(target_of(text), wishes)


def test_repair_takes_the_right_to_write_and_leases_do_not() -> None:
    for text in WEAKER:
        check_wishes(target_of(text), Wishes(add_lease=True))
        with pytest.raises(NotCapableError, match="allows writing"):
            check_wishes(target_of(text), Wishes(repair=True, force=True))
