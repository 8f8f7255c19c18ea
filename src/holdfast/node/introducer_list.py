"""The introducers a node knows: ``private/introducers.toml``, petname to NURL.

Source: docs/spec/control-and-introducer.md, section 3.8.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from holdfast.errors import ConfigError
from holdfast.node.private_files import write_private_file
from holdfast.protocol.nurl import Nurl, parse_nurl

INTRODUCERS_FILE = "introducers.toml"
INTRODUCERS_MAX = 32
_PETNAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


def load_introducers(private: Path) -> dict[str, Nurl]:
    """Return the introducers of a node; none if it has no such file.

    Raises:
        ConfigError: the file is wrong; the message names it and the petname, never a NURL.
    """
    path = private / INTRODUCERS_FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        # What they say of the place may repeat a part of it.
        raise ConfigError(
            f'{path} is damaged: it is not TOML; each line must be a name of your own and a NURL: NAME = "pb://..."'
        ) from None
    if len(values) > INTRODUCERS_MAX:
        raise ConfigError(f"{path} lists {len(values)} introducers; {INTRODUCERS_MAX} are enough")
    return {petname: _nurl(path, petname, value) for petname, value in values.items()}


def write_introducers(private: Path, introducers: Mapping[str, str]) -> None:
    """Write the list, replacing an earlier one.

    Raises:
        ConfigError: a petname or a NURL is none.
    """
    path = private / INTRODUCERS_FILE
    for petname, text in introducers.items():
        _nurl(path, petname, text)
    lines = [f"{json.dumps(petname)} = {json.dumps(text)}\n" for petname, text in introducers.items()]
    write_private_file(
        path, "# Introducers of the grid: a name of your own, and the NURL.\n" + "".join(lines)
    )


def _nurl(path: Path, petname: str, value: object) -> Nurl:
    if _PETNAME.fullmatch(petname) is None:
        raise ConfigError(f"{path}: a petname has 1 to 64 letters, digits, dots and dashes")
    if not isinstance(value, str):
        raise ConfigError(f"{path}: {petname} must be a NURL between quotes")
    try:
        return parse_nurl(value)
    except ValueError as error:
        raise ConfigError(f"{path}: {petname}: {error}") from None
