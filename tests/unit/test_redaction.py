"""No capability, key, swissnum or secret leaves through a log, wherever in it they stand."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from holdfast.crypto import base32
from holdfast.node import logs
from holdfast.node.config import LogConfig
from holdfast.node.redaction import hide_secret_fields, redacted

KEY = base32.encode(bytes(range(16)))
HASH = base32.encode(bytes(range(32)))
SWISSNUM = base32.encode(bytes(range(20)))
SECRETS = {
    "read capability": f"URI:CHK:{KEY}:{HASH}:3:10:1000",
    "verify capability": f"URI:CHK-Verifier:{KEY}:{HASH}:3:10:1000",
    "literal": f"URI:LIT:{base32.encode(b'attack at dawn')}",
    "directory": f"URI:DIR2:{KEY}:{HASH}",
    "read-only directory": f"URI:DIR2-RO:{KEY}:{HASH}",
    "percent-encoded": f"URI%3ACHK%3A{KEY}%3A{HASH}%3A3%3A10%3A1000",
    "swissnum": SWISSNUM,
    "node key": f"priv-v0-{HASH}",
    "secret": HASH,
    "base64 secret": base64.b64encode(bytes(range(100, 132))).decode(),
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize(
    "around", ["{}", "read {} now", '{{"x": "{}"}}', "({})", "['{}']", "{}\n", "/uri/{}?t=json"]
)
def test_a_secret_is_hidden_wherever_it_stands(secret: str, around: str) -> None:
    text = redacted(around.format(secret))
    for part in secret.replace("%3A", ":").split(":"):
        if len(part) > 13:
            assert part not in text


def test_a_nurl_keeps_its_address_and_loses_its_swissnum() -> None:
    nurl = f"pb://{'Q' * 43}@storage.example:3457/{SWISSNUM}#v=1"
    assert redacted(f"to {nurl} at once") == f"to pb://{'Q' * 43}@storage.example:3457/<hidden> at once"


def test_headers_lose_their_values() -> None:
    value = base64.b64encode(SWISSNUM.encode()).decode()
    for text in (f"Authorization: Tahoe-LAFS {value}", f"('authorization', 'Tahoe-LAFS {value}')"):
        assert value not in redacted(text)
    lease = base64.b64encode(b"s" * 32).decode()
    assert lease not in redacted(f"X-Tahoe-Authorization: lease-renew-secret {lease}")


def test_a_private_key_is_hidden_as_a_whole() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIGHAgEA\nabc=\n-----END PRIVATE KEY-----"
    assert redacted(f"a {pem} b") == "a <hidden> b"


@pytest.mark.parametrize(
    "text",
    [
        "serving on port 12345",
        f"server v0-{HASH} is down",
        "storage index yocb23pfkrswynmqaikfle7fim",
        "/srv/holdfast/amber/private/swissnum is missing",
        "the list has 10 servers, amber-basil-cedar-dahlia-elder among them",
        "2026-01-01T00:00:00.000000Z",
    ],
)
def test_what_is_public_stays_readable(text: str) -> None:
    assert redacted(text) == text


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32), st.text(max_size=10))
def test_no_key_of_any_capability_survives(key: bytes, value: bytes, around: str) -> None:
    cap = f"URI:CHK:{base32.encode(key)}:{base32.encode(value)}:3:10:5"
    text = redacted(f"{around} {cap} {around}")
    assert base32.encode(key) not in text
    assert base32.encode(value) not in text


def test_fields_that_are_called_secrets_and_raw_bytes_are_hidden() -> None:
    event = hide_secret_fields(
        None, "info", {"event": "e", "lease_secret": "x", "nurl": "y", "cap": "z", "raw": b"abc"}
    )
    assert event == {
        "event": "e",
        "lease_secret": "<hidden>",
        "nurl": "<hidden>",
        "cap": "<hidden>",
        "raw": "<3 bytes>",
    }


@pytest.fixture
def log_file(tmp_path: Path):  # type: ignore[no-untyped-def]
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.log_to_directory(tmp_path, LogConfig())
    yield tmp_path / "logs/node.log"
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_both_ways_of_logging_pass_the_choke_point_tracebacks_too(log_file: Path) -> None:
    cap = SECRETS["read capability"]
    structlog.get_logger("holdfast.test").warning("could not read", what=cap, key=b"k" * 16)
    logging.getLogger("holdfast.other").warning("could not read %s", cap)
    try:
        raise RuntimeError(f"no {cap}")
    except RuntimeError:
        logging.getLogger("holdfast.other").exception("a defect")
        structlog.get_logger("holdfast.test").exception("a defect")
    text = log_file.read_text()
    assert KEY not in text
    assert HASH not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["level"] for line in lines] == ["warning", "warning", "error", "error"]
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert "RuntimeError" in lines[2]["exception"]


def test_a_program_that_sets_up_nothing_gets_readable_lines_without_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logs.log_through_the_standard_library()
    try:
        structlog.get_logger("holdfast.test").warning(
            "lost", server="amber", what=SECRETS["swissnum"], key=b"k"
        )
    finally:
        structlog.reset_defaults()
    assert [record.getMessage() for record in caplog.records] == [
        "lost server='amber' what='<hidden>' key='<hidden>'"
    ]


def test_the_log_is_private_and_bounded(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.getLogger().handlers[0]
    monkeypatch.setattr(handler, "maxBytes", 2000)
    for number in range(200):
        logging.getLogger("holdfast.test").info("line %d of many", number)
    files = sorted(log_file.parent.iterdir())
    assert len(files) == 1 + LogConfig().files_kept
    assert all(path.stat().st_size <= 2000 and path.stat().st_mode & 0o077 == 0 for path in files)
