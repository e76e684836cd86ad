"""How smoothly a robot was driven: the mean squared jerk of what its controllers commanded."""

import numpy as np

from dexvla_sim.simulation import Simulation


class JerkMeter:
    """Listens to the simulation's commands between `start` and `stop`; whoever listened before still does.

    The jerk is the third difference of the commanded positions over the cube of the servo period, so that a
    jump in position, velocity or acceleration between two chunks counts in full. Its square, integrated over
    the motion, is what Flash & Hogan (J. Neurosci. 5, 1985) take as the cost of a jerky movement; the mean
    over joints and time lets episodes of different lengths be compared. Counted are the joints of the arms
    that turn; fingers, which open and close at once, would drown them.
    """

    def __init__(self, simulation: Simulation) -> None:
        robot = simulation.robot
        turning = {
            entry.joint
            for entry in robot.action
            if entry.relative and robot.limits[entry.joint].unit == "rad"
        }
        self._columns = [
            index for index, joint in enumerate(simulation.joint_states().names) if joint in turning
        ]
        self._period_s = 1.0 / robot.rates.controller_hz
        self._simulation = simulation
        self._before = None
        self._positions: list[np.ndarray] = []

    def start(self) -> None:
        """Forget what was heard, and listen."""
        self._positions.clear()
        self._before = self._simulation.on_command
        self._simulation.on_command = self._listen

    def stop(self) -> float:
        """Listen no more; the mean squared jerk in rad^2/s^6 of what was heard."""
        self._simulation.on_command = self._before
        return mean_squared_jerk(np.array(self._positions), self._period_s)

    def _listen(self, commands: np.ndarray) -> None:
        self._positions.append(commands[0, self._columns])
        if self._before is not None:
            self._before(commands)


def mean_squared_jerk(positions: np.ndarray, period_s: float) -> float:
    """Mean over time and joints of the squared jerk in rad^2/s^6.

    Args:
        positions: (T, J) rad, one row per `period_s`. Rows with a value that is not finite are left out of
            the mean with the differences that they are part of. Fewer than four rows, or no joints, give 0.
    """
    if len(positions) < 4:
        return 0.0
    jerk = np.diff(positions, n=3, axis=0) / period_s**3
    jerk = jerk[np.isfinite(jerk).all(axis=1)]
    return float(np.mean(jerk**2)) if jerk.size else 0.0
