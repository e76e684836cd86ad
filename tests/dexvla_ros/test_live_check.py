"""`dexvla robot check --live`: what is said of a graph, in words first, then of one that runs, over DDS."""

import json
import subprocess
import sys
from dataclasses import replace
from time import monotonic

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from dexvla_model.robot import load_robot
from dexvla_ros.bringup import GraphOptions, sim_process
from dexvla_ros.graph_client import GraphClient
from dexvla_ros.live_findings import LiveRecord, TopicRecord, live_findings
from dexvla_ros.live_watch import check_live
from dexvla_ros.messages.joint_states import joint_state_message
from dexvla_ros.nodes.qos import SENSOR
from dexvla_ros.own_domain import own_domain
from dexvla_ros.supervisor import Supervisor

PATIENCE_S = 120.0


def topic(kind: str, rate_hz: float, **facts) -> TopicRecord:
    times = list(10.0 + np.arange(int(5 * rate_hz)) / rate_hz)
    return TopicRecord(["driver"], [], {kind}, {}, times, [time - 0.01 for time in times], facts)


@pytest.fixture
def record(robot):
    """A graph in which everything fits."""
    positions = dict(zip(robot.action_joints, robot.home_positions))
    topics = {"joint_states": topic("sensor_msgs/msg/JointState", 100.0, positions=positions)}
    for camera in robot.cameras:
        facts = {"size": (camera.width, camera.height), "frame": camera.frame}
        topics[camera.topic] = topic("sensor_msgs/msg/Image", camera.rate_hz, **facts)
        topics[camera.info_topic] = topic("sensor_msgs/msg/CameraInfo", camera.rate_hz)
    for controller in robot.controllers:
        topics[controller.topic] = TopicRecord([], ["manager"], {"trajectory_msgs/msg/JointTrajectory"})
    return LiveRecord(5.0, topics, {controller.name: "active" for controller in robot.controllers}, {})


def only(robot, record):
    (finding,) = live_findings(robot, record)
    return str(finding)


def test_of_a_graph_in_which_everything_fits_nothing_is_said(robot, record):
    assert live_findings(robot, record) == []


def change_stamps(function):
    def change(seen):
        seen.stamps_s = function(seen.stamps_s)

    return change


def lose_every_second(seen):
    seen.arrivals_s, seen.stamps_s = seen.arrivals_s[::2], seen.stamps_s[::2]


def lose_most(seen):
    seen.arrivals_s, seen.stamps_s = seen.arrivals_s[::5], seen.stamps_s[::5]


def nothing_comes(seen):
    seen.arrivals_s, seen.stamps_s = [], []


CAMERA = [
    (
        lambda seen: seen.publishers.clear(),
        "error",
        "cameras[0].topic is cameras/scene/image_raw, but nobody",
    ),
    (nothing_comes, "error", "which driver offers, but in 5 s no message came"),
    (lambda seen: seen.publishers.append("another"), "warning", "which 2 nodes publish: another, driver"),
    (lose_every_second, "warning", "cameras[0].rate_hz is 10, but cameras/scene/image_raw comes at 5.0 Hz"),
    (lose_most, "error", "comes at 2.0 Hz"),
    (change_stamps(lambda stamps: [0.0 for _ in stamps]), "error", "whose stamps are zero"),
    (change_stamps(lambda stamps: stamps[::-1]), "error", "whose stamps go back"),
    (change_stamps(lambda stamps: [one - 3.0 for one in stamps]), "error", "are 3.01 s old"),
    (change_stamps(lambda stamps: [one + 3.0 for one in stamps]), "error", "2.99 s ahead of this clock"),
    (lambda seen: seen.facts.update(size=(640, 480)), "error", "cameras[0].size is [320, 240], but"),
    (
        lambda seen: seen.facts.update(frame="lens"),
        "warning",
        "cameras[0].frame is scene_camera_optical_frame, but",
    ),
    (lambda seen: seen.facts.update(problem="encoding x"), "error", "cannot be read: encoding x"),
    (
        lambda seen: seen.incompatible.update(driver="durability"),
        "error",
        "with other QoS than ours: durability",
    ),
]


@pytest.mark.parametrize(("change", "severity", "words"), CAMERA)
def test_a_camera_that_does_not_fit(robot, record, change, severity, words):
    change(record.topics["cameras/scene/image_raw"])
    line = only(robot, record) if words != "whose stamps go back" else str(live_findings(robot, record)[0])
    assert line.startswith(f"{severity}: {robot.path}: ") and words in line


def test_a_topic_of_another_type(robot, record):
    record.topics["cameras/wrist/image_raw"].types = {"sensor_msgs/msg/CompressedImage"}
    assert "on which sensor_msgs/msg/CompressedImage is published, but needed is" in only(robot, record)


@pytest.mark.parametrize(
    ("joint", "position", "words"),
    [
        ("elbow_joint", None, "state[2].joint is elbow_joint, but joint_states has shoulder_pan_joint"),
        ("elbow_joint", float("nan"), "whose position on joint_states is nan"),
        (
            "wrist_1_joint",
            90.0,
            "state[3].joint is wrist_1_joint, which joint_states has at 90.000, outside its limits",
        ),
    ],
)
def test_joints_that_do_not_fit(robot, record, joint, position, words):
    positions = record.topics["joint_states"].facts["positions"]
    if position is None:
        del positions[joint]
    else:
        positions[joint] = position
    assert words in only(robot, record)


def test_controllers_that_do_not_listen_or_are_not_active(robot, record):
    inactive = replace(
        record, controller_states={**record.controller_states, "gripper_controller": "inactive"}
    )
    line = only(robot, inactive)
    assert "controllers[1].name is gripper_controller, which is inactive" in line
    assert "ros2 control set_controller_state gripper_controller active" in line
    unloaded = replace(record, controller_states={})
    assert "which is not loaded" in str(live_findings(robot, unloaded)[0])
    listeners = record.topics["gripper_controller/joint_trajectory"].subscribers
    bridged = {name: state for name, state in record.controller_states.items() if name != "gripper_controller"}
    listeners.append("gripper_action_node")
    assert live_findings(robot, replace(record, controller_states=bridged)) == []
    nobody_asked = replace(record, controller_states=None)
    record.topics["gripper_controller/joint_trajectory"].subscribers.clear()
    assert "but nobody listens on gripper_controller/joint_trajectory: start" in only(robot, nobody_asked)


def test_what_nodes_report_is_passed_on(robot, record):
    failing = replace(record, errors={"piper_node": "can0 cannot be opened"})
    assert "the node piper_node reports: can0 cannot be opened" in only(robot, failing)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A simulated robot, and no policy."""
    nodes = (sim_process(GraphOptions("ur5e", "scripted")),)
    with own_domain(), Supervisor(nodes, tmp_path_factory.mktemp("logs"), use_sim_time=True) as supervisor:
        supervisor.bring_up()
        yield supervisor.client


def errors(findings):
    return [str(finding) for finding in findings if finding.severity == "error"]


@pytest.mark.ros
def test_the_simulated_robot_fits_its_own_file(graph, robot):
    assert errors(check_live(robot, 4.0)) == []


@pytest.mark.ros
def test_a_file_that_says_otherwise_is_told_so_and_ends_with_code_2(graph, robot, tmp_path):
    text = robot.path.read_text().replace("topic: cameras/wrist/image_raw", "topic: cameras/hand/image_raw")
    text = text.replace("file: urdf/", f"file: {robot.urdf_path.parent}/").replace(
        "- name: gripper_controller", "- name: hand_controller"
    )
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("joint_state_hz: 100.0", "joint_state_hz: 400.0"))
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "dexvla_ros.cli.main",
            "robot",
            "check",
            str(path),
            "--live",
            "--seconds",
            "3",
            "--json",
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert result.returncode == 2, result.stderr
    findings = [(one["key"], one["text"]) for one in json.loads(result.stdout)["findings"]]
    assert (
        "cameras[1].topic",
        "is cameras/hand/image_raw, but nobody publishes it: start its driver.",
    ) in findings
    assert any(
        key == "controllers[1].name" and "nobody listens on hand_controller" in text for key, text in findings
    )
    assert any(key == "rates.joint_state_hz" and "joint_states comes at" in text for key, text in findings)


@pytest.mark.ros
def test_a_second_publisher_and_a_listener_with_other_qos_are_found(graph, robot):
    node = graph.node
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    other = node.create_publisher(JointState, "joint_states", SENSOR)
    listener = node.create_subscription(
        JointTrajectory, robot.controllers[0].topic, lambda message: None, latched
    )
    timer = node.create_timer(0.05, lambda: other.publish(joint_state_message(1.0, ["elbow_joint"], [90.0])))
    wanted = ("which 2 nodes publish", "whose stamps go back", "listens with other QoS")
    # On a busy machine discovery may take longer than one look.
    deadline_s = monotonic() + PATIENCE_S
    missed = wanted
    while missed and monotonic() < deadline_s:
        found = [str(finding) for finding in _look_while_turning(graph, robot)]
        missed = [words for words in wanted if not any(words in line for line in found)]
    node.destroy_timer(timer)
    node.destroy_publisher(other)
    node.destroy_subscription(listener)
    assert not missed, found


def _look_while_turning(graph: GraphClient, robot):
    from threading import Thread

    found = []
    thread = Thread(target=lambda: found.extend(check_live(robot, 3.0)))
    thread.start()
    while thread.is_alive():
        graph.turn()
    return found


@pytest.mark.ros
def test_without_a_graph_it_says_so(monkeypatch):
    # A domain that own_domain never hands out: no graph that has just ended is still known there.
    monkeypatch.setenv("ROS_DOMAIN_ID", "101")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    result = subprocess.run(
        [sys.executable, "-m", "dexvla_ros.cli.main", "robot", "check", "ur5e", "--live", "--seconds", "1"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert result.returncode == 2
    assert (
        "No node publishes joint_states in this ROS domain" in result.stderr
        and "Traceback" not in result.stderr
    )
    assert load_robot("ur5e").name == "ur5e"
