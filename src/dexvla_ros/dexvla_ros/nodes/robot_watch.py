"""Listens to what vendors' drivers and the controller manager say of a robot that is stopped."""

from collections.abc import Callable
from importlib import import_module

from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool, Float64

from dexvla_ros.gripper_bridge import BRIDGE_NODE
from dexvla_ros.nodes.qos import LATCHED, SENSOR
from dexvla_ros.nodes.stack_node import StackNode
from dexvla_ros.robot_stops import ACTIVE, RobotStops

_ASK_PERIOD_S = 1.0
_POLL_S = 0.02
# An arm says its state 1000 times per second.
_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class RobotWatch:
    """Call while a node configures: the node says in one line when the robot does not follow any more, and
    when it does again.

    Topics that nobody publishes cost nothing, and types whose package is not installed are left out.

    Args:
        on_reason: called while the node is active with why the robot would not follow, in one clause, and with
            an empty text when it follows again; not before there is a first reason.
    """

    def __init__(self, node: StackNode, on_reason: Callable[[str], None]) -> None:
        self._node = node
        self._on_reason = on_reason
        self._said = ""
        self._stops = stops = RobotStops([controller.name for controller in node.robot.controllers])
        self._listen(
            Bool,
            "io_and_status_controller/robot_program_running",
            lambda message: stops.on_program_running(message.data),
            LATCHED,
        )
        self._listen(
            Float64,
            "speed_scaling_state_broadcaster/speed_scaling",
            lambda message: stops.on_speed_scaling(message.data),
            SENSOR,
        )
        safety_mode = _find("ur_dashboard_msgs.msg", "SafetyMode")
        if safety_mode is not None:
            self._listen(
                safety_mode,
                "io_and_status_controller/safety_mode",
                lambda message: stops.on_ur_safety_mode(message.mode),
                LATCHED,
            )
        franka_state = _find("franka_msgs.msg", "FrankaRobotState")
        if franka_state is not None:
            self._listen(
                franka_state,
                "franka_robot_state_broadcaster/robot_state",
                lambda message: stops.on_franka_mode(message.robot_mode),
                _NEWEST,
            )
        self._controllers = _find("controller_manager_msgs.srv", "ListControllers")
        if self._controllers is not None:
            self._client = node.ask(self._controllers, "controller_manager/list_controllers")
            node.every(_ASK_PERIOD_S, self._ask)
        node.every(_POLL_S, self._check)

    def _listen(self, kind: type, topic: str, callback: Callable, qos: QoSProfile) -> None:
        # A latched state comes once, as a rule before the node is active.
        self._node.listen(kind, topic, callback, qos, while_inactive=True)

    def _check(self) -> None:
        reason = self._stops.reason
        if reason == self._said:
            return
        self._said = reason
        if reason:
            self._node.get_logger().error(f"holding: {reason}")
        else:
            self._node.get_logger().info("the robot follows again")
        self._on_reason(reason)
        self._node.publish_diagnostics()

    def _ask(self) -> None:
        if self._client.service_is_ready():
            asked = self._client.call_async(self._controllers.Request())
            asked.add_done_callback(lambda future: self._node.deliver(lambda: self._on_controllers(future)))

    def _on_controllers(self, future) -> None:
        answer = future.result()
        if answer is None:
            return
        states = {entry.name: entry.state for entry in answer.controller}
        for controller in self._node.robot.controllers:
            if controller.name not in states and self._is_bridged(controller.topic):
                states[controller.name] = ACTIVE
        self._stops.on_controllers(states)

    def _is_bridged(self, topic: str) -> bool:
        listeners = self._node.get_subscriptions_info_by_topic(self._node.resolve_topic_name(topic))
        return any(listener.node_name == BRIDGE_NODE for listener in listeners)


def _find(module: str, name: str) -> type | None:
    """A type of a package that may not be installed."""
    try:
        return getattr(import_module(module), name)
    except ImportError:
        return None
