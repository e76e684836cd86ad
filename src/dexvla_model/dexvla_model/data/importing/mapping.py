"""The mapping file: which of a foreign dataset's numbers and cameras are which of the robot's.

    state:                      # robot's joint: name or index in the dataset, or a mapping with scale and
    offset
      shoulder_pan_joint: shoulder_pan.pos
      elbow_joint: {from: 2, scale: 0.0174533, offset: 0.0}
    action: {...}
    cameras: {scene: observation.images.top}

What it leaves out is matched by name, or, where the dataset has no names and as many entries, by position.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription
from dexvla_model.yaml_reader import MappingReader, parse_yaml


@dataclass(frozen=True)
class Entry:
    """Column `column` (a name or an index), times `scale` plus `offset`, in the robot's unit."""

    column: str | int
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Mapping:
    """See the module. Empty for everything that is to be matched by itself."""

    source: str = "the mapping"
    state: dict[str, Entry] = field(default_factory=dict)
    action: dict[str, Entry] = field(default_factory=dict)
    cameras: dict[str, str] = field(default_factory=dict)


def load_mapping(path: Path, robot: RobotDescription) -> Mapping:
    """Read a mapping file.

    Raises:
        UserError: it has an error, or names a joint or camera that the robot lacks.
    """
    try:
        reader = parse_yaml(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the mapping file cannot be read ({error}); correct --mapping.") from error
    state = _entries(reader.mapping("state", optional=True), robot.state_joints)
    action = _entries(reader.mapping("action", optional=True), robot.action_joints)
    section = reader.mapping("cameras", optional=True)
    roles = [camera.role for camera in robot.cameras]
    cameras = {role: section.text(role) for role in roles if section.has(role)}
    section.finish()
    reader.finish()
    return Mapping(str(path), state, action, cameras)


def _entries(section: MappingReader, joints: Sequence[str]) -> dict[str, Entry]:
    entries = {}
    for joint in joints:
        if not section.has(joint):
            continue
        value = section.take(joint)
        if isinstance(value, dict):
            entry = section.mapping(joint)
            column = entry.take("from")
            scale, offset = entry.number("scale", default=1.0), entry.number("offset", default=0.0)
            entry.finish()
        else:
            column, scale, offset = value, 1.0, 0.0
        if isinstance(column, bool) or not isinstance(column, str | int):
            raise section.error(joint, repr(column), "the name or index of a column is needed")
        entries[joint] = Entry(column, scale, offset)
    section.finish()
    return entries


class VectorMap:
    """Turns the foreign vectors (N, D) into the robot's (N, J) float32.

    Args:
        names: of the D columns, or None where the dataset has none.
        what: such as `action`, and `where` (a folder or file), for messages.

    Raises:
        UserError: a joint has no column.
    """

    def __init__(
        self,
        entries: dict[str, Entry],
        joints: Sequence[str],
        names: Sequence[str] | None,
        width: int,
        what: str,
        where: str,
    ):
        self._columns, scales, offsets = [], [], []
        for position, joint in enumerate(joints):
            entry = entries.get(joint)
            if entry is None:
                # Names that are not the robot's say that the order may be another: then only a mapping can
                # tell.
                if names is not None and joint in names:
                    entry = Entry(joint)
                elif not entries and names is None and width == len(joints):
                    entry = Entry(position)
            self._columns.append(_column(entry, joint, names, width, what, where))
            scales.append(entry.scale)
            offsets.append(entry.offset)
        self._scale, self._offset = np.array(scales), np.array(offsets)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        picked = np.asarray(values)[:, self._columns].astype(np.float64)
        return (picked * self._scale + self._offset).astype(np.float32)


def _column(
    entry: Entry | None, joint: str, names: Sequence[str] | None, width: int, what: str, where: str
) -> int:
    found = ", ".join(names) if names else f"{width} columns without names"
    if entry is None:
        raise UserError(
            f"{where}: nothing in {what} is known to be the robot's joint {joint} (found: {found}); "
            f"name its column under {what} in a file given with --mapping."
        )
    if isinstance(entry.column, int):
        if not 0 <= entry.column < width:
            raise UserError(
                f"{where}: {what} of {joint} is mapped to column {entry.column}, but there are {width}."
            )
        return entry.column
    if names is None or entry.column not in names:
        raise UserError(f"{where}: {what} of {joint} is mapped to {entry.column!r}, but found are {found}.")
    return list(names).index(entry.column)
