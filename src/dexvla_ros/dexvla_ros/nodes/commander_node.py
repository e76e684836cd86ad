"""A node that takes the robot from the policies for a while: what teleop_node and motion_node have in common."""

from collections.abc import Mapping
from functools import partial
from typing import Protocol

from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from dexvla_model.observation import InvalidObservation, RobotState
from dexvla_model.robot import Controller
from dexvla_model.streaming import JointTrajectory
from dexvla_ros.messages.joint_states import state_from_message
from dexvla_ros.messages.trajectories import trajectory_from_message
from dexvla_ros.nodes.controller_outlets import ControllerOutlets
from dexvla_ros.nodes.policy_pause import PolicyPause
from dexvla_ros.nodes.qos import COMMAND, SENSOR
from dexvla_ros.nodes.robot_watch import RobotWatch
from dexvla_ros.nodes.stack_node import StackNode

_PAUSE_PERIOD_S = 0.25


class DrivingLoop(Protocol):
    """What decides when the robot is taken, and where it moves."""

    def on_state(self, state: RobotState) -> None:
        """Take the newest joint state."""

    def on_command(self, controller: str, trajectory: JointTrajectory) -> None:
        """A trajectory came on a controller's topic: ours, or another node's."""

    def block(self, reason: str) -> None:
        """The robot itself does not follow, for a reason that it gives; empty = it follows again."""


class CommanderNode(StackNode):
    """Connects a loop with the robot; the loop's listener is the node.

    Attributes:
        outlets, pause: of the controllers and the policy; there after `connect`.
    """

    outlets: ControllerOutlets
    pause: PolicyPause

    def connect(self, loop: DrivingLoop) -> None:
        """To be called while the node configures, with a loop that has not been asked for anything yet."""
        self._driving = loop
        self._state_problem = ""
        self.pause = PolicyPause(self)
        self.outlets = ControllerOutlets(self)
        RobotWatch(self, loop.block)
        self.listen(JointState, "joint_states", self._on_joint_state, SENSOR)
        for controller in self.robot.controllers:
            callback = partial(self._on_trajectory, controller)
            self.listen(JointTrajectoryMessage, controller.topic, callback, COMMAND)
        self.every(_PAUSE_PERIOD_S, self.pause.keep)

    def take_state_problem(self) -> str:
        """Why joint states since the last call could not be used; empty = they could."""
        problem, self._state_problem = self._state_problem, ""
        return problem

    # What the loop asks for

    def is_connected(self) -> bool:
        """Whether somebody besides this node listens on every controller's topic."""
        return not self.outlets.unheard()

    def send(self, trajectories: Mapping[str, JointTrajectory]) -> None:
        """Publish a trajectory for each controller."""
        self.outlets.send(trajectories)

    def pause_policies(self) -> None:
        """Ask action_node to brake and to leave the controllers to this node."""
        self.pause.want(True)

    def policies_problem(self) -> str:
        """Why action_node is not known to have paused; empty = it has, or there is none."""
        return self.pause.problem()

    # Callbacks

    def _on_joint_state(self, message: JointState) -> None:
        try:
            self._driving.on_state(state_from_message(self.robot, message))
        except InvalidObservation as error:
            self._state_problem = f"joint_states cannot be used: {error}"
            self.report_once(self._state_problem)

    def _on_trajectory(self, controller: Controller, message: JointTrajectoryMessage) -> None:
        self._driving.on_command(controller.name, trajectory_from_message(message))
