"""What a robot's controllers were commanded at any time, from the trajectories that were sent to them."""

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from dexvla_model.observation import select_joints
from dexvla_model.robot.description import RobotDescription
from dexvla_model.streaming.spline import Spline
from dexvla_model.streaming.trajectory import JointTrajectory


class InvalidTrajectory(Exception):
    """A trajectory that a joint_trajectory_controller refuses."""


@dataclass(frozen=True)
class _Sent:
    """A trajectory with its joints in the controller's order."""

    start_s: float
    first_s: float
    spline: Spline
    lead_in: Spline | None  # from the command before it to its first point, over times since start_s

    def sample(self, time_s: float) -> np.ndarray | None:
        """(3, J) at an absolute time, or None where nothing was commanded yet."""
        elapsed_s = time_s - self.start_s
        if elapsed_s >= self.first_s:
            return self.spline.sample(elapsed_s)
        return None if self.lead_in is None else self.lead_in.sample(elapsed_s)


@dataclass
class CommandHistory:
    """The commanded action vector at any time, out of the trajectories that were streamed.

    A trajectory counts from its stamp on, or from when it was received if that is 0, and until a later one
    counts; after its last point a controller stays there. Which of two overlapping messages is read makes no
    difference, since streams begin with motion that is committed; by the stamp it is the same for everybody
    who listens.
    """

    robot: RobotDescription
    _sent: dict[str, list[_Sent]] = field(init=False)

    def __post_init__(self) -> None:
        self._sent = {controller.name: [] for controller in self.robot.controllers}

    def add(self, controller: str, trajectory: JointTrajectory, received_s: float) -> None:
        """Take what was sent to a controller.

        Args:
            received_s: when it came, in s of the node clock.

        Raises:
            InvalidTrajectory: the controller would refuse it.
            UserError: the robot has no such controller.
        """
        joints = self.robot.controller(controller).joints
        times_s, positions, velocities, accelerations = _checked(trajectory, joints)
        spline = Spline(times_s, positions, velocities, accelerations)
        start_s = trajectory.stamp_s or received_s
        sent = self._sent[controller]
        index = bisect_right(sent, start_s, key=lambda entry: entry.start_s)
        before = sent[index - 1].sample(start_s) if index else None
        first_s = float(times_s[0])
        lead_in = None
        if before is not None and first_s > 0.0:
            ends = np.stack([before, spline.sample(first_s)], axis=1)
            known = [
                ends[0],
                None if velocities is None else ends[1],
                None if accelerations is None else ends[2],
            ]
            lead_in = Spline(np.array([0.0, first_s]), *known)
        sent.insert(index, _Sent(start_s, first_s, spline, lead_in))

    def action(self, time_s: float) -> np.ndarray | None:
        """The commanded positions (A,) in rad, in the order of the action layout; None before every joint has one."""
        names: list[str] = []
        values: list[float] = []
        for controller in self.robot.controllers:
            sent = self._sent[controller.name]
            index = bisect_right(sent, time_s, key=lambda entry: entry.start_s)
            sample = sent[index - 1].sample(time_s) if index else None
            if sample is None:
                return None
            names += controller.joints
            values += sample[0].tolist()
        return select_joints(names, values, self.robot.action_joints)


def _checked(trajectory: JointTrajectory, joints: tuple[str, ...]):
    """Times (N,), and positions, velocities, accelerations (N, J) in the order of `joints`, absent ones None."""
    if sorted(trajectory.joints) != sorted(joints):
        raise InvalidTrajectory(
            f"it is for the joints {', '.join(trajectory.joints) or 'none'}, the controller has {', '.join(joints)}"
        )
    times_s = np.asarray(trajectory.times_s, dtype=np.float64)
    if (
        not len(times_s)
        or not np.isfinite(times_s).all()
        or times_s[0] < 0.0
        or (np.diff(times_s) <= 0.0).any()
    ):
        raise InvalidTrajectory("its points are not in a strict order of time")
    columns = [trajectory.joints.index(joint) for joint in joints]
    fields = []
    for name in ("positions", "velocities", "accelerations"):
        rows = getattr(trajectory, name)
        if rows is None and name != "positions":
            fields.append(None)
            continue
        # A point may lack what others have; NaN is how a spline is told.
        full = [row if len(row) or name == "positions" else [np.nan] * len(columns) for row in rows]
        if any(len(row) != len(columns) for row in full):
            raise InvalidTrajectory(f"its {name} are not one for each joint")
        values = np.array(full, dtype=np.float64)[:, columns]
        sent_values = np.array([row for row in rows if len(row)], dtype=np.float64)
        if not np.isfinite(sent_values).all():
            raise InvalidTrajectory(f"its {name} are not finite")
        fields.append(values)
    return times_s, *fields
