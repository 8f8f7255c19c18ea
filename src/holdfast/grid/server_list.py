"""The list of a client's servers, from a file: ``servers.yaml`` in the form of the
reference, or our own TOML, which is also written here.

Source: docs/spec/grid.md, sections 2 and 4.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path

import yaml

from holdfast.crypto import base32
from holdfast.errors import ConfigError
from holdfast.protocol.server_record import ServerRecord, records_from_holdfast, records_from_tahoe

SIZE_MAX = 16 << 20  # bytes


def load_server_list(path: Path) -> tuple[list[ServerRecord], list[str]]:
    """Return the servers a file names, and a sentence for each entry that cannot be used.

    Raises:
        ConfigError: the file as a whole cannot be used.
    """
    try:
        if path.stat().st_size > SIZE_MAX:
            raise ConfigError(f"{path}: a server list has at most {SIZE_MAX >> 20} MiB")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the server list {path}: {error}") from error
    try:
        if path.suffix == ".toml":
            return records_from_holdfast(tomllib.loads(text))
        return records_from_tahoe(parsed_yaml(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" (line {mark.line + 1})"
        raise ConfigError(f"{path} is not YAML{where}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def toml_list_text(records: Iterable[ServerRecord]) -> str:
    """Return the text of a ``servers.toml`` with these servers. It holds secrets."""
    return "\n".join(
        "[[server]]\n"
        f"id = {_toml(record.server_id)}\n"
        f"nickname = {_toml(record.nickname)}\n"
        f"nurls = {_toml([nurl.to_text() for nurl in record.nurls])}\n"
        f"server-seed = {_toml(base32.encode(record.server_seed))}\n"
        f"permutation-seed = {_toml(base32.encode(record.permutation_seed))}\n"
        for record in records
    )


def _toml(value: str | list[str]) -> str:
    """Return a text or a list of texts, which JSON and TOML write alike but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def parsed_yaml(text: str) -> object:
    """Return what a YAML text says, plain values alone. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe loader, in C)


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
