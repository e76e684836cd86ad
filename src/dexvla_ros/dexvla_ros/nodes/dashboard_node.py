"""dashboard_node: the operator's page; pictures, state and history, start, and a stop that always works."""

import sys
import threading
from collections.abc import Callable
from functools import partial

import cv2
from action_msgs.srv import CancelGoal
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.action import ActionClient
from rclpy.client import Client
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_srvs.srv import SetBool

from dexvla_msgs.action import ExecuteTask
from dexvla_msgs.msg import ActionChunk, SubStep
from dexvla_ros.dashboard.server import DashboardServer
from dexvla_ros.dashboard.state import DashboardState
from dexvla_ros.messages.images import compressed_from_message, image_from_message
from dexvla_ros.nodes.diagnostics import OK
from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.nodes.policy_pause import PAUSE_SERVICE
from dexvla_ros.nodes.qos import COMMAND, DIAGNOSTICS, SENSOR
from dexvla_ros.nodes.stack_node import StackNode, run_node

PARAMETERS = (
    ParameterSpec(
        "host", "127.0.0.1", "Address that the page is served at; 0.0.0.0 = to everybody in the network."
    ),
    ParameterSpec("port", 8080, "Its port.", 1, 65535),
    ParameterSpec("jpeg_quality", 80, "Quality of the pictures, 1 to 100.", 1, 100),
)
_ANSWER_TIMEOUT_S = 3.0
_OUTCOMES = {0: "done", 1: "out of time", 2: "stopped", 3: "failed"}


class DashboardNode(StackNode):
    """Shows what the graph does; moves nothing but by the action that everybody else uses."""

    parameters = PARAMETERS

    def __init__(self) -> None:
        self._server: DashboardServer | None = None
        self._goals: ActionClient | None = None
        super().__init__("dashboard_node")

    def configure(self) -> None:
        self._state = DashboardState(self.robot, self.real_s)
        self._paused_here = False
        for camera in self.robot.cameras:
            kind = Image if camera.transport == "raw" else CompressedImage
            self.listen(kind, camera.topic, partial(self._on_image, camera.role, camera.topic), SENSOR)
        self.listen(JointState, "joint_states", self._on_joint_state, SENSOR)
        self.listen(SubStep, "substep", self._on_sub_step, COMMAND)
        self.listen(ActionChunk, "action_chunk", lambda message: self._state.arrived("action_chunk"), COMMAND)
        self.listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, DIAGNOSTICS)
        self._goals = ActionClient(self, ExecuteTask, "execute_task")
        self._cancels = {
            action: self.ask(CancelGoal, f"{action}/_action/cancel_goal")
            for action in ("execute_task", "move_to")
        }
        self._pause = self.ask(SetBool, PAUSE_SERVICE)
        settings = self.settings
        self._server = DashboardServer(settings.host, settings.port, self._state, self.start, self.stop)
        self.get_logger().info(f"the page is at {self._server.address}")

    def release(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._goals is not None:
            self._goals.destroy()
            self._goals = None

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        return OK, f"serving {self._server.address}", {}

    # The two buttons; called in threads of the server

    def start(self, instruction: str) -> tuple[bool, str]:
        """Send a goal; whether it was taken, and a sentence."""
        if not self.active:
            return False, "The page's node is not active."
        if not self._goals.server_is_ready():
            return False, "vlm_node does not run: start the policy with dexvla run, or with the bringup."
        if self._paused_here and self._pause.service_is_ready():
            answers = self._ask_all({"pause": (self._pause, SetBool.Request(data=False))})
            if not answers["pause"]:
                return False, "action_node does not answer, so that the task was not begun."
            self._paused_here = False
        handle = self._wait(self._goals.send_goal_async, ExecuteTask.Goal(instruction=instruction))
        if handle is None:
            return False, "vlm_node does not answer."
        if not handle.accepted:
            return False, "vlm_node refused the goal; its log and its line under Nodes say why."
        self._state.task(instruction, True, "")
        self.deliver(lambda: handle.get_result_async().add_done_callback(self._on_result))
        return True, f"Started: {instruction}"

    def stop(self) -> tuple[bool, str]:
        """Cancel every task and every planned motion, whoever began it, and have the policy pause."""
        self._paused_here = True
        asked: dict[str, tuple[Client, object]] = {
            action: (client, CancelGoal.Request())
            for action, client in self._cancels.items()
            if client.service_is_ready()
        }
        if self._pause.service_is_ready():
            asked["action_node"] = (self._pause, SetBool.Request(data=True))
        if not asked:
            return False, "No node that moves the robot is there."
        answers = self._ask_all(asked)
        silent = [name for name, answered in answers.items() if not answered]
        if silent:
            return False, f"NOT CONFIRMED by {', '.join(silent)}: use the emergency stop if the robot moves."
        return True, "Stopped: the robot brakes and holds."

    def _ask_all(self, asked: dict[str, tuple[Client, object]]) -> dict[str, bool]:
        """Call services, all at the same time; which of them answered in time."""
        answered = {name: threading.Event() for name in asked}

        def call() -> None:
            for name, (client, request) in asked.items():
                future = client.call_async(request)
                future.add_done_callback(lambda done, name=name: answered[name].set())

        self.deliver(call)
        end_s = self.real_s() + _ANSWER_TIMEOUT_S
        return {name: event.wait(max(0.0, end_s - self.real_s())) for name, event in answered.items()}

    def _wait(self, send: Callable, request: object) -> object | None:
        """The result of an asynchronous call; None where it did not come in time."""
        answered, results = threading.Event(), []

        def on_done(future) -> None:
            results.append(future.result())
            answered.set()

        self.deliver(lambda: send(request).add_done_callback(on_done))
        return results[0] if answered.wait(_ANSWER_TIMEOUT_S) else None

    # Callbacks

    def _on_result(self, future) -> None:
        response = future.result()
        if response is not None:
            result = response.result
            outcome = _OUTCOMES.get(result.outcome, "ended")
            self._state.task(None, False, f"{outcome}. {result.message}".strip())

    def _on_image(self, role: str, topic: str, message: Image | CompressedImage) -> None:
        self._state.arrived(topic)
        self._state.image(role, partial(self._jpeg, message))

    def _jpeg(self, message: Image | CompressedImage) -> bytes:
        read = image_from_message if isinstance(message, Image) else compressed_from_message
        picture = cv2.cvtColor(read(message), cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, self.settings.jpeg_quality])[
            1
        ].tobytes()

    def _on_joint_state(self, message: JointState) -> None:
        self._state.arrived("joint_states")
        self._state.joints(
            {name: position for name, position in zip(message.name, message.position) if position == position}
        )

    def _on_sub_step(self, message: SubStep) -> None:
        self._state.arrived("substep")
        if message.status == SubStep.ACTIVE:
            self._state.sub_step(message.instruction, message.text, message.episode)
        else:
            ended = "done" if message.status == SubStep.FINISHED else "stopped"
            self._state.task(message.instruction, False, f"{ended}.")

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {entry.key: entry.value for entry in status.values}
            self._state.diagnostic(status.name, ord(status.level), status.message, values)


def main() -> None:
    """Run the node; the entry point of the command `dashboard_node`."""
    sys.exit(run_node(DashboardNode))


if __name__ == "__main__":
    main()
