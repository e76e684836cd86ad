"""The controllers' command topics, to a node that also listens on them itself."""

from collections.abc import Mapping

from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from dexvla_model.streaming import JointTrajectory
from dexvla_ros.messages.trajectories import trajectory_to_message
from dexvla_ros.nodes.qos import COMMAND
from dexvla_ros.nodes.stack_node import StackNode


class ControllerOutlets:
    """Publishes trajectories for each of the robot's controllers."""

    def __init__(self, node: StackNode) -> None:
        self._topics = {controller.name: controller.topic for controller in node.robot.controllers}
        self._outlets = {
            name: node.publish_on(JointTrajectoryMessage, topic, COMMAND)
            for name, topic in self._topics.items()
        }

    def send(self, trajectories: Mapping[str, JointTrajectory]) -> None:
        """Publish a trajectory for each controller, by its name."""
        for name, trajectory in trajectories.items():
            self._outlets[name](trajectory_to_message(trajectory))

    def unheard(self) -> list[str]:
        """Topics on which nobody listens besides the node itself."""
        return [topic for name, topic in self._topics.items() if self._outlets[name].subscribers() < 2]
