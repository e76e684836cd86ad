"""The robot's description alone, for RViz and for a vendor's launch file, which includes this one."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from dexvla_ros.launch_support import foreign_action
from dexvla_ros.robot_bringup import description_node
from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    "robot": ("ur5e", "Name of a robot in config/robots, or path of a robot file (.yaml)."),
    "hardware": ("sim", "sim, mock or real: which plugins the ros2_control tags name."),
    "robot_ip": ("", "Address of the arm; hardware real only, where the arm has one."),
    "use_sim_time": ("false", "Stamp messages by /clock."),
}


def start_description(context: LaunchContext) -> list:
    """robot_state_publisher for the arguments' values."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    use_sim_time = values["use_sim_time"].lower() == "true"
    node = description_node(values["robot"], values["hardware"], values["robot_ip"], use_sim_time)
    return [foreign_action(node)]


def generate_launch_description() -> LaunchDescription:
    """Read by `ros2 launch`."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start_description)])
