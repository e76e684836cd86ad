"""Teleoperation: `ros2 launch dexvla_ros teleop.launch.py device:=gamepad`.

Keys and the screen come from `dexvla teleop --attach` with the same device, in a terminal.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from dexvla_ros.bringup import (
    GraphOptions,
    TeleopOptions,
    checked,
    checked_teleop,
    sim_process,
    teleop_process,
)
from dexvla_ros.launch_support import lifecycle_actions
from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    "robot": ("ur5e", "Name of a robot in config/robots, or path of a robot file (.yaml)."),
    "device": ("gamepad", "keyboard, gamepad (sensor_msgs/Joy) or leader (another robot's joint_states)."),
    "config": ("", "Teleoperation file (.yaml); empty: config/teleop/DEVICE.yaml."),
    "engage_on_start": ("false", "Take the robot over as soon as the node is active."),
    "sim": ("false", "Start the simulated robot, too, and follow its clock."),
    "use_sim_time": ("false", "Follow the clock of a simulation that runs elsewhere."),
    "task": ("", "Name of the simulated task; empty: the robot's own."),
    "seed": ("0", "Decides everything that varies in the simulated world."),
    "viewer": ("false", "Show the simulated world in a window."),
}


def start_teleop(context: LaunchContext) -> list:
    """The nodes for the arguments' values."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    true = {name for name, value in values.items() if value.lower() == "true"}
    teleop = checked_teleop(
        TeleopOptions(values["robot"], values["device"], values["config"], "engage_on_start" in true)
    )
    processes = [teleop_process(teleop, use_sim_time=bool({"sim", "use_sim_time"} & true))]
    if "sim" in true:
        options = GraphOptions(
            robot=values["robot"],
            policy="scripted",
            task=values["task"],
            seed=int(values["seed"]),
            viewer="viewer" in true,
        )
        processes.insert(0, sim_process(checked(options, policy_drives=False)))
    return [action for process in processes for action in lifecycle_actions(process)]


def generate_launch_description() -> LaunchDescription:
    """Read by `ros2 launch`."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start_teleop)])
