"""The graph of `dexvla_ros.bringup` as actions of a launch file; `launch` comes with ROS only."""

from launch.action import Action
from launch.actions import EmitEvent, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

from dexvla_ros.bringup import PACKAGE, NodeProcess, parameter_file


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
