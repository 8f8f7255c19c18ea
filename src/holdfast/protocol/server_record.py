"""What a client must know of a storage server, and the two forms of a list of servers it is read from.

A mistake in one entry is a sentence about that entry; the other entries are used. Sentences
never repeat a NURL, which holds a secret.

Source: docs/spec/grid.md, sections 2, 4, 7 and 8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from holdfast.crypto import base32
from holdfast.crypto.lease_secrets import SERVER_SEED_SIZE
from holdfast.protocol.nurl import Nurl, parse_nurl, spki_hash_bytes

SERVER_ID_MAX = 200  # characters
_KEY_PREFIX = "v0-"
_KEY_LENGTH = 52  # characters of base32
_FURL_PREFIX = "pb://"
_OWN_KEYS = frozenset(("id", "nurls", "server-seed", "permutation-seed", "nickname"))


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """One storage server.

    Raises:
        ValueError: the NURLs are none, or of different keys; the server seed is not 20 bytes.
    """

    server_id: str
    nurls: tuple[Nurl, ...]  # alternatives: the same server at several places
    server_seed: bytes  # 20 bytes, the same for all clients: write enablers and lease secrets come from it
    permutation_seed: bytes  # any length: the server's place in the order of each file
    nickname: str = ""

    def __post_init__(self) -> None:
        if not self.nurls:
            raise ValueError("no NURL that can be used: no supported protocol")
        if len({nurl.spki_hash for nurl in self.nurls}) > 1:
            raise ValueError("its NURLs name different keys")
        if len(self.server_seed) != SERVER_SEED_SIZE:
            raise ValueError(f"the server seed has {SERVER_SEED_SIZE} bytes")


def permutation_seed(server_id: str, announced_base32: str | None) -> bytes:
    """Return what places a server in the order of each file: any number of bytes.

    What is announced is used as it is, even where it is base32 of base32.

    Raises:
        ValueError: the announced seed is not base32, or the id looks like a key and is none.
    """
    if announced_base32 is not None:
        return base32.decode(announced_base32)
    key = _key(server_id)
    return hashlib.sha256(server_id.encode("utf-8")).digest() if key is None else key


def default_server_seed(spki_hash: str) -> bytes:
    """Return the 20 bytes that stand for a server which announces no seed of its own."""
    return spki_hash_bytes(spki_hash)[:SERVER_SEED_SIZE]


def records_from_tahoe(servers: object) -> tuple[list[ServerRecord], list[str]]:
    """Read the parsed ``servers.yaml`` of the reference client.

    Returns:
        the records, and a sentence for each entry or NURL that cannot be used.

    Raises:
        ValueError: it is no such list at all.
    """
    entries = _mapping(servers, "a list of servers is a map with the key 'storage'").get("storage")
    if entries is None:
        return [], []
    reading = _Reading()
    for server_id, entry in _mapping(entries, "'storage' is a map of server ids").items():
        reading.add(server_id, entry, _from_announcement)
    return reading.records, reading.problems


def records_from_holdfast(servers: object) -> tuple[list[ServerRecord], list[str]]:
    """Read the parsed TOML of our own list.

    Each ``[[server]]`` has id and nurls, and may have server-seed, permutation-seed and nickname.

    Returns and raises: as ``records_from_tahoe``.
    """
    entries = _mapping(servers, "a list of servers is a table").get("server", [])
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise ValueError("servers are written as [[server]]")
    reading = _Reading()
    for i, entry in enumerate(entries):
        server_id = entry.get("id") if isinstance(entry, Mapping) else None
        if server_id is None:
            reading.problems.append(f"[[server]] number {i + 1}: it has no id")
        else:
            reading.add(server_id, entry, _from_table)
    return reading.records, reading.problems


def to_tahoe(record: ServerRecord) -> dict[str, object]:
    """Return the entry under the server's id in ``servers.yaml``; clients of the reference use it as it is.

    They drop entries without FURL silently, so there is one, with a name and no place. It holds secrets.
    """
    return {
        "ann": {
            "nickname": record.nickname,
            "anonymous-storage-FURL": f"{_FURL_PREFIX}{base32.encode(record.server_seed)}@/none",
            "anonymous-storage-NURLs": [nurl.to_text() for nurl in record.nurls],
            "permutation-seed-base32": base32.encode(record.permutation_seed),
        }
    }


@dataclass(frozen=True, slots=True)
class _Fields:
    """An entry of either form, in the same words."""

    nurls: object
    seed: bytes | None
    permutation_seed: object
    nickname: object
    unknown: tuple[str, ...] = ()


_FieldsOf = Callable[[object], _Fields]


class _Reading:
    """Collects what a list gives, entry by entry."""

    def __init__(self) -> None:
        self.records: list[ServerRecord] = []
        self.problems: list[str] = []
        self._ids: set[str] = set()
        self._count = 0

    def add(self, server_id: object, entry: object, fields_of: _FieldsOf) -> None:
        self._count += 1
        shown = isinstance(server_id, str | int) and _can_be_shown(str(server_id))
        name = str(server_id) if shown else f"number {self._count}"
        try:
            if not isinstance(server_id, str):
                raise ValueError("a server id is not a text; put quotes around it")
            if not shown:
                raise ValueError(f"a server id is a name of at most {SERVER_ID_MAX} characters, no address")
            if name in self._ids:
                raise ValueError("it is listed twice; the first entry is used")
            record, remarks = _record(name, fields_of(entry))
        except ValueError as error:
            self.problems.append(f"server {name}: {error}")
            return
        self._ids.add(name)
        self.records.append(record)
        self.problems.extend(f"server {name}: {remark}" for remark in remarks)


def _record(server_id: str, fields: _Fields) -> tuple[ServerRecord, list[str]]:
    """Return the record, and what is wrong with the entry without making it useless."""
    _key(server_id)
    announced = fields.permutation_seed
    if announced is not None:
        announced = _text(announced, "the permutation seed")
    try:
        place = permutation_seed(server_id, announced)
    except ValueError as error:
        raise ValueError(f"the permutation seed: {error}") from None
    nurls, remarks = _nurls(fields.nurls)
    if not nurls:
        raise ValueError("; ".join(["no NURL that can be used: no supported protocol", *remarks]))
    seed = default_server_seed(nurls[0].spki_hash) if fields.seed is None else fields.seed
    nickname = fields.nickname if isinstance(fields.nickname, str) else ""
    if fields.nickname is not None and not isinstance(fields.nickname, str):
        remarks.append("its nickname is not a text; put quotes around it")
    remarks += [f"the key {key!r} is unknown, and ignored" for key in fields.unknown]
    return ServerRecord(server_id, nurls, seed, place, nickname), remarks


def _from_announcement(entry: object) -> _Fields:
    announcement = _mapping(_mapping(entry, "it is not a map").get("ann"), "it has no announcement 'ann'")
    _check_certificates(announcement.get("grid-manager-certificates"))
    furl = announcement.get("anonymous-storage-FURL")
    seeds = {_seed_of_furl(_text(furl, "its FURL"))} if furl is not None else set()
    if (seed := announcement.get("server-seed")) is not None:
        seeds.add(_seed(_text(seed, "its server seed")))
    if len(seeds) > 1:
        raise ValueError("its FURL and its server seed contradict each other")
    return _Fields(
        announcement.get("anonymous-storage-NURLs"),
        seeds.pop() if seeds else None,
        announcement.get("permutation-seed-base32"),
        announcement.get("nickname"),
    )


def _from_table(entry: object) -> _Fields:
    table = _mapping(entry, "it is not a table")
    seed = table.get("server-seed")
    return _Fields(
        table.get("nurls"),
        None if seed is None else _seed(_text(seed, "the server seed")),
        table.get("permutation-seed"),
        table.get("nickname"),
        # A misspelt server-seed would cost the right to change files, so it is worth a sentence.
        tuple(sorted(str(key) for key in table.keys() - _OWN_KEYS)),
    )


def _nurls(value: object) -> tuple[tuple[Nurl, ...], list[str]]:
    """Return the NURLs that can be used, and a remark on each other one."""
    if value is None:
        return (), []
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ValueError("its NURLs are not a list")
    nurls, remarks, hashes = list[Nurl](), list[str](), set[str]()
    for i, text in enumerate(value):
        try:
            nurl = parse_nurl(_text(text, "a NURL"))
        except ValueError as error:
            remarks.append(f"NURL number {i + 1}: {error}")
            continue
        hashes.add(nurl.spki_hash)
        if nurl.scheme == "pb":
            nurls.append(nurl)
        else:  # connecting without Tor would tell everybody what Tor is meant to hide
            remarks.append(f"NURL number {i + 1}: it needs Tor, which Holdfast does not use")
    if len(hashes) > 1:
        raise ValueError("its NURLs name different keys, so they are not one server")
    return tuple(nurls), remarks


def _seed_of_furl(furl: str) -> bytes:
    tub_id, at, _ = furl.removeprefix(_FURL_PREFIX).partition("@")
    if not furl.startswith(_FURL_PREFIX) or not at:
        raise ValueError("its FURL does not begin with pb://...@")
    return _seed(tub_id.lower())


def _seed(text: str) -> bytes:
    try:
        seed = base32.decode(text)
    except ValueError:
        seed = b""
    if len(seed) != SERVER_SEED_SIZE:
        raise ValueError(
            f"its server seed (or the tub id of its FURL) is not base32 of {SERVER_SEED_SIZE} bytes"
        )
    return seed


def _check_certificates(value: object) -> None:
    wrong = ValueError("its grid manager certificates are malformed")
    if value is None:
        return
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise wrong
    for certificate in value:
        if not isinstance(certificate, Mapping) or certificate.keys() != {"certificate", "signature"}:
            raise wrong
        if not all(isinstance(part, str) for part in certificate.values()):
            raise wrong


def _key(server_id: str) -> bytes | None:
    """Return the key that is the server's id, or None for an id that is just a name."""
    text = server_id.removeprefix(_KEY_PREFIX)
    if text == server_id or len(text) != _KEY_LENGTH:
        return None
    try:
        return base32.decode(text)
    except ValueError:
        raise ValueError("its id looks like a key, but is not base32") from None


def _can_be_shown(name: str) -> bool:
    """True for what may stand in messages and logs; an address could hold a secret."""
    return 0 < len(name) <= SERVER_ID_MAX and name.isprintable() and "://" not in name


def _mapping(value: object, otherwise: str) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise ValueError(otherwise)
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is not a text")
    return value
