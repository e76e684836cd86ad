"""How simulated time follows real time: never ahead, and slower where the machine cannot keep up. No ROS."""

from dataclasses import dataclass


@dataclass
class Pacer:
    """Says how many steps of simulated time are due.

    Real time that could not be used within `catch_up_s` is lost: simulated time then runs slower, and
    everything that is counted in it (control rate, camera rate) stays right.

    Args:
        step_s: simulated time of one step.
        factor: simulated seconds per real second, at most.
        catch_up_s: longest delay, in real time, that is made good afterwards.
    """

    step_s: float
    factor: float = 1.0
    catch_up_s: float = 0.05
    _credit_s: float = 0.0
    _last_s: float | None = None

    def due_steps(self, real_s: float) -> int:
        """Number of steps to take now; `real_s` is a clock that never jumps."""
        if self._last_s is not None:
            self._credit_s += (real_s - self._last_s) * self.factor
        self._last_s = real_s
        self._credit_s = min(self._credit_s, max(self.catch_up_s * self.factor, self.step_s))
        # Rounding must not hold a step back that is due to the nanosecond.
        steps = int(self._credit_s / self.step_s + 1e-6)
        self._credit_s = max(0.0, self._credit_s - steps * self.step_s)
        return steps

    def restart(self) -> None:
        """Forget real time that has passed, as after a pause."""
        self._last_s = None
        self._credit_s = 0.0


@dataclass
class RealTimeFactor:
    """Simulated over real time across the last `window_s` of real time or more."""

    window_s: float = 1.0
    value: float = 0.0
    _real_s: float | None = None
    _simulated_s: float = 0.0

    def update(self, real_s: float, simulated_s: float) -> None:
        """Take both clocks as they stand."""
        if self._real_s is None:
            self._real_s, self._simulated_s = real_s, simulated_s
        elif real_s - self._real_s >= self.window_s:
            self.value = (simulated_s - self._simulated_s) / (real_s - self._real_s)
            self._real_s, self._simulated_s = real_s, simulated_s
