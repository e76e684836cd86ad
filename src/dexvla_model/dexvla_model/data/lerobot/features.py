"""The features (columns) of a dataset that follows a robot file, and their Arrow types."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dexvla_model.data.lerobot.language import EVENTS_TYPE, LANGUAGE_FEATURE, PERSISTENT_TYPE
from dexvla_model.data.lerobot.layout import (
    ACTION,
    DEFAULT_FEATURES,
    IMAGE_PREFIX,
    LANGUAGE_EVENTS,
    LANGUAGE_PERSISTENT,
    STAMP,
    STATE,
)
from dexvla_model.robot.description import RobotDescription

IMAGE_TYPE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


def vector_feature(names: tuple[str, ...]) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [len(names)], "names": list(names)}


def camera_feature(width: int, height: int, as_video: bool = True) -> dict[str, Any]:
    kind = "video" if as_video else "image"
    return {"dtype": kind, "shape": [height, width, 3], "names": ["height", "width", "channels"]}


def features_of_robot(
    robot: RobotDescription, sizes: Mapping[str, tuple[int, int]] | None = None, as_video: bool = True
) -> dict[str, dict[str, Any]]:
    """State, action, cameras, stamp and language columns of a robot's dataset, in the robot file's order.

    Args:
        sizes: (width, height) by camera role; the sizes that the model sees for those that are not named.
        as_video: MP4 files; otherwise PNG images inside the Parquet files, lossless and much larger.
    """
    features = {STATE: vector_feature(robot.state_joints), ACTION: vector_feature(robot.action_joints)}
    for camera in robot.cameras:
        width, height = (sizes or {}).get(camera.role, (camera.model_width, camera.model_height))
        features[IMAGE_PREFIX + camera.role] = camera_feature(width, height, as_video)
    features[STAMP] = {"dtype": "int64", "shape": [1], "names": None}
    return features


def complete_features(features: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those features with LeRobot's own columns behind them."""
    language = {LANGUAGE_PERSISTENT: LANGUAGE_FEATURE, LANGUAGE_EVENTS: LANGUAGE_FEATURE}
    both = {**features, **language, **DEFAULT_FEATURES}
    return {name: dict(feature) for name, feature in both.items()}


def arrow_type(name: str, feature: Mapping[str, Any]) -> pa.DataType:
    """Type of a column as LeRobot (through `datasets`) stores it. Videos have no column."""
    kind, shape = feature["dtype"], list(feature["shape"])
    if name == LANGUAGE_PERSISTENT:
        return PERSISTENT_TYPE
    if name == LANGUAGE_EVENTS:
        return EVENTS_TYPE
    if kind == "image":
        return IMAGE_TYPE
    value = pa.string() if kind == "string" else pa.from_numpy_dtype(kind)
    if shape == [1]:
        return value
    for size in reversed(shape[1:]):
        value = pa.list_(value)
    return pa.list_(value, shape[0]) if len(shape) == 1 else pa.list_(value)


def arrow_array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Numbers (N, ...) as a column of an `arrow_type`, without making Python objects of them."""
    levels = []
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        levels.append(kind)
        kind = kind.value_type
    column = pa.array(values.ravel(), type=kind)
    for level, size in reversed(list(zip(levels, values.shape[1:], strict=True))):
        if pa.types.is_fixed_size_list(level):
            column = pa.FixedSizeListArray.from_arrays(column, type=level)
        else:
            offsets = pa.array(np.arange(0, len(column) + 1, size), type=pa.int32())
            column = pa.ListArray.from_arrays(offsets, column, type=level)
    return column


def arrow_schema(features: Mapping[str, Mapping[str, Any]]) -> pa.Schema:
    """Columns of the frames' Parquet files."""
    return pa.schema(
        [
            pa.field(name, arrow_type(name, feature))
            for name, feature in features.items()
            if feature["dtype"] != "video"
        ]
    )
