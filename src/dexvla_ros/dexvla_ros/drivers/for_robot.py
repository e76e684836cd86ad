"""Which drivers a real robot needs: those that answer to the topics its URDF names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from dexvla_model.resources import find_resource, list_resources
from dexvla_model.robot import RobotDescription
from dexvla_model.robot.urdf import expand_xacro
from dexvla_model.yaml_reader import parse_yaml
from dexvla_ros.drivers.configuration import DEVICES

# The names that the plugin has and had.
_PLUGINS = (
    "topic_based_ros2_control/TopicBasedSystem",
    "joint_state_topic_hardware_interface/JointStateTopicSystem",
)


@dataclass(frozen=True)
class DriverChoice:
    """A driver for one part of a robot.

    Attributes:
        system: name of the ros2_control system in the URDF. device: piper, inspire or leap. config: its file.
        joint_prefix: what the robot puts before the file's joint names.
        remappings: the driver's topics to those of the URDF.
    """

    system: str
    device: str
    config: str
    joint_prefix: str
    remappings: Mapping[str, str]


def drivers_for(robot: RobotDescription) -> tuple[DriverChoice, ...]:
    """The drivers for the systems of the robot's URDF, with `hardware:=real`, that speak through topics.

    A file of config/drivers fits when its joints are the system's, or become them with one prefix for all;
    one without a prefix goes first. What no file fits is left to nodes of others: see `undriven_systems`.

    Raises:
        UserError: a driver file has an error, or the URDF cannot be read.
    """
    choices = (_choice(system) for system in _topic_systems(robot))
    return tuple(choice for choice in choices if choice is not None)


def undriven_systems(robot: RobotDescription) -> tuple[str, ...]:
    """Names of the systems that speak through topics to which none of our drivers listens.

    Raises:
        UserError: see `drivers_for`.
    """
    systems = _topic_systems(robot)
    return tuple(system.get("name", "") for system in systems if _choice(system) is None)


def _topic_systems(robot: RobotDescription) -> list[ElementTree.Element]:
    arguments = {**robot.urdf_arguments, "hardware": "real"}
    systems = ElementTree.fromstring(expand_xacro(robot.urdf_path, arguments)).iter("ros2_control")
    return [system for system in systems if system.findtext("hardware/plugin", "").strip() in _PLUGINS]


def _choice(system: ElementTree.Element) -> DriverChoice | None:
    name = system.get("name", "")
    joints = {
        joint.get("name", "") for joint in system.iter("joint") if joint.find("command_interface") is not None
    }
    fitting = []
    for entry in list_resources("config/drivers", ".yaml"):
        file = find_resource(f"config/drivers/{entry}.yaml")
        device, file_joints = _device_and_joints(file)
        prefix = _common_prefix(joints, file_joints)
        if prefix is not None:
            fitting.append((len(prefix), file, device, prefix))
    if not fitting:
        return None
    _, file, device, prefix = min(fitting)
    parameters = {
        entry.get("name"): (entry.text or "").strip() for entry in system.iterfind("hardware/param")
    }
    remappings = {
        topic: parameters.get(f"{topic}_topic") or f"{name}/{topic}"
        for topic in ("joint_commands", "joint_states")
    }
    return DriverChoice(name, device, str(file), prefix, remappings)


def _device_and_joints(file: Path) -> tuple[str, tuple[str, ...]]:
    reader = parse_yaml(file.read_text(encoding="utf-8"), file)
    return reader.text("device", allowed=DEVICES), reader.texts("joints")


def _common_prefix(joints: set[str], file_joints: tuple[str, ...]) -> str | None:
    """What has to stand before every one of `file_joints` to get `joints`; None when nothing does."""
    for joint in joints:
        prefix = joint.removesuffix(file_joints[0])
        if prefix + file_joints[0] == joint and {prefix + other for other in file_joints} == joints:
            return prefix
    return None
