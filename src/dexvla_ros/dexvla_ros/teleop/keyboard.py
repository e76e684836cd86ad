"""Keys to jogs. A terminal tells presses and repetitions, no releases: a press counts for a short time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dexvla_model.robot import RobotDescription
from dexvla_model.yaml_reader import MappingReader
from dexvla_ros.teleop.jog import (
    FRAMES,
    SPEED_MIN,
    TWIST_AXES,
    Jog,
    JogSpeeds,
    changed_speed,
    read_speeds,
)
from dexvla_ros.teleop.source import Wish

# Actions besides motion, with what the help says of them.
CONTROLS = {
    "engage": "take the robot over",
    "release": "hand it back",
    "stop": "stop",
    "frame": "base or tool frame",
    "faster": "faster",
    "slower": "slower",
    "quit": "quit",
}
MOTIONS = tuple(f"{axis}{sign}" for axis in (*TWIST_AXES, "joint", "gripper") for sign in "+-")
_SELECT = "joint_"
# The terminal's pause before it repeats a key that is held is shorter than this.
_REPEAT_PAUSE_S = 0.8


@dataclass(frozen=True)
class KeyboardConfig:
    """config/teleop/keyboard.yaml.

    Attributes:
        keys: action by key; an action is one of `MOTIONS`, of `CONTROLS`, or `joint_1`, `joint_2`, ...
        press_s: time for which a first press moves. repeat_s: the same of every repetition of a held key.
        speed: share of the speeds at the start, 0 to 1.
    """

    speeds: JogSpeeds
    keys: Mapping[str, str]
    press_s: float
    repeat_s: float
    speed: float


def read_keyboard(reader: MappingReader, robot: RobotDescription) -> KeyboardConfig:
    """Read a keyboard file.

    Raises:
        UserError: a key or action is wrong.
    """
    joints = [f"{_SELECT}{number}" for number in range(1, len(robot.action_joints) + 1)]
    known = (*MOTIONS, *CONTROLS, *joints)
    section = reader.mapping("keys")
    keys = {}
    for key, action in section.all().items():
        # More joints than the robot has may be listed: one file serves several robots.
        if isinstance(action, str) and action.startswith(_SELECT) and action[len(_SELECT) :].isdigit():
            if action in joints:
                keys[str(key)] = action
            continue
        if action not in known:
            raise section.error(str(key), repr(action), f"the actions are {', '.join(known)}")
        keys[str(key)] = action
    for needed in ("engage", "stop"):
        if needed not in keys.values():
            raise reader.error("keys", f"without the action {needed}", "a key has to have it")
    config = KeyboardConfig(
        speeds=read_speeds(reader),
        keys=keys,
        press_s=reader.number("press_s", 0.05, 1.0, 0.2),
        repeat_s=reader.number("repeat_s", 0.05, 0.5, 0.15),
        speed=reader.number("speed", SPEED_MIN, 1.0, 0.4),
    )
    reader.finish()
    return config


class Keyboard:
    """A `JogDevice` whose keys come one by one, by name."""

    device = "keyboard"
    note = ""

    def __init__(self, config: KeyboardConfig, robot: RobotDescription) -> None:
        self.config = config
        self._joints = robot.action_joints
        self._joint = 0
        self._frame = FRAMES[0]
        self._by_joint = False
        self._speed = config.speed
        self._jog: Jog | None = None
        self._action = ""
        self._pressed_s = -np.inf
        self._wishes: list[Wish] = []

    @property
    def mode(self) -> str:
        return self._joints[self._joint] if self._by_joint else self._frame

    @property
    def speed(self) -> float:
        return self._speed

    def press(self, key: str, now_s: float) -> None:
        """A key was pressed or repeated. A key without an action stops what is moving."""
        action = self.config.keys.get(key, "")
        if action in MOTIONS:
            self._move(action, now_s)
            return
        self.forget()
        if action in ("engage", "release", "stop"):
            self._wishes.append(Wish(action))
        elif action in ("faster", "slower"):
            self._speed = changed_speed(self._speed, action)
        elif action == "frame":
            if not self._by_joint:
                self._frame = FRAMES[1 - FRAMES.index(self._frame)]
            self._by_joint = False
        elif action.startswith(_SELECT):
            self._joint = int(action[len(_SELECT) :]) - 1
            self._by_joint = True

    def jog(self, now_s: float) -> Jog | None:
        return self._jog if self._jog is not None and now_s < self._jog.until_s else None

    def problem(self, now_s: float) -> str:
        return ""

    def wishes(self) -> list[Wish]:
        wishes, self._wishes = self._wishes, []
        return wishes

    def forget(self) -> None:
        self._jog, self._action = None, ""

    def _move(self, action: str, now_s: float) -> None:
        repeated = action == self._action and 0.0 <= now_s - self._pressed_s < _REPEAT_PAUSE_S
        until_s = now_s + (self.config.repeat_s if repeated else self.config.press_s)
        if repeated and self._jog is not None:
            until_s = max(until_s, self._jog.until_s)
        self._action, self._pressed_s = action, now_s
        axis, share = action[:-1], 1.0 if action[-1] == "+" else -1.0
        jog = Jog(np.zeros(6), np.zeros(len(self._joints)), 0.0, self._frame, self._speed, until_s)
        if axis in TWIST_AXES:
            self._by_joint = False
            jog.twist[TWIST_AXES.index(axis)] = share
        elif axis == "joint":
            self._by_joint = True
            jog.joints[self._joint] = share
        else:
            jog = replace(jog, gripper=share)
        self._jog = jog
