"""What a dataset of demonstrations holds beyond a recording: the demonstrator's answer at every frame.

Two further features, which LeRobot reads as Array2D:

- `action_chunk` (T, A): what the demonstrator would do *from there*, row k the position k action steps after
  the frame. So frames of disturbed episodes, or of episodes that another policy drove, are right labels as
  well. Row 0 is where the robot is; `action` is row 1, the command that moves it on.
- `grounding.ROLE` (O, cells) uint8: the share (of 255) of the pixels of each vision token of a camera that
  show each of O objects, tokens row by row.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dexvla_model.data.lerobot.layout import DatasetInfo
from dexvla_model.errors import UserError
from dexvla_model.robot.description import Camera, RobotDescription, token_side

ACTION_CHUNK = "action_chunk"
GROUNDING_PREFIX = "grounding."
_JOINTS, _OBJECTS = "joints", "objects"


def label_features(
    robot: RobotDescription, horizon: int, objects: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The features for a robot; no grounding where there are no objects."""
    shape = [horizon, len(robot.action_joints)]
    names = {_JOINTS: list(robot.action_joints)}
    features: dict[str, dict[str, Any]] = {ACTION_CHUNK: {"dtype": "float32", "shape": shape, "names": names}}
    for camera in robot.cameras if objects else ():
        shape = [len(objects), _cells(camera)]
        feature = {"dtype": "uint8", "shape": shape, "names": {_OBJECTS: list(objects)}}
        features[GROUNDING_PREFIX + camera.role] = feature
    return features


def labelled_horizon(info: DatasetInfo, robot: RobotDescription) -> int | None:
    """Rows of a dataset's action chunks; None where it has none at the rate of the robot's actions."""
    feature = info.features.get(ACTION_CHUNK)
    if feature is None or len(feature["shape"]) != 2 or abs(info.fps - robot.rates.action_hz) > 1e-6:
        return None
    return feature["shape"][0]


def chunk_columns(info: DatasetInfo, robot: RobotDescription, folder: Path) -> list[int]:
    """Places of the robot's joints in a row of the dataset's action chunks.

    Raises:
        UserError: they hold other joints.
    """
    names = _names(info.features[ACTION_CHUNK], _JOINTS)
    if not set(robot.action_joints) <= set(names):
        raise UserError(
            f"{folder}: {ACTION_CHUNK} holds {', '.join(names) or 'joints without names'}, but the robot "
            f"{robot.name} has {', '.join(robot.action_joints)}; train on a dataset of this robot."
        )
    return [names.index(joint) for joint in robot.action_joints]


def grounded_objects(info: DatasetInfo, robot: RobotDescription, folder: Path) -> tuple[str, ...]:
    """Names of the objects that the dataset's grounding knows of; empty where one of the cameras has none.

    Raises:
        UserError: the cameras' grounding is not of the same objects, or not of the robot's images.
    """
    known: tuple[str, ...] = ()
    for camera in robot.cameras:
        feature = info.features.get(GROUNDING_PREFIX + camera.role)
        if feature is None:
            return ()
        names = tuple(_names(feature, _OBJECTS))
        expected = [len(known or names), _cells(camera)]
        if feature["shape"] != expected or len(names) != expected[0] or names != (known or names):
            raise UserError(
                f"{folder}: {GROUNDING_PREFIX}{camera.role} is {feature['shape']} of {', '.join(names)}, "
                f"but the robot's cameras need {expected} of the same objects; record it again with "
                "`dexvla demonstrate`."
            )
        known = names
    return known


def spread_objects(grounding: np.ndarray, known: Sequence[str], objects: Sequence[str]) -> np.ndarray:
    """Grounding (B, O, V) of the `known` objects as that of all `objects`; others are in no picture."""
    if tuple(known) == tuple(objects):
        return grounding
    spread = np.zeros((len(grounding), len(objects), grounding.shape[2]), dtype=grounding.dtype)
    spread[:, [list(objects).index(name) for name in known]] = grounding
    return spread


def _names(feature: Mapping[str, Any], kind: str) -> list[str]:
    names = feature.get("names")
    return [str(name) for name in names.get(kind) or ()] if isinstance(names, Mapping) else []


def _cells(camera: Camera) -> int:
    side = token_side(camera.model_width, camera.model_height)
    return camera.model_width // side * (camera.model_height // side)
