"""Dataclasses from parsed JSON, with every key accounted for."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from dexvla_model.errors import UserError


def table_of(value: Any, where: str) -> Mapping[str, Any]:
    """`value` as a table. Raises UserError when it is none; `where` names file and key."""
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is {value!r}, needed is a table.")
    return value


def take_fields(kind: type, values: Any, where: str) -> dict[str, Any]:
    """The fields of the dataclass `kind` in a table. Raises UserError for an unknown or missing key."""
    table = table_of(values, where)
    allowed = {f.name: f for f in fields(kind)}
    unknown = sorted(set(table) - set(allowed))
    if unknown:
        raise UserError(f"{where}: key {unknown[0]!r} is unknown, allowed are {', '.join(allowed)}.")
    missing = [
        name
        for name, f in allowed.items()
        if name not in table and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise UserError(f"{where}: key {missing[0]!r} is missing.")
    return dict(table)
