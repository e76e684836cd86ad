"""gripper_action_node over DDS, before a simulated action server that is late, rejects, breaks off and dies.

The action is MoveTo: no wheel has control_msgs, and the node asks for no more of an action than its words for
position and outcome.
"""

import threading

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.experimental import EventsExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from dexvla_model.streaming import JointTrajectory
from dexvla_msgs.action import MoveTo
from dexvla_ros.graph_client import GraphClient
from dexvla_ros.messages.gripper_goals import GripperGoals
from dexvla_ros.messages.joint_states import joint_state_message
from dexvla_ros.messages.trajectories import trajectory_to_message
from dexvla_ros.nodes import gripper_action_node
from dexvla_ros.nodes.qos import COMMAND, DIAGNOSTICS, SENSOR
from dexvla_ros.own_domain import own_domain

pytestmark = pytest.mark.ros

PATIENCE_S = 120.0
FINGER = "fr3_finger_joint1"
PARAMETERS = {
    "robot": "fr3",
    "action": "gripper",
    "answer_timeout_s": "0.5",
    "retry_s": "0.2",
    "rate_hz": "20.0",
}


def speak_move_to(action_type):
    return GripperGoals(
        MoveTo,
        lambda kind, joint, position, force: kind.Goal(joints=[joint], positions=[position], speed=1.0),
        lambda result: result.outcome == MoveTo.Result.BUSY,
    )


class Gripper:
    """The gripper's node, and whoever streams to it."""

    def __init__(self):
        self.client = GraphClient("gripper", False)
        node = self.client.node
        self.status, self.server = None, None
        self.goals, self.ends, self.response = [], [], GoalResponse.ACCEPT
        self.held: list[Future] = []
        self.hold = False
        self.publisher = node.create_publisher(
            JointTrajectoryMessage, "gripper_controller/joint_trajectory", COMMAND
        )
        self.joints = node.create_publisher(JointState, "joint_states", SENSOR)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, DIAGNOSTICS)
        node.create_timer(0.1, self._publish_joints)
        self.wait_until(lambda: self.publisher.get_subscription_count() == 1)

    def serve(self):
        self.server = ActionServer(
            self.client.node,
            MoveTo,
            "gripper",
            self._execute,
            goal_callback=lambda goal: self.response,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )

    def die(self):
        self.server.destroy()
        self.server = None

    def wait_until(self, condition):
        self.client.wait_until(condition, PATIENCE_S, "the test goes on")

    def stream(self, position):
        now_s = self.client.now_s()
        trajectory = JointTrajectory((FINGER,), now_s, [0.0, 0.1], [[position], [position]])
        self.publisher.publish(trajectory_to_message(trajectory))

    def wait_for(self, level, words):
        self.wait_until(lambda: self.status and self.status.level == level and words in self.status.message)

    def positions(self):
        return [round(goal.positions[0], 3) for goal in self.goals]

    async def _execute(self, handle):
        self.goals.append(handle.request)
        if self.hold:
            future = Future()
            self.held.append(future)
            await future
        result = MoveTo.Result(outcome=MoveTo.Result.SUCCEEDED)
        if handle.is_cancel_requested:
            handle.canceled()
            self.ends.append("canceled")
        elif self.hold == "abort":
            handle.abort()
            result.outcome = MoveTo.Result.FAILED
            self.ends.append("aborted")
        else:
            handle.succeed()
            self.ends.append("succeeded")
        return result

    def release(self):
        for future in self.held:
            if not future.done():
                future.set_result(None)

    def _publish_joints(self):
        self.joints.publish(joint_state_message(self.client.now_s(), [FINGER], [0.0]))

    def _on_diagnostics(self, message):
        for status in message.status:
            if status.name == "gripper_action_node":
                self.status = status


@pytest.fixture(scope="module")
def running():
    """The node, in a thread of this process, and the gripper."""
    patch = pytest.MonkeyPatch()
    patch.setattr(gripper_action_node, "gripper_goals", speak_move_to)
    arguments = [word for name, value in PARAMETERS.items() for word in ("-p", f"{name}:={value}")]
    with own_domain():
        rclpy.init(
            args=["node", "--ros-args", "--disable-external-lib-logs", *arguments],
            signal_handler_options=SignalHandlerOptions.NO,
        )
        node = gripper_action_node.GripperActionNode()
        executor = EventsExecutor()
        executor.add_node(node)
        end = Future()
        node.trigger_configure()
        node.trigger_activate()
        thread = threading.Thread(target=executor.spin_until_future_complete, args=(end, 1e6))
        thread.start()
        gripper = Gripper()
        yield gripper
        executor.create_task(lambda: end.set_result(None))
        thread.join(10.0)
        node.close()
        gripper.client.close()
        rclpy.try_shutdown()
    patch.undo()


@pytest.fixture
def gripper(running):
    running.hold, running.response = False, GoalResponse.ACCEPT
    running.goals.clear()
    running.ends.clear()
    return running


def test_without_a_server_the_node_says_so_and_sends_the_newest_place_when_one_comes(gripper):
    gripper.stream(0.01)
    gripper.stream(0.04)
    gripper.wait_for(DiagnosticStatus.ERROR, "nobody serves the action gripper")
    gripper.serve()
    gripper.wait_until(lambda: gripper.ends == ["succeeded"])
    assert gripper.positions() == [0.04]
    gripper.wait_for(DiagnosticStatus.OK, "follows")


def test_a_place_that_is_left_before_it_is_reached_is_cancelled(gripper):
    gripper.hold = True
    gripper.stream(0.0)
    gripper.wait_until(lambda: len(gripper.goals) == 1)
    gripper.stream(0.03)
    gripper.wait_until(lambda: gripper.held and gripper.server is not None)
    for _ in range(20):
        gripper.client.turn()
    gripper.hold = False
    gripper.release()
    gripper.wait_until(lambda: len(gripper.ends) == 2)
    assert gripper.positions() == [0.0, 0.03] and gripper.ends == ["canceled", "succeeded"]


def test_rejected_goals_are_offered_again(gripper):
    gripper.response = GoalResponse.REJECT
    gripper.stream(0.0)
    gripper.wait_for(DiagnosticStatus.WARN, "rejects goals")
    gripper.response = GoalResponse.ACCEPT
    gripper.wait_until(lambda: gripper.ends == ["succeeded"])
    gripper.wait_for(DiagnosticStatus.OK, "follows")


def test_a_goal_that_is_broken_off_is_said_and_the_next_motion_goes_on(gripper):
    gripper.hold = "abort"
    gripper.stream(0.02)
    gripper.wait_until(lambda: len(gripper.goals) == 1)
    gripper.release()
    gripper.wait_for(DiagnosticStatus.WARN, "broke the goal 0.020 off")
    gripper.hold = False
    gripper.stream(0.0)
    gripper.wait_until(lambda: gripper.ends == ["aborted", "succeeded"])


def test_a_server_that_dies_in_the_middle_is_told_anew_when_it_is_back(gripper):
    gripper.hold = True
    gripper.stream(0.03)
    gripper.wait_until(lambda: len(gripper.goals) == 1)
    gripper.die()
    gripper.wait_for(DiagnosticStatus.ERROR, "nobody serves")
    gripper.hold = False
    gripper.serve()
    gripper.wait_until(lambda: len(gripper.goals) == 2 and gripper.ends)
    assert gripper.positions() == [0.03, 0.03]
