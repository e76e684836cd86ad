"""From commands by name to positions that a device may be sent."""

from collections.abc import Sequence

import numpy as np


class InvalidCommand(Exception):
    """The message is no command to this device: one sentence."""


class CommandVector:
    """Orders commands as the device's motors are, and clamps them into the limits.

    Args:
        joints: names in the order of the motors.
        lower, upper (A,): limits in rad or m.
    """

    def __init__(self, joints: Sequence[str], lower: np.ndarray, upper: np.ndarray) -> None:
        self._index = {joint: index for index, joint in enumerate(joints)}
        self._lower, self._upper = lower, upper

    def take(self, names: Sequence[str], positions: Sequence[float]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Positions (A,) in the order of the motors, and the joints that had to be clamped.

        Joints that the device does not have are left out: one topic may serve a whole robot.

        Raises:
            InvalidCommand: a joint is missing or came twice, the lengths differ, or a value is not finite.
        """
        if len(names) != len(positions):
            raise InvalidCommand(f"a command has {len(names)} names and {len(positions)} positions")
        command = np.full(len(self._index), np.nan)
        seen = set()
        for name, position in zip(names, positions):
            index = self._index.get(name)
            if index is None:
                continue
            if name in seen:
                raise InvalidCommand(f"a command names {name} twice")
            seen.add(name)
            if not np.isfinite(position):
                raise InvalidCommand(f"a command has {position} for {name}")
            command[index] = position
        missing = [joint for joint in self._index if joint not in seen]
        if missing:
            raise InvalidCommand(f"a command lacks {', '.join(missing)}")
        clamped = np.clip(command, self._lower, self._upper)
        changed = tuple(joint for joint, index in self._index.items() if clamped[index] != command[index])
        return clamped, changed


class Setpoint:
    """What the device is told to hold; it goes to a target no faster than allowed.

    After a pause the command may be far away: then the setpoint starts where the device is and catches up
    at a part of the velocity limits, and only from there on follows at their full.

    Args:
        velocity (A,): limits in rad/s or m/s.
        catch_up: the part of them, 0 to 1.
    """

    def __init__(self, velocity: np.ndarray, catch_up: float) -> None:
        self._velocity = velocity
        self._catch_up = catch_up
        self._catching_up = True
        self.positions: np.ndarray | None = None

    def start_at(self, positions: np.ndarray) -> None:
        """Begin anew where the device is; (A,) rad or m."""
        self.positions = np.array(positions)
        self._catching_up = True

    def forget(self) -> None:
        """Nothing is known of the device any more."""
        self.positions = None

    def towards(self, target: np.ndarray, elapsed_s: float) -> np.ndarray:
        """The setpoint (A,) after `elapsed_s` more on the way to `target` (A,)."""
        part = self._catch_up if self._catching_up else 1.0
        step = self._velocity * part * elapsed_s
        difference = target - self.positions
        if np.all(np.abs(difference) <= step):
            self._catching_up = False
        self.positions = self.positions + np.clip(difference, -step, step)
        return self.positions
