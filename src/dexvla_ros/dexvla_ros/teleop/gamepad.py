"""sensor_msgs/Joy to jogs: nothing moves without the dead man's button."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dexvla_model.robot import RobotDescription
from dexvla_model.yaml_reader import MappingReader
from dexvla_ros.teleop.jog import (
    FRAMES,
    GRIPPER,
    SPEED_MIN,
    TWIST_AXES,
    Jog,
    JogSpeeds,
    changed_speed,
    read_speeds,
)
from dexvla_ros.teleop.source import Wish

DEADMAN = "deadman"
BUTTONS = (DEADMAN, "engage", "release", "stop", "frame", "faster", "slower", "gripper_close", "gripper_open")
_INDEX_MAX = 63


@dataclass(frozen=True)
class Axis:
    """A stick's axis: its index in `Joy.axes`, and what its value is multiplied by (-1 turns it round)."""

    index: int
    scale: float


@dataclass(frozen=True)
class GamepadConfig:
    """config/teleop/gamepad.yaml.

    Attributes:
        axes: by what they move: one of `TWIST_AXES`, `gripper`, or a joint of the robot's action.
        buttons: index in `Joy.buttons` by action.
        dead_zone: share of an axis that counts as its middle. stale_s: an older Joy stops the robot.
        speed: share of the speeds at the start, 0 to 1.
    """

    speeds: JogSpeeds
    topic: str
    axes: Mapping[str, Axis]
    buttons: Mapping[str, int]
    dead_zone: float
    stale_s: float
    speed: float


def read_gamepad(reader: MappingReader, robot: RobotDescription) -> GamepadConfig:
    """Read a gamepad file.

    Raises:
        UserError: a key, an axis or a button is wrong, or there is no dead man's button.
    """
    known = (*TWIST_AXES, GRIPPER, *robot.action_joints)
    section = reader.mapping("axes")
    axes = {}
    for name in section.all():
        if name not in known:
            raise reader.error("axes", f"for {name!r}", f"what an axis can move is {', '.join(known)}")
        entry = section.mapping(name)
        axes[name] = Axis(entry.integer("axis", 0, _INDEX_MAX), entry.number("scale", -1.0, 1.0, 1.0))
        entry.finish()
    section = reader.mapping("buttons")
    buttons = {name: section.integer(name, 0, _INDEX_MAX) for name in BUTTONS if section.has(name)}
    if DEADMAN not in buttons:
        # Says that it is missing, and what stands there.
        section.take(DEADMAN)
    section.finish()
    for name, index in buttons.items():
        other = next(other for other, taken in buttons.items() if taken == index)
        if other != name:
            raise section.error(name, str(index), f"{other} has this button already")
    config = GamepadConfig(
        speeds=read_speeds(reader),
        topic=reader.text("topic", default="joy"),
        axes=axes,
        buttons=buttons,
        dead_zone=reader.number("dead_zone", 0.0, 0.9, 0.1),
        stale_s=reader.number("stale_s", 0.05, 1.0, 0.25),
        speed=reader.number("speed", SPEED_MIN, 1.0, 0.5),
    )
    reader.finish()
    return config


class Gamepad:
    """A `JogDevice` out of Joy messages."""

    device = "gamepad"

    def __init__(self, config: GamepadConfig, robot: RobotDescription) -> None:
        self.config = config
        self._joints = robot.action_joints
        self._frame = FRAMES[0]
        self._speed = config.speed
        self._pressed: set[str] = set()
        # The dead man's button counts only after it was seen released.
        self._armed = False
        self._jog: Jog | None = None
        self._heard_s: float | None = None
        self._problem = ""
        self.note = ""
        self._wishes: list[Wish] = []

    @property
    def mode(self) -> str:
        return self._frame

    @property
    def speed(self) -> float:
        return self._speed

    def on_joy(self, axes: Sequence[float], buttons: Sequence[int], now_s: float) -> None:
        """Take a Joy message: axes from -1 to 1, buttons 0 or 1."""
        self._jog = None
        self._problem = self._mismatch(axes, buttons)
        if self._problem:
            self.forget()
            return
        if self._heard_s is not None and now_s - self._heard_s > self.config.stale_s:
            self._armed = False
        self._heard_s = now_s
        pressed = {name for name, index in self.config.buttons.items() if buttons[index]}
        for name in sorted(pressed - self._pressed):
            self._on_press(name)
        self._pressed = pressed
        self._armed = self._armed or DEADMAN not in pressed
        if self._armed and DEADMAN in pressed:
            self._jog = self._read(axes, pressed, now_s + self.config.stale_s)

    def jog(self, now_s: float) -> Jog | None:
        heard = self._heard_s is not None and now_s - self._heard_s <= self.config.stale_s
        self.note = "" if heard else f"no Joy comes on {self.config.topic}: is joy_node running?"
        return self._jog if self._jog is not None and now_s < self._jog.until_s else None

    def problem(self, now_s: float) -> str:
        return self._problem

    def wishes(self) -> list[Wish]:
        wishes, self._wishes = self._wishes, []
        return wishes

    def forget(self) -> None:
        self._armed, self._jog = False, None

    def _mismatch(self, axes: Sequence[float], buttons: Sequence[int]) -> str:
        for name, axis in self.config.axes.items():
            if axis.index >= len(axes):
                return f"{name} is on axis {axis.index}, but Joy has {len(axes)} axes: correct the mapping"
            if not math.isfinite(axes[axis.index]):
                return f"axis {axis.index} of Joy is {axes[axis.index]}"
        for name, index in self.config.buttons.items():
            if index >= len(buttons):
                return f"{name} is on button {index}, but Joy has {len(buttons)} buttons: correct the mapping"
        return ""

    def _on_press(self, name: str) -> None:
        if name in ("engage", "release", "stop"):
            self._wishes.append(Wish(name))
        elif name in ("faster", "slower"):
            self._speed = changed_speed(self._speed, name)
        elif name == "frame":
            self._frame = FRAMES[1 - FRAMES.index(self._frame)]

    def _read(self, axes: Sequence[float], pressed: set[str], until_s: float) -> Jog:
        twist, joints = np.zeros(6), np.zeros(len(self._joints))
        gripper = float("gripper_close" in pressed) - float("gripper_open" in pressed)
        for name, axis in self.config.axes.items():
            share = self._share(axes[axis.index]) * axis.scale
            if name in TWIST_AXES:
                twist[TWIST_AXES.index(name)] = share
            elif name == GRIPPER:
                gripper += share
            else:
                joints[self._joints.index(name)] = share
        return Jog(twist, joints, float(np.clip(gripper, -1.0, 1.0)), self._frame, self._speed, until_s)

    def _share(self, value: float) -> float:
        """From 0 at the dead zone's edge to 1 at the end."""
        beyond = min(abs(value), 1.0) - self.config.dead_zone
        return math.copysign(max(beyond, 0.0) / (1.0 - self.config.dead_zone), value)
