"""Invitations as people use them: an introducer in a process of its own, ``holdfast invite`` and
``holdfast join``. A code makes one node, once; what fails before it is used up leaves it good; nothing
secret shows in logs or on terminals.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.crypto import base32
from holdfast.errors import ConfigError, InputError, UnavailableError
from holdfast.grid.settings import EncodingSettings
from holdfast.node import inviting
from holdfast.node.config import NodeSettings, load_config
from holdfast.node.creation import create_client_node, create_introducer
from holdfast.node.introducer_list import load_introducers
from holdfast.node.introducer_nurls import IntroducerNurls, read_introducer_nurls
from holdfast.node.inviting import make_invitation
from holdfast.node.private_files import write_private_file
from holdfast.protocol.invitation import Invitation, parse_invitation, pin_of
from holdfast.protocol.nurl import parse_nurl
from holdfast.servers.introducer import invitations
from holdfast.servers.introducer.tables import open_tables
from holdfast.testing.command_line import COMMAND, Outcome, environment, run_holdfast
from holdfast.testing.node_processes import NodeProcess
from holdfast.testing.warm_grid import WarmGrid

DATA = b"what one machine stores, another reads" * 1000


@contextmanager
def running(directory: Path) -> Iterator[NodeProcess]:
    """Run the node in a process of its own."""
    node = NodeProcess(directory)
    try:
        node.start()
        yield node
        node.stop()
    finally:
        node.end()


@pytest.fixture(scope="module")
def introducer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running introducer."""
    node = tmp_path_factory.mktemp("invitations") / "introducer"
    create_introducer(node, NodeSettings(nickname="Ann's grid"))
    with running(node):
        yield node


@pytest.fixture(scope="module")
def nurls(introducer: Path) -> IntroducerNurls:
    return read_introducer_nurls(introducer / "private")


def invite(introducer: Path, *options: str) -> str:
    done = run_holdfast("invite", introducer, *options)
    assert done.code == 0, done.stderr
    return done.text


def check_refusal(outcome: Outcome, code: int, said: str, secret: str) -> None:
    """One sentence, the right status, nothing on standard output, no secret."""
    assert outcome.code == code, outcome.stderr
    assert re.search(said, outcome.stderr), outcome.stderr
    assert outcome.stdout == b""
    assert outcome.stderr.startswith("holdfast: ")
    assert outcome.stderr.count("\n") == 1
    assert secret.rpartition("/")[2] not in outcome.stderr


def files_of(directory: Path) -> bytes:
    """Return all that is stored below a directory."""
    return b"\n".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def introducers_of(node: Path) -> dict[str, str]:
    return {name: nurl.to_text() for name, nurl in load_introducers(node / "private").items()}


# -- what works


def test_invite_prints_the_code_alone(introducer: Path, nurls: IntroducerNurls) -> None:
    done = run_holdfast("invite", "--nickname", "zed", "--valid", "2h", node=introducer)
    assert done.code == 0, done.stderr
    assert re.fullmatch(rb"127\.0\.0\.1:[0-9]+/[a-z2-7]{42}\n", done.stdout)
    invitation, place = parse_invitation(done.text), parse_nurl(nurls.publish)
    assert (invitation.port, invitation.pin) == (place.port, pin_of(place.spki_hash))
    assert "holdfast join CODE DIR" in done.stderr
    assert "2 h" in done.stderr
    assert "only this machine" in done.stderr
    assert "does not run" not in done.stderr
    assert done.text.rpartition("/")[2] not in done.stderr


def test_invite_tells_programs_what_it_made(introducer: Path) -> None:
    done = run_holdfast("invite", introducer, "--server", "--valid", "90s", "--json")
    report = json.loads(done.stdout)
    invitation = parse_invitation(report.pop("code"))
    assert abs(report.pop("expires") - time.time() - 90) < 30
    assert report == {"role": "server", "nickname": "", "host": invitation.host, "port": invitation.port}


def test_a_client_may_read_and_a_server_may_announce(
    introducer: Path, nurls: IntroducerNurls, tmp_path: Path
) -> None:
    client, server = tmp_path / "client", tmp_path / "server"
    joined = run_holdfast("join", invite(introducer, "--nickname", "zed"), client)
    assert (joined.code, joined.stderr) == (0, "")
    assert joined.text.splitlines() == [
        f"{client} is now a client of the grid Ann's grid",
        f"next: holdfast put --node {client} FILE",
    ]
    assert introducers_of(client) == {"Ann-s-grid": nurls.subscribe}
    assert load_config(client).node.nickname == "zed"
    assert not load_config(client).serves
    code = invite(introducer, "--server", "--nickname", "zed")
    joined = run_holdfast(
        "join", "-", server, "--nickname", "own", "--reserved-space", "1M", stdin=code.encode()
    )
    assert (joined.code, joined.stderr) == (0, "")
    assert joined.text.splitlines()[-1] == f"next: holdfast run {server}"
    assert introducers_of(server) == {"Ann-s-grid": nurls.publish}
    config = load_config(server)
    assert (config.node.nickname, config.storage.reserved_space) == ("own", 10**6)
    assert stat.S_IMODE((server / "private").stat().st_mode) == 0o700
    assert nurls.publish.encode() not in files_of(client)


def test_a_client_that_was_sent_options_of_a_server_is_told_that_they_were_left_out(
    introducer: Path, tmp_path: Path
) -> None:
    joined = run_holdfast("join", invite(introducer), tmp_path / "client", "--port", "4000")
    assert joined.code == 0
    assert "left out" in joined.stderr


def test_who_joined_stores_on_who_joined(tmp_path: Path) -> None:
    """The whole way: an introducer with a client side; a server and two clients that know but codes."""
    introducer, server, one, other = (tmp_path / name for name in ("introducer", "server", "one", "other"))
    create_introducer(introducer)
    with open(introducer / "holdfast.toml", "a", encoding="utf-8") as settings:
        settings.write("[client]\n[client.encoding]\nshares-needed = 1\nhappiness = 1\nshares-total = 2\n")
    with running(introducer):
        assert run_holdfast("join", invite(introducer, "--server"), server).code == 0
        with running(server):
            assert run_holdfast("join", invite(introducer), one).code == 0
            assert run_holdfast("join", invite(introducer), other).code == 0
            stored = run_holdfast("put", stdin=DATA, node=one)
            assert stored.code == 0, stored.stderr
            assert stored.text.endswith(f":1:2:{len(DATA)}")
            assert run_holdfast("get", stored.text, node=other).stdout == DATA


def test_a_local_grid_invites_and_passes_its_encoding_on(tmp_path: Path) -> None:
    grid = WarmGrid(tmp_path / "grid")
    try:
        grid.start(2, EncodingSettings(shares_needed=1, happiness=2, shares_total=2))
        code = run_holdfast("invite", node=grid.directory).text
        assert run_holdfast("join", code, tmp_path / "client").code == 0
        stored = run_holdfast("put", stdin=DATA, node=tmp_path / "client")
        assert stored.text.endswith(f":1:2:{len(DATA)}"), stored.stderr
    finally:
        grid.stop()


# -- codes that are good no more, or elsewhere


def test_a_code_is_good_once(introducer: Path, tmp_path: Path) -> None:
    code = invite(introducer)
    assert run_holdfast("join", code, tmp_path / "one").code == 0
    again = run_holdfast("join", code, tmp_path / "two")
    check_refusal(again, 7, "used already.*ask for a new one", code)
    assert not (tmp_path / "two").exists()


def test_of_two_that_race_with_one_code_exactly_one_wins(introducer: Path, tmp_path: Path) -> None:
    for turn in range(2):
        code = invite(introducer)
        places = [tmp_path / f"{turn}-{racer}" for racer in range(3)]
        racers = [
            subprocess.Popen(
                [*COMMAND, "join", code, str(place)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(None),
            )
            for place in places
        ]
        codes = []
        for racer in racers:
            racer.communicate(timeout=60)
            codes.append(racer.returncode)
        assert sorted(codes) == [0, 7, 7]
        assert [place.exists() for place in places] == [code == 0 for code in codes]


def test_an_expired_code_is_refused(introducer: Path, tmp_path: Path) -> None:
    fresh = parse_invitation(invite(introducer))
    tables = open_tables(introducer / "private" / inviting.INTRODUCER_DATABASE, synchronise=True)
    with tables.begin() as connection:
        secret = invitations.create(
            connection, "client", "", now=time.time() - 61, life_s=60, outstanding_max=10**6
        )
    tables.dispose()
    code = Invitation(secret, fresh.pin, fresh.host, fresh.port).to_text()
    check_refusal(run_holdfast("join", code, tmp_path / "node"), 7, "expired", code)


def test_an_impostor_is_not_joined_and_the_code_stays_good(introducer: Path, tmp_path: Path) -> None:
    """The code of one introducer, at the place of another: as after a false answer of a name server."""
    other = tmp_path / "other"
    create_introducer(other)
    with running(other):
        code = parse_invitation(invite(introducer))
        port = parse_invitation(invite(other)).port
        elsewhere = Invitation(code.secret, code.pin, code.host, port).to_text()
        refused = run_holdfast("join", elsewhere, tmp_path / "node")
    check_refusal(refused, 9, "another TLS key.*not used", elsewhere)
    assert base32.encode(code.secret).encode() not in files_of(other / "logs")
    assert run_holdfast("join", code.to_text(), tmp_path / "node").code == 0


# -- what leaves a code good


def test_an_introducer_that_is_down_can_be_joined_later(tmp_path: Path) -> None:
    introducer, node = tmp_path / "introducer", tmp_path / "node"
    create_introducer(introducer)
    never_ran = run_holdfast("invite", introducer)
    check_refusal(never_ran, 8, "has never run.*holdfast run", "no secret")
    with running(introducer):
        pass
    made = run_holdfast("invite", introducer)
    assert made.code == 0
    assert "does not run now" in made.stderr
    check_refusal(run_holdfast("join", made.text, node), 9, "connection refused.*not used", made.text)
    assert not node.exists()
    with running(introducer):
        assert run_holdfast("join", made.text, node).code == 0


def test_a_directory_that_is_not_empty_or_cannot_be_made_leaves_the_code_good(
    introducer: Path, tmp_path: Path
) -> None:
    code = invite(introducer)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    check_refusal(run_holdfast("join", code, tmp_path / "full"), 8, "not an empty directory", code)
    check_refusal(run_holdfast("join", code, tmp_path / "full/file/node"), 5, "was not used", code)
    check_refusal(run_holdfast("join", code, "/proc/node"), 5, "was not used", code)
    check_refusal(run_holdfast("join", code, tmp_path / "x", "--location", "a b"), 8, "location", code)
    check_refusal(run_holdfast("join", code, tmp_path / "x", "--reserved-space", "much"), 2, "size", code)
    assert run_holdfast("join", code, tmp_path / "node").code == 0


# -- input that makes no sense


@pytest.mark.parametrize("code", ["", "127.0.0.1:1/" + "a" * 43])
def test_what_is_no_code_is_refused_without_being_repeated(code: str, tmp_path: Path) -> None:
    refused = run_holdfast("join", code, tmp_path / "node")
    check_refusal(refused, 7, "no invitation", "no secret")
    assert not code or code not in refused.stderr


def test_an_empty_standard_input_is_no_code(tmp_path: Path) -> None:
    refused = run_holdfast("join", "-", tmp_path / "node", stdin=b"\n")
    check_refusal(refused, 7, "standard input", "no secret")


def test_an_argument_too_many_does_not_show_the_code(introducer: Path, tmp_path: Path) -> None:
    code = invite(introducer)
    check_refusal(run_holdfast("join", "a", "b", code), 2, "unexpected", code)


@pytest.mark.parametrize(("valid", "code"), [("soon", 2), ("31d", 5)])
def test_a_life_that_makes_no_sense_is_refused(introducer: Path, valid: str, code: int) -> None:
    check_refusal(run_holdfast("invite", introducer, "--valid", valid), code, "30 days|24h", "no secret")
    with pytest.raises(InputError, match="one second"):
        make_invitation(introducer, "client", "", 0)


def test_only_an_introducer_invites(tmp_path: Path) -> None:
    create_client_node(tmp_path / "client")
    check_refusal(run_holdfast("invite", tmp_path / "client"), 8, "no introducer", "no secret")
    check_refusal(run_holdfast("invite", tmp_path), 8, "not a node directory", "no secret")
    check_refusal(run_holdfast("invite"), 8, "HOLDFAST_NODE", "no secret")


def test_a_nickname_that_cannot_be_shown_is_refused(introducer: Path) -> None:
    for nickname in ("n" * 65, "a\x1b[2J", "a\nb"):
        with pytest.raises(InputError, match="nickname"):
            make_invitation(introducer, "client", nickname, 60)


def test_a_place_that_no_code_can_hold_is_named(tmp_path: Path) -> None:
    node = tmp_path / "introducer"
    create_introducer(node)
    nurl = f"pb://{'A' * 43}@odd~host:1/{'a' * 32}#v=1\n"
    for name in ("introducer.nurl", "introducer-subscribe.nurl"):
        write_private_file(node / "private" / name, nurl)
    with pytest.raises(ConfigError, match=r"node\.location.*odd~host"):
        make_invitation(node, "client", "", 60)
    write_private_file(node / "private" / "introducer.nurl", "nonsense\n")
    with pytest.raises(ConfigError, match=r"introducer\.nurl is damaged"):
        make_invitation(node, "client", "", 60)


def test_too_many_open_invitations_are_refused(introducer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> bytes:
        raise invitations.FullError("1000 invitations have not been redeemed yet")

    monkeypatch.setattr(invitations, "create", full)
    with pytest.raises(InputError, match="1000 invitations"):
        make_invitation(introducer, "client", "", 60)


def test_a_database_that_stays_locked_is_said_to_be(
    introducer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.servers.introducer import tables

    database = introducer / "private" / inviting.INTRODUCER_DATABASE
    holder = open_tables(database, synchronise=True)
    monkeypatch.setattr(tables, "BUSY_S", 0.2)
    try:
        with holder.begin(), pytest.raises((UnavailableError, ConfigError), match="locked"):
            make_invitation(introducer, "client", "", 60)
    finally:
        holder.dispose()


# -- secrets


def test_neither_codes_nor_their_secrets_nor_nurls_are_kept_in_logs_or_in_the_database(
    introducer: Path, nurls: IntroducerNurls, tmp_path: Path
) -> None:
    code = invite(introducer, "--server")
    secret = parse_invitation(code).secret
    database = introducer / "private"
    spilled = b"".join(path.read_bytes() for path in database.glob("introducer.sqlite*"))
    joined = run_holdfast("join", code, tmp_path / "node")
    assert joined.code == 0
    run_holdfast("join", code, tmp_path / "again")
    spilled += (
        files_of(introducer / "logs") + files_of(tmp_path / "node") + NodeProcess(introducer).output.encode()
    )
    spilled += b"".join(path.read_bytes() for path in database.glob("introducer.sqlite*"))
    assert secret not in spilled
    assert base32.encode(secret).encode() not in spilled
    assert code.rpartition("/")[2].encode() not in spilled
    swissnum = parse_nurl(nurls.publish).swissnum
    assert swissnum not in joined.stdout.decode() + joined.stderr
    assert swissnum.encode() not in files_of(introducer / "logs") + NodeProcess(introducer).output.encode()
    for path in database.glob("introducer.sqlite*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert os.access(database, os.R_OK)
