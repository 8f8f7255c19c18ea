"""A NURL is parsed strictly, written in one form, and never shown with its secret."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocol.nurl import Nurl, parse_nurl, spki_hash, spki_hash_bytes

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "storage.json").read_text())
HASH = "i1EAxD4kYSRvfA25sMrmTDfs-wChbrPp5K-hhy4XGXk"

HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}\.){0,3}[a-z0-9]{1,10}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.from_regex(r"[a-z2-7]{56}\.onion", fullmatch=True),
)


@st.composite
def nurls(draw: st.DrawFn) -> Nurl:
    return Nurl(
        draw(st.sampled_from(["pb", "pb+tor"])),
        base64.urlsafe_b64encode(draw(st.binary(min_size=32, max_size=32))).decode().rstrip("="),
        draw(HOSTS),
        draw(st.integers(1, 65535)),
        draw(st.text(st.characters(max_codepoint=127), min_size=1, max_size=60)),
    )


@pytest.mark.parametrize("vector", VECTORS["nurl"]["valid"], ids=lambda v: v["note"] or "plain")
@pytest.mark.seed("S-004")
def test_valid_nurls_give_their_parts_and_canonical_form(vector: dict[str, object]) -> None:
    nurl = parse_nurl(str(vector["nurl"]))
    assert nurl.scheme == vector["scheme"]
    assert nurl.spki_hash == vector["spki_hash"]
    assert nurl.host == str(vector["host"]).strip("[]")
    assert nurl.port == vector["port"]
    assert nurl.swissnum == vector["swissnum"]
    assert nurl.to_text() == vector["canonical"]
    assert parse_nurl(nurl.to_text()) == nurl


@pytest.mark.parametrize("vector", VECTORS["nurl"]["invalid"], ids=lambda v: v.get("why", v["nurl"]))
def test_invalid_nurls_are_refused(vector: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        parse_nurl(vector["nurl"])


@pytest.mark.seed("S-004")
def test_a_nurl_has_at_most_1000_characters() -> None:
    frame = f"pb://{HASH}@host:1/#v=1"
    longest = f"pb://{HASH}@host:1/{'s' * (1000 - len(frame))}#v=1"
    assert len(longest) == 1000
    assert parse_nurl(longest).to_text() == longest
    with pytest.raises(ValueError, match="1000"):
        parse_nurl(longest.replace("host", "hosts"))


@pytest.mark.seed("S-004")
@given(nurls())
def test_parsing_what_was_written_gives_the_same(nurl: Nurl) -> None:
    assert parse_nurl(nurl.to_text()) == nurl


@given(st.text(max_size=100))
def test_no_text_does_worse_than_a_value_error(text: str) -> None:
    for candidate in (text, f"pb://{HASH}@{text}#v=1", f"pb://{HASH}@[{text}]:1/s#v=1"):
        with suppress(ValueError):
            parse_nurl(candidate)


def test_the_secret_is_in_no_repr_and_no_error() -> None:
    nurl = parse_nurl(f"pb://{HASH}@host:1/verysecret#v=1")
    assert "verysecret" not in repr(nurl)
    with pytest.raises(ValueError) as caught:
        parse_nurl(f"pb://{HASH}@host:99999/verysecret#v=1")
    assert "verysecret" not in str(caught.value)


@pytest.mark.parametrize("vector", VECTORS["spki"], ids=lambda v: v["name"])
def test_the_hash_is_that_of_the_certificates_key(vector: dict[str, str]) -> None:
    certificate = x509.load_pem_x509_certificate(vector["certificate_pem"].encode())
    der = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert der == base64.b64decode(vector["spki_der_b64"])
    assert spki_hash(der) == vector["spki_hash"]
    assert spki_hash_bytes(vector["spki_hash"])[:20] == base64.b32decode(vector["node_id20_b32"].upper())
