"""motion_node in the graph: it moves the robot, gives way to a human, and takes it home around a task."""

import time

import numpy as np
import pytest
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from dexvla_msgs.action import ExecuteTask, MoveTo
from dexvla_msgs.msg import TeleopState
from dexvla_ros.bringup import GraphOptions, checked, simulated_graph
from dexvla_ros.graph_client import GraphClient
from dexvla_ros.motion.goals import MoveGoal
from dexvla_ros.move_client import MoveClient
from dexvla_ros.nodes.qos import LATCHED, SENSOR
from dexvla_ros.own_domain import own_domain
from dexvla_ros.supervisor import Supervisor

pytestmark = pytest.mark.ros

# For a machine that is busy.
PATIENCE_S = 120.0
PAN = "shoulder_pan_joint"


class Operator:
    """Sends goals and watches the robot."""

    def __init__(self, robot):
        self.client = GraphClient("operator", True)
        self.robot = robot
        self.positions, self.speed_rad_s = None, np.inf
        node = self.client.node
        node.create_subscription(JointState, "joint_states", self._on_joints, SENSOR)
        self.moves = MoveClient(self.client)
        self.tasks = ActionClient(node, ExecuteTask, "execute_task")
        self.teleop = node.create_publisher(TeleopState, "teleop/state", LATCHED)
        self.wait_until(lambda: self.positions is not None and self.tasks.server_is_ready())

    def wait_until(self, condition):
        self.client.wait_until(condition, PATIENCE_S, "the test goes on")

    def wait_for(self, future):
        return self.client.wait_for(future, PATIENCE_S, "the answer comes")

    def pan_to(self, position):
        return self.moves.move(MoveGoal(joints=(PAN,), positions=(position,), speed=1.0))

    def pan(self):
        return self.positions[0]

    def _on_joints(self, message):
        by_name = dict(zip(message.name, message.position))
        self.positions = np.array([by_name[joint] for joint in self.robot.action_joints])
        self.speed_rad_s = float(np.abs(message.velocity).max())


@pytest.fixture(scope="module")
def operator(robot, tmp_path_factory):
    nodes = simulated_graph(checked(GraphOptions("ur5e", "scripted", seed=2)), motion=True)
    with own_domain(), Supervisor(nodes, tmp_path_factory.mktemp("logs"), use_sim_time=True) as supervisor:
        supervisor.bring_up()
        operator = Operator(robot)
        yield operator
        operator.client.close()


def test_a_goal_is_reached_and_a_wrong_one_refused(operator):
    result = operator.pan_to(0.3)
    assert result.outcome == MoveTo.Result.SUCCEEDED, result.message
    assert abs(operator.pan() - 0.3) < 0.02
    assert result.duration_s > 0.5
    refused = operator.pan_to(7.0)
    assert refused.outcome == MoveTo.Result.INVALID_GOAL
    assert "shoulder_pan_joint would be at 7 rad" in refused.message


def test_a_goal_under_the_table_is_refused_with_the_bodies(operator):
    result = operator.moves.move(MoveGoal(joints=("shoulder_lift_joint",), positions=(0.3,)))
    assert result.outcome == MoveTo.Result.GOAL_IN_COLLISION
    assert "table" in result.message


def test_a_cancelled_move_brakes_and_holds(operator):
    operator.pan_to(0.3)
    sender = ActionClient(operator.client.node, MoveTo, "move_to")
    operator.wait_until(sender.server_is_ready)
    handle = operator.wait_for(sender.send_goal_async(MoveTo.Goal(joints=[PAN], positions=[-1.2])))
    operator.wait_until(lambda: operator.pan() < 0.1)
    operator.wait_for(handle.cancel_goal_async())
    result = operator.wait_for(handle.get_result_async()).result
    assert result.outcome == MoveTo.Result.CANCELED
    operator.wait_until(lambda: operator.speed_rad_s < 0.01)
    assert operator.pan() > -1.1


def test_a_stopped_robot_holds_and_the_same_goal_goes_on_when_it_follows_again(operator):
    operator.pan_to(0.3)
    program = operator.client.node.create_publisher(
        Bool, "io_and_status_controller/robot_program_running", LATCHED
    )
    phases, sender = [], ActionClient(operator.client.node, MoveTo, "move_to")
    operator.wait_until(sender.server_is_ready)
    goal = MoveTo.Goal(joints=[PAN], positions=[-1.2])
    sent = sender.send_goal_async(goal, feedback_callback=lambda message: phases.append(message.feedback.phase))
    handle = operator.wait_for(sent)
    operator.wait_until(lambda: operator.pan() < 0.1)
    program.publish(Bool(data=False))
    operator.wait_until(lambda: phases[-1] == "waits for the robot" and operator.speed_rad_s < 0.005)
    assert operator.pan() > -1.1
    refused = operator.pan_to(0.0)
    assert refused.outcome != MoveTo.Result.SUCCEEDED
    program.publish(Bool(data=True))
    result = operator.wait_for(handle.get_result_async()).result
    assert result.outcome == MoveTo.Result.SUCCEEDED, result.message
    assert abs(operator.pan() + 1.2) < 0.02


def test_a_human_comes_first(operator):
    operator.teleop.publish(TeleopState(state=TeleopState.READY))
    deadline_s = time.monotonic() + PATIENCE_S
    while operator.pan_to(0.0).outcome != MoveTo.Result.BUSY and time.monotonic() < deadline_s:
        operator.pan_to(0.2)
    refused = operator.pan_to(0.4)
    operator.teleop.publish(TeleopState(state=TeleopState.RELEASED))
    assert refused.message == "Teleoperation has the robot; hand it back first."
    while operator.pan_to(0.4).outcome == MoveTo.Result.BUSY and time.monotonic() < deadline_s:
        pass
    assert abs(operator.pan() - 0.4) < 0.02


def test_a_task_begins_and_ends_at_home(operator):
    operator.pan_to(0.4)
    at_first_sub_step = []

    def on_feedback(message):
        at_first_sub_step.append(operator.positions)

    goal = ExecuteTask.Goal(instruction="put the red cube in the tray", timeout_s=1.5)
    handle = operator.wait_for(operator.tasks.send_goal_async(goal, feedback_callback=on_feedback))
    result = operator.wait_for(handle.get_result_async()).result
    assert result.outcome == ExecuteTask.Result.TIMED_OUT
    assert "did not go home" not in result.message
    # The arm was at home when the policy began, and is again; it had moved in between.
    home = operator.robot.home_positions
    assert np.abs(at_first_sub_step[0] - home).max() < 0.05
    operator.wait_until(lambda: operator.speed_rad_s < 0.01)
    assert np.abs(operator.positions - home).max() < 0.03
