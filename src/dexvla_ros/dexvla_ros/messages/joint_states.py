"""sensor_msgs/JointState to the state vector, and from the simulator's joints."""

from array import array
from collections.abc import Sequence

from sensor_msgs.msg import JointState

from dexvla_model.observation import RobotState, build_state
from dexvla_model.robot import RobotDescription
from dexvla_ros.messages.stamps import stamp_from_message, stamp_to_message


def joint_state_message(
    stamp_s: float,
    names: Sequence[str],
    positions: Sequence[float],
    velocities: Sequence[float] = (),
    efforts: Sequence[float] = (),
) -> JointState:
    """A joint_states message: rad, rad/s and Nm for every name; velocities and efforts may be left out."""
    message = JointState(
        name=list(names),
        position=array("d", positions),
        velocity=array("d", velocities),
        effort=array("d", efforts),
    )
    message.header.stamp = stamp_to_message(stamp_s)
    return message


def state_from_message(robot: RobotDescription, message: JointState) -> RobotState:
    """The state vector (S,) in the order of the robot file, matched by name.

    Raises:
        InvalidObservation: a joint is missing or came twice, the lengths differ, or a value is not finite.
    """
    return build_state(robot, message.name, message.position, stamp_from_message(message.header.stamp))
