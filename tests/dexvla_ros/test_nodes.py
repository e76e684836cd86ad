"""One graph that stays up: goals cancelled, replaced, refused or out of time, and nodes that come and go."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import DescribeParameters
from rclpy.action import ActionClient
from sensor_msgs.msg import CameraInfo, JointState

from dexvla_msgs.action import ExecuteTask
from dexvla_msgs.msg import TaskStatus
from dexvla_msgs.srv import ResetSimulation
from dexvla_ros.bringup import GraphOptions, simulated_graph
from dexvla_ros.messages.stamps import stamp_from_message
from dexvla_ros.nodes.qos import DIAGNOSTICS, LATCHED, SENSOR
from dexvla_ros.own_domain import own_domain
from dexvla_ros.supervisor import Supervisor

pytestmark = pytest.mark.ros

# For a machine that is busy.
PATIENCE_S = 120.0
INSTRUCTION = "put the red cube in the tray"


class Operator:
    """Sends goals and looks at what comes of them."""

    def __init__(self, client):
        self.client = client
        self.goals = ActionClient(client.node, ExecuteTask, "execute_task")
        self.speed_rad_s = np.inf
        self.feedback = []
        self.diagnostics = {}
        client.node.create_subscription(JointState, "joint_states", self._on_joint_state, SENSOR)
        client.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, DIAGNOSTICS)
        self.wait_until(self.goals.server_is_ready)

    def wait_until(self, condition):
        self.client.wait_until(condition, PATIENCE_S, "the test goes on")

    def send(self, instruction=INSTRUCTION, timeout_s=60.0):
        self.feedback.clear()
        goal = ExecuteTask.Goal(instruction=instruction, timeout_s=timeout_s)
        sent = self.goals.send_goal_async(
            goal, feedback_callback=lambda message: self.feedback.append(message.feedback)
        )
        return self.client.wait_for(sent, PATIENCE_S, "the goal is answered")

    def result(self, handle):
        return self.client.wait_for(handle.get_result_async(), PATIENCE_S, "the goal ends").result

    def reset(self, seed):
        request = ResetSimulation.Request(seed=seed)
        return self.client.call(ResetSimulation, "sim/reset", request, PATIENCE_S)

    def wait_until_moving(self):
        self.wait_until(lambda: self.speed_rad_s > 0.1)

    def wait_until_at_rest(self):
        self.wait_until(lambda: self.speed_rad_s < 0.01)

    def change_state(self, node, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.client.call(ChangeState, f"{node}/change_state", request, PATIENCE_S).success

    def _on_joint_state(self, message):
        self.speed_rad_s = float(np.abs(message.velocity).max())

    def _on_diagnostics(self, message):
        for status in message.status:
            self.diagnostics[status.name] = status


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    with own_domain():
        with Supervisor(
            simulated_graph(GraphOptions("ur5e", "scripted")), folder, use_sim_time=True
        ) as supervisor:
            supervisor.bring_up()
            yield supervisor
    assert not supervisor.processes.any_killed


@pytest.fixture(scope="module")
def connected(graph):
    return Operator(graph.client)


@pytest.fixture
def operator(connected):
    connected.wait_until_at_rest()
    assert connected.reset(1).success
    return connected


def test_every_node_reports_that_it_is_well(operator):
    nodes = {"sim_node", "camera_node", "vlm_node", "action_node"}
    operator.wait_until(lambda: nodes <= operator.diagnostics.keys())
    # A world that runs slower than real time is a warning.
    operator.wait_until(
        lambda: all(operator.diagnostics[name].level < DiagnosticStatus.ERROR for name in nodes)
    )


def test_the_task_of_the_world_is_latched_and_follows_a_reset(operator):
    statuses = []
    node = operator.client.node
    subscription = node.create_subscription(TaskStatus, "sim/task_status", statuses.append, LATCHED)
    instruction = operator.reset(5).instruction
    operator.wait_until(lambda: statuses and statuses[-1].seed == 5)
    assert (statuses[-1].task, statuses[-1].instruction) == ("pick_place", instruction)
    assert not statuses[-1].success
    node.destroy_subscription(subscription)


def test_a_reset_to_a_negative_seed_is_refused(operator):
    response = operator.reset(-1)
    assert not response.success
    assert "negative" in response.message


def test_joint_states_and_cameras_keep_their_rates_in_simulated_time(operator, robot):
    joint_stamps_s, camera_stamps_s = [], []
    node = operator.client.node
    subscriptions = [
        node.create_subscription(
            JointState,
            "joint_states",
            lambda message: joint_stamps_s.append(stamp_from_message(message.header.stamp)),
            SENSOR,
        ),
        node.create_subscription(
            CameraInfo,
            robot.cameras[0].info_topic,
            lambda message: camera_stamps_s.append(stamp_from_message(message.header.stamp)),
            SENSOR,
        ),
    ]
    operator.wait_until(lambda: len(camera_stamps_s) >= 10)
    # Best effort: one that was lost makes a gap of two periods, and never anything in between.
    for stamps_s, period_s in ((joint_stamps_s, 0.01), (camera_stamps_s, 0.1)):
        gaps = np.diff(stamps_s) / period_s
        np.testing.assert_allclose(gaps, np.round(gaps), atol=1e-4)
        assert np.median(gaps) == pytest.approx(1.0, abs=1e-4)
    for subscription in subscriptions:
        node.destroy_subscription(subscription)


def test_a_goal_that_is_cancelled_ends_as_cancelled_and_the_robot_holds(operator):
    handle = operator.send()
    operator.wait_until_moving()
    operator.client.wait_for(handle.cancel_goal_async(), PATIENCE_S, "the cancellation is answered")
    result = operator.result(handle)
    assert result.outcome == ExecuteTask.Result.CANCELED
    assert result.sub_steps[0].startswith("move above the")
    assert operator.feedback[0].sub_step == result.sub_steps[0]
    operator.wait_until_at_rest()


def test_a_new_goal_replaces_the_old_one(operator):
    first = operator.send()
    operator.wait_until_moving()
    second = operator.send()
    result = operator.result(first)
    assert (result.outcome, result.message) == (ExecuteTask.Result.CANCELED, "Replaced by a new goal.")
    operator.wait_until(lambda: operator.feedback)
    operator.client.wait_for(second.cancel_goal_async(), PATIENCE_S, "the cancellation is answered")
    operator.result(second)


def test_a_goal_out_of_time_ends_as_timed_out_and_the_robot_holds(operator):
    result = operator.result(operator.send(timeout_s=1.0))
    assert result.outcome == ExecuteTask.Result.TIMED_OUT
    assert result.duration_s >= 1.0
    operator.wait_until_at_rest()


@pytest.mark.parametrize(
    ("instruction", "timeout_s"), [("  ", 10.0), (INSTRUCTION, -1.0), (INSTRUCTION, np.nan)]
)
def test_a_goal_that_makes_no_sense_is_refused(operator, instruction, timeout_s):
    assert not operator.send(instruction, timeout_s).accepted


def test_the_robot_holds_when_the_action_node_is_deactivated_in_motion(operator):
    handle = operator.send()
    operator.wait_until_moving()
    assert operator.change_state("action_node", Transition.TRANSITION_DEACTIVATE)
    operator.wait_until_at_rest()
    assert operator.change_state("action_node", Transition.TRANSITION_ACTIVATE)
    operator.wait_until_moving()
    operator.client.wait_for(handle.cancel_goal_async(), PATIENCE_S, "the cancellation is answered")
    operator.result(handle)


def test_a_task_fails_and_the_robot_holds_when_observations_cease(operator):
    handle = operator.send()
    operator.wait_until_moving()
    assert operator.change_state("camera_node", Transition.TRANSITION_DEACTIVATE)
    result = operator.result(handle)
    assert result.outcome == ExecuteTask.Result.FAILED
    assert "no observation" in result.message
    operator.wait_until_at_rest()
    assert operator.change_state("camera_node", Transition.TRANSITION_ACTIVATE)


@pytest.mark.parametrize("node", ["camera_node", "vlm_node", "action_node"])
def test_a_node_goes_through_its_whole_life_again(operator, node):
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        assert operator.change_state(node, transition)
    state = operator.client.call(GetState, f"{node}/get_state", GetState.Request(), PATIENCE_S)
    assert state.current_state.id == State.PRIMARY_STATE_ACTIVE
    operator.wait_until(operator.goals.server_is_ready)
    handle = operator.send()
    operator.wait_until_moving()
    operator.client.wait_for(handle.cancel_goal_async(), PATIENCE_S, "the cancellation is answered")
    assert operator.result(handle).outcome == ExecuteTask.Result.CANCELED


def test_a_transition_that_is_not_possible_is_refused_and_the_node_goes_on(operator):
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP, 99):
        assert not operator.change_state("action_node", transition)
    state = operator.client.call(GetState, "action_node/get_state", GetState.Request(), PATIENCE_S)
    assert state.current_state.id == State.PRIMARY_STATE_ACTIVE


def test_parameters_are_described_with_their_range(operator):
    request = DescribeParameters.Request(names=["chunk_hz", "threads"])
    response = operator.client.call(
        DescribeParameters, "action_node/describe_parameters", request, PATIENCE_S
    )
    rate, threads = response.descriptors
    assert rate.description.startswith("Action chunks per second")
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (0.1, 100.0)
    assert threads.integer_range[0].from_value == 1
    assert rate.read_only
