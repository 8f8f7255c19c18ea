"""A table of a TOML file, taken apart key by key. Whatever is wrong is said with the
name of the key and with what would be right; so is whatever is left over.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from holdfast.errors import ConfigError
from holdfast.node.durations import parse_duration
from holdfast.node.sizes import parse_size


class TomlTable:
    """Hands out each key once; ``finish`` complains about the others.

    Every method that takes a default returns it where the key is absent, and raises ConfigError where the
    value is not of the right kind.
    """

    def __init__(self, source: str, name: str, values: Mapping[str, object]) -> None:
        """``source`` names the file, ``name`` the table (empty for the whole file), both for messages."""
        self._source = source
        self._name = name
        self._values = dict(values)
        self._known: list[str] = []

    def table(self, key: str) -> TomlTable:
        """Return a table inside this one; an empty one where it is absent."""
        value = self._take(key, {})
        if not isinstance(value, Mapping):
            raise self.error(key, f"must be a table, [{self._path(key)}]")
        return TomlTable(self._source, self._path(key), value)

    def text(self, key: str, default: str) -> str:
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.error(key, "must be a text between quotes")
        return value

    def texts(self, key: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        value = self._take(key, list(default))
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, 'must be a list of texts, ["...", "..."]')
        return tuple(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def number(self, key: str, default: int, least: int, most: int) -> int:
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.error(key, f"must be a whole number from {least} to {most}")
        return value

    def size(self, key: str, default: int) -> int:
        """Return bytes. A whole number, or a text such as "10G" (see ``parse_size``)."""
        value = self._take(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if isinstance(value, str):
            try:
                return parse_size(value)
            except ValueError:
                pass
        raise self.error(key, 'must be a size in bytes, such as 5000000, "5M" or "10Gi"')

    def optional_size(self, key: str) -> int | None:
        """Return bytes, or None where the key is absent."""
        if key not in self._values:
            self._known.append(key)
            return None
        return self.size(key, 0)

    def seconds(self, key: str, default: int) -> int:
        """Return seconds. A whole number, or a text such as "90d" (see ``parse_duration``)."""
        value = self._take(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if isinstance(value, str):
            try:
                return parse_duration(value)
            except ValueError:
                pass
        raise self.error(key, 'must be a time, such as "45s", "12h" or "90d"')

    def left(self) -> list[str]:
        """Return the keys that nobody has asked for yet."""
        return list(self._values)

    def choice(self, key: str, default: str, choices: Sequence[str]) -> str:
        value = self._take(key, default)
        if not isinstance(value, str) or value not in choices:
            raise self.error(key, "must be " + " or ".join(f'"{choice}"' for choice in choices))
        return value

    def finish(self) -> None:
        """Refuse what nobody asked for: a misspelt setting must not mean its default."""
        for key in self._values:
            near = difflib.get_close_matches(key, self._known, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(self._known)}"
            raise self.error(key, f"no such setting; {hint}")

    def error(self, key: str, complaint: str) -> ConfigError:
        """Return the error that says what is wrong with ``key``."""
        return ConfigError(f"{self._source}: {self._path(key)} {complaint}")

    def _take(self, key: str, default: object) -> object:
        self._known.append(key)
        return self._values.pop(key, default)

    def _path(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key
