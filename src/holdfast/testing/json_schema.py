"""As much of JSON Schema (2020-12) as the description of the control interface uses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
_KNOWN = {
    "type", "properties", "required", "additionalProperties", "items", "enum", "minimum", "maximum",
    "multipleOf", "pattern", "anyOf", "description", "$ref",
}  # fmt: skip


def complaints(
    value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any], at: str = ""
) -> list[str]:
    """Return what is wrong with ``value``; nothing if it is as ``schema`` says."""
    unknown = set(schema) - _KNOWN
    if unknown:
        raise ValueError(f"keywords not known here: {unknown}")
    if "$ref" in schema:
        return complaints(value, definitions[schema["$ref"].rpartition("/")[2]], definitions, at)
    found = _of_value(value, schema, at)
    if "anyOf" in schema:
        choices = [complaints(value, choice, definitions, at) for choice in schema["anyOf"]]
        found += [] if any(not choice for choice in choices) else [f"{at}: fits none of the choices"]
    if isinstance(value, dict):
        found += _of_object(value, schema, definitions, at)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            found += complaints(item, schema["items"], definitions, f"{at}/{index}")
    return found


def _of_value(value: Any, schema: Mapping[str, Any], at: str) -> list[str]:
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_TYPES[name](value) for name in types):
        return [f"{at}: is no {' or '.join(types)}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: is none of {schema['enum']}")
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{at}: does not match {schema['pattern']}")
    if _TYPES["number"](value):
        found += [f"{at}: too small"] if value < schema.get("minimum", value) else []
        found += [f"{at}: too large"] if value > schema.get("maximum", value) else []
        if "multipleOf" in schema and value % schema["multipleOf"]:
            found.append(f"{at}: no multiple of {schema['multipleOf']}")
    return found


def _of_object(
    value: dict[str, Any], schema: Mapping[str, Any], definitions: Mapping[str, Any], at: str
) -> list[str]:
    found = [f"{at}: lacks {name}" for name in schema.get("required", ()) if name not in value]
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in properties:
            found += complaints(item, properties[name], definitions, f"{at}/{name}")
        elif others is False:
            found.append(f"{at}: {name} is not foreseen")
        elif isinstance(others, dict):
            found += complaints(item, others, definitions, f"{at}/{name}")
    return found
