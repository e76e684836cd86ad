"""Everything around one robot: `ros2 launch dexvla_ros bringup.launch.py robot:=ur5e`."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from dexvla_ros.launch_support import graph_actions
from dexvla_ros.robot_bringup import BringupOptions, checked_bringup, parse_pairs, robot_graph
from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    "robot": ("ur5e", "Name of a robot in config/robots, or path of a robot file (.yaml)."),
    "hardware": (
        "sim",
        "sim: MuJoCo; mock: ros2_control's mock hardware; real: the vendor's driver, or ours.",
    ),
    "robot_ip": ("", "Address of the arm; hardware real only, where the arm has one."),
    "checkpoint": (
        "",
        "Name or folder of a checkpoint, or scripted (sim), or none; empty: the one that ships.",
    ),
    "cameras": ("none", "Drivers of real cameras: none, realsense, usb or ours (OpenCV)."),
    "camera_devices": ("", "ROLE=DEVICE,...: serial numbers (realsense) or video devices (usb, ours)."),
    "ports": ("", "SYSTEM=PORT,...: CAN channels, serial ports or HOST:PORT for our drivers."),
    "vendor_arguments": ("", "NAME=VALUE,...: further arguments for the vendor's launch file."),
    "motion": ("true", "Start motion_node, and go home before and after tasks."),
    "dashboard": ("false", "Serve the operator's page at http://127.0.0.1:8080."),
    "task": ("", "Name of the simulated task; empty: the robot's own."),
    "seed": ("0", "Decides everything that varies in the simulated world."),
    "viewer": ("false", "Show the simulated world in a window."),
}


def start_robot(context: LaunchContext) -> list:
    """What has to run for the arguments' values."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    true = {name for name, value in values.items() if value.lower() == "true"}
    options = BringupOptions(
        robot=values["robot"],
        hardware=values["hardware"],
        robot_ip=values["robot_ip"],
        policy=values["checkpoint"],
        task=values["task"],
        seed=int(values["seed"]),
        viewer="viewer" in true,
        cameras=values["cameras"],
        camera_devices=parse_pairs(values["camera_devices"], "camera_devices"),
        ports=parse_pairs(values["ports"], "ports"),
        vendor_arguments=parse_pairs(values["vendor_arguments"], "vendor_arguments"),
        motion="motion" in true,
        dashboard="dashboard" in true,
    )
    return graph_actions(robot_graph(checked_bringup(options)))


def generate_launch_description() -> LaunchDescription:
    """Read by `ros2 launch`."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start_robot)])
