"""What the nodes of hardware drivers share: joint commands in, joint_states out, services, diagnostics."""

import traceback
from collections.abc import Mapping

from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger

from dexvla_ros.drivers.configuration import load_driver
from dexvla_ros.drivers.device import DeviceState
from dexvla_ros.drivers.driver import Driver
from dexvla_ros.drivers.driver_settings import Phase
from dexvla_ros.drivers.driver_thread import DriverThread
from dexvla_ros.messages.joint_states import joint_state_message
from dexvla_ros.nodes.diagnostics import ERROR, OK, WARN
from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.nodes.qos import COMMAND, SENSOR
from dexvla_ros.nodes.stack_node import StackNode

PARAMETERS = (
    ParameterSpec("config", "", "Driver file (.yaml); empty = the one of this device in config/drivers."),
    ParameterSpec(
        "port", "", "Replaces the file's CAN channel, serial port or HOST:PORT; empty = as in the file."
    ),
    ParameterSpec("joint_prefix", "", "Put before the name of every joint in the file, such as left_."),
)


class DeviceNode(StackNode):
    """Drives one device; a subclass says which.

    Topics as topic_based_ros2_control has them: `joint_commands` in, `joint_states` out, both
    sensor_msgs/JointState by name. Services: `~/enable` (std_srvs/SetBool) and `~/clear_faults`
    (std_srvs/Trigger).

    Attributes:
        device: names the file in config/drivers.
    """

    parameters = PARAMETERS
    device: str

    def __init__(self) -> None:
        self._driver: Driver | None = None
        self._thread: DriverThread | None = None
        super().__init__(f"{self.device}_node")

    def configure(self) -> None:
        settings = self.settings
        file = load_driver(self.device, self.robot, settings.config, settings.port, settings.joint_prefix)
        self._joints = file.device.joints
        self._rate_hz = file.settings.rate_hz
        self._bugs: set[str] = set()
        self._driver = Driver(
            file.device, file.settings, file.bounds, self.get_logger().error, self.get_logger().info
        )
        self._publish = self.publish_on(JointState, "joint_states", SENSOR)
        self.listen(JointState, "joint_commands", self._on_command, COMMAND)
        self.serve(SetBool, "~/enable", self._on_enable)
        self.serve(Trigger, "~/clear_faults", self._on_clear_faults)

    def activate(self) -> None:
        self._thread = DriverThread(self._driver, self._rate_hz, self._on_state, self._on_error)
        self._thread.start()

    def deactivate(self) -> None:
        if self._thread is not None:
            self._thread.stop()
        self._thread = None

    def release(self) -> None:
        self._driver = None

    def health(self) -> tuple[bytes, str, Mapping[str, object]]:
        status = self._driver.status()
        if status.problem:
            return ERROR if status.severe else WARN, status.problem, status.values
        message = "follows commands" if status.phase is Phase.FOLLOWING else status.phase.value
        return OK, message, status.values

    def _on_command(self, message: JointState) -> None:
        self._driver.command(message.name, message.position)

    def _on_state(self, state: DeviceState) -> None:
        velocities = () if state.velocities is None else state.velocities
        efforts = () if state.efforts is None else state.efforts
        self._publish(joint_state_message(self.now_s(), self._joints, state.positions, velocities, efforts))

    def _on_error(self, error: Exception) -> None:
        reason = f"the driver failed with {type(error).__name__}: {error}"
        if reason not in self._bugs:
            self._bugs.add(reason)
            traceback.print_exception(error)
            self.report_once(reason)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self._ask(lambda: self._driver.enable(request.data))
        return response

    def _on_clear_faults(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._ask(self._driver.clear_faults)
        return response

    def _ask(self, question) -> tuple[bool, str]:
        return question() if self.active else (False, f"{self.get_name()} is not active; activate it first")
