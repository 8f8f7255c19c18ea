"""A client's secrets are made when they are missing, and never replaced."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from holdfast.crypto import base32
from holdfast.errors import ConfigError
from holdfast.node.client_secrets import create_client_secrets, load_client_secrets


def test_they_are_32_bytes_each_in_private_files(tmp_path: Path) -> None:
    private = tmp_path / "private"
    secrets = load_client_secrets(private)
    assert len(secrets.lease) == len(secrets.convergence) == 32
    assert secrets.lease != secrets.convergence
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in private.iterdir()} == {0o600}
    assert (private / "secret").read_text() == base32.encode(secrets.lease) + "\n"


def test_a_secret_that_is_there_is_kept(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(0o700)
    (private / "convergence").write_text("  " + base32.encode(b"s" * 32) + " \n")
    (private / "convergence").chmod(0o644)  # as git-annex may leave it; the directory is closed
    create_client_secrets(private)
    assert load_client_secrets(private).convergence == b"s" * 32
    assert load_client_secrets(private) == load_client_secrets(private)


@pytest.mark.parametrize(
    "text", ["", "too short", base32.encode(b"s" * 31), base32.encode(b"s" * 33), "A" * 52]
)
def test_a_damaged_secret_is_an_error_and_not_replaced(tmp_path: Path, text: str) -> None:
    private = tmp_path / "private"
    create_client_secrets(private)
    (private / "secret").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_client_secrets(private)
    assert str(private / "secret") in str(caught.value)
    assert (private / "secret").read_text() == text


def test_they_are_not_in_their_repr(tmp_path: Path) -> None:
    secrets = load_client_secrets(tmp_path / "private")
    assert repr(secrets) == "ClientSecrets()"
