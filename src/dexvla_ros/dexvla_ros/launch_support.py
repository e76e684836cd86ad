"""The graph of `dexvla_ros.bringup` as actions of a launch file; `launch` comes with ROS only."""

import tempfile
from pathlib import Path

from launch.action import Action
from launch.actions import EmitEvent, IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.launch_description_sources import AnyLaunchDescriptionSource
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

from dexvla_ros.bringup import PACKAGE, NodeProcess, parameter_file
from dexvla_ros.foreign import Foreign, IncludedLaunch, PackageFile, installed, resolved
from dexvla_ros.robot_bringup import RobotGraph


def lifecycle_actions(process: NodeProcess) -> list[Action]:
    """Start a node, configure it when it runs, activate it when it is configured."""
    node = LifecycleNode(
        package=PACKAGE,
        executable=process.executable,
        name=process.name,
        namespace="",
        parameters=[str(parameter_file()), dict(process.parameters)],
        remappings=list(process.remappings.items()),
        additional_env=dict(process.environment),
        output="both",
    )

    def change(transition: int) -> EmitEvent:
        return EmitEvent(
            event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
        )

    return [
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="configuring",
                goal_state="inactive",
                entities=[change(Transition.TRANSITION_ACTIVATE)],
            )
        ),
        RegisterEventHandler(
            OnProcessStart(target_action=node, on_start=[change(Transition.TRANSITION_CONFIGURE)])
        ),
        node,
    ]


def graph_actions(graph: RobotGraph) -> list[Action]:
    """Everything that a bringup starts.

    Raises:
        UserError: a package that is needed is not installed.
    """
    foreign = [foreign_action(item) for item in installed(graph.foreign)]
    return [*foreign, *(action for process in graph.processes for action in lifecycle_actions(process))]


def foreign_action(item: Foreign) -> Action:
    """A node or launch file of another package."""
    folder = Path(tempfile.mkdtemp(prefix="dexvla_bringup_"))
    if isinstance(item, IncludedLaunch):
        arguments = {name: str(resolved(value, folder, name)) for name, value in item.arguments.items()}
        path = PackageFile(item.package, f"launch/{item.file}").find()
        return IncludeLaunchDescription(
            AnyLaunchDescriptionSource(str(path)), launch_arguments=list(arguments.items())
        )
    values = {name: resolved(value, folder, name) for name, value in item.parameters.items()}
    # Texts are texts: launch would read a URDF or a serial number as YAML.
    values = {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in values.items()
    }
    files = [str(resolved(file, folder, "parameters")) for file in item.parameter_files]
    names = {key: value for key, value in (("name", item.name), ("namespace", item.namespace)) if value}
    return Node(
        package=item.package,
        executable=item.executable,
        parameters=[*files, values] if values else files,
        arguments=list(item.arguments),
        remappings=list(item.remappings.items()),
        output="both",
        **names,
    )
