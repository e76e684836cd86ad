"""Velocities that change smoothly: bounded in acceleration and jerk, so that a limiter has nothing to do."""

from dataclasses import dataclass

import numpy as np

# The velocity is the mean over so many steps of one that changes with bounded acceleration: the acceleration
# itself then takes that many steps to come and to go.
_STEPS = 4


@dataclass(frozen=True)
class Ramp:
    """(N,) velocities under way to others, immutable. `recent`: (steps, N), the newest last."""

    recent: np.ndarray

    @classmethod
    def at_rest(cls, size: int) -> "Ramp":
        return cls(np.zeros((_STEPS, size)))

    @property
    def velocity(self) -> np.ndarray:
        """(N,) now."""
        return self.recent.mean(axis=0)

    @property
    def newest(self) -> np.ndarray:
        """(N,) to which the velocity is on its way."""
        return self.recent[-1]

    @property
    def still(self) -> bool:
        return not self.recent.any()

    def followed_by(self, newest: np.ndarray) -> "Ramp":
        """A step later."""
        return Ramp(np.concatenate([self.recent[1:], newest[None]]))

    def scaled(self, share: float | np.ndarray) -> "Ramp":
        """Slowed down at once, each velocity by its share or all by one."""
        return self if np.all(share == 1.0) else Ramp(self.recent * share)
