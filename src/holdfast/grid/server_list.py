"""The list of a client's servers, from a file: ``servers.yaml`` in the form of the
reference, or our own TOML.

Source: docs/spec/grid.md, sections 2 and 4.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

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
        return records_from_tahoe(yaml.load(text, Loader=_Loader))  # noqa: S506  (a safe loader, in C)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" (line {mark.line + 1})"
        raise ConfigError(f"{path} is not YAML{where}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
