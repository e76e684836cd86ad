"""What a human asks for with keys or sticks: velocities, for a short time."""

from dataclasses import dataclass

import numpy as np

from dexvla_model.yaml_reader import MappingReader

FRAMES = ("base", "tool")
# Translation along and rotation about the axes of a frame, in the order of a twist.
TWIST_AXES = ("move_x", "move_y", "move_z", "turn_x", "turn_y", "turn_z")
GRIPPER = "gripper"
SPEED_MIN = 0.05
SPEED_STEP = 1.25


@dataclass(frozen=True)
class JogSpeeds:
    """The largest velocities of a jog, and how fast they are reached.

    Attributes:
        translation_m_s, rotation_rad_s: of the tool. joint_rad_s: of a single joint; one that slides has
            translation_m_s.
        gripper_rad_s: of the joints that do not move the tool; positive closes the gripper.
        ramp_s: time from rest to full speed, and back.
        gripper_closes: the limit of the gripper's joints at which it is closed, 1.0 = upper, -1.0 = lower.
    """

    translation_m_s: float = 0.15
    rotation_rad_s: float = 0.6
    joint_rad_s: float = 0.6
    gripper_rad_s: float = 0.8
    ramp_s: float = 0.2
    gripper_closes: float = 1.0


@dataclass(frozen=True)
class Jog:
    """Velocities as shares (-1 to 1) of the largest ones, until the dead man's time is over.

    Attributes:
        twist: (6,) shares, in the order of `TWIST_AXES`; not zero means that no joint is jogged beside it.
        joints: (A,) shares, in the order of the action vector.
        gripper: share; positive closes.
        frame: `base` or `tool`, in which the twist is meant.
        speed: 0 to 1, multiplies everything.
        until_s: node clock, from which on nothing is wanted any more.
    """

    twist: np.ndarray
    joints: np.ndarray
    gripper: float
    frame: str
    speed: float
    until_s: float

    @property
    def still(self) -> bool:
        """Nothing is to move."""
        return not (self.twist.any() or self.joints.any() or self.gripper) or self.speed == 0.0


def changed_speed(speed: float, action: str) -> float:
    """The share of the speeds, 0 to 1, after the action `faster` or `slower`."""
    return float(np.clip(speed * (SPEED_STEP if action == "faster" else 1.0 / SPEED_STEP), SPEED_MIN, 1.0))


def read_speeds(reader: MappingReader) -> JogSpeeds:
    """The section `speeds` of a teleoperation file.

    Raises:
        UserError: a key is missing, unknown or out of range.
    """
    section = reader.mapping("speeds", optional=True)
    default = JogSpeeds()
    speeds = JogSpeeds(
        translation_m_s=section.number("translation_m_s", 0.001, 2.0, default.translation_m_s),
        rotation_rad_s=section.number("rotation_rad_s", 0.001, 4.0, default.rotation_rad_s),
        joint_rad_s=section.number("joint_rad_s", 0.001, 4.0, default.joint_rad_s),
        gripper_rad_s=section.number("gripper_rad_s", 0.001, 10.0, default.gripper_rad_s),
        ramp_s=section.number("ramp_s", 0.05, 1.0, default.ramp_s),
        gripper_closes={"upper": 1.0, "lower": -1.0}[
            section.text("gripper_closes_at", allowed=("upper", "lower"), default="upper")
        ],
    )
    section.finish()
    return speeds
