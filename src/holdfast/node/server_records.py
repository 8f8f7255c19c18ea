"""What clients must know of a storage server, taken from its directory.

Source: docs/spec/grid.md, sections 2 and 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from holdfast.node.config import NodeConfig, load_config
from holdfast.node.ports import remembered_port
from holdfast.node.storage_identity import StorageIdentity, load_storage_identity
from holdfast.protocol.nurl import Nurl
from holdfast.protocol.server_record import ServerRecord, to_tahoe


def record_of(config: NodeConfig, identity: StorageIdentity, port: int) -> ServerRecord:
    """Return the record of a server that listens on ``port``."""
    return ServerRecord(
        server_id=identity.server_id,
        nurls=tuple(
            Nurl(
                scheme="pb",
                spki_hash=identity.spki_hash,
                host=host,
                port=advertised or port,
                swissnum=identity.swissnum,
            )
            for host, advertised in config.node.advertised_hosts
        ),
        server_seed=identity.server_seed,
        permutation_seed=identity.permutation_seed,
        nickname=config.node.nickname,
    )


def known_records(directories: Iterable[Path]) -> Iterator[ServerRecord]:
    """Yield the records of those storage nodes that have a port to be reached at.

    Raises:
        ConfigError: a node's settings or identity are damaged.
    """
    for directory in directories:
        config = load_config(directory)
        port = config.node.port or remembered_port(directory)
        if port is not None:
            yield record_of(config, load_storage_identity(directory / "private"), port)


def server_list_text(records: Iterable[ServerRecord]) -> str:
    """Return the text of a ``servers.yaml``, which clients of tahoe-lafs read too. It holds secrets."""
    import yaml  # only who writes a list pays for it

    storage = {record.server_id: to_tahoe(record) for record in records}
    return yaml.safe_dump({"storage": storage}, sort_keys=False)
