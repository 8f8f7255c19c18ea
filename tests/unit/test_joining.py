"""What is decided about a new node before and after its invitation is used up."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import ConfigError, InputError, ServerError
from holdfast.grid.invitation_client import InvitationError
from holdfast.node import joining
from holdfast.node.client_node import load_client_settings
from holdfast.node.config import load_config
from holdfast.node.introducer_list import load_introducers
from holdfast.node.inviting import only_for_this_machine
from holdfast.node.joining import JoinOptions, join
from holdfast.node.vdrive_places import load_vdrive_places
from holdfast.protocol.invitation import Invitation, Welcome

NURL = f"pb://{'Q' * 43}@192.0.2.1:1/{'a' * 32}#v=1"
CODE = Invitation(bytes(range(10)), bytes(16), "192.0.2.1", 1).to_text()


class Introducer:
    """Stands in for the network: says where this machine is seen from, and welcomes everybody."""

    def __init__(self) -> None:
        self.welcome = Welcome("client", "ann", (NURL,), None, "friends")
        self.outward: str | None = "192.0.2.77"
        self.redeemed = 0

    async def redeem(self, invitation: Invitation) -> Welcome:
        self.redeemed += 1
        return self.welcome

    def outward_address(self, host: str, port: int) -> str | None:
        return self.outward


@pytest.fixture
def introducer(monkeypatch: pytest.MonkeyPatch) -> Introducer:
    introducer = Introducer()
    monkeypatch.setattr(joining, "redeem", introducer.redeem)
    monkeypatch.setattr(joining, "outward_address", introducer.outward_address)
    return introducer


def server(introducer: Introducer, encoding: tuple[int, int, int] | None = None) -> None:
    introducer.welcome = Welcome("server", "zed", (NURL,), encoding, "friends")


# -- the node that is made


async def test_a_client_knows_the_introducer_by_the_name_of_the_grid(
    introducer: Introducer, tmp_path: Path
) -> None:
    introducer.welcome = Welcome("client", "ann", (NURL,), (2, 3, 4), "friends")
    result = await join(CODE, tmp_path / "new" / "node")
    assert (result.role, result.grid, result.introducers) == ("client", "friends", ("friends",))
    config = load_config(result.directory)
    assert (config.node.nickname, config.serves, config.client.enabled) == ("ann", False, True)
    encoding = load_client_settings(result.directory).encoding
    assert (encoding.shares_needed, encoding.happiness, encoding.shares_total) == (2, 3, 4)
    assert {
        name: nurl.to_text() for name, nurl in load_introducers(result.directory / "private").items()
    } == {"friends": NURL}


async def test_an_account_that_comes_along_is_kept_in_private(introducer: Introducer, tmp_path: Path) -> None:
    introducer.welcome = Welcome("client", "ann", (NURL,), None, "friends", (NURL, "abc234"))
    result = await join(CODE, tmp_path / "node")
    places = load_vdrive_places(result.directory / "private")
    assert places.service is not None
    assert (places.service.to_text(), places.account) == (NURL, "abc234")
    assert (result.directory / "private" / "vdrive.toml").stat().st_mode & 0o077 == 0


async def test_a_server_can_use_the_grid_too(introducer: Introducer, tmp_path: Path) -> None:
    server(introducer, (1, 1, 2))
    result = await join(CODE, tmp_path / "node", JoinOptions(reserved_space=5000, nickname="mine"))
    config = load_config(result.directory)
    assert (config.storage.enabled, config.storage.reserved_space) == (True, 5000)
    assert (config.client.enabled, config.client.encoding.shares_total) == (True, 2)
    assert config.node == result.settings
    assert config.node.nickname == "mine"


@pytest.mark.parametrize(
    ("grid", "count", "names"),
    [
        ("", 1, ("introducer",)),
        ("Ann's grid", 1, ("Ann-s-grid",)),
        ("Ünï", 1, ("n",)),
        ("日本", 2, ("introducer", "introducer-2")),
        ("a" * 64, 11, ("a" * 60, *(f"{'a' * 60}-{number}" for number in range(2, 12)))),
    ],
)
async def test_any_name_of_a_grid_becomes_a_petname(
    introducer: Introducer, tmp_path: Path, grid: str, count: int, names: tuple[str, ...]
) -> None:
    introducer.welcome = Welcome("client", "", (NURL,) * count, None, grid)
    assert (await join(CODE, tmp_path / "node")).introducers == names
    assert tuple(load_introducers(tmp_path / "node" / "private")) == names


@pytest.mark.parametrize(
    ("options", "outward", "host", "port", "location"),
    [
        (JoinOptions(), "192.0.2.77", "0.0.0.0", 0, ("192.0.2.77",)),
        (JoinOptions(port=99), "192.0.2.77", "0.0.0.0", 99, ("192.0.2.77",)),
        (JoinOptions(), "2001:db8::7", "::", 0, ("[2001:db8::7]",)),
        (JoinOptions(), "fe80::1%eth0", "::", 0, ("[fe80::1]",)),
        (JoinOptions(), "127.0.0.1", "127.0.0.1", 0, ()),
        (JoinOptions(), "::1", "::1", 0, ()),
        (JoinOptions(), None, "127.0.0.1", 0, ()),
        (JoinOptions(location=("me.example:80",)), "127.0.0.1", "0.0.0.0", 80, ("me.example:80",)),
        (JoinOptions(location=("me.example:80",), port=1), "192.0.2.77", "0.0.0.0", 1, ("me.example:80",)),
        (JoinOptions(location=("a:1", "b:2")), "192.0.2.77", "0.0.0.0", 0, ("a:1", "b:2")),
        (JoinOptions(host="192.0.2.5"), "192.0.2.77", "192.0.2.5", 0, ()),
        (JoinOptions(host="0.0.0.0"), "192.0.2.77", "0.0.0.0", 0, ("192.0.2.77",)),
    ],
)
async def test_where_a_new_server_listens_and_what_it_tells_others(
    introducer: Introducer,
    tmp_path: Path,
    options: JoinOptions,
    outward: str | None,
    host: str,
    port: int,
    location: tuple[str, ...],
) -> None:
    server(introducer)
    introducer.outward = outward
    node = (await join(CODE, tmp_path / "node", options)).settings
    assert (node.host, node.port, node.location) == (host, port, location)


def test_options_for_servers_are_told_from_those_for_all() -> None:
    assert not JoinOptions(nickname="ann").for_servers
    assert JoinOptions(port=5).for_servers
    assert JoinOptions(reserved_space=5).for_servers


# -- what must not waste the code


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (JoinOptions(location=("no port:",)), "node.location"),
        (JoinOptions(nickname="n" * 65), "node.nickname"),
        (JoinOptions(port=65536), "node.port"),
        (JoinOptions(location=("0.0.0.0",)), "node.location"),
    ],
)
async def test_options_that_make_no_sense_leave_the_code_unused(
    introducer: Introducer, tmp_path: Path, options: JoinOptions, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        await join(CODE, tmp_path / "node", options)
    assert introducer.redeemed == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", ["", "x", CODE[:-1], CODE + "a", "pb://" + CODE, "URI:CHK:a:b:1:1:1"])
async def test_what_is_no_code_is_not_repeated(introducer: Introducer, tmp_path: Path, code: str) -> None:
    with pytest.raises(InvitationError) as caught:
        await join(code, tmp_path / "node")
    assert not code or code not in str(caught.value)
    assert introducer.redeemed == 0


def occupied(place: Path) -> None:
    place.mkdir()
    (place / "file").touch()


def linked(place: Path) -> None:
    (place.parent / "elsewhere").mkdir()
    place.symlink_to(place.parent / "elsewhere")


@pytest.mark.parametrize(
    ("prepare", "kind"),
    [
        (occupied, ConfigError),
        (linked, ConfigError),
        (lambda place: place.symlink_to("nowhere"), ConfigError),
        (lambda place: place.touch(), ConfigError),
        (lambda place: place.parent.rmdir() or place.parent.touch(), InputError),
    ],
)
async def test_a_place_for_no_node_leaves_the_code_unused(
    introducer: Introducer, tmp_path: Path, prepare, kind: type[Exception]
) -> None:
    place = tmp_path / "parent" / "node"
    place.parent.mkdir()
    prepare(place)
    with pytest.raises(kind) as caught:
        await join(CODE, place)
    assert str(place) in str(caught.value)
    assert introducer.redeemed == 0


async def test_a_mount_point_cannot_be_replaced_by_a_node_and_leaves_the_code_unused(
    introducer: Introducer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "volume")
    (tmp_path / "volume").mkdir()
    with pytest.raises(ConfigError, match="directory inside it"):
        await join(CODE, tmp_path / "volume")
    assert introducer.redeemed == 0
    assert (await join(CODE, tmp_path / "volume" / "node")).role == "client"


async def test_a_full_disk_leaves_the_code_unused(
    introducer: Introducer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(joining.os, "fsync", full)
    with pytest.raises(InputError, match=r"No space left.*was not used"):
        await join(CODE, tmp_path / "node")
    assert introducer.redeemed == 0
    assert list(tmp_path.iterdir()) == []


async def test_the_trial_leaves_nothing_behind_and_an_empty_directory_will_do(
    introducer: Introducer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(invitation: Invitation) -> Welcome:
        raise ServerError("down")

    monkeypatch.setattr(joining, "redeem", refuse)
    with pytest.raises(ServerError):
        await join(CODE, tmp_path / "a" / "b" / "node")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(joining, "redeem", introducer.redeem)
    (tmp_path / "node").mkdir()
    await join(CODE, tmp_path / "node")
    assert [path.name for path in tmp_path.iterdir()] == ["node"]


async def test_what_fails_afterwards_says_that_the_code_is_used_up(
    introducer: Introducer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(joining, "create_client_node", fail)
    with pytest.raises(InputError, match=r"used up.*No space left.*ask for a new one"):
        await join(CODE, tmp_path / "node")


@pytest.mark.parametrize(
    ("host", "only"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.0.1", "::1", "localhost", "a.localhost")),
        *((host, False) for host in ("192.168.1.5", "grid.example", "2001:db8::1", "localhost.example")),
    ],
)
def test_places_that_only_this_machine_can_reach_are_known(host: str, only: bool) -> None:
    assert only_for_this_machine(host) is only
