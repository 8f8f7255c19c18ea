"""Holdfast: a storage grid for people who must not have to trust the machines that keep their data.

async with holdfast.connect(node) as grid:
    stored = await grid.upload(holdfast.FileNameSource(path))
    copy = await grid.download(stored.uri, holdfast.DataTarget())
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.drive.nodes import Drive
    from holdfast.errors import (
        BadCapabilityError,
        BadFileError,
        CapabilityError,
        ConfigError,
        ConflictError,
        CorruptShareError,
        HoldfastError,
        InputError,
        IntegrityError,
        NoServersError,
        NoSharesError,
        NotCapableError,
        NotEnoughSharesError,
        ServerError,
        SourceChangedError,
        UnavailableError,
        UnhappyError,
        WrongCapabilityTypeError,
        WrongServerKeyError,
    )
    from holdfast.grid.client import Grid
    from holdfast.grid.dry_run import capability_of
    from holdfast.grid.progress import Progress, ProgressCallback
    from holdfast.grid.results import CheckResult, DownloadResult, ServerProblem, UploadResult
    from holdfast.grid.settings import ClientSettings, EncodingSettings
    from holdfast.grid.sources import DataSource, FileHandleSource, FileNameSource, StreamSource
    from holdfast.grid.targets import DataTarget, DiscardTarget, FileHandleTarget, FileTarget
    from holdfast.interfaces.drive import (
        ChildAlreadyPresentError,
        NewChild,
        NoSuchChildError,
        NotADirectoryNodeError,
        NotMutableError,
        UnreadableChildError,
        VersionMismatchError,
    )
    from holdfast.node.wiring import connect, open_drive

__version__ = "0.1.0"

# A name is loaded when it is first used, so that a server does not load the client, nor the command line all.
_HOMES = {
    "holdfast.drive.nodes": ("Drive",),
    "holdfast.errors": (
        "BadCapabilityError",
        "BadFileError",
        "CapabilityError",
        "ConfigError",
        "ConflictError",
        "CorruptShareError",
        "HoldfastError",
        "InputError",
        "IntegrityError",
        "NoServersError",
        "NoSharesError",
        "NotCapableError",
        "NotEnoughSharesError",
        "ServerError",
        "SourceChangedError",
        "UnavailableError",
        "UnhappyError",
        "WrongCapabilityTypeError",
        "WrongServerKeyError",
    ),
    "holdfast.grid.client": ("Grid",),
    "holdfast.grid.dry_run": ("capability_of",),
    "holdfast.grid.progress": ("Progress", "ProgressCallback"),
    "holdfast.grid.results": ("CheckResult", "DownloadResult", "ServerProblem", "UploadResult"),
    "holdfast.grid.settings": ("ClientSettings", "EncodingSettings"),
    "holdfast.grid.sources": ("DataSource", "FileHandleSource", "FileNameSource", "StreamSource"),
    "holdfast.grid.targets": ("DataTarget", "DiscardTarget", "FileHandleTarget", "FileTarget"),
    "holdfast.interfaces.drive": (
        "ChildAlreadyPresentError",
        "NewChild",
        "NoSuchChildError",
        "NotADirectoryNodeError",
        "NotMutableError",
        "UnreadableChildError",
        "VersionMismatchError",
    ),
    "holdfast.node.wiring": ("connect", "open_drive"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BadCapabilityError",
    "BadFileError",
    "CapabilityError",
    "CheckResult",
    "ChildAlreadyPresentError",
    "ClientSettings",
    "ConfigError",
    "ConflictError",
    "CorruptShareError",
    "DataSource",
    "DataTarget",
    "DiscardTarget",
    "DownloadResult",
    "Drive",
    "EncodingSettings",
    "FileHandleSource",
    "FileHandleTarget",
    "FileNameSource",
    "FileTarget",
    "Grid",
    "HoldfastError",
    "InputError",
    "IntegrityError",
    "NewChild",
    "NoServersError",
    "NoSharesError",
    "NoSuchChildError",
    "NotADirectoryNodeError",
    "NotCapableError",
    "NotEnoughSharesError",
    "NotMutableError",
    "Progress",
    "ProgressCallback",
    "ServerError",
    "ServerProblem",
    "SourceChangedError",
    "StreamSource",
    "UnavailableError",
    "UnhappyError",
    "UnreadableChildError",
    "UploadResult",
    "VersionMismatchError",
    "WrongCapabilityTypeError",
    "WrongServerKeyError",
    "capability_of",
    "connect",
    "open_drive",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
