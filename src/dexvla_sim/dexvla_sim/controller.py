"""The stock joint_trajectory_controller of ROS 2 Jazzy, emulated for position-controlled joints.

Behaviour after ros2_controllers 4.42 (branch jazzy), `joint_trajectory_controller.cpp` and `trajectory.cpp`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dexvla_model.streaming import JointTrajectory, Spline

_log = logging.getLogger(__name__)

# The stock controller compares the last velocity with the epsilon of a 32-bit float.
_ZERO_VELOCITY_RAD_S = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Acceptance:
    """Whether a controller took a trajectory; if not, `reason` says why and the old one goes on."""

    accepted: bool
    reason: str = ""


@dataclass(frozen=True)
class _Checked:
    """A trajectory that passed the checks: (N, K) arrays; NaN rows where a point lacks the field."""

    joints: tuple[str, ...]
    stamp_s: float
    times_s: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray | None
    accelerations: np.ndarray | None


class _Refused(Exception):
    """A trajectory fails a check of the controller's."""


class JointTrajectoryController:
    """Takes trajectories as they arrive and gives the command of each update of the servo loop.

    As in the stock controller, the command of an update is the trajectory one period later: what the hardware
        is to reach
    until the next update. Values are not looked at: like the real one, it passes NaN on.
    Two things are stricter: accelerations without velocities are refused, where the stock one commands
    position 0; and so is a joint that stands twice in the names, where its behaviour is undefined.

    Args:
        joints: the controller's joints; commands come in this order.
        update_rate_hz: rate at which `update` is called.
        interpolate_from_desired_state: before its first point a trajectory starts from the last command
            (True) or from the measured state (False, the stock default).
        allow_partial_joints_goal: take trajectories for some of the joints; the others keep their command.
        allow_nonzero_velocity_at_trajectory_end: take trajectories that do not end at rest.
        cmd_timeout_s: time after the last point at which the measured position is held; 0 = never.
    """

    def __init__(
        self,
        joints: Sequence[str],
        update_rate_hz: float = 500.0,
        *,
        interpolate_from_desired_state: bool = False,
        allow_partial_joints_goal: bool = False,
        allow_nonzero_velocity_at_trajectory_end: bool = False,
        cmd_timeout_s: float = 0.0,
    ) -> None:
        self.joints = tuple(joints)
        self._period_s = 1.0 / update_rate_hz
        self._interpolate_from_desired_state = interpolate_from_desired_state
        self._allow_partial_joints_goal = allow_partial_joints_goal
        self._allow_nonzero_velocity_at_trajectory_end = allow_nonzero_velocity_at_trajectory_end
        self._cmd_timeout_s = cmd_timeout_s
        self._index = {joint: index for index, joint in enumerate(self.joints)}
        self.reset()

    def reset(self) -> None:
        """As after activation: the next update holds the position that it measures."""
        self._pending: _Checked | None = None
        self._spline: Spline | None = None
        self._start_s = 0.0
        self._first_point_s = 0.0
        self._last_point_s = 0.0
        self._before: Spline | None = None
        self._before_s = 0.0
        self._command: np.ndarray | None = None
        self._command_s: float | None = None
        self._holding = True

    @property
    def holding(self) -> bool:
        """It holds a position of its own accord: nothing was sent yet, or the command timeout has passed."""
        return self._holding and self._pending is None

    def accept(self, trajectory: JointTrajectory, now_s: float) -> Acceptance:
        """Take a trajectory in place of the current one, from the next update on; or refuse it."""
        try:
            self._pending = self._check(trajectory, now_s)
        except _Refused as refusal:
            _log.error("%s", refusal)
            return Acceptance(False, str(refusal))
        return Acceptance(True)

    def update(
        self, now_s: float, measured_positions: np.ndarray, measured_velocities: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One cycle of the servo loop.

        Args:
            now_s: time of this update, in s.
            measured_positions: (J,) rad, in the order of `joints`. measured_velocities: (J,) rad/s.

        Returns:
            Commanded positions (J,) rad, velocities (J,) rad/s and accelerations (J,) rad/s^2.
        """
        if self._command is None:
            self._command = self._at_rest(measured_positions)
        if self._pending is not None:
            self._start(self._pending, now_s, measured_positions, measured_velocities)
            self._pending = None
            self._holding = False
        if self._spline is not None:
            sample_s = now_s + self._period_s
            if sample_s >= self._first_point_s:
                self._command = self._spline.sample(sample_s - self._start_s)
            elif sample_s >= self._before_s:
                self._command = self._before.sample(sample_s - self._before_s)
        # The time of this update and not of the sample, as the stock controller keeps it.
        self._command_s = now_s
        command = self._command
        # As in the stock controller, this update still gives the trajectory's command; the next one holds.
        if (
            self._cmd_timeout_s > 0.0
            and not self._holding
            and now_s - self._last_point_s > self._cmd_timeout_s
        ):
            _log.warning("no new trajectory within the command timeout of %g s: holding", self._cmd_timeout_s)
            self._spline = None
            self._holding = True
            self._command = self._at_rest(measured_positions)
        return command[0], command[1], command[2]

    @staticmethod
    def _at_rest(positions: np.ndarray) -> np.ndarray:
        command = np.zeros((3, len(positions)))
        command[0] = positions
        return command

    def _start(
        self,
        trajectory: _Checked,
        now_s: float,
        measured_positions: np.ndarray,
        measured_velocities: np.ndarray,
    ) -> None:
        positions = self._in_order(trajectory, trajectory.positions, self._command[0])
        velocities = self._in_order(trajectory, trajectory.velocities, 0.0)
        accelerations = self._in_order(trajectory, trajectory.accelerations, 0.0)
        self._spline = Spline(trajectory.times_s, positions, velocities, accelerations)
        self._start_s = trajectory.stamp_s if trajectory.stamp_s != 0.0 else now_s
        self._first_point_s = self._start_s + float(trajectory.times_s[0])
        self._last_point_s = self._start_s + float(trajectory.times_s[-1])
        before_s, state = now_s, (measured_positions, measured_velocities, np.zeros(len(self.joints)))
        if self._interpolate_from_desired_state:
            before_s, state = now_s if self._command_s is None else self._command_s, tuple(self._command)
        self._before_s = before_s
        if self._first_point_s <= before_s:
            return
        self._before = Spline(
            np.array([0.0, self._first_point_s - before_s]),
            np.stack([state[0], positions[0]]),
            None if velocities is None else np.stack([state[1], velocities[0]]),
            None if accelerations is None else np.stack([state[2], accelerations[0]]),
        )

    def _in_order(
        self, trajectory: _Checked, values: np.ndarray | None, missing: np.ndarray | float
    ) -> np.ndarray | None:
        """(N, K) values of a trajectory as (N, J) in the controller's order; joints left out: `missing`."""
        if values is None or trajectory.joints == self.joints:
            return values
        ordered = np.empty((len(values), len(self.joints)))
        ordered[:] = missing
        ordered[:, [self._index[joint] for joint in trajectory.joints]] = values
        ordered[np.isnan(values).all(axis=1)] = np.nan
        return ordered

    def _check(self, trajectory: JointTrajectory, now_s: float) -> _Checked:
        """The checks of the stock controller's `validate_trajectory_msg`, in its order."""
        joints = tuple(trajectory.joints)
        if not joints:
            raise _Refused("empty joint names on incoming trajectory")
        unknown = [joint for joint in joints if joint not in self._index]
        if unknown:
            raise _Refused(f"incoming joint {unknown[0]} doesn't match the controller's joints")
        if len(set(joints)) != len(joints):
            raise _Refused("a joint stands twice in the joint names of the incoming trajectory")
        if not self._allow_partial_joints_goal and len(joints) != len(self.joints):
            missing = [joint for joint in self.joints if joint not in joints]
            raise _Refused(
                f"joints on incoming trajectory don't match the controller joints: {missing[0]} is missing"
            )
        times = np.asarray(trajectory.times_s, dtype=np.float64)
        if len(times) == 0:
            raise _Refused("empty trajectory received")
        positions = _field("positions", trajectory.positions, len(times), len(joints))
        velocities = _field("velocities", trajectory.velocities, len(times), len(joints))
        accelerations = _field("accelerations", trajectory.accelerations, len(times), len(joints))
        if not self._allow_nonzero_velocity_at_trajectory_end and velocities is not None:
            moving = np.abs(velocities[-1]) > _ZERO_VELOCITY_RAD_S
            if moving.any():
                joint = int(np.argmax(moving))
                raise _Refused(
                    f"velocity of last trajectory point of joint {joints[joint]} is not zero: "
                    f"{velocities[-1, joint]}"
                )
        if trajectory.stamp_s != 0.0 and trajectory.stamp_s + times[-1] < now_s:
            raise _Refused(
                f"received trajectory with non-zero start time ({trajectory.stamp_s:.3f}) that ends in the "
                f"past ({trajectory.stamp_s + times[-1]:.3f})"
            )
        late = np.flatnonzero(np.diff(times) <= 0.0)
        if len(late):
            index = int(late[0])
            raise _Refused(
                f"time between points {index} and {index + 1} is not strictly increasing, "
                f"it is {times[index]} and {times[index + 1]}"
            )
        if positions is None or len(positions) != len(times):
            raise _Refused("a point of the incoming trajectory has no positions")
        if trajectory.efforts is not None and any(len(row) for row in trajectory.efforts):
            raise _Refused(
                "trajectories with effort fields are only supported with the effort command interface"
            )
        if accelerations is not None:
            bare = ~np.isnan(accelerations).all(axis=1)
            if velocities is not None:
                bare &= np.isnan(velocities).all(axis=1)
            if bare.any():
                raise _Refused(f"point {int(np.argmax(bare))} has accelerations but no velocities")
        return _Checked(joints, float(trajectory.stamp_s), times, positions, velocities, accelerations)


def _field(
    name: str, rows: np.ndarray | Sequence[Sequence[float]] | None, points: int, joints: int
) -> np.ndarray | None:
    """A field as an (N, K) copy, NaN where a point has none of it; None if no point has.

    Raises:
        _Refused: a row has another length than there are joints, or a point has no positions.
    """
    if rows is None:
        return None
    optional = name != "positions"
    if len(rows) != points:
        raise _Refused(f"mismatch between the number of points ({points}) and of {name} ({len(rows)})")
    if isinstance(rows, np.ndarray) and rows.shape == (points, joints):
        return rows.astype(np.float64)
    values = np.full((points, joints), np.nan)
    for index, row in enumerate(rows):
        if len(row) == joints:
            values[index] = row
        elif len(row) or not optional:
            raise _Refused(
                f"mismatch between joint_names size ({joints}) and {name} ({len(row)}) at point #{index}"
            )
    return None if np.isnan(values).all() and optional else values
