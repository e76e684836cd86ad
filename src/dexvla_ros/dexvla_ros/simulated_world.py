"""The simulation as the graph sees it: a clock that never goes back, everything at its own rate. No ROS."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dexvla_model.streaming import JointTrajectory
from dexvla_sim.controller import Acceptance
from dexvla_sim.simulation import JointStates, Simulation

# The node clock's first moment: zero means "no time yet" to ROS, and "now" in a trajectory's stamp.
FIRST_TIME_S = 1.0
# Rounding may not make something late by a whole step.
_EPSILON_S = 1e-6


@dataclass
class Rhythm:
    """Something that happens every `period_s` of simulated time, from the first moment asked about on."""

    period_s: float
    _next_s: float | None = None

    def is_due(self, time_s: float) -> bool:
        """Whether it is due at `time_s`; each time is reported once."""
        if self._next_s is None:
            self._next_s = time_s
        if time_s < self._next_s - _EPSILON_S:
            return False
        self._next_s += self.period_s
        if self._next_s <= time_s:
            self._next_s = time_s + self.period_s
        return True


class SimulatedWorld:
    """A simulation whose clock goes on across resets.

    Args:
        on_refusal: told the controller's name and the reason when a controller refuses a trajectory.
    """

    def __init__(self, simulation: Simulation, on_refusal: Callable[[str, str], None]) -> None:
        self.simulation = simulation
        self._on_refusal = on_refusal
        self._origin_s = FIRST_TIME_S

    @property
    def time_s(self) -> float:
        """The node clock, in s."""
        return self._origin_s + self.simulation.time_s

    def reset(self, seed: int) -> None:
        """A new episode at the same moment of the node clock."""
        self._origin_s = self.time_s
        self.simulation.reset(seed)

    def send(self, controller: str, trajectory: JointTrajectory) -> Acceptance:
        """Give a controller a trajectory that is stamped in the node clock."""
        if trajectory.stamp_s != 0.0:
            trajectory = replace(trajectory, stamp_s=trajectory.stamp_s - self._origin_s)
        acceptance = self.simulation.send(controller, trajectory)
        if not acceptance.accepted:
            self._on_refusal(controller, acceptance.reason)
        return acceptance

    def joint_states(self) -> JointStates:
        """The measured joints, stamped in the node clock."""
        return replace(self.simulation.joint_states(), stamp_s=self.time_s)
