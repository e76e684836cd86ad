"""The bringup that a vendor's driver brings, by the ros2_control plugin that the real robot's URDF names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

from dexvla_model.resources import find_resource
from dexvla_model.robot import RobotDescription
from dexvla_model.robot.urdf import expand_xacro
from dexvla_ros.bringup import NodeProcess
from dexvla_ros.foreign import IncludedLaunch, JoinedControllers, PackageFile, Value


@dataclass(frozen=True)
class VendorBringup:
    """How a vendor's arm is started.

    Attributes:
        plugin: of the arm's ros2_control system, by which it is known.
        package, file: the vendor's launch file.
        controllers: its controllers file. controllers_argument: the launch argument that replaces it.
        spawned: controllers that it loads by itself, of which it activates `initial`.
        takes_description: it loads the description that it is told, with all devices of the robot; else only
            robots whose other systems are among `own_systems` are started by it.
        own_systems: devices besides the arm that it brings itself. bridged: controllers in whose place a
            gripper_action_node listens then, since such a device takes actions only.
        xacro_arguments: what our URDF needs of the vendor's files.
        arguments: further arguments of the launch file.
    """

    plugin: str
    package: str
    file: str
    controllers: PackageFile
    controllers_argument: str
    spawned: tuple[str, ...]
    takes_description: bool
    own_systems: tuple[str, ...] = ()
    bridged: tuple[str, ...] = ()
    xacro_arguments: Mapping[str, PackageFile] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)


UR = VendorBringup(
    plugin="ur_robot_driver/URPositionHardwareInterface",
    package="ur_robot_driver",
    file="ur_control.launch.py",
    controllers=PackageFile("ur_robot_driver", "config/ur_controllers.yaml"),
    controllers_argument="controllers_file",
    spawned=("joint_state_broadcaster", "joint_trajectory_controller", "forward_position_controller"),
    takes_description=True,
    xacro_arguments={
        "script_filename": PackageFile("ur_client_library", "resources/external_control.urscript"),
        "input_recipe_filename": PackageFile("ur_robot_driver", "resources/rtde_input_recipe.txt"),
        "output_recipe_filename": PackageFile("ur_robot_driver", "resources/rtde_output_recipe.txt"),
    },
    # The scaled controller stretches time: points with absolute stamps would come late.
    arguments={
        "ur_type": "ur5e",
        "launch_rviz": "false",
        "initial_joint_controller": "joint_trajectory_controller",
    },
)
FRANKA = VendorBringup(
    plugin="franka_hardware/FrankaHardwareInterface",
    package="franka_bringup",
    file="franka.launch.py",
    controllers=PackageFile("franka_bringup", "config/controllers.yaml"),
    controllers_argument="controllers_yaml",
    spawned=("joint_state_broadcaster",),
    takes_description=False,
    own_systems=("franka_hand",),
    bridged=("gripper_controller",),
    arguments={"robot_type": "fr3"},
)
VENDORS = (UR, FRANKA)


def plugins_of(robot: RobotDescription, hardware: str) -> dict[str, str]:
    """The plugin of every ros2_control system of the robot's URDF, by the system's name.

    Raises:
        UserError: the URDF cannot be read.
    """
    text = expand_xacro(robot.urdf_path, {**robot.urdf_arguments, "hardware": hardware})
    systems = ElementTree.fromstring(text).iter("ros2_control")
    return {system.get("name", ""): system.findtext("hardware/plugin", "").strip() for system in systems}


def vendor_of(robot: RobotDescription) -> VendorBringup | None:
    """Who brings the real robot up; None where our own controller manager does, with the vendor's plugin."""
    plugins = plugins_of(robot, "real")
    for vendor in VENDORS:
        others = {name for name, plugin in plugins.items() if plugin != vendor.plugin}
        if len(others) < len(plugins) and (vendor.takes_description or others <= set(vendor.own_systems)):
            return vendor
    return None


def xacro_arguments(robot: RobotDescription, hardware: str, robot_ip: str) -> dict[str, str | PackageFile]:
    """The arguments of the robot's xacro for this hardware; those that it does not declare do no harm."""
    arguments: dict[str, str | PackageFile] = {"hardware": hardware}
    if hardware == "real":
        arguments["robot_ip"] = robot_ip
        plugins = plugins_of(robot, "real").values()
        for vendor in VENDORS:
            if vendor.plugin in plugins:
                arguments |= vendor.xacro_arguments
    return arguments


def vendor_launch(
    vendor: VendorBringup,
    robot: RobotDescription,
    robot_ip: str,
    controllers: Path,
    further: Mapping[str, str] = MappingProxyType({}),
) -> IncludedLaunch:
    """The vendor's launch file with what it has to be told.

    Args:
        controllers: our controllers file. further: arguments of the user's, which go before all others.
    """
    arguments: dict[str, Value] = {
        "robot_ip": robot_ip,
        **vendor.arguments,
        vendor.controllers_argument: JoinedControllers(vendor.controllers, controllers),
    }
    if vendor.takes_description:
        # That file reads robot and hardware from the launch file which includes it.
        arguments |= {
            "description_launchfile": find_resource("launch/description.launch.py"),
            "robot": str(robot.path),
            "hardware": "real",
        }
    else:
        arguments["joint_state_rate"] = str(round(robot.rates.joint_state_hz))
        systems = plugins_of(robot, "real")
        arguments["load_gripper"] = "true" if set(systems) & set(vendor.own_systems) else "false"
    return IncludedLaunch(vendor.package, vendor.file, {**arguments, **further})


def gripper_processes(vendor: VendorBringup, robot: RobotDescription) -> tuple[NodeProcess, ...]:
    """Bridges to grippers that the vendor brings up, and that take actions only."""
    if not set(plugins_of(robot, "real")) & set(vendor.own_systems):
        return ()
    return (NodeProcess("gripper_action_node", {"robot": str(robot.path)}),)
