"""Listens to what vendors' drivers and the controller manager say of a robot that is stopped."""

from importlib import import_module

from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool, Float64

from dexvla_ros.nodes.qos import LATCHED, SENSOR
from dexvla_ros.nodes.stack_node import StackNode
from dexvla_ros.robot_stops import RobotStops

_PERIOD_S = 1.0
# An arm says its state 1000 times per second.
_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class RobotWatch:
    """Call while a node configures; `reason` says from then on why the robot would not follow.

    Topics that nobody publishes cost nothing, and types whose package is not installed are left out.
    """

    def __init__(self, node: StackNode) -> None:
        self._stops = RobotStops([controller.name for controller in node.robot.controllers])
        stops = self._stops
        node.listen(
            Bool,
            "io_and_status_controller/robot_program_running",
            lambda message: stops.on_program_running(message.data),
            LATCHED,
        )
        node.listen(
            Float64,
            "speed_scaling_state_broadcaster/speed_scaling",
            lambda message: stops.on_speed_scaling(message.data),
            SENSOR,
        )
        safety_mode = _find("ur_dashboard_msgs.msg", "SafetyMode")
        if safety_mode is not None:
            node.listen(
                safety_mode,
                "io_and_status_controller/safety_mode",
                lambda message: stops.on_ur_safety_mode(message.mode),
                LATCHED,
            )
        franka_state = _find("franka_msgs.msg", "FrankaRobotState")
        if franka_state is not None:
            node.listen(
                franka_state,
                "franka_robot_state_broadcaster/robot_state",
                lambda message: stops.on_franka_mode(message.robot_mode),
                _NEWEST,
            )
        self._controllers = _find("controller_manager_msgs.srv", "ListControllers")
        if self._controllers is not None:
            self._client = node.ask(self._controllers, "controller_manager/list_controllers")
            node.every(_PERIOD_S, self._ask)

    @property
    def reason(self) -> str:
        """See `RobotStops`."""
        return self._stops.reason

    def _ask(self) -> None:
        if self._client.service_is_ready():
            self._client.call_async(self._controllers.Request()).add_done_callback(self._on_controllers)

    def _on_controllers(self, future) -> None:
        answer = future.result()
        if answer is not None:
            self._stops.on_controllers({entry.name: entry.state for entry in answer.controller})


def _find(module: str, name: str) -> type | None:
    """A type of a package that may not be installed."""
    try:
        return getattr(import_module(module), name)
    except ImportError:
        return None
