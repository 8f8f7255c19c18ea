"""A second, plain reading of docs/spec/vdrive.md, sections 3 to 6 and 14.4: no code of Holdfast is used.

``python tests/vdrive_reference.py`` writes tests/vectors/vdrive.json: the values of the specification's
appendix A, and others that are computed here. Elliptic curves and single AES blocks come from a library.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import unicodedata
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

ROOT = Path(__file__).parent.parent
SPECIFICATION = ROOT / "docs" / "spec" / "vdrive.md"
VECTORS = ROOT / "tests" / "vectors" / "vdrive.json"
T = b"holdfast:vdrive:v1:"
UNITS = {"n": 64, "w": 256, "r": 256, "m": 64}


def ns(value: bytes) -> bytes:
    return str(len(value)).encode() + b":" + value + b","


def th(name: str, value: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(ns(T + name.encode()) + value).digest()).digest()


def tph(name: str, *values: bytes) -> bytes:
    return th(name, b"".join(ns(value) for value in values))


def kdf(key: bytes, name: str, length: int) -> bytes:
    secret = hmac.new(bytes(32), key, hashlib.sha256).digest()
    block, out, number = b"", b"", 1
    while len(out) < length:
        block = hmac.new(secret, block + T + name.encode() + bytes([number]), hashlib.sha256).digest()
        out, number = out + block, number + 1
    return out[:length]


def b32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def cbor(value: Any) -> bytes:
    def head(major: int, number: int) -> bytes:
        for limit, code, size in (
            (24, None, 0),
            (2**8, 24, 1),
            (2**16, 25, 2),
            (2**32, 26, 4),
            (2**64, 27, 8),
        ):
            if number < limit:
                first = number if code is None else code
                return bytes([major * 32 + first]) + (number.to_bytes(size, "big") if size else b"")
        raise ValueError(number)

    match value:
        case None:
            return b"\xf6"
        case int():
            return head(0, value)
        case bytes():
            return head(2, len(value)) + value
        case str():
            return head(3, len(value.encode())) + value.encode()
        case list():
            return head(4, len(value)) + b"".join(map(cbor, value))
        case dict():
            pairs = sorted((cbor(key), cbor(item)) for key, item in value.items())
            return head(5, len(value)) + b"".join(key + item for key, item in pairs)
    raise ValueError(value)


def siv(key: bytes, associated: list[bytes], plaintext: bytes) -> bytes:
    """RFC 5297, by its text."""
    aes = Cipher(algorithms.AES(key[:32]), modes.ECB()).encryptor().update

    def double(block: bytes) -> bytes:
        number = int.from_bytes(block, "big") << 1
        return ((number & (2**128 - 1)) ^ (0x87 if number >> 128 else 0)).to_bytes(16, "big")

    def xor(a: bytes, b: bytes) -> bytes:
        return bytes(x ^ y for x, y in zip(a, b, strict=True))

    def cmac(message: bytes) -> bytes:
        subkey = double(aes(bytes(16)))
        if not message or len(message) % 16:
            subkey, message = double(subkey), message + b"\x80" + bytes(-(len(message) + 1) % 16)
        state = bytes(16)
        for at in range(0, len(message) - 16, 16):
            state = aes(xor(state, message[at : at + 16]))
        return aes(xor(xor(state, message[-16:]), subkey))

    digest = cmac(bytes(16))
    for text in associated:
        digest = xor(double(digest), cmac(text))
    assert len(plaintext) >= 16
    vector = cmac(plaintext[:-16] + xor(plaintext[-16:], digest))
    counter = int.from_bytes(vector, "big") & ~(1 << 63) & ~(1 << 31)
    counters = Cipher(algorithms.AES(key[32:]), modes.CTR(counter.to_bytes(16, "big"))).encryptor()
    return vector + counters.update(plaintext)


class Keys:
    def __init__(self, write_key: bytes) -> None:
        self.W = write_key
        self.seed = kdf(write_key, "sign", 32)
        self.signer = Ed25519PrivateKey.from_private_bytes(self.seed)
        self.VK = self.signer.public_key().public_bytes_raw()
        self.R = th("read-key", write_key)
        self.RC = th("read-commit", self.R)
        self.index = tph("index", self.RC, self.VK)
        self.rid = th("refresh-id", self.index)
        self.NK = kdf(self.R, "name-mac", 32)
        self.SRK = kdf(self.R, "seal-read", 64)
        self.SWK = kdf(write_key, "seal-write", 64)

    def slot(self, name: str) -> bytes:
        return hmac.new(self.NK, unicodedata.normalize("NFC", name).encode(), hashlib.sha256).digest()

    def box(self, slot: bytes, field: str, nonce: bytes, plaintext: bytes) -> bytes:
        padded = plaintext + b"\x80"
        padded += bytes(-len(padded) % UNITS[field])
        place = ns(T + b"box") + self.index + slot + field.encode()
        key = self.SWK if field == "w" else self.SRK
        return b"\x01" + nonce + siv(key, [place, nonce], padded)

    def head(self, fields: dict[int, Any]) -> tuple[bytes, bytes]:
        data = cbor({1: 1, 2: self.index, **fields})
        return data, self.signer.sign(ns(T + b"head-signature") + data)

    def first_head(self) -> tuple[bytes, bytes]:
        digest = th("ops", cbor([]))
        return self.head({3: 0, 4: bytes(32), 5: bytes(33), 6: 0, 7: digest, 8: 0, 9: bytes(16)})

    def caps(self, sid: bytes, swissnum: str, hints: str) -> dict[str, str]:
        place = f"{b32(sid)}:{swissnum}:{b32(hints.encode())}"
        return {
            "write": f"URI:DIR:{place}:{b32(self.W)}",
            "read": f"URI:DIR-RO:{place}:{b32(self.R)}:{b32(self.VK)}",
            "verify": f"URI:DIR-Verifier:{place}:{b32(self.index)}",
            "refresh": f"URI:DIR-Refresh:{place}:{b32(self.rid)}",
        }


def entry_digest(version: int, n: bytes, w: bytes, r: bytes, m: bytes) -> bytes:
    return tph("entry", version.to_bytes(8, "big"), n, tph("body", w, r, m))


def root(leaves: dict[bytes, bytes], depth: int = 0) -> bytes:
    if not leaves:
        return bytes(33)
    if len(leaves) == 1:
        ((slot, digest),) = leaves.items()
        return b"\x01" + th("leaf", slot + digest)
    halves: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
    for slot, digest in leaves.items():
        halves[slot[depth // 8] >> (7 - depth % 8) & 1][slot] = digest
    return b"\x02" + th("inner", root(halves[0], depth + 1) + root(halves[1], depth + 1))


def appendix() -> dict[str, str]:
    """Return the values of appendix A, by name."""
    text = SPECIFICATION.read_text().split("\n## A. Test vectors")[1].split("\n## B.")[0]
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    found = {}
    for line in lines:
        match = re.fullmatch(
            r"(.{19}|root if not deleted|SHA-256 of ops 1   )\s*(URI:\S+|[0-9a-f]+)(?:\s+\(.*\))?", line
        )
        assert match is not None, line
        found[match[1].strip().rstrip("*")] = match[2]
    return found


def computed() -> dict[str, Any]:
    keys = Keys(hashlib.sha256(b"holdfast vdrive vectors").digest())
    sid = hashlib.sha256(b"another service").digest()
    enabler = tph("write-enabler", keys.W, sid)
    names = [
        "a",
        "sub dir",
        "\u00e9",
        "e\u0301",
        "\ud55c\uae00",
        "\U0001f600",
        "x" * 63,
        "x" * 64,
        "x" * 1000,
    ]
    slot = keys.slot("a")
    sizes = {
        "n": (1, 62, 63, 64, 1000),
        "w": (0, 178, 255, 256, 1000),
        "r": (0, 100, 255, 1000),
        "m": (1, 63, 7900),
    }
    boxes = [
        {
            "field": field,
            "plaintext_hex": plaintext.hex(),
            "box_hex": keys.box(slot, field, nonce, plaintext).hex(),
        }
        for field, lengths in sizes.items()
        for length in lengths
        for nonce in [hashlib.sha256(f"{field}{length}".encode()).digest()[:16]]
        for plaintext in [bytes(number % 251 for number in range(length))]
    ]
    return {
        "keys": {
            "write_key_hex": keys.W.hex(),
            "sid_hex": sid.hex(),
            "signing_seed_hex": keys.seed.hex(),
            "verify_key_hex": keys.VK.hex(),
            "read_key_hex": keys.R.hex(),
            "index_hex": keys.index.hex(),
            "refresh_id_hex": keys.rid.hex(),
            "write_enabler_hex": enabler.hex(),
            "stored_enabler_hex": th("we-store", enabler).hex(),
            "enabler_proof_hex": keys.signer.sign(
                ns(T + b"enabler") + keys.index + sid + th("we-store", enabler)
            ).hex(),
            "lease_seed_hex": sid.hex(),
            "lease_secret_hex": tph("lease-secret", sid, keys.rid).hex(),
            "stored_lease_secret_hex": th("lease-store", tph("lease-secret", sid, keys.rid)).hex(),
        },
        "names": [{"name": name, "slot_hex": keys.slot(name).hex()} for name in names],
        "box_slot_hex": slot.hex(),
        "boxes": boxes,
        "capabilities": [
            {"hints": hints, **keys.caps(sid, "a" * 16, hints)}
            for hints in (
                "",
                "a.example:1",
                "192.0.2.1:8443,[2001:db8::1]:443,tor:abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx.onion:80",
            )
        ],
        "bundle": bundle(),
    }


def bundle() -> dict[str, Any]:
    """Return a bundle of three entries, made in two commits."""
    keys = Keys(bytes(range(1, 33)))
    child = b"URI:LIT:krugkidfnzsc4"
    entries = []
    for number, name in enumerate(("one", "two", "three"), 1):
        slot, nonces = keys.slot(name), [bytes([number * 16 + at]) * 16 for at in range(3)]
        boxes = [
            keys.box(slot, "n", nonces[0], name.encode()),
            b"",
            keys.box(slot, "r", nonces[1], child),
            keys.box(slot, "m", nonces[2], cbor({})),
        ]
        entries.append((slot, 1 if number < 3 else 2, *boxes))
    heads, before = [keys.first_head()], []
    for version in (1, 2):
        before = [entry for entry in entries if entry[1] <= version]
        operations = cbor([[1, e[0], None, *e[2:]] for e in sorted(before) if e[1] == version])
        fields = {
            3: version,
            4: th("head", heads[-1][0]),
            5: root({e[0]: entry_digest(*e[1:]) for e in before}),
            6: len(before),
            7: th("ops", operations),
            8: 1183774800 + version,
            9: bytes([version]) * 16,
        }
        heads.append(keys.head(fields | ({10: 86400} if version == 2 else {})))
    header = {
        1: "holdfast-vdrive-bundle",
        2: 1,
        3: keys.index,
        4: keys.rid,
        5: keys.VK,
        6: keys.RC,
        7: list(heads[-1]),
        8: [list(head) for head in heads[:-1]],
        9: 1183775000,
    }
    items = [header, *(list(entry) for entry in sorted(before)), {1: "end", 2: len(before)}]
    return {
        "write_key_hex": keys.W.hex(),
        "operations_hex": operations.hex(),
        "heads_hex": [[part.hex() for part in head] for head in heads],
        "bundle_hex": b"".join(map(cbor, items)).hex(),
    }


def vectors() -> dict[str, Any]:
    return {"appendix": appendix(), **computed()}


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(vectors(), indent=1) + "\n")
