"""The lists of storage servers in a client's directory, as commands read and write them.

What is heavy to load is loaded by the function that needs it.

Source: docs/spec/control-and-introducer.md, section 3.8; docs/spec/grid.md, section 4.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.messages import note
from holdfast.errors import ConfigError, InputError

if TYPE_CHECKING:
    from holdfast.grid.listed_servers import ListedServer
    from holdfast.grid.tahoe_import import Merged
    from holdfast.node.config import NodeConfig

YAML_LIST, TOML_LIST = "private/servers.yaml", "private/servers.toml"


def known_servers(node: Path, config: NodeConfig) -> tuple[list[ListedServer], list[str]]:
    """Return the servers that the client knows, and what is wrong with what it knows."""
    from holdfast.grid.announcement_cache import AnnouncementCache
    from holdfast.grid.listed_servers import listed_servers
    from holdfast.node.client_node import load_listed_servers
    from holdfast.node.logs import log_through_the_standard_library
    from holdfast.node.meeting import CACHE_FILE, meeting_settings

    log_through_the_standard_library()
    private = node / "private"
    static, problems = load_listed_servers(node)
    cache = private / CACHE_FILE
    existed = cache.exists()
    remembered = AnnouncementCache(cache).load()
    if existed and not cache.exists():
        problems = [*problems, f"{cache} was damaged, and is put aside; introducers will be asked again"]
    settings = meeting_settings(private, config.meeting)
    return listed_servers(static, remembered, settings, time.time()), problems


def list_in_use(node: Path, config: NodeConfig) -> Path | None:
    """Return the list of servers that the client reads, by the rule of ``node.client_node``."""
    from holdfast.node.config import SERVER_LISTS

    if config.client.servers is not None:
        return node / config.client.servers
    return next((node / name for name in SERVER_LISTS if (node / name).is_file()), None)


def same_file(one: Path | None, other: Path) -> bool:
    """Return true for two names of one file, which need not exist."""
    return one is not None and one.resolve() == other.resolve()


# -- lists in YAML


@dataclass(frozen=True, slots=True)
class YamlList:
    """A client's ``private/servers.yaml``, or what it would hold.

    Attributes:
        entries: by server id.
        rest: what else stands in the file.
        taken_from: the list in TOML whose servers are the entries, there being no file yet.
    """

    entries: dict[str, object] = field(default_factory=dict, repr=False)
    rest: dict[str, object] = field(default_factory=dict, repr=False)
    taken_from: Path | None = None


def yaml_list(node: Path, config: NodeConfig) -> YamlList:
    """Return the list to which servers can be added.

    Raises:
        ConfigError: the client's settings name another list, or its list makes no sense.
    """
    from holdfast.grid.server_list import load_server_list
    from holdfast.protocol.server_record import to_tahoe

    in_use = list_in_use(node, config)
    is_ours = same_file(in_use, node / YAML_LIST)
    if config.client.servers is not None and not is_ours:
        raise ConfigError(
            f'{node} uses {in_use}; to import, let client.servers in holdfast.toml be "{YAML_LIST}"'
        )
    if in_use is None or not in_use.exists():
        return YamlList()
    records, problems = load_server_list(in_use)  # says what is wrong with it as a whole
    if is_ours:
        whole = _parsed(in_use)
        assert isinstance(whole, dict)
        return YamlList(dict(whole.pop("storage", None) or {}), whole)
    for problem in problems:
        note(f"left out: {problem}")
    return YamlList({record.server_id: to_tahoe(record) for record in records}, {}, in_use)


def merged_with(known: YamlList, file: Path) -> Merged:
    """Return what comes of adding the servers of a file of Tahoe-LAFS.

    Raises:
        InputError: the file cannot be read, or is of another kind.
    """
    import yaml

    from holdfast.grid.tahoe_import import merge

    try:
        return merge(known.entries, _parsed(file))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" (line {mark.line + 1})"
        raise InputError(f"{file} is not YAML{where}") from None
    except (UnicodeDecodeError, RecursionError):
        raise InputError(f"{file} is not YAML") from None
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None


def write_yaml_list(node: Path, known: YamlList, merged: Merged) -> None:
    """Replace the list by what came of an import."""
    import yaml

    from holdfast.node.private_files import write_private_file

    whole = {"storage": merged.entries, **known.rest}
    write_private_file(node / YAML_LIST, yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))


def _parsed(file: Path) -> object:
    from holdfast.grid.server_list import SIZE_MAX, parsed_yaml

    with open(file, encoding="utf-8") as handle:
        text = handle.read(SIZE_MAX + 1)
    if len(text) > SIZE_MAX:
        raise ValueError(f"a list of servers has at most {SIZE_MAX >> 20} MiB")
    return parsed_yaml(text)
