"""Mutable files and directories of the real tahoe-lafs, through the web API of one of its clients.

Everything here blocks.

Source: docs/spec/web-api.md, sections 4 to 6 and 8.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from holdfast.testing.tahoe_peer import TahoeClient

Replace = Literal["true", "false", "only-files"]
Path = Sequence[str]
"""Names from a directory down; one may hold a slash."""


@dataclass(frozen=True, slots=True)
class TahoeChild:
    """A child as the web API lists it, or is told of it.

    Attributes:
        kind: filenode, dirnode or unknown.
    """

    kind: str
    rw_uri: str | None
    ro_uri: str | None
    metadata: dict[str, Any] | None

    @classmethod
    def of(cls, uri: str, metadata: dict[str, Any] | None = None) -> TahoeChild:
        """Return a child to link: whatever ``uri`` stands for."""
        return cls("filenode", uri, None, metadata)

    def to_json(self) -> list[object]:
        values = {"rw_uri": self.rw_uri, "ro_uri": self.ro_uri, "metadata": self.metadata}
        return [self.kind, {key: value for key, value in values.items() if value is not None}]


@dataclass(frozen=True, slots=True)
class TahoeManifest:
    """What a walk met, in that order, and the deep statistics at its end."""

    objects: list[dict[str, Any]]
    stats: dict[str, Any]


class TahoeDirectories:
    """Directories seen through one client. Raises WebApiError for what the client refuses."""

    def __init__(self, client: TahoeClient) -> None:
        self._client = client

    def create(self, file_format: Literal["SDMF", "MDMF"] = "SDMF") -> str:
        """Make an empty directory, linked nowhere; return its capability."""
        return self._text("POST", f"/uri?t=mkdir&format={file_format}")

    def create_with(self, children: Mapping[str, TahoeChild], *, immutable: bool = False) -> str:
        """Make a directory with children, linked nowhere; of format SDMF if it is not immutable."""
        what = "mkdir-immutable" if immutable else "mkdir-with-children"
        return self._text("POST", f"/uri?t={what}", _document(children))

    def list(self, cap: str, path: Path = ()) -> dict[str, TahoeChild]:
        """Return the children by name."""
        listed, answer = json.loads(self._client.request("GET", f"{_url(cap, path)}?t=json"))
        assert listed == "dirnode", listed
        return {
            name: TahoeChild(kind, child.get("rw_uri"), child.get("ro_uri"), child["metadata"])
            for name, (kind, child) in answer["children"].items()
        }

    def read(self, cap: str, path: Path = ()) -> bytes:
        """Return the contents of a file."""
        return self._client.request("GET", _url(cap, path))

    def put(self, cap: str, path: Path, data: bytes) -> str:
        """Store an immutable file and link it, or overwrite the mutable file that is there."""
        return self._text("PUT", _url(cap, path), data)

    def update(self, cap: str, offset: int, data: bytes) -> None:
        """Write into a mutable file."""
        self._client.request("PUT", f"{_url(cap)}?offset={offset}", data)

    def link(self, cap: str, path: Path, uri: str, replace: Replace = "true") -> None:
        """Link what ``uri`` stands for, keeping the metadata of a link that is there."""
        self._client.request("PUT", f"{_url(cap, path)}?t=uri&replace={replace}", uri.encode())

    def set_children(self, cap: str, children: Mapping[str, TahoeChild], replace: Replace = "true") -> None:
        """Link several children in one change. Without metadata, that of a link that is there stays."""
        path = f"{_url(cap)}?t=set_children&replace={replace}"
        self._client.request("POST", path, _document(children))

    def delete(self, cap: str, path: Path) -> None:
        """Remove a link."""
        self._client.request("DELETE", _url(cap, path))

    def rename(self, cap: str, old: str, new: str) -> None:
        """Give a child of a directory another name."""
        names = urllib.parse.urlencode({"from_name": old, "to_name": new})
        self._client.request("POST", f"{_url(cap)}?t=rename&{names}")

    def manifest(self, cap: str) -> TahoeManifest:
        """Walk everything below a directory."""
        lines = self._client.request("POST", f"{_url(cap)}?t=stream-manifest").splitlines()
        *objects, last = map(json.loads, lines)
        assert last["type"] == "stats", last
        return TahoeManifest(objects, last["stats"])

    def _text(self, method: str, path: str, body: bytes | None = None) -> str:
        return self._client.request(method, path, body).decode("ascii")


def _document(children: Mapping[str, TahoeChild]) -> bytes:
    return json.dumps({name: child.to_json() for name, child in children.items()}).encode()


def _url(cap: str, path: Path = ()) -> str:
    return "/uri/" + "/".join(urllib.parse.quote(part, safe="") for part in (cap, *path))
