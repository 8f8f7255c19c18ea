"""The promises in ``holdfast.interfaces``: who keeps each, and that none is vague."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

import holdfast.interfaces
from holdfast.crypto.codec import CrsDecoder, CrsEncoder
from holdfast.drive.directory_node import GridDirectoryNode
from holdfast.drive.file_nodes import ImmutableFileNode, LiteralFileNode, MutableFileNode
from holdfast.drive.opaque_node import OpaqueNode
from holdfast.drive.vdrive_node import VdriveDirectoryNode
from holdfast.grid.bucket_reader import RemoteBucketReader
from holdfast.grid.bucket_writer import RemoteBucketWriter
from holdfast.grid.decoder import FileDecoder
from holdfast.grid.encoder import FileEncoder
from holdfast.grid.http_introducer import HttpIntroducer
from holdfast.grid.http_node import HttpNode
from holdfast.grid.http_storage import HttpStorageServer
from holdfast.grid.introducer_client import IntroducerClient
from holdfast.grid.remote_buckets import RemoteStorageServer
from holdfast.grid.sources import DataSource, FileHandleSource, FileNameSource, StreamSource
from holdfast.grid.targets import DataTarget, DiscardTarget, FileHandleTarget, FileTarget
from holdfast.grid.vdrive.http_service import HttpVirtualDriveServer
from holdfast.interfaces import control, drive, introducer, node, storage, transfer, vdrive
from holdfast.node.control.client import HttpControlClient
from holdfast.node.node_service import LocalNode
from holdfast.servers.introducer.engine import IntroducerEngine
from holdfast.servers.storage.engine import StorageEngine
from holdfast.servers.storage.scratch import FileParts
from holdfast.servers.vdrive.engine import VdriveEngine
from holdfast.testing.memory_storage import MemoryStorage

CONFORMANCE: list[tuple[Any, Any]] = [
    (storage.StorageService, StorageEngine),
    (storage.StorageService, HttpStorageServer),
    (storage.StorageService, MemoryStorage),
    (storage.StorageServer, RemoteStorageServer),
    (storage.BucketWriter, RemoteBucketWriter),
    (storage.BucketReader, RemoteBucketReader),
    (transfer.Encoder, FileEncoder),
    (transfer.Decoder, FileDecoder),
    (transfer.Uploadable, DataSource),
    (transfer.Uploadable, FileNameSource),
    (transfer.Uploadable, FileHandleSource),
    (transfer.AsyncUploadable, StreamSource),
    (transfer.DownloadTarget, DataTarget),
    (transfer.DownloadTarget, FileTarget),
    (transfer.DownloadTarget, FileHandleTarget),
    (transfer.DownloadTarget, DiscardTarget),
    (introducer.Introducer, IntroducerEngine),
    (introducer.Introducer, HttpIntroducer),
    (introducer.IntroducerClient, IntroducerClient),
    (node.NodeService, LocalNode),
    (node.NodeService, HttpNode),
    (control.ControlClient, HttpControlClient),
    (drive.FileNode, ImmutableFileNode),
    (drive.FileNode, LiteralFileNode),
    (drive.FileNode, MutableFileNode),
    (drive.UnknownNode, OpaqueNode),
    (drive.DirectoryNode, GridDirectoryNode),
    (drive.DirectoryNode, VdriveDirectoryNode),
    (vdrive.VirtualDriveServer, VdriveEngine),
    (vdrive.VirtualDriveServer, HttpVirtualDriveServer),
    (storage.BytesElsewhere, FileParts),
]
ELSEWHERE = {"CodecEncoder", "CodecDecoder"}  # kept by the adapters of holdfast.grid.codec; tested there


def promised(protocol: Any) -> dict[str, Any]:
    return {
        name: value for name, value in vars(protocol).items() if inspect.isfunction(value) and name[0] != "_"
    }


@pytest.mark.seed("S-012")
@pytest.mark.parametrize(("protocol", "kept_by"), CONFORMANCE)
def test_every_method_of_a_promise_is_kept(protocol: Any, kept_by: Any) -> None:
    for name, method in promised(protocol).items():
        kept = getattr(kept_by, name)
        wanted = list(inspect.signature(method).parameters)
        assert list(inspect.signature(kept).parameters)[: len(wanted)] == wanted, name


@pytest.mark.seed("S-012")
def test_every_promise_is_kept_by_somebody() -> None:
    known = {protocol.__name__ for protocol, _ in CONFORMANCE} | ELSEWHERE
    for path in Path(holdfast.interfaces.__path__[0]).glob("*.py"):
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.ClassDef) and "Protocol" in ast.unparse(ast.Tuple(item.bases)):
                assert item.name in known, f"{item.name} of {path.name} is in no row of the table"
    assert CrsEncoder
    assert CrsDecoder


@pytest.mark.seed("S-013")
def test_no_promise_takes_or_gives_just_anything() -> None:
    for path in Path(holdfast.interfaces.__path__[0]).glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert "Any" not in names, path.name
