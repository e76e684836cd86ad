"""dexvla_msgs/TeleopState: who has the robot."""

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion

from dexvla_msgs.msg import TeleopState as TeleopStateMessage
from dexvla_ros.messages.stamps import stamp_to_message
from dexvla_ros.teleop.teleop_loop import TeleopState
from dexvla_sim.kinematics import quaternion_of

_STATES = {state: getattr(TeleopStateMessage, state.name) for state in TeleopState}


def teleop_state_message(
    stamp_s: float,
    frame: str,
    device: str,
    state: TeleopState,
    reason: str,
    mode: str,
    speed: float,
    pose: tuple[np.ndarray, np.ndarray] | None,
) -> TeleopStateMessage:
    """The message. `pose`: position (3,) in m and rotation (3, 3) of the tool; None = it is not known."""
    message = TeleopStateMessage(
        device=device, state=_STATES[state], reason=reason, mode=mode, speed=float(speed)
    )
    message.header.stamp = stamp_to_message(stamp_s)
    message.header.frame_id = frame
    if pose is None:
        message.pose = Pose(orientation=Quaternion(w=0.0))
        return message
    position, rotation = pose
    x, y, z = (float(value) for value in position)
    w, i, j, k = (float(value) for value in quaternion_of(rotation))
    message.pose = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=i, y=j, z=k, w=w))
    return message


def state_of_message(message: TeleopStateMessage) -> TeleopState:
    """The state that the message names."""
    return next(state for state, number in _STATES.items() if number == message.state)
