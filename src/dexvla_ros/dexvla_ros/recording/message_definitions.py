"""The text of a message's definition, as MCAP and rosbag2 store it: its own and those of all that it uses.

Format: MCAP's registry, schema encoding `ros2msg`, https://mcap.dev/spec/registry#ros2msg.
"""

import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

ENCODING = "ros2msg"
_SEPARATOR = "=" * 80
_PRIMITIVES = frozenset(
    "bool byte char float32 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 string wstring".split()
)
# Names of primitives in IDL, which generated classes use.
_IDL_NAMES = {"boolean": "bool", "float": "float32", "double": "float64", "octet": "byte"}


class UnknownMessageType(Exception):
    """No package that is installed has this message."""


def message_class(type_name: str) -> type:
    """The class of a message, such as `sensor_msgs/msg/Image`.

    Raises:
        UnknownMessageType: its package is not installed, or has no such message.
    """
    package, _, name = type_name.partition("/msg/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownMessageType(
            f"the message type {type_name} is not installed here; install the package {package or type_name}"
        ) from error


@cache
def message_definition(type_name: str) -> str:
    """The definition of a message followed by those of all messages that it uses.

    Raises:
        UnknownMessageType: one of them is not installed.
    """
    texts = {type_name: _own_definition(type_name)}
    waiting = [type_name]
    while waiting:
        current = waiting.pop(0)
        for used in _used_types(texts[current], current.partition("/")[0]):
            if used not in texts:
                texts[used] = _own_definition(used)
                waiting.append(used)
    parts = [texts.pop(type_name)]
    parts += [f"{_SEPARATOR}\nMSG: {name.replace('/msg/', '/')}\n{text}" for name, text in texts.items()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _own_definition(type_name: str) -> str:
    package, _, name = type_name.partition("/msg/")
    for share in _share_folders():
        path = share / package / "msg" / f"{name}.msg"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    # A package that ships no .msg files (or only IDL): comments and constants are lost, the layout is not.
    fields = message_class(type_name).get_fields_and_field_types()
    return "\n".join(f"{_field_type(kind)} {field}" for field, kind in fields.items())


def _share_folders() -> Iterator[Path]:
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix:
            yield Path(prefix, "share")
    yield Path(sys.prefix, "share")


def _used_types(definition: str, package: str) -> Iterator[str]:
    for line in definition.splitlines():
        line = line.partition("#")[0].strip()
        if not line or line.startswith("=") or line.startswith("MSG:"):
            continue
        kind = re.split(r"[\[\s<]", line, maxsplit=1)[0]
        if kind in _PRIMITIVES:
            continue
        owner, _, name = kind.rpartition("/")
        yield f"{owner.removesuffix('/msg') or package}/msg/{name}"


def _field_type(kind: str) -> str:
    """The type of a field as generated classes name it, in the language of .msg files."""
    sequence = re.fullmatch(r"sequence<(.+?)(?:, (\d+))?>", kind)
    if sequence:
        bound = f"<={sequence[2]}" if sequence[2] else ""
        return f"{_field_type(sequence[1])}[{bound}]"
    fixed = re.fullmatch(r"(.+)\[(\d+)\]", kind)
    if fixed:
        return f"{_field_type(fixed[1])}[{fixed[2]}]"
    text = re.fullmatch(r"(w?string)<(\d+)>", kind)
    if text:
        return f"{text[1]}<={text[2]}"
    return _IDL_NAMES.get(kind, kind)
