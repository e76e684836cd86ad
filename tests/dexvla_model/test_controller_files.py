"""config/controllers: every robot has a file, and it says the same as the robot file and the URDF."""

import xml.etree.ElementTree as ElementTree
from functools import cache

import pytest
import yaml

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource, list_resources
from dexvla_model.robot import load_robot
from dexvla_model.robot.urdf import expand_xacro

ROBOTS = ("agilex_dual", "agilex_piper", "fr3", "fr3_leap", "inspire", "leap", "ur5e", "ur5e_inspire")
FILES = list_resources("config/controllers", ".yaml")
MOCK = "mock_components/GenericSystem"
TOPICS = "topic_based_ros2_control/TopicBasedSystem"
UR = "ur_robot_driver/URPositionHardwareInterface"
FRANKA = "franka_hardware/FrankaHardwareInterface"
REAL_PLUGINS = {
    "agilex_dual": [TOPICS, TOPICS],
    "agilex_piper": [TOPICS],
    "fr3": [FRANKA, TOPICS],
    "fr3_leap": [FRANKA, TOPICS],
    "inspire": [TOPICS],
    "leap": [TOPICS],
    "ur5e": [UR, "robotiq_driver/RobotiqGripperHardwareInterface"],
    "ur5e_inspire": [UR, TOPICS],
}
CLAIMS = {"joint_trajectory_controller/JointTrajectoryController", "forward_command_controller/ForwardCommandController"}

description = cache(load_robot)


def controllers(file: str) -> dict[str, dict]:
    content = yaml.safe_load(find_resource(f"config/controllers/{file}.yaml").read_text(encoding="utf-8"))
    return {name: section["ros__parameters"] for name, section in content.items()}


@cache
def systems(robot: str, hardware: str) -> list[ElementTree.Element]:
    path = description(robot).urdf_path
    return ElementTree.fromstring(expand_xacro(path, {"hardware": hardware})).findall("ros2_control")


def joint_interfaces(robot: str, hardware: str, kind: str) -> dict[str, set[str]]:
    """By joint: the names of its interfaces of a kind (command or state)."""
    return {
        joint.get("name"): {interface.get("name") for interface in joint.findall(f"{kind}_interface")}
        for system in systems(robot, hardware)
        for joint in system.findall("joint")
    }


def test_every_robot_has_a_file_and_every_file_a_robot():
    assert set(ROBOTS) == set(list_resources("config/robots", ".yaml"))
    assert {name.removesuffix("_real") for name in FILES} == set(ROBOTS)


@pytest.mark.parametrize("file", FILES)
def test_it_names_the_controllers_of_the_robot_file(file):
    robot, found = description(file.removesuffix("_real")), controllers(file)
    manager = found["controller_manager"]
    assert manager["update_rate"] == robot.rates.controller_hz
    assert manager["joint_state_broadcaster"]["type"] == "joint_state_broadcaster/JointStateBroadcaster"
    for controller in robot.controllers:
        assert manager[controller.name]["type"] == controller.type
        assert tuple(found[controller.name]["joints"]) == controller.joints


@pytest.mark.parametrize("file", FILES)
def test_trajectory_controllers_are_set_up_for_a_stream(file):
    robot, found = description(file.removesuffix("_real")), controllers(file)
    for controller in robot.controllers:
        parameters = found[controller.name]
        assert parameters["interpolate_from_desired_state"] is True
        assert parameters["allow_nonzero_velocity_at_trajectory_end"] is False
        assert parameters["allow_partial_joints_goal"] is False
        assert parameters["cmd_timeout"] > parameters["constraints"]["goal_time"]
        assert parameters["state_interfaces"] == ["position", "velocity"]
        if parameters["command_interfaces"] == ["effort"]:
            assert set(parameters["gains"]) == set(controller.joints)
        else:
            assert parameters["command_interfaces"] == ["position"]


@pytest.mark.parametrize("file", FILES)
def test_every_declared_controller_has_its_section_and_claims_what_the_urdf_offers(file):
    name = file.removesuffix("_real")
    hardware = "real" if file.endswith("_real") else "mock"
    found, offered = controllers(file), joint_interfaces(name, hardware, "command")
    declared = {key for key, value in found["controller_manager"].items() if isinstance(value, dict)}
    assert declared == set(found) - {"controller_manager"}
    for controller in declared - {"joint_state_broadcaster"}:
        parameters = found[controller]
        for joint in parameters.get("joints") or [parameters["joint"]]:
            wanted = parameters.get("command_interfaces", [parameters.get("interface_name", "position")])
            assert set(wanted) <= offered[joint], (controller, joint)


@pytest.mark.parametrize("robot", ROBOTS)
def test_ros2_control_offers_every_moving_joint_and_starts_at_home(robot):
    described = description(robot)
    for hardware in ("sim", "mock", "real"):
        offered = joint_interfaces(robot, hardware, "command")
        assert {joint for joint, names in offered.items() if names} == set(described.action_joints)
        states = joint_interfaces(robot, hardware, "state")
        root = ElementTree.fromstring(described.urdf_xml())
        moving = {joint.get("name") for joint in root.findall("joint") if joint.get("type") in ("revolute", "prismatic")}
        assert set(states) == moving  # a joint that follows another one has states, but no commands
    for system in systems(robot, "mock"):
        for joint in system.findall("joint"):
            start = joint.find("state_interface/param[@name='initial_value']")
            if start is not None:
                assert float(start.text) == described.home[joint.get("name")]


@pytest.mark.parametrize("robot", ROBOTS)
def test_the_hardware_argument_chooses_the_plugin(robot):
    plugins = {
        hardware: [system.findtext("hardware/plugin") for system in systems(robot, hardware)]
        for hardware in ("sim", "mock", "real")
    }
    assert plugins["real"] == REAL_PLUGINS[robot]
    assert set(plugins["mock"]) == {MOCK}
    assert set(plugins["sim"]) == {"mujoco_ros2_control/MujocoSystemInterface"}


def test_devices_behind_topics_have_topics_of_their_own():
    topics = [
        parameter.text
        for system in systems("agilex_dual", "real")
        for parameter in system.findall("hardware/param")
        if parameter.get("name").endswith("_topic")
    ]
    assert topics == [f"piper_{side}/joint_{what}" for side in ("left", "right") for what in ("commands", "states")]


def test_an_unknown_hardware_is_refused():
    with pytest.raises(UserError, match="hardware is toy; allowed are sim, mock and real"):
        expand_xacro(description("fr3").urdf_path, {"hardware": "toy"})


@pytest.mark.parametrize("robot", ROBOTS)
def test_the_table_is_left_out_unless_asked_for(robot):
    path = description(robot).urdf_path
    links = [
        {link.get("name") for link in ElementTree.fromstring(expand_xacro(path, {"table": value})).iter("link")}
        for value in ("false", "true")
    ]
    assert "table" not in links[0] and links[1] - links[0] == {"table"}


@pytest.fixture
def vendor_packages(tmp_path, monkeypatch):
    """Empty packages under the vendors' names, found as ament finds installed ones."""
    index = tmp_path / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    for package in ("ur_description", "franka_description", "piper_description"):
        (index / package).touch()
        (tmp_path / "share" / package).mkdir()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    return tmp_path / "share"


@pytest.mark.parametrize(
    ("robot", "package", "meshes"),
    [("ur5e", "ur_description", 7), ("fr3", "franka_description", 11), ("agilex_piper", "piper_description", 10)],
)
def test_vendor_looks_come_from_the_vendors_package(vendor_packages, robot, package, meshes):
    described = description(robot)
    ours = ElementTree.fromstring(described.urdf_xml())
    vendors = ElementTree.fromstring(expand_xacro(described.urdf_path, {"looks": "vendor"}))
    files = [mesh.get("filename") for mesh in vendors.iter("mesh")]
    assert len(files) == meshes and all(file.startswith(f"file://{vendor_packages}/{package}/") for file in files)
    assert not list(ours.iter("mesh"))

    def kinematics(root):
        return [(joint.get("name"), joint.find("origin").attrib) for joint in root.findall("joint")]

    assert kinematics(vendors) == kinematics(ours)


def test_vendor_looks_without_the_package_name_it(monkeypatch, tmp_path):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    with pytest.raises(UserError, match="franka_description"):
        expand_xacro(description("fr3").urdf_path, {"looks": "vendor"})
