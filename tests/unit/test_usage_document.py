"""What docs/usage.md shows as settings is accepted as it stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from holdfast.cli.commands import COMMANDS
from holdfast.node.config import parse_config

USAGE = (Path(__file__).parents[2] / "docs/usage.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", USAGE, re.DOTALL)


def test_the_settings_it_shows_are_settings() -> None:
    server, client, _ = EXAMPLES
    assert parse_config(server, "usage.md").storage.capacity == 100 * 10**9
    assert parse_config(client, "usage.md").client.encoding.happiness == 7


def test_the_list_of_servers_it_shows_has_the_form_of_one() -> None:
    assert tomllib.loads(EXAMPLES[2])["server"][0]["nickname"] == "amber"


def test_it_names_every_command() -> None:
    assert [name for name in COMMANDS if f"`{name} " not in USAGE] == []
