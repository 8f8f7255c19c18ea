"""The two NURLs of an introducer, in files of its private directory: who has the one may
announce and read, who has the other may only read.

Source: docs/spec/control-and-introducer.md, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from holdfast.errors import ConfigError
from holdfast.node.config import NodeSettings
from holdfast.node.identity import NodeIdentity
from holdfast.node.private_files import read_private_file, write_private_file
from holdfast.node.swissnums import PUBLISH_SWISSNUM_FILE, SUBSCRIBE_SWISSNUM_FILE, read_swissnum
from holdfast.protocol.nurl import Nurl, parse_nurl

PUBLISH_FILE = "introducer.nurl"
SUBSCRIBE_FILE = "introducer-subscribe.nurl"


@dataclass(frozen=True, slots=True)
class IntroducerNurls:
    publish: str = field(repr=False)
    subscribe: str = field(repr=False)


def nurls_of(identity: NodeIdentity, settings: NodeSettings, port: int, swissnum: str) -> tuple[str, ...]:
    """Return the NURLs of a service of a node that listens on ``port``, one for each place of the node."""
    return tuple(
        Nurl("pb", identity.spki_hash, host, advertised or port, swissnum).to_text()
        for host, advertised in settings.advertised_hosts
    )


def write_introducer_nurls(private: Path, identity: NodeIdentity, settings: NodeSettings, port: int) -> None:
    """Write both files, unless they say the same already."""
    for name, swissnum_file in (
        (PUBLISH_FILE, PUBLISH_SWISSNUM_FILE),
        (SUBSCRIBE_FILE, SUBSCRIBE_SWISSNUM_FILE),
    ):
        text = nurls_of(identity, settings, port, read_swissnum(private / swissnum_file))[0] + "\n"
        path = private / name
        if not path.exists() or path.read_bytes() != text.encode():
            write_private_file(path, text)


def read_introducer_nurls(private: Path) -> IntroducerNurls:
    """Read both files.

    Raises:
        ConfigError: one is missing, since the introducer never ran, or damaged.
    """
    return IntroducerNurls(
        read_private_file(private / PUBLISH_FILE), read_private_file(private / SUBSCRIBE_FILE)
    )


def own_introducer(private: Path) -> list[Nurl]:
    """Return where the introducer of this very node is reached; nothing if it never ran one.

    Raises:
        ConfigError: a file that says so is damaged.
    """
    if not (private / SUBSCRIBE_FILE).exists():
        return []
    text = read_private_file(private / SUBSCRIBE_FILE)
    try:
        return [parse_nurl(text)]
    except ValueError as error:
        raise ConfigError(f"{private / SUBSCRIBE_FILE} is damaged: {error}") from None
