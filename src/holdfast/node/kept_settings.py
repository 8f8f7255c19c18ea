"""The settings of a client that are needed elsewhere, to make it again: a small document in its roots
directory. It holds secrets; whoever can read that directory has all of them anyway.

Source: docs/spec/vdrive.md, section 10.5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.crypto import base32
from holdfast.errors import ConfigError, IntegrityError
from holdfast.grid.settings import EncodingSettings
from holdfast.node.config import NodeConfig, VdriveConfig
from holdfast.node.introducer_list import load_introducers
from holdfast.node.vdrive_places import VdrivePlaces, load_vdrive_places
from holdfast.protocol.nurl import Nurl, parse_nurl

VERSION = 1
KEPT_MAX = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class KeptSettings:
    """Attributes:
    introducers: petname to NURL.
    private_root: vdrive, grid or none.
    places: virtual drive servers.
    """

    nickname: str
    encoding: EncodingSettings
    introducers: Mapping[str, str] = field(repr=False)
    private_root: str
    places: VdrivePlaces

    def to_bytes(self) -> bytes:
        """Return the document."""
        places = self.places
        document = {
            "version": VERSION,
            "nickname": self.nickname,
            "encoding": [
                self.encoding.shares_needed,
                self.encoding.happiness,
                self.encoding.shares_total,
                self.encoding.segment_size_max,
            ],
            "introducers": dict(self.introducers),
            "private-root": self.private_root,
            "service": None if places.service is None else places.service.to_text(),
            "account": places.account,
            "moved": {base32.encode(sid): nurl.to_text() for sid, nurl in places.moved.items()},
        }
        return json.dumps(document, sort_keys=True).encode("utf-8")


def settings_of(private: Path, config: NodeConfig) -> KeptSettings:
    """Return what of the settings of a node is needed elsewhere.

    Raises:
        ConfigError: a file of it is wrong.
    """
    return KeptSettings(
        config.node.nickname,
        config.client.encoding,
        {petname: nurl.to_text() for petname, nurl in load_introducers(private).items()},
        config.vdrive.private_root if config.vdrive.enabled else "none",
        load_vdrive_places(private),
    )


def parse_kept_settings(data: bytes) -> KeptSettings:
    """Return the settings in a document.

    Raises:
        IntegrityError: it is none that this version knows.
    """
    try:
        values = json.loads(data)
        if values["version"] != VERSION:
            raise IntegrityError(
                "the settings kept in the roots directory are of a newer version of Holdfast"
            )
        needed, happiness, total, segment_size = values["encoding"]
        return KeptSettings(
            str(values["nickname"]),
            EncodingSettings(
                shares_needed=needed,
                happiness=happiness,
                shares_total=total,
                segment_size_max=segment_size,
            ),
            {str(petname): parse_nurl(nurl).to_text() for petname, nurl in values["introducers"].items()},
            str(values["private-root"]),
            VdrivePlaces(
                service=_nurl(values["service"]),
                account=values["account"],
                moved={base32.decode(sid): parse_nurl(nurl) for sid, nurl in values["moved"].items()},
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError):
        raise IntegrityError("the settings kept in the roots directory are damaged") from None


def private_root_kind(kept: KeptSettings) -> VdriveConfig:
    """Return the settings of the virtual drive that ``kept`` means.

    Raises:
        IntegrityError: there is no such kind of a private root.
    """
    if kept.private_root == "vdrive":
        return VdriveConfig(enabled=True, private_root="vdrive")
    if kept.private_root == "grid":
        return VdriveConfig(enabled=True, private_root="grid")
    if kept.private_root == "none":
        return VdriveConfig(enabled=True, private_root="none")
    raise IntegrityError("the settings kept in the roots directory are damaged")


def _nurl(value: Any) -> Nurl | None:
    return None if value is None else parse_nurl(value)
