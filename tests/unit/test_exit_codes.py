"""Each way to fail has a status that says what to do next, and the documents list it."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from holdfast import errors
from holdfast.cli.commands import EPILOG
from holdfast.cli.exit_codes import _NAMED, MEANINGS, ExitCode, exit_code_of
from holdfast.cli.messages import sentence_for, size_text
from holdfast.interfaces import drive, vdrive_errors
from holdfast.node import aliases

USAGE = Path(__file__).parents[2] / "docs/usage.md"
KINDS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__
]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.BadCapabilityError, ExitCode.CAPABILITY),
        (errors.WrongCapabilityTypeError, ExitCode.CAPABILITY),
        (errors.NotCapableError, ExitCode.CAPABILITY),
        (errors.InputError, ExitCode.INPUT),
        (errors.ConfigError, ExitCode.CONFIGURATION),
        (errors.SourceChangedError, ExitCode.SOURCE_CHANGED),
        (errors.CorruptShareError, ExitCode.INTEGRITY),
        (errors.BadFileError, ExitCode.INTEGRITY),
        (errors.NoServersError, ExitCode.UNAVAILABLE),
        (errors.ServerError, ExitCode.UNAVAILABLE),
        (errors.UnhappyError, ExitCode.UNHAPPY),
        (errors.NotEnoughServersError, ExitCode.UNHAPPY),
        (errors.NotEnoughSharesError, ExitCode.UNRECOVERABLE),
        (errors.NoSharesError, ExitCode.UNRECOVERABLE),
        (errors.ConflictError, ExitCode.CONFLICT),
        (drive.NoSuchChildError, ExitCode.NAME),
        (drive.ChildAlreadyPresentError, ExitCode.NAME),
        (drive.VersionMismatchError, ExitCode.CONFLICT),
        (drive.MoveIncompleteError, ExitCode.UNAVAILABLE),
        (vdrive_errors.NoSuchDirectoryError, ExitCode.UNRECOVERABLE),
        (vdrive_errors.NoPublicRootError, ExitCode.UNAVAILABLE),
        (vdrive_errors.QuotaExceededError, ExitCode.UNAVAILABLE),
        (vdrive_errors.NotAuthorisedToCreateError, ExitCode.CAPABILITY),
        (vdrive_errors.ContendedDirectoryError, ExitCode.UNAVAILABLE),
        (aliases.AliasTakenError, ExitCode.NAME),
        (aliases.AliasNameError, ExitCode.INPUT),
        (aliases.UnknownAliasError, ExitCode.CAPABILITY),
        (PermissionError, ExitCode.INPUT),
        (BrokenPipeError, ExitCode.BROKEN_PIPE),
        (KeyboardInterrupt, ExitCode.INTERRUPTED),
        (ZeroDivisionError, ExitCode.DEFECT),
    ],
)
def test_the_status_follows_the_class(kind: type[BaseException], code: ExitCode) -> None:
    assert exit_code_of(kind.__new__(kind)) is code


def test_the_base_alone_counts_as_a_defect() -> None:
    defects = {kind for kind in KINDS if exit_code_of(kind.__new__(kind)) is ExitCode.DEFECT}
    assert defects == {errors.HoldfastError}


def test_classes_that_are_named_exist() -> None:
    for name in _NAMED:
        module, _, kind = name.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), kind), errors.HoldfastError)


def test_every_status_is_explained_in_help_and_in_the_documents() -> None:
    document = USAGE.read_text(encoding="utf-8")
    assert set(MEANINGS) == set(ExitCode)
    for code, meaning in MEANINGS.items():
        assert f"{code.value:4}  {meaning}" in EPILOG
        assert f"| {code.value} | {meaning} |" in document


def test_a_sentence_names_file_and_reason_but_nothing_of_a_defect() -> None:
    assert (
        sentence_for(FileNotFoundError(2, "No such file or directory", "/x"))
        == "/x: No such file or directory"
    )
    assert sentence_for(errors.NoServersError("no server answers")) == "no server answers"
    assert "URI" not in sentence_for(ValueError("URI:CHK:secret"))


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (52_400_000, "52.4 MB"), (3e15, "3000.0 TB")],
)
def test_sizes_are_shown_in_powers_of_1000(size: float, text: str) -> None:
    assert size_text(size) == text
