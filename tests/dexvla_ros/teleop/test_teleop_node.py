"""teleop_node in the graph: by Joy, keys, a leader; it takes the robot from a policy and hands it back."""

import os
import signal

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger

from dexvla_msgs.action import ExecuteTask
from dexvla_msgs.msg import TeleopState
from dexvla_ros.bringup import (
    GraphOptions,
    TeleopOptions,
    checked_teleop,
    sim_process,
    simulated_graph,
    teleop_process,
)
from dexvla_ros.graph_client import GraphClient
from dexvla_ros.messages.joint_states import joint_state_message
from dexvla_ros.nodes.qos import COMMAND, DIAGNOSTICS, LATCHED, SENSOR
from dexvla_ros.own_domain import own_domain
from dexvla_ros.supervisor import Supervisor

pytestmark = pytest.mark.ros

# For a machine that is busy.
PATIENCE_S = 120.0
OPTIONS = GraphOptions("ur5e", "scripted")


class Human:
    """Publishes what a device would, and watches the robot."""

    def __init__(self, robot):
        # A client of its own: it must outlive a node that is killed.
        self.client = GraphClient("human", True)
        self.robot = robot
        self.node = self.client.node
        self.state, self.positions, self.speed_rad_s, self.diagnostics = None, None, np.inf, {}
        self.node.create_subscription(TeleopState, "teleop/state", self._on_state, LATCHED)
        self.node.create_subscription(JointState, "joint_states", self._on_joints, SENSOR)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, DIAGNOSTICS)
        self.keys = self.node.create_publisher(String, "teleop/keys", COMMAND)
        self.joy = self.node.create_publisher(Joy, "joy", SENSOR)
        self.leader = self.node.create_publisher(JointState, "leader/joint_states", SENSOR)
        self.timer = None
        self.wait_until(lambda: self.positions is not None and self.state is not None)

    def wait_until(self, condition):
        self.client.wait_until(condition, PATIENCE_S, "the test goes on")

    def is_in(self, *states):
        return self.state.state in states

    def engage(self, wanted=True):
        return self.client.call(SetBool, "teleop/engage", SetBool.Request(data=wanted), PATIENCE_S)

    def change_state(self, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.client.call(ChangeState, "teleop_node/change_state", request, PATIENCE_S).success

    def reports(self, words, node="teleop_node"):
        """Whether the newest diagnostics of a node say so."""
        return node in self.diagnostics and words in self.diagnostics[node].message

    def at_30_hz(self, act):
        """Do something again and again from now on; None = nothing any more."""
        if self.timer is not None:
            self.node.destroy_timer(self.timer)
        self.timer = None if act is None else self.node.create_timer(1.0 / 30.0, act)

    def press(self, key):
        self.keys.publish(String(data=key))

    def wait_until_at_rest(self):
        self.wait_until(lambda: self.speed_rad_s < 0.005)

    def _on_state(self, message):
        self.state = message

    def _on_joints(self, message):
        by_name = dict(zip(message.name, message.position))
        self.positions = np.array([by_name[joint] for joint in self.robot.action_joints])
        self.speed_rad_s = float(np.abs(message.velocity).max())

    def _on_diagnostics(self, message):
        self.diagnostics |= {status.name: status for status in message.status}


@pytest.fixture
def start(robot, tmp_path):
    """Function: start a graph with teleoperation by a device; the human, and the processes."""
    started = []

    def start(device, others=(sim_process(OPTIONS),)):
        domain = own_domain()
        domain.__enter__()
        teleop = teleop_process(checked_teleop(TeleopOptions("ur5e", device)), use_sim_time=True)
        supervisor = Supervisor((*others, teleop), tmp_path / device, use_sim_time=True)
        started.append((domain, supervisor))
        supervisor.__enter__()
        supervisor.bring_up()
        human = Human(robot)
        started[-1] = (*started[-1], human)
        return human, supervisor.processes

    yield start
    for domain, supervisor, *human in started:
        for one in human:
            one.client.close()
        supervisor.stop()
        domain.__exit__(None, None, None)


def test_keys_move_the_arm_a_policy_pauses_meanwhile_and_goes_on_when_it_is_handed_back(start):
    human, _ = start("keyboard", simulated_graph(OPTIONS))
    goals = ActionClient(human.node, ExecuteTask, "execute_task")
    human.wait_until(goals.server_is_ready)
    goal = ExecuteTask.Goal(instruction="put the red cube in the tray", timeout_s=600.0)
    handle = human.client.wait_for(goals.send_goal_async(goal), PATIENCE_S, "the goal is accepted")
    human.wait_until(lambda: human.speed_rad_s > 0.1)

    human.press("enter")
    human.wait_until(lambda: human.is_in(TeleopState.READY))
    human.wait_until_at_rest()
    human.wait_until(lambda: human.reports("paused", "action_node"))
    x_m = human.state.pose.position.x
    human.at_30_hz(lambda: human.press("s"))
    human.wait_until(lambda: human.state.pose.position.x < x_m - 0.03)
    assert human.is_in(TeleopState.MOVING), human.state.reason
    human.at_30_hz(None)
    human.wait_until_at_rest()
    assert human.is_in(TeleopState.READY, TeleopState.MOVING), human.state.reason

    human.press("backspace")
    human.wait_until(lambda: human.is_in(TeleopState.RELEASED))
    result = human.client.wait_for(handle.get_result_async(), PATIENCE_S, "the task ends").result
    assert result.outcome == ExecuteTask.Result.SUCCEEDED, result.message


def test_joy_moves_the_arm_and_the_death_of_the_node_leaves_it_at_rest(start):
    human, processes = start("gamepad")
    axes, buttons = [0.0] * 8, [0] * 11

    human.at_30_hz(lambda: human.joy.publish(Joy(axes=axes, buttons=buttons)))
    human.engage()
    human.wait_until(lambda: human.is_in(TeleopState.READY))
    # The dead man's button counts only after it was seen released in this state.
    seen_s = human.client.now_s() + 0.3
    human.wait_until(lambda: human.client.now_s() > seen_s)
    axes[1] = 1.0
    buttons[4] = 1
    human.wait_until(lambda: human.is_in(TeleopState.MOVING) and human.speed_rad_s > 0.05)
    os.kill(processes.pid("teleop_node"), signal.SIGKILL)
    human.wait_until(lambda: processes.death() is not None)
    human.wait_until_at_rest()
    rest = human.positions
    end_s = human.client.now_s() + 1.0
    human.wait_until(lambda: human.client.now_s() > end_s)
    np.testing.assert_allclose(human.positions, rest, atol=2e-3)


def test_a_leader_moves_the_arm_and_a_stop_holds_it(start, robot):
    human, _ = start("leader")
    target = robot.home_positions.copy()
    human.at_30_hz(
        lambda: human.leader.publish(
            joint_state_message(human.client.now_s(), robot.action_joints, target.tolist())
        )
    )
    human.engage()
    human.wait_until(lambda: human.is_in(TeleopState.MOVING, TeleopState.READY))
    target[0] += 0.2
    target[6] = 0.25
    human.wait_until(lambda: np.abs(human.positions - target).max() < 0.02)
    assert human.client.call(Trigger, "teleop/stop", Trigger.Request(), PATIENCE_S).success
    human.wait_until(lambda: human.is_in(TeleopState.HOLDING))
    human.wait_until_at_rest()
    human.wait_until(lambda: human.reports("holding: a stop was asked for"))


def test_a_stopped_robot_is_taken_over_by_one_call_when_the_stop_is_over(start):
    human, _ = start("keyboard")
    program = human.node.create_publisher(Bool, "io_and_status_controller/robot_program_running", LATCHED)

    # What came while the node was inactive counts, too.
    assert human.change_state(Transition.TRANSITION_DEACTIVATE)
    program.publish(Bool(data=False))
    assert human.change_state(Transition.TRANSITION_ACTIVATE)
    human.wait_until(lambda: human.reports("runs no program"))
    assert human.diagnostics["teleop_node"].level == DiagnosticStatus.ERROR
    answer = human.engage()
    assert not answer.success and "runs no program" in answer.message
    program.publish(Bool(data=True))
    human.wait_until(lambda: human.reports("released"))
    assert human.engage().success
    human.wait_until(lambda: human.is_in(TeleopState.READY))

    program.publish(Bool(data=False))
    human.wait_until(lambda: human.is_in(TeleopState.HOLDING) and "runs no program" in human.state.reason)
    program.publish(Bool(data=True))
    human.wait_until(lambda: "follows again" in human.state.reason)
    assert human.engage().success
    human.wait_until(lambda: human.is_in(TeleopState.READY))
