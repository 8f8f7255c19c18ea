"""How directories, names and statistics are shown, to people and to programs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.caps import DirectoryCap, ImmutableReadCap, LiteralCap, MutableWriteCap
from holdfast.caps.mutable import MutableFormat as CapFormat
from holdfast.caps.slots import child_slots
from holdfast.cli.listing import Columns, Line, listing_text
from holdfast.cli.node_json import node_as_json
from holdfast.cli.private_keys import capability_by_key, read_private_key
from holdfast.cli.quoting import shown_name
from holdfast.cli.stats import stats_text
from holdfast.drive.nodes import Drive
from holdfast.drive.opaque_node import OpaqueNode
from holdfast.errors import InputError
from holdfast.formats.mutable_segmentation import MutableFormat
from holdfast.interfaces.drive import Node, UnreadableEntry
from holdfast.planning.deep_stats import DeepStats
from holdfast.testing.memory_grid import memory_grid
from holdfast.testing.memory_mutable import MemoryMutableFiles

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "mutable.json").read_text())
KEYS = VECTORS["keys"]
NOW = time.mktime((2026, 11, 24, 12, 0, 0, 0, 0, -1))
FIXED = ImmutableReadCap(b"k" * 16, b"u" * 32, 3, 10, 5000)
CHANGING = MutableWriteCap("SSK", b"w" * 16, b"f" * 32)
DIRECTORY = DirectoryCap(CHANGING)
UNKNOWN = OpaqueNode(child_slots(b"x-new:write", b"ro.x-new:read"))
UNREADABLE = UnreadableEntry("bad", "the capability is malformed")


@pytest.fixture
async def nodes() -> dict[str, Node]:
    async with memory_grid(1) as grid:
        drive = Drive(grid.grid, MemoryMutableFiles())
        return {
            "big.bin": drive.node(FIXED),
            "d10": drive.node(LiteralCap(b"0123456789")),
            "mut": drive.node(CHANGING),
            "read": drive.node(CHANGING.read_only),
            "sub": drive.node(DIRECTORY),
        }


def made_at(**change: int) -> dict[str, object]:
    moment = {"year": 2026, "month": 11, "day": 22, "hour": 7, "minute": 29, **change}
    linked = time.mktime((*moment.values(), 0, 0, 0, -1))  # type: ignore[arg-type]
    return {"tahoe": {"linkcrtime": linked, "linkmotime": 0.0}}


def test_a_long_listing_is_that_of_the_reference(nodes: dict[str, Node]) -> None:
    lines = [Line(name, node, made_at()) for name, node in nodes.items() if name != "read"]
    assert listing_text(lines, Columns(long=True, classify=True), NOW).split("\n") == [
        "-r-- 5000 Nov 22 07:29 big.bin",
        "-r--   10 Nov 22 07:29     d10",
        "-rw-    ? Nov 22 07:29    mut*",
        "drwx    - Nov 22 07:29    sub/",
    ]


def test_a_short_listing_is_names_alone(nodes: dict[str, Node]) -> None:
    lines = [Line(name, node, {}) for name, node in nodes.items()]
    assert listing_text(lines, Columns(), NOW).split("\n") == list(nodes)
    assert listing_text([], Columns(), NOW) == ""


def test_capabilities_begin_at_the_left(nodes: dict[str, Node]) -> None:
    lines = [Line(name, nodes[name], {}) for name in ("d10", "mut")]
    text = listing_text([*lines, Line("odd", UNREADABLE, {})], Columns(uri=True, readonly_uri=True), NOW)
    literal, write, read = "URI:LIT:gaytemzugu3doobz", CHANGING.to_text(), CHANGING.read_only.to_text()
    assert text.split("\n") == [
        f"d10 {literal:<{len(write)}} {literal}",
        f"mut {write} {read}",
        f"odd {'-':<{len(write)}} -",
    ]


def test_kinds_and_rights_are_told_apart(nodes: dict[str, Node]) -> None:
    lines = [
        Line("read", nodes["read"], {}, 7),
        Line("unknown", UNKNOWN, {}),
        Line("bad", UNREADABLE, {}),
    ]
    rows = listing_text(lines, Columns(long=True, classify=True), NOW).split("\n")
    assert [row.split() for row in rows] == [
        ["-r--", "7", "-", "read"],
        ["?rw-", "?", "-", "unknown?"],
        ["?---", "?", "-", "bad?"],
    ]


@pytest.mark.parametrize(
    ("metadata", "shown"),
    [
        (made_at(), "Nov 22 07:29"),
        (made_at(year=2025), "Nov 22  2025"),
        ({"ctime": made_at()["tahoe"]["linkcrtime"]}, "Nov 22 07:29"),  # type: ignore[index]
        ({}, "-"),
        ({"tahoe": "odd"}, "-"),
        ({"tahoe": {"linkcrtime": "odd"}}, "-"),
        ({"tahoe": {"linkcrtime": 1e300}}, "-"),
        ({"tahoe": {"linkcrtime": float("nan")}}, "-"),
    ],
)
def test_times_of_links(nodes: dict[str, Node], metadata: dict[str, object], shown: str) -> None:
    text = listing_text([Line("f", nodes["d10"], metadata)], Columns(long=True), NOW)
    assert text == f"-r-- 10 {shown} f"


# -- JSON


def test_files_as_json(nodes: dict[str, Node]) -> None:
    assert node_as_json(nodes["big.bin"]) == [
        "filenode",
        {
            "mutable": False,
            "format": "CHK",
            "size": 5000,
            "ro_uri": FIXED.to_text(),
            "verify_uri": FIXED.verify_cap.to_text(),
        },
    ]
    assert node_as_json(nodes["mut"], size=21, metadata={"a": 1}) == [
        "filenode",
        {
            "mutable": True,
            "format": "SDMF",
            "size": 21,
            "ro_uri": CHANGING.read_only.to_text(),
            "rw_uri": CHANGING.to_text(),
            "verify_uri": CHANGING.verify_cap.to_text(),
            "metadata": {"a": 1},
        },
    ]
    kind, literal = node_as_json(nodes["d10"])
    assert isinstance(literal, dict)
    assert (kind, literal["format"], "verify_uri" in literal) == ("filenode", "CHK", False)


def test_what_is_not_known_as_json() -> None:
    assert node_as_json(UNKNOWN, metadata={}) == [
        "unknown",
        {"rw_uri": "x-new:write", "mutable": True, "ro_uri": "ro.x-new:read", "metadata": {}},
    ]
    immutable = OpaqueNode(child_slots(None, b"imm.x-new:read"))
    assert node_as_json(immutable) == ["unknown", {"ro_uri": "imm.x-new:read", "mutable": False}]
    assert node_as_json(UNREADABLE) == ["unknown", {"error": "the capability is malformed"}]


# -- names


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name", "plain name"),
        ("größe", "größe"),
        ("it's", '"it\'s"'),
        ("a\nb", '"a\\x0ab"'),
        ("\x1b[31m$`\"\\'", '"\\x1b[31m\\$\\`\\"\\\\\'"'),
        ("\u202e", '"\\u202e"'),
        ("\U000e0001", '"\\U000e0001"'),
    ],
)
def test_names_that_cannot_be_seen_are_quoted(name: str, shown: str) -> None:
    assert shown_name(name) == shown


@given(st.text())
def test_a_name_takes_one_line_and_steers_no_terminal(name: str) -> None:
    assert shown_name(name).isprintable()


# -- statistics


def test_statistics_for_people() -> None:
    stats = DeepStats()
    for cap in (FIXED.to_text(), "URI:LIT:gaytemzugu3doobz", CHANGING.to_text(), DIRECTORY.to_text()):
        stats.visited(child_slots(cap, None))
    stats.entered(1409, 4)
    assert stats_text(stats.to_document()).split("\n") == [
        "Counts and Total Sizes:",
        " count-immutable-files: 1",
        "   count-mutable-files: 1",
        "   count-literal-files: 1",
        "           count-files: 3",
        "     count-directories: 1",
        "  size-immutable-files: 5000    (5.00 kB, 4.88 kiB)",
        "    size-literal-files: 10",
        "      size-directories: 1409    (1.41 kB, 1.38 kiB)",
        "     largest-directory: 1409    (1.41 kB, 1.38 kiB)",
        "largest-immutable-file: 5000    (5.00 kB, 4.88 kiB)",
        "Size Histogram:",
        "    4-10    : 1    (10 B, 10 B)",
        "    ...",
        " 3163-10000 : 1    (10.00 kB, 9.77 kiB)",
    ]


def test_no_files_have_no_histogram() -> None:
    assert "Histogram" not in stats_text(DeepStats().to_document())


# -- keys


@pytest.mark.parametrize("name", KEYS)
def test_the_capability_of_a_key_is_known_beforehand(tmp_path: Path, name: str) -> None:
    from base64 import b64encode

    key = KEYS[name]
    text = key["private_key_der"]
    (tmp_path / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    labels: dict[MutableFormat, CapFormat] = {"SDMF": "SSK", "MDMF": "MDMF"}
    for file_format, label in labels.items():
        cap = capability_by_key(tmp_path / "key.pem", file_format)
        assert (
            cap
            == MutableWriteCap(
                label, bytes.fromhex(key["writekey"]), bytes.fromhex(key["fingerprint"])
            ).to_text()
        )
    assert b64encode(read_private_key(tmp_path / "key.pem").private_der).decode() == text


def test_a_file_without_a_key_is_named_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: No such file"):
        read_private_key(tmp_path / "none")
    (tmp_path / "wrong").write_text("secret")
    with pytest.raises(InputError, match="wrong: not a valid") as caught:
        read_private_key(tmp_path / "wrong")
    assert "secret" not in str(caught.value)
