"""From what is announced of storage servers to the servers a client uses.

Announcements come from strangers: what does not make a usable server is left out, with a reason that can be
shown. What an operator has written into the static list always counts.

Source: docs/spec/control-and-introducer.md, sections 3.4, 3.7 to 3.9 and 4.3; docs/spec/grid.md, sections 7
and 8.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import structlog

import holdfast
from holdfast.grid.introducer_client import STORAGE, IntroducerClient
from holdfast.grid.introducer_settings import IntroducerClientSettings
from holdfast.grid.servers import Servers
from holdfast.interfaces.introducer import KnownAnnouncement
from holdfast.protocol.nurl import Nurl, parse_nurl
from holdfast.protocol.server_record import ServerRecord, default_server_seed, permutation_seed
from holdfast.protocol.versions import OLDEST_SUPPORTED, compatible

log = structlog.get_logger(__name__)

PERMUTATION_SEED = "permutation-seed"  # names of properties
SERVER_SEED = "server-seed"
ACCEPTS = "accepts"  # false: takes no new shares
PERMUTATION_SEED_SIZE = 32  # bytes

MY_VERSION = (holdfast.__version__, OLDEST_SUPPORTED)


class ServerFeed:
    """Keeps ``Servers`` as the announcements say. It begins when it is made, and ends with the client.

    Of several announcements with one TLS key one counts: a fresh one before a stale one, then the one heard
    first. A server whose announcement is stale takes no new shares, unless the settings say otherwise.
    """

    def __init__(
        self,
        servers: Servers,
        client: IntroducerClient,
        static: Sequence[ServerRecord],
        settings: IntroducerClientSettings,
        *,
        my_version: tuple[str, str] = MY_VERSION,
    ) -> None:
        """``static``: the servers of the operator's own list. What is announced of them does not count."""
        self._servers = servers
        self._settings = settings
        self._my_version = my_version
        self._static = frozenset(record.server_id for record in static)
        self._static_keys = frozenset(_key(record) for record in static)
        self._heard: dict[str, KnownAnnouncement] = {}  # by server id, usable or not
        self._records: dict[str, ServerRecord] = {}
        self._rivals: dict[str, list[str]] = {}  # TLS key hash to the ids that have it, in order of arrival
        self._shown: dict[str, str] = {}  # TLS key hash to the id that counts
        self._reasons: dict[str, str] = {}
        self._contacts: dict[str, float] = {}
        for record in static:
            servers.add_or_change(record)
        client.watch_contacts(self._met)
        client.subscribe_to(STORAGE, self._hear)

    @property
    def left_out(self) -> Mapping[str, str]:
        """Return why announced servers are not used, by server id."""
        return self._reasons

    # -- hearing

    def _hear(self, known: KnownAnnouncement) -> None:
        server_id = known.server_id
        if server_id in self._static:
            return
        old_key = None if (old := self._records.pop(server_id, None)) is None else _key(old)
        self._heard.pop(server_id, None)
        self._reasons.pop(server_id, None)
        if known.freshness == "withdrawn" or (
            known.freshness == "stale" and self._settings.use_stale == "none"
        ):
            record: ServerRecord | None = None
        else:
            record = self._usable_record(known)
        if record is not None:
            self._heard[server_id], self._records[server_id] = known, record
        new_key = None if record is None else _key(record)
        if old_key is not None and old_key != new_key:
            self._rivals[old_key].remove(server_id)
            self._choose(old_key)
        if new_key is not None:
            if old_key != new_key:
                self._rivals.setdefault(new_key, []).append(server_id)
            self._choose(new_key)

    def _usable_record(self, known: KnownAnnouncement) -> ServerRecord | None:
        try:
            record = record_of(known, allow_private=self._settings.allow_private_addresses)
            if _key(record) in self._static_keys:
                raise ValueError("it has the TLS key of a server of the static list")
        except ValueError as error:
            self._reasons[known.server_id] = str(error)
            log.info("an announced server is left out", server=known.server_id, reason=str(error))
            return None
        return record

    def _choose(self, key: str) -> None:
        """Bring ``Servers`` up to date about one TLS key."""
        rivals = self._rivals[key]
        # min() keeps the first of equals.
        chosen = min(rivals, key=lambda id_: self._heard[id_].freshness != "fresh", default=None)
        shown = self._shown.pop(key, None)
        if shown is not None and shown != chosen:
            self._servers.remove(shown)
        if chosen is None:
            del self._rivals[key]
            return
        for rival in rivals:
            self._reasons.pop(rival, None)
            if rival != chosen:
                self._reasons[rival] = f"it has the TLS key of {chosen}, and counts as the same server"
        self._shown[key] = chosen
        self._offer(self._records[chosen], self._heard[chosen])

    def _offer(self, record: ServerRecord, known: KnownAnnouncement) -> None:
        uploads = known.freshness == "fresh" or self._settings.use_stale == "all"
        uploads = uploads and known.properties.get(ACCEPTS) is not False
        incompatible = compatible(self._my_version, known.version)
        self._servers.add_or_change(record, uploads=uploads, incompatible=incompatible)

    # -- signs of life

    def _met(self) -> Iterable[str]:
        """Return the ids of the servers that have answered since the last call."""
        before, self._contacts = self._contacts, {}
        for server in self._servers.all():
            at = server.state.last_contact
            self._contacts[server.id] = at
            if at and at != before.get(server.id):
                yield server.id


def record_of(known: KnownAnnouncement, *, allow_private: bool) -> ServerRecord:
    """Return what a client must know of an announced server.

    Raises:
        ValueError: the announcement does not make a server that can be used; the message says why.
    """
    nurls, reasons = _usable_nurls(known.nurls, allow_private)
    if not nurls:
        raise ValueError("; ".join(["it has no address that can be used", *reasons]))
    seed = _bytes_property(known, SERVER_SEED, len(default_server_seed(nurls[0].spki_hash)))
    place = _bytes_property(known, PERMUTATION_SEED, PERMUTATION_SEED_SIZE)
    return ServerRecord(
        server_id=known.server_id,
        nurls=tuple(nurls),
        server_seed=default_server_seed(nurls[0].spki_hash) if seed is None else seed,
        permutation_seed=permutation_seed(known.server_id, None) if place is None else place,
        nickname=known.nickname,
    )


def _usable_nurls(texts: Iterable[str], allow_private: bool) -> tuple[list[Nurl], list[str]]:
    nurls, reasons = list[Nurl](), set[str]()
    for text in texts:
        nurl = parse_nurl(text)
        if nurl.scheme != "pb":
            reasons.add("an address needs Tor, which Holdfast does not use")
        elif not allow_private and is_private(nurl.host):
            reasons.add("an address belongs to a private network, and allow_private_addresses is off")
        else:
            nurls.append(nurl)
    return nurls, sorted(reasons)


def is_private(host: str) -> bool:
    """Return true for an address that means something else, or nothing, to others: of this machine, of a
    private network, or none of a single machine.

    Names are not looked up, except that some stand for this machine.
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        # Resolvers read 127.1, 0x7f000001 or 2130706433 as addresses too.
        return name.rpartition(".")[2].isdigit() or name.rpartition(".")[2].startswith("0x")
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None:
            return is_private(str(inner))
    return not address.is_global or address.is_multicast


def near(introducers: Iterable[Nurl]) -> bool:
    """Return true if an introducer is itself on this machine or in a private network.

    A grid around it is then there too, and announces addresses of its kind.
    """
    return any(is_private(nurl.host) for nurl in introducers)


def _bytes_property(known: KnownAnnouncement, name: str, size: int) -> bytes | None:
    value = known.properties.get(name)
    if value is None:
        return None
    if not isinstance(value, bytes) or len(value) != size:
        raise ValueError(f"its {name} is not {size} bytes")
    return value


def _key(record: ServerRecord) -> str:
    return record.nurls[0].spki_hash
