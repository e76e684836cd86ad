"""What runs around a robot, as data: what is refused, and how things of other packages are started."""

import stat

import pytest
import yaml

from dexvla_model.errors import UserError
from dexvla_ros.bringup import dashboard_process
from dexvla_ros.cli.graph_command import run_until_interrupted
from dexvla_ros.foreign import ForeignNode, IncludedLaunch, PackageFile, RobotUrdf, command_line, installed
from dexvla_ros.process_group import ProcessGroup
from dexvla_ros.robot_bringup import BringupOptions, checked_bringup, parse_pairs, robot_graph


@pytest.fixture(autouse=True)
def no_ros(monkeypatch):
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with a node that writes down what it was started with."""
    marker = tmp_path / "share/ament_index/resource_index/packages/fake"
    marker.parent.mkdir(parents=True)
    marker.touch()
    program = tmp_path / "lib/fake/fake_node"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hardware": "gazebo"}, "hardware is 'gazebo' .allowed: sim, mock, real"),
        ({"cameras": "kinect"}, "cameras is 'kinect' .allowed: none, realsense, usb, ours"),
        ({"cameras": "usb"}, "hardware sim has its own"),
        ({"robot_ip": "10.0.0.1"}, "robot_ip is given, but means something to hardware real only"),
        ({"hardware": "real"}, "robot_ip is missing"),
        ({"hardware": "mock", "policy": "scripted"}, "knows the simulated world only"),
        ({"hardware": "mock", "viewer": True}, "viewer shows the simulated world"),
        ({"robot": "nope"}, "nope.*ur5e"),
        ({"policy": "nope"}, "nope"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(given, message):
    with pytest.raises(UserError, match=message):
        checked_bringup(BringupOptions(**{"robot": "ur5e", "policy": "none", **given}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cameras": "usb"}, "does not say which device is scene, wrist"),
        (
            {"cameras": "usb", "camera_devices": {"top": "/dev/video0"}},
            "names the camera 'top'.*scene, wrist",
        ),
        ({"hardware": "real", "robot": "agilex_piper", "ports": {"ur": "x"}}, "no device named 'ur'.*piper"),
        (
            {"hardware": "real", "robot": "agilex_piper", "vendor_arguments": {"a": "b"}},
            "no vendor's launch file",
        ),
    ],
)
def test_devices_that_the_robot_lacks_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        robot_graph(BringupOptions(**{"robot": "ur5e", "hardware": "mock", "policy": "none", **given}))


def test_without_a_policy_only_motion_is_left():
    graph = robot_graph(checked_bringup(BringupOptions("ur5e", policy="none")))
    assert [process.name for process in graph.processes] == ["sim_node", "motion_node"]


def test_our_own_cameras_get_their_devices():
    devices = {"scene": "/dev/video0", "wrist": "/dev/video2"}
    options = BringupOptions("ur5e", "mock", policy="none", cameras="ours", camera_devices=devices)
    node = next(process for process in robot_graph(options).processes if process.name == "webcam_node")
    assert node.parameters["devices"] == ["scene=/dev/video0", "wrist=/dev/video2"]


def test_pairs():
    assert parse_pairs(" a=1, b=/dev/x ", "ports") == {"a": "1", "b": "/dev/x"}
    assert parse_pairs("", "ports") == {}
    for wrong in ("a", "a=", "=b", "a=1,a=2"):
        with pytest.raises(UserError, match="needed is NAME=VALUE"):
            parse_pairs(wrong, "ports")


def test_a_missing_package_is_named_with_what_installs_it():
    items = robot_graph(BringupOptions("ur5e", "mock", policy="none")).foreign
    with pytest.raises(
        UserError, match="robot_state_publisher is not installed.*ros-jazzy-robot-state-publisher"
    ):
        installed(items)


def test_what_is_optional_is_left_out_where_it_is_missing():
    assert installed(robot_graph(BringupOptions("ur5e", policy="none")).foreign) == ()


def test_the_package_of_a_plugin_has_to_be_there_too(package):
    node = ForeignNode("fake", "fake_node", "fake", plugins=("topic_based_ros2_control/TopicBasedSystem",))
    with pytest.raises(UserError, match="topic_based_ros2_control is not installed, but the plugin"):
        installed([node])
    newer = package / "share/ament_index/resource_index/packages/joint_state_topic_hardware_interface"
    newer.touch()
    assert installed([node]) == (node,)


def test_a_node_of_another_package_is_started_with_its_parameters_and_may_end(package, tmp_path):
    urdf = RobotUrdf("ur5e", {"hardware": "mock"})
    node = ForeignNode(
        "fake",
        "fake_node",
        "fake",
        name="camera",
        namespace="top",
        parameters={"robot_description": urdf, "serial_no": "_12"},
        arguments=("a_controller", "--inactive"),
        remappings={"image_raw": "cameras/top/image_raw"},
        ends=True,
    )
    command = command_line(node, tmp_path / "logs")
    group = ProcessGroup(tmp_path / "logs")
    group.start("fake", command, may_end=True)
    try:
        while not (package / "arguments").exists():
            assert group.death() is None
        arguments = (package / "arguments").read_text() or " ".join(command[1:])
        assert "a_controller --inactive --ros-args" in arguments
        assert "__node:=camera" in arguments and "__ns:=/top" in arguments
        assert "image_raw:=cameras/top/image_raw" in arguments
        file = yaml.safe_load(open(command[command.index("--params-file") + 1]))
        values = file["/**"]["ros__parameters"]
        assert values["serial_no"] == "_12" and "mock_components/GenericSystem" in values["robot_description"]
    finally:
        group.stop()


def test_a_launch_file_of_another_package_is_started_by_ros2_launch(package, tmp_path):
    (package / "share/fake/config").mkdir(parents=True)
    (package / "share/fake/config/a.yaml").write_text("")
    item = IncludedLaunch(
        "fake", "arm.launch.py", {"robot_ip": "10.0.0.1", "file": PackageFile("fake", "config/a.yaml")}
    )
    command = command_line(item, tmp_path)
    assert command[:4] == ["ros2", "launch", "fake", "arm.launch.py"]
    assert command[4:] == ["robot_ip:=10.0.0.1", f"file:={package}/share/fake/config/a.yaml"]


def test_run_says_what_is_missing_before_it_starts_anything(tmp_path):
    graph = robot_graph(BringupOptions("ur5e", "mock", policy="none"))
    with pytest.raises(UserError, match="not installed"):
        run_until_interrupted(graph.processes, tmp_path / "out", False, False, graph.foreign)
    assert not (tmp_path / "out").exists()


def test_the_page_is_served_where_it_is_wanted():
    assert dashboard_process("ur5e", True).parameters == {"robot": "ur5e", "use_sim_time": True}
    assert dashboard_process("ur5e", True, "0.0.0.0", 9000).parameters["port"] == 9000
