"""A robot in protective stop, paused, or without its controller: said in one line, held, and gone on from."""

from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64
from std_srvs.srv import Trigger

from dexvla_model.robot import load_robot
from dexvla_msgs.action import ExecuteTask
from dexvla_ros.bringup import GraphOptions, simulated_graph
from dexvla_ros.nodes import robot_watch
from dexvla_ros.nodes.action_node import GO_ON_SERVICE
from dexvla_ros.nodes.qos import DIAGNOSTICS, LATCHED, SENSOR
from dexvla_ros.nodes.robot_watch import RobotWatch
from dexvla_ros.own_domain import own_domain
from dexvla_ros.robot_stops import RobotStops
from dexvla_ros.supervisor import Supervisor

PATIENCE_S = 120.0


@pytest.fixture
def stops():
    return RobotStops(["arm_controller", "gripper_controller"])


def test_where_nobody_says_anything_nothing_keeps_the_robot(stops):
    assert stops.reason == ""


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (lambda stops: stops.on_program_running(False), "runs no program"),
        (lambda stops: stops.on_speed_scaling(0.0), "speed at 0"),
        (lambda stops: stops.on_ur_safety_mode(3), "protective stop: unlock it on the pendant"),
        (lambda stops: stops.on_ur_safety_mode(7), "emergency stop"),
        (lambda stops: stops.on_franka_mode(5), "user stop pressed"),
        (lambda stops: stops.on_franka_mode(4), "reflex"),
        (lambda stops: stops.on_franka_mode(3), "guided by hand"),
        (
            lambda stops: stops.on_controllers({"arm_controller": "active"}),
            "gripper_controller is not loaded",
        ),
        (
            lambda stops: stops.on_controllers(
                {"arm_controller": "inactive", "gripper_controller": "active"}
            ),
            "the controller arm_controller is inactive",
        ),
    ],
)
def test_every_cause_is_named_and_goes_away_with_it(stops, say, words):
    say(stops)
    assert words in stops.reason
    stops.on_program_running(True)
    stops.on_speed_scaling(60.0)
    stops.on_ur_safety_mode(1)
    stops.on_franka_mode(2)
    stops.on_controllers({"arm_controller": "active", "gripper_controller": "active"})
    assert stops.reason == ""


def test_the_most_particular_cause_is_said(stops):
    stops.on_program_running(False)
    stops.on_controllers({})
    stops.on_ur_safety_mode(3)
    assert "protective stop" in stops.reason


class Node:
    """Stands for a node of a Franka; what it listens on, and the controllers that are loaded, are the test's."""

    def __init__(self):
        self.robot = load_robot("fr3")
        self.listeners, self.timers, self.lines, self.loaded = {}, [], [], {}
        self.others = {"gripper_controller/joint_trajectory": ["action_node", "gripper_action_node"]}

    def listen(self, kind, topic, callback, qos, while_inactive):
        assert while_inactive
        self.listeners[topic] = callback

    def every(self, period_s, callback):
        self.timers.append(callback)

    def ask(self, kind, name):
        return SimpleNamespace(service_is_ready=lambda: True, call_async=lambda request: self)

    def add_done_callback(self, callback):
        entries = [SimpleNamespace(name=name, state=state) for name, state in self.loaded.items()]
        callback(SimpleNamespace(result=lambda: SimpleNamespace(controller=entries)))

    def deliver(self, callback):
        callback()

    def get_logger(self):
        return SimpleNamespace(error=self.lines.append, info=self.lines.append)

    def publish_diagnostics(self):
        pass

    def resolve_topic_name(self, topic):
        return topic

    def get_subscriptions_info_by_topic(self, topic):
        return [SimpleNamespace(node_name=name) for name in self.others.get(topic, ())]

    def tick(self):
        for timer in self.timers:
            timer()


@pytest.fixture
def node(monkeypatch):
    services = {"ListControllers": SimpleNamespace(Request=lambda: None)}
    monkeypatch.setattr(robot_watch, "_find", lambda module, name: services.get(name))
    return Node()


def test_a_stop_is_one_line_when_it_begins_and_one_when_it_is_over(node):
    node.loaded = {"fr3_arm_controller": "active"}
    heard = []
    RobotWatch(node, heard.append)
    for _ in range(3):
        node.tick()
    assert heard == [] and node.lines == []
    for running, lines in ((False, 1), (True, 2), (False, 3)):
        node.listeners["io_and_status_controller/robot_program_running"](Bool(data=running))
        node.tick()
        node.tick()
        assert len(heard) == len(node.lines) == lines
    assert "runs no program" in heard[0] and heard[1] == "" and heard[2] == heard[0]
    assert node.lines[1] == "the robot follows again"


def test_a_gripper_whose_controller_is_a_bridge_is_no_stop_and_one_without_is(node):
    node.loaded = {"fr3_arm_controller": "active"}
    heard = []
    RobotWatch(node, heard.append)
    node.tick()
    assert heard == []
    node.loaded = {"fr3_arm_controller": "inactive"}
    node.tick()
    node.loaded = {"fr3_arm_controller": "active"}
    node.others = {}
    node.tick()
    assert [reason.partition(":")[0] for reason in heard] == [
        "the controller fr3_arm_controller is inactive",
        "the controller gripper_controller is not loaded",
    ]


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    nodes = simulated_graph(GraphOptions("ur5e", "scripted"))
    with own_domain(), Supervisor(nodes, tmp_path_factory.mktemp("logs"), use_sim_time=True) as supervisor:
        supervisor.bring_up()
        yield supervisor.client


@pytest.mark.ros
def test_a_stopped_robot_holds_says_why_and_goes_on_within_the_same_task(graph):
    node, speed, status = graph.node, [np.inf], []
    node.create_subscription(
        JointState,
        "joint_states",
        lambda message: speed.append(float(np.abs(message.velocity).max())),
        SENSOR,
    )
    node.create_subscription(
        DiagnosticArray,
        "/diagnostics",
        lambda message: status.extend(one for one in message.status if one.name == "action_node"),
        DIAGNOSTICS,
    )
    program = node.create_publisher(Bool, "io_and_status_controller/robot_program_running", LATCHED)
    scaling = node.create_publisher(Float64, "speed_scaling_state_broadcaster/speed_scaling", LATCHED)
    goals = ActionClient(node, ExecuteTask, "execute_task")

    def wait_until(condition):
        graph.wait_until(condition, PATIENCE_S, "the test goes on")

    wait_until(goals.server_is_ready)
    goal = ExecuteTask.Goal(instruction="put the red cube in the tray", timeout_s=600.0)
    handle = graph.wait_for(goals.send_goal_async(goal), PATIENCE_S, "the goal is answered")
    wait_until(lambda: speed[-1] > 0.1)

    program.publish(Bool(data=False))
    wait_until(lambda: speed[-1] < 0.005 and status and "runs no program" in status[-1].message)
    assert status[-1].level == DiagnosticStatus.ERROR
    answer = graph.call(Trigger, GO_ON_SERVICE, Trigger.Request(), PATIENCE_S)
    assert not answer.success and "runs no program" in answer.message

    # The program runs again, but at no speed.
    scaling.publish(Float64(data=0.0))
    program.publish(Bool(data=True))
    wait_until(lambda: "speed at 0" in status[-1].message)
    assert speed[-1] < 0.005
    scaling.publish(Float64(data=100.0))
    wait_until(lambda: speed[-1] > 0.1)
    answer = graph.call(Trigger, GO_ON_SERVICE, Trigger.Request(), PATIENCE_S)
    assert answer.success
    graph.wait_for(handle.cancel_goal_async(), PATIENCE_S, "the goal is cancelled")
