"""From sensor values to what the policy sees: the one code path of training, recording and deployment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from dexvla_model.robot.description import Camera, RobotDescription


class InvalidObservation(Exception):
    """Sensor data that cannot be trusted: a joint or camera missing, a size wrong, a value not finite."""


class MissingJoint(InvalidObservation):
    """A joint of the layout is not among the names that arrived."""


@dataclass(frozen=True)
class RobotState:
    """Proprioception: measured joint positions (S,) in rad, in the order of the state layout, at `stamp_s`."""

    stamp_s: float
    positions: np.ndarray


@dataclass(frozen=True)
class Observation:
    """What a policy gets to see at one instant.

    Attributes:
        stamp_s: when the images were taken, in s of the node clock.
        images: by camera role, (H, W, 3) uint8 RGB at the size the model sees.
        state: the measured joints nearest to the images.
        ground_truth: what only a simulator knows; scripted demonstrators read it, learned policies never do.
    """

    stamp_s: float
    images: Mapping[str, np.ndarray]
    state: RobotState
    ground_truth: Mapping[str, Any] | None = field(default=None, repr=False)


def select_joints(names: Sequence[str], values: Sequence[float], joints: Sequence[str]) -> np.ndarray:
    """Values of `joints`, in that order, matched by name and never by position.

    Args:
        names: the joint names that arrived, in any order, with or without others.
        values: one value for each name.

    Returns:
        (len(joints),) float64.

    Raises:
        MissingJoint: a joint is not among the names.
        InvalidObservation: the lengths differ, a name stands there twice, or a value is not finite.
    """
    if len(names) != len(values):
        raise InvalidObservation(f"{len(names)} joint names came with {len(values)} values")
    by_name = dict(zip(names, values))
    if len(by_name) != len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise InvalidObservation(f"the joint {twice} came twice in one message")
    missing = [joint for joint in joints if joint not in by_name]
    if missing:
        raise MissingJoint(f"the joint {missing[0]} is missing; there came {', '.join(names) or 'none'}")
    selected = np.array([by_name[joint] for joint in joints], dtype=np.float64)
    if not np.isfinite(selected).all():
        bad = joints[int(np.argmin(np.isfinite(selected)))]
        raise InvalidObservation(f"the joint {bad} has the value {by_name[bad]}")
    return selected


def resize_image(image: np.ndarray, camera: Camera) -> np.ndarray:
    """A camera's image at the size that the model sees.

    Args:
        image: (H, W, 3) uint8 RGB, of any size.

    Returns:
        (camera.model_height, camera.model_width, 3) uint8, averaged over source pixels where it shrinks.

    Raises:
        InvalidObservation: the image has another shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InvalidObservation(
            f"the image of the camera {camera.role} has shape {image.shape} and type {image.dtype}, "
            "needed is (height, width, 3) uint8"
        )
    if image.shape[:2] == (camera.model_height, camera.model_width):
        return np.ascontiguousarray(image)
    resized = Image.fromarray(image).resize((camera.model_width, camera.model_height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def build_state(
    robot: RobotDescription, names: Sequence[str], positions: Sequence[float], stamp_s: float
) -> RobotState:
    """The state vector (S,) out of a joint_states message's names and positions.

    Raises:
        InvalidObservation: see `select_joints`.
    """
    return RobotState(stamp_s, select_joints(names, positions, robot.state_joints))


def build_observation(
    robot: RobotDescription,
    stamp_s: float,
    images: Mapping[str, np.ndarray],
    state: RobotState,
    ground_truth: Mapping[str, Any] | None = None,
) -> Observation:
    """Put an observation together: every camera of the robot file, resized, and the state.

    Args:
        images: by role, (H, W, 3) uint8 RGB at any size.

    Raises:
        InvalidObservation: a camera is missing or an image is malformed.
    """
    resized = {}
    for camera in robot.cameras:
        if camera.role not in images:
            raise InvalidObservation(f"there is no image of the camera {camera.role}")
        resized[camera.role] = resize_image(images[camera.role], camera)
    return Observation(stamp_s, resized, state, ground_truth)
