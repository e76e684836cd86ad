"""Motion within every joint's limits: one small convex program per joint and plan."""

from collections.abc import Sequence
from dataclasses import dataclass

import daqp
import numpy as np

from dexvla_model.robot import JointLimits
from dexvla_model.streaming.plan import KNOT_S, MotionPlan

# The program keeps this share away from the limits, so that no rounding ever carries a command beyond one.
MARGIN = 1e-4
POSITION_MARGIN_RAD = 1e-7
# Of the solver, in units in which the largest jerk is 1.
_PRIMAL_TOLERANCE = 1e-9
# A plan that exceeds a limit by more than this after all (relative; of a position: in rad) is not used.
_ROUNDING = 1e-9
# Small jerk is worth less than an early stop; a larger value only lengthens the stop.
_STOP_JERK_WEIGHT = 0.01


@dataclass(frozen=True)
class LimitedMotion:
    """A new plan. `failed`: indices of the joints for which there was none; they go on as planned before."""

    plan: MotionPlan
    failed: tuple[int, ...] = ()


class MotionLimiter:
    """Continues a plan within limits on position, velocity, acceleration and jerk, and brings it to rest.

    The motion is a cubic B-spline on the knots of `MotionPlan`. Its control points bound it (convex hull
    property), and their differences its derivatives: limits on them hold at every instant, not only at the
    knots. For each joint

        minimize   sum of (position - reference)^2 + smoothing * jerk^2 over the knots of the window
        subject to the limits on position, velocity, acceleration and jerk,
                   position, velocity and acceleration at the commit knot as planned before,
                   rest at the end of the window

    is strictly convex. What was planned before is always feasible, because it ends at rest too; should the
    solver fail nevertheless, that joint goes on as planned before.

    Args:
        limits: of J joints.
        window: knots from the commit knot to the rest. It has to suffice for a stop from full speed.
        smoothing_hz: motion faster than this is smoothed away; a sine of half that frequency loses 1.5 %.
    """

    def __init__(self, limits: Sequence[JointLimits], window: int = 64, smoothing_hz: float = 3.0) -> None:
        self._window = window
        self._lower = np.array([limit.lower for limit in limits]) + POSITION_MARGIN_RAD
        self._upper = np.array([limit.upper for limit in limits]) - POSITION_MARGIN_RAD
        # Largest first, second and third differences of neighbouring control points, (3, J).
        self._differences = np.array(
            [
                [limit.velocity * KNOT_S for limit in limits],
                [limit.acceleration * KNOT_S**2 for limit in limits],
                [limit.jerk * KNOT_S**3 for limit in limits],
            ]
        )
        controls = window + 3
        free = window - 2
        # All control points = fixed @ (those of the commit knot) + spread @ (free ones); the last three are
        # equal: rest.
        self._fixed = np.zeros((controls, 3))
        self._fixed[:3] = np.eye(3)
        self._spread = np.zeros((controls, free))
        self._spread[3:-2] = np.eye(free)
        self._spread[-2:, -1] = 1.0
        first = np.diff(np.eye(controls), axis=0)
        second = np.diff(first, axis=0)
        third = np.diff(second, axis=0)
        at_knots = np.zeros((window, controls))
        for knot in range(window):
            at_knots[knot, knot + 1 : knot + 4] = 1.0 / 6.0, 4.0 / 6.0, 1.0 / 6.0
        constrained = np.concatenate([first, second, third])
        moves = np.abs(constrained @ self._spread).sum(axis=1) > 0.0
        self._order = np.repeat([0, 1, 2], [len(first), len(second), len(third)])[moves]
        self._rows = constrained[moves]
        free_rows = np.ascontiguousarray(self._rows @ self._spread)
        # A smoothing spline's cut-off: (2 pi f)^6 * smoothing = 1, jerk being the third difference over
        # KNOT_S^3.
        smoothing = (2.0 * np.pi * smoothing_hz * KNOT_S) ** -6
        self._follow = _Program(
            at_knots.T @ at_knots + smoothing * third.T @ third, self._fixed, self._spread, free_rows
        )
        self._follow_pull = self._spread.T @ at_knots.T
        # A stop is soonest where late motion costs most; measured: two knots longer than the time-optimal one
        # at most.
        late = (1.0 + np.arange(controls - 1) / 8.0) ** 2
        self._stop = _Program(
            first.T @ (late[:, None] * first) + _STOP_JERK_WEIGHT * third.T @ third,
            self._fixed,
            self._spread,
            free_rows,
        )

    @property
    def window(self) -> int:
        """Knots from the commit knot to the rest."""
        return self._window

    def clip(self, positions: np.ndarray) -> np.ndarray:
        """(..., J) rad, brought into the position limits."""
        return np.clip(positions, self._lower, self._upper)

    def follow(self, plan: MotionPlan, commit: int, reference: np.ndarray) -> LimitedMotion:
        """Keep `plan` up to the knot `commit`, then follow a reference as closely as the limits allow, and
        rest.

        Args:
            reference: (window, J) rad, wanted positions at the knots commit + 1 to commit + window.
        """
        pull = self._follow_pull @ (self.clip(reference) - plan.control_points(commit, commit + 1))
        return self._continue(plan, commit, self._follow, pull)

    def stop(self, plan: MotionPlan, commit: int) -> LimitedMotion:
        """Keep `plan` up to the knot `commit`, then come to rest as soon as the limits allow."""
        return self._continue(plan, commit, self._stop, np.zeros((self._window - 2, len(self._lower))))

    def exceeds(self, plan: MotionPlan, start: int) -> np.ndarray:
        """(J,) bool: does the motion from a knot on go beyond a limit of that joint?"""
        controls = plan.control_points(start - 1, max(plan.rest_knot, start) + 2)
        slack = POSITION_MARGIN_RAD + _ROUNDING
        bad = ((controls < self._lower - slack) | (controls > self._upper + slack)).any(axis=0)
        for order, allowed in enumerate(self._differences, start=1):
            bad |= (np.abs(np.diff(controls, n=order, axis=0)) > allowed * (1.0 + _ROUNDING)).any(axis=0)
        return bad | ~np.isfinite(controls).all(axis=0)

    def _continue(
        self, plan: MotionPlan, commit: int, program: "_Program", pull: np.ndarray
    ) -> LimitedMotion:
        before = plan.control_points(commit - 1, commit + self._window + 2)
        # Differences of the plan so far: never a reason to find the rest of it infeasible.
        so_far = self._rows @ before
        origins = before[1]
        given = self._rows @ (self._fixed @ (before[:3] - origins))
        controls = before[3:-2].copy()
        failed = []
        for joint in range(before.shape[1]):
            # Units in which the largest jerk is 1, from the current position: the solver's tolerances are
            # absolute.
            unit = self._differences[2, joint]
            origin = origins[joint]
            limit = self._differences[self._order, joint] * (1.0 - MARGIN)
            upper = np.maximum(limit, so_far[:, joint]) - given[:, joint]
            lower = np.minimum(-limit, so_far[:, joint]) - given[:, joint]
            highest = np.maximum(self._upper[joint], controls[:, joint]) - origin
            lowest = np.minimum(self._lower[joint], controls[:, joint]) - origin
            solution = program.solve(
                (before[:3, joint] - origin) / unit,
                pull[:, joint] / unit,
                np.concatenate([lowest, lower]) / unit,
                np.concatenate([highest, upper]) / unit,
            )
            if solution is None:
                failed.append(joint)
            else:
                controls[:, joint] = solution * unit + origin
        motion = plan.continued(commit, controls)
        for joint in np.flatnonzero(self.exceeds(motion, commit)).tolist():
            if joint not in failed:
                failed.append(joint)
        if failed:
            length = max(motion.rest_knot, plan.rest_knot)
            merged = motion.control_points(motion.first, length)
            merged[:, failed] = plan.control_points(motion.first, length)[:, failed]
            motion = MotionPlan(motion.first, merged)
        return LimitedMotion(motion, tuple(sorted(failed)))


class _Program:
    """Minimize 1/2 c' W c - pull' x with c = fixed @ state + spread @ x, x and rows @ x within bounds."""

    def __init__(self, weights: np.ndarray, fixed: np.ndarray, spread: np.ndarray, rows: np.ndarray) -> None:
        # Kept alive: the solver may go on reading what it was set up with.
        self._hessian = np.ascontiguousarray(spread.T @ weights @ spread)
        self._rows = rows
        self._from_state = spread.T @ weights @ fixed
        size = len(self._hessian) + len(rows)
        self._cold = np.zeros(size, dtype=np.int32)
        self._model = daqp.Model()
        no_pull = np.zeros(len(self._hessian))
        # Finite ones: the solver leaves constraints out for good that are unbounded at first.
        bounds = np.full(size, 1.0)
        flag, _ = self._model.setup(self._hessian, no_pull, rows, bounds, -bounds, self._cold)
        if flag < 0:
            raise RuntimeError(f"daqp cannot set the motion program up (exit flag {flag})")
        self._model.settings = {"primal_tol": _PRIMAL_TOLERANCE}

    def solve(
        self, state: np.ndarray, pull: np.ndarray, lower: np.ndarray, upper: np.ndarray
    ) -> np.ndarray | None:
        """(F,) free control points, or None where the solver finds no solution."""
        gradient = self._from_state @ state - pull
        self._model.update(f=gradient, bupper=upper, blower=lower, sense=self._cold)
        solution, _, flag, _ = self._model.solve()
        return solution if flag > 0 and np.isfinite(solution).all() else None
