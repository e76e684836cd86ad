"""`ros2 bag record` of what the robot file names: `ros2 launch dexvla_ros record.launch.py out:=day1`.

For those who prefer it to `dexvla record`: one bag from the start to Ctrl-C, without marks and verdict.
"""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from dexvla_ros.recording.ros2_bag import ros2_bag_command
from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    "robot": ("ur5e", "Name of a robot in config/robots, or path of a robot file (.yaml)."),
    "out": ("", "Folder of the bag; must not exist. Empty: rosbag2_ and the time."),
    "instruction": ("", "What the robot is going to do, in plain words; kept in the bag."),
    "operator": ("", "Who demonstrates; kept in the bag."),
    "regex": ("", "Further topics: those whose name contains this regular expression."),
    "use_sim_time": ("false", "Stamp messages by /clock."),
    "qos": ("", "QoS overrides (.yaml); empty: config/recording/ros2_bag_qos.yaml."),
    "storage": ("", "MCAP writer options (.yaml); empty: config/recording/ros2_bag_mcap.yaml."),
}


def start_recording(context: LaunchContext) -> list:
    """The process for the arguments' values."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    values["use_sim_time"] = values["use_sim_time"].lower() == "true"
    # The end of a bag takes a moment: no kill before its index is written.
    return [
        ExecuteProcess(
            cmd=ros2_bag_command(**values), output="screen", sigterm_timeout="30", sigkill_timeout="60"
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Read by `ros2 launch`."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start_recording)])
