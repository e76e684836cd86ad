"""dexvla_msgs/MoveTo goals <-> `MoveGoal`."""

import numpy as np

from dexvla_msgs.action import MoveTo
from dexvla_ros.motion.goals import MoveGoal


def goal_from_message(message: MoveTo.Goal, default_speed: float) -> MoveGoal:
    """The goal as it was sent; a speed of 0 is the default one."""
    place, turn = message.pose.pose.position, message.pose.pose.orientation
    return MoveGoal(
        named=message.named,
        joints=tuple(message.joints),
        positions=tuple(message.positions),
        link=message.link,
        position=np.array([place.x, place.y, place.z]),
        quaternion=np.array([turn.x, turn.y, turn.z, turn.w]),
        frame=message.pose.header.frame_id,
        speed=message.speed or default_speed,
    )


def goal_to_message(goal: MoveGoal) -> MoveTo.Goal:
    """The message of a goal."""
    message = MoveTo.Goal(
        named=goal.named,
        joints=list(goal.joints),
        positions=list(goal.positions),
        link=goal.link,
        speed=goal.speed,
    )
    pose = message.pose.pose
    pose.position.x, pose.position.y, pose.position.z = map(float, goal.position)
    turn = pose.orientation
    turn.x, turn.y, turn.z, turn.w = map(float, goal.quaternion)
    message.pose.header.frame_id = goal.frame
    return message
