"""The streaming settings as parameters: names, ranges and descriptions are those of `StreamSettings`."""

import re
from dataclasses import fields
from types import SimpleNamespace

from dexvla_model.streaming.settings import RANGES, StreamSettings
from dexvla_ros.nodes.parameters import ParameterSpec

_PREFIX = "streaming."


def streaming_parameters(defaults: StreamSettings = StreamSettings()) -> tuple[ParameterSpec, ...]:
    """One parameter `streaming.NAME` for each setting."""
    descriptions = _descriptions()
    specs = []
    for field in fields(StreamSettings):
        lower, upper, unit = RANGES.get(field.name, (None, None, ""))
        description = descriptions[field.name] + (f" Unit: {unit}." if unit else "")
        default = getattr(defaults, field.name)
        specs.append(ParameterSpec(_PREFIX + field.name, default, description, lower, upper))
    return tuple(specs)


def stream_settings(values: SimpleNamespace) -> StreamSettings:
    """The settings out of a node's parameter values."""
    given = {field.name: getattr(values, _PREFIX + field.name) for field in fields(StreamSettings)}
    return StreamSettings(**given)


def _descriptions() -> dict[str, str]:
    """The attributes' texts in the class' docstring, by name."""
    attributes = StreamSettings.__doc__.partition("Attributes:")[2]
    found = re.findall(r"^ {8}(\w+): (.*?)(?=^ {8}\w+: |\Z)", attributes, re.MULTILINE | re.DOTALL)
    return {name: _sentence(text) for name, text in found}


def _sentence(text: str) -> str:
    joined = " ".join(text.split())
    return joined[:1].upper() + joined[1:]
