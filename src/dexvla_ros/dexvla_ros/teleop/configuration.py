"""Which teleoperation file there is for a device, and the source that it describes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_model.robot import RobotDescription
from dexvla_model.yaml_reader import MappingReader, parse_yaml
from dexvla_ros.teleop.gamepad import Gamepad, read_gamepad
from dexvla_ros.teleop.jog import JogSpeeds
from dexvla_ros.teleop.jog_motion import JogMotion
from dexvla_ros.teleop.jog_source import JogSource
from dexvla_ros.teleop.keyboard import Keyboard, KeyboardConfig, read_keyboard
from dexvla_ros.teleop.leader import Leader, read_leader

DEVICES = ("keyboard", "gamepad", "leader")


def device_file(device: str, path: str = "") -> Path:
    """The file at a path, or `config/teleop/DEVICE.yaml` where it is empty.

    Raises:
        UserError: there is no such device or file.
    """
    if device not in DEVICES:
        raise UserError(f"There is no device {device!r} (allowed: {', '.join(DEVICES)}); name one of these.")
    if not path:
        return find_resource(f"config/teleop/{device}.yaml")
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such teleoperation file; correct the path.")
    return Path(path)


def read_device_file(device: str, path: str = "") -> MappingReader:
    """A reader of the device's file, which says itself for which device it is.

    Raises:
        UserError: the file is missing, no YAML, or meant for another device.
    """
    file = device_file(device, path)
    try:
        reader = parse_yaml(file.read_text(encoding="utf-8"), file)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: the teleoperation file cannot be read ({error}); correct the path."
        ) from error
    meant = reader.text("device", allowed=DEVICES)
    if meant != device:
        raise reader.error("device", repr(meant), f"the device asked for is {device}")
    return reader


def load_keyboard(path: str, robot: RobotDescription) -> KeyboardConfig:
    """The keyboard's configuration alone, for a help screen.

    Raises:
        UserError: the file has an error.
    """
    return read_keyboard(read_device_file("keyboard", path), robot)


def joy_topic_of(path: str, robot: RobotDescription) -> str:
    """The topic on which a gamepad's file expects Joy.

    Raises:
        UserError: the file has an error.
    """
    return read_gamepad(read_device_file("gamepad", path), robot).topic


def check_device_file(device: str, path: str, robot: RobotDescription) -> None:
    """Read the device's file for its errors.

    Raises:
        UserError: the file has an error.
    """
    reader = read_device_file(device, path)
    {"keyboard": read_keyboard, "gamepad": read_gamepad, "leader": read_leader}[device](reader, robot)


def load_source(
    device: str, path: str, robot: RobotDescription, compliant_controllers: Sequence[str]
) -> JogSource | Leader:
    """The source that a device's file describes.

    Args:
        path: the file; empty = the one that ships.
        compliant_controllers: names of the controllers whose joints are the gripper's.

    Raises:
        UserError: the file has an error.
    """
    reader = read_device_file(device, path)
    if device == "leader":
        return Leader(read_leader(reader, robot), robot)
    if device == "keyboard":
        keyboard = read_keyboard(reader, robot)
        return JogSource(Keyboard(keyboard, robot), jog_motion(robot, keyboard.speeds, compliant_controllers))
    gamepad = read_gamepad(reader, robot)
    return JogSource(Gamepad(gamepad, robot), jog_motion(robot, gamepad.speeds, compliant_controllers))


def jog_motion(robot: RobotDescription, speeds: JogSpeeds, compliant_controllers: Sequence[str]) -> JogMotion:
    """The motion of jogs; of single joints only where the robot's URDF has no `grasp_frame`."""
    # Imported here: MuJoCo takes a moment, and a leader arm needs none.
    from dexvla_sim.kinematics import ToolKinematics

    try:
        kinematics = ToolKinematics(robot)
    except UserError:
        kinematics = None
    gripper = {
        joint
        for controller in robot.controllers
        if controller.name in compliant_controllers
        for joint in controller.joints
    }
    return JogMotion(robot, speeds, kinematics, np.array([joint in gripper for joint in robot.action_joints]))
