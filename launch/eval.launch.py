"""Success rate through the running graph: `ros2 launch dexvla_ros eval.launch.py episodes:=20`.

One JSON line per episode and a summary, as `dexvla demo --json` prints them; then everything ends.
`dexvla eval` is the same without ROS, in parallel and faster than real time.
"""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration

from dexvla_ros.bringup import GraphOptions, checked, evaluation_command, simulated_graph
from dexvla_ros.launch_support import lifecycle_actions
from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    "robot": ("ur5e", "Name of a robot in config/robots, or path of a robot file (.yaml)."),
    "task": ("", "Name of the simulated task; empty: the robot's own."),
    "checkpoint": (
        "",
        "Name or folder of a checkpoint, or scripted; empty: the one that ships, else scripted.",
    ),
    "episodes": ("10", "How many episodes, one after the other."),
    "seed": ("1000", "Seed of the first episode; the next one takes the next seed."),
    "timeout": ("30.0", "Longest time of an episode, in simulated seconds."),
    "output": ("outputs/eval", "Folder for logs."),
    "viewer": ("false", "Show the simulated world in a window."),
}


def start_evaluation(context: LaunchContext) -> list:
    """Graph and evaluation for the arguments' values."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    options = checked(
        GraphOptions(
            robot=values["robot"],
            task=values["task"],
            policy=values["checkpoint"],
            seed=int(values["seed"]),
            viewer=values["viewer"].lower() == "true",
        )
    )
    command = evaluation_command(options, int(values["episodes"]), float(values["timeout"]), values["output"])
    nodes = [action for process in simulated_graph(options) for action in lifecycle_actions(process)]
    end = Shutdown(reason="the evaluation is over")
    return [*nodes, ExecuteProcess(cmd=command, output="screen", on_exit=end)]


def generate_launch_description() -> LaunchDescription:
    """Read by `ros2 launch`."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start_evaluation)])
