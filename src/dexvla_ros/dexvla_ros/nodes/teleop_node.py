"""teleop_node: keys, a gamepad or a leader arm -> trajectories for every controller; the policy pauses."""

import sys

from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from dexvla_model.errors import UserError
from dexvla_model.streaming import ActionStreamer
from dexvla_msgs.msg import TeleopState as TeleopStateMessage
from dexvla_ros.command_watch import CommandWatch
from dexvla_ros.messages.teleop_states import teleop_state_message
from dexvla_ros.nodes.commander_node import CommanderNode
from dexvla_ros.nodes.diagnostics import ERROR, OK, WARN
from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.nodes.qos import COMMAND, LATCHED, SENSOR
from dexvla_ros.nodes.stack_node import run_node
from dexvla_ros.nodes.streaming_parameters import stream_settings, streaming_parameters
from dexvla_ros.teleop.configuration import DEVICES, load_source
from dexvla_ros.teleop.settings import TELEOP_STREAM
from dexvla_ros.teleop.teleop_loop import TeleopLoop, TeleopState
from dexvla_sim.kinematics import ToolKinematics

PARAMETERS = (
    ParameterSpec("device", "keyboard", "What the human holds.", allowed=DEVICES),
    ParameterSpec("config", "", "Teleoperation file (.yaml); empty = config/teleop/DEVICE.yaml."),
    ParameterSpec("engage_on_start", False, "Take the robot over as soon as the node is active."),
    *streaming_parameters(TELEOP_STREAM),
)
# Take the robot over, or go on after a hold: true; hand it back: false.
ENGAGE_SERVICE = "teleop/engage"
_POLL_S = 0.01
_STATE_PERIOD_S = 0.1


class TeleopNode(CommanderNode):
    """Drives the controllers by hand while it is engaged; in doubt the robot brakes and holds."""

    parameters = PARAMETERS

    def __init__(self) -> None:
        self._loop: TeleopLoop | None = None
        super().__init__("teleop_node")

    def configure(self) -> None:
        settings = self.settings
        stream = stream_settings(settings)
        self._kinematics = self._tool_kinematics()
        self._source = load_source(
            settings.device, settings.config, self.robot, stream.compliant_controllers
        )
        self._watch = CommandWatch(self.robot)
        self._loop = TeleopLoop(
            ActionStreamer(self.robot, stream), self._source, self, self.now_s, self._watch
        )
        self.connect(self._loop)
        self._publish_state = self.publish_on(TeleopStateMessage, "teleop/state", LATCHED)
        self._listen_to_device()
        self.serve(SetBool, ENGAGE_SERVICE, self._on_engage)
        self.serve(Trigger, "teleop/stop", self._on_stop)
        self.every(_POLL_S, self._loop.check)
        self.every(_STATE_PERIOD_S, self.publish_state)

    def activate(self) -> None:
        if self.settings.engage_on_start:
            self._loop.engage()

    def deactivate(self) -> None:
        # The policy stays paused: only a human who hands the robot back lets it go on.
        self._loop.hold("the node was deactivated", asked_for=True)

    def release(self) -> None:
        self._loop = None

    def on_failure(self, reason: str) -> None:
        if self._loop is not None:
            self._loop.hold(reason)

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        loop, counters = self._loop, self._loop.streamer.counters
        values = {
            "device": self._source.device,
            "state": loop.state.value,
            "mode": self._source.mode,
            "speed": self._source.speed,
            "holds": loop.holds,
            "chunks_taken": counters.chunks_taken,
            "chunks_refused": sum(counters.refused.values()),
            "plan_failures": counters.plan_failures,
        }
        problem = self.take_state_problem()
        if problem:
            return ERROR, problem, values
        if loop.blocked:
            return ERROR, f"holding: {loop.blocked}; {ENGAGE_SERVICE} lets it go on then", values
        if loop.engaged and not self.is_connected():
            return ERROR, f"no controller listens on {', '.join(self.outlets.unheard())}", values
        if loop.state is TeleopState.HOLDING:
            return WARN, f"holding: {loop.reason}", values
        return OK, f"{loop.state.value}: {loop.reason}", values

    def publish_state(self) -> None:
        """Say who has the robot, where it is and why it moves or not."""
        loop, measured, pose = self._loop, self._loop.measured, None
        if self._kinematics is not None and measured is not None:
            pose = self._kinematics.forward(measured[self._kinematics.arm])
        source = self._source
        self._publish_state(
            teleop_state_message(
                self.now_s(),
                self.robot.base_frame,
                source.device,
                loop.state,
                loop.reason,
                source.mode,
                source.speed,
                pose,
            )
        )

    # What the loop asks for, besides what every commander does

    def resume_policies(self) -> None:
        """action_node may go on."""
        self.pause.want(False)

    def on_change(self) -> None:
        """Say so at once."""
        if self._loop is None:
            return
        # What keeps the robot itself has been said by the watch over it.
        if self._loop.state is TeleopState.HOLDING and self._loop.in_doubt and not self._loop.blocked:
            self.report_once(f"holding: {self._loop.reason}", self._loop.reason.partition(":")[0])
        if self.active:
            self.publish_state()

    # Callbacks

    def _on_key(self, message: String) -> None:
        self._source.input.press(message.data, self.now_s())
        self._loop.check()

    def _on_joy(self, message: Joy) -> None:
        self._source.input.on_joy(message.axes, message.buttons, self.now_s())
        self._loop.check()

    def _on_leader(self, message: JointState) -> None:
        self._source.on_joint_state(message.name, message.position, self.now_s())

    def _on_engage(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if self.active:
            self._loop.engage() if request.data else self._loop.release()
        refused = request.data and not self._loop.engaged
        response.success = self.active and not refused and self._loop.state is not TeleopState.HOLDING
        response.message = self._loop.reason if self.active else "the node is not active"
        return response

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self.active:
            self._loop.hold("a stop was asked for", asked_for=True)
        response.success = self.active
        response.message = self._loop.reason if self.active else "the node is not active"
        return response

    def _listen_to_device(self) -> None:
        device = self.settings.device
        if device == "keyboard":
            self.listen(String, "teleop/keys", self._on_key, COMMAND)
        elif device == "gamepad":
            self.listen(Joy, self._source.input.config.topic, self._on_joy, SENSOR)
        else:
            self.listen(JointState, self._source.config.topic, self._on_leader, SENSOR)

    def _tool_kinematics(self) -> ToolKinematics | None:
        try:
            return ToolKinematics(self.robot)
        except UserError as error:
            self.get_logger().warning(f"{error} Only single joints can be jogged.")
            return None


def main() -> None:
    """Run the node; the entry point of the command `teleop_node`."""
    sys.exit(run_node(TeleopNode))


if __name__ == "__main__":
    main()
