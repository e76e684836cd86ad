"""Disturbed demonstrations: a robot that is pushed off its way shows how to get back on it.

A policy that only ever saw undisturbed episodes cannot recover from its own first mistake (Ross & Bagnell
2010). The labels stay right, because the demonstrator answers at every frame for the state that the robot
really is in.
"""

from dataclasses import dataclass, replace

import numpy as np

from dexvla_model.policy import ActionChunk
from dexvla_model.robot import RobotDescription
from dexvla_sim.tasks import TABLE_BUSSING, Pour, SortBimanual


@dataclass(frozen=True)
class DisturbanceSettings:
    """How often and how far.

    Attributes:
        probability: of an episode to be disturbed at all.
        pushes: largest number of pushes in an episode.
        arm_rad: standard deviation of a push, per relative (arm) joint.
        start_rad: standard deviation of where an arm joint starts, around home.
        grip_probability: of a push to also open or close the fingers.
        duration_s: shortest and longest push. window_s: when pushes begin after the start of the episode.
    """

    probability: float = 0.6
    pushes: int = 3
    arm_rad: float = 0.06
    start_rad: float = 0.08
    grip_probability: float = 0.15
    duration_s: tuple[float, float] = (0.4, 1.2)
    window_s: tuple[float, float] = (0.0, 7.0)


# Where pushes go on longer because episodes do, or are gentler because there is less room for error.
_OF_TASK = {
    **dict.fromkeys(TABLE_BUSSING, DisturbanceSettings(pushes=4, window_s=(0.0, 14.0))),
    SortBimanual.name: DisturbanceSettings(window_s=(0.0, 10.0)),
    Pour.name: DisturbanceSettings(arm_rad=0.03, start_rad=0.05, grip_probability=0.05, window_s=(0.0, 9.0)),
}


def disturbance_of(task: str) -> DisturbanceSettings:
    """How demonstrations of a task are disturbed."""
    return _OF_TASK.get(task, DisturbanceSettings())


@dataclass(frozen=True)
class _Push:
    start_s: float
    end_s: float
    offsets_rad: np.ndarray
    grip_rad: float | None


class Disturbance:
    """Where one episode starts, and what happens to its chunks; a function of the seed.

    `start_positions` is (A,) rad.
    """

    def __init__(self, robot: RobotDescription, seed: int, settings: DisturbanceSettings = DisturbanceSettings()):
        rng = np.random.default_rng([seed, 7])
        self._lower = np.array([robot.limits[joint].lower for joint in robot.action_joints])
        self._upper = np.array([robot.limits[joint].upper for joint in robot.action_joints])
        self._arm = np.array([entry.relative for entry in robot.action])
        self.start_positions = robot.home_positions.copy()
        self._pushes = []
        if rng.random() < settings.probability:
            shift = rng.normal(0.0, settings.start_rad, len(self._arm))
            self.start_positions = np.clip(self.start_positions + np.where(self._arm, shift, 0.0), self._lower, self._upper)
            for _ in range(rng.integers(1, settings.pushes + 1)):
                start_s = rng.uniform(*settings.window_s)
                offsets = np.where(self._arm, rng.normal(0.0, settings.arm_rad, len(self._arm)), 0.0)
                grip = None
                if rng.random() < settings.grip_probability:
                    grip = rng.uniform(self._lower[~self._arm].max(), self._upper[~self._arm].min())
                self._pushes.append(_Push(start_s, start_s + rng.uniform(*settings.duration_s), offsets, grip))

    def __call__(self, chunk: ActionChunk) -> ActionChunk:
        """The chunk with every push that is going on at its rows added to them."""
        times_s = chunk.stamp_s + chunk.step_s * np.arange(len(chunk.positions))
        positions = chunk.positions.copy()
        for push in self._pushes:
            phase = (times_s - push.start_s) / (push.end_s - push.start_s)
            inside = (phase > 0.0) & (phase < 1.0)
            # A sine bump has neither a step in position nor, at its ends, one beyond what the limiter smooths.
            positions += np.where(inside, np.sin(np.pi * phase), 0.0)[:, None] * push.offsets_rad
            if push.grip_rad is not None:
                positions[np.ix_(inside, ~self._arm)] = push.grip_rad
        return replace(chunk, positions=np.clip(positions, self._lower, self._upper))
