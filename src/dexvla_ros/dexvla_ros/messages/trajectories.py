"""trajectory_msgs/JointTrajectory to the streamer's JointTrajectory, and back."""

from array import array
from collections.abc import Callable, Sequence

from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage
from trajectory_msgs.msg import JointTrajectoryPoint

from dexvla_model.streaming import JointTrajectory
from dexvla_ros.messages.stamps import (
    duration_from_message,
    duration_to_message,
    stamp_from_message,
    stamp_to_message,
)


def trajectory_to_message(trajectory: JointTrajectory) -> JointTrajectoryMessage:
    """The message; a stamp of 0 stays 0, which means 'now' to a controller."""
    message = JointTrajectoryMessage(joint_names=list(trajectory.joints))
    message.header.stamp = stamp_to_message(trajectory.stamp_s)
    for index, time_s in enumerate(trajectory.times_s):
        message.points.append(
            JointTrajectoryPoint(
                positions=_row(trajectory.positions, index),
                velocities=_row(trajectory.velocities, index),
                accelerations=_row(trajectory.accelerations, index),
                effort=_row(trajectory.efforts, index),
                time_from_start=duration_to_message(float(time_s)),
            )
        )
    return message


def trajectory_from_message(message: JointTrajectoryMessage) -> JointTrajectory:
    """The trajectory with its fields as they came, ragged or not: judging them is the controller's work."""
    points = message.points
    return JointTrajectory(
        joints=tuple(message.joint_names),
        stamp_s=stamp_from_message(message.header.stamp),
        times_s=[duration_from_message(point.time_from_start) for point in points],
        positions=[list(point.positions) for point in points],
        velocities=_rows(points, lambda point: point.velocities),
        accelerations=_rows(points, lambda point: point.accelerations),
        efforts=_rows(points, lambda point: point.effort),
    )


def _row(rows: Sequence[Sequence[float]] | None, index: int) -> array:
    return array("d", [] if rows is None else rows[index])


def _rows(
    points: Sequence[JointTrajectoryPoint], field: Callable[[JointTrajectoryPoint], Sequence[float]]
) -> list[list[float]] | None:
    rows = [list(field(point)) for point in points]
    return rows if any(rows) else None
