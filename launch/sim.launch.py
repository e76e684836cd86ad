"""The whole graph around the simulated robot: `ros2 launch dexvla_ros sim.launch.py policy:=scripted`."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from dexvla_ros.bringup import GraphOptions, checked, simulated_graph
from dexvla_ros.launch_support import lifecycle_actions
from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    "robot": ("ur5e", "Name of a robot in config/robots, or path of a robot file (.yaml)."),
    "task": ("", "Name of the simulated task; empty: the robot's own."),
    "policy": (
        "",
        "scripted, or name or folder of a checkpoint; empty: the one that ships for robot and task, else scripted.",
    ),
    "seed": ("0", "Decides everything that varies in the simulated world."),
    "viewer": ("false", "Show the simulated world in a window."),
}


def start_graph(context: LaunchContext) -> list:
    """The nodes for the arguments' values."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    options = GraphOptions(
        robot=values["robot"],
        task=values["task"],
        policy=values["policy"],
        seed=int(values["seed"]),
        viewer=values["viewer"].lower() == "true",
    )
    return [action for process in simulated_graph(checked(options)) for action in lifecycle_actions(process)]


def generate_launch_description() -> LaunchDescription:
    """Read by `ros2 launch`."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start_graph)])
