"""A client of a running simulated graph: resets the world, sends goals, watches what happens."""

from collections.abc import Callable
from functools import partial
from time import monotonic

import numpy as np
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.action import ActionClient
from sensor_msgs.msg import Image, JointState

from dexvla_model.robot import Camera, RobotDescription
from dexvla_msgs.action import ExecuteTask
from dexvla_msgs.msg import ActionChunk, SubStep, TaskStatus
from dexvla_msgs.srv import ResetSimulation
from dexvla_ros.demo.outcome import EpisodeOutcome
from dexvla_ros.demo.video import EpisodeVideo
from dexvla_ros.graph_client import GraphClient, GraphError
from dexvla_ros.messages.images import image_from_message
from dexvla_ros.messages.stamps import stamp_from_message
from dexvla_ros.nodes.qos import COMMAND, DIAGNOSTICS, LATCHED, SENSOR

# Simulated time in which the arm comes to rest and objects settle before the outcome is read off the physics.
SETTLE_S = 1.0
# Real time after which a graph that was brought up counts as broken.
_READY_TIMEOUT_S = 90.0
# The world may run this much slower than real time before a goal that does not end counts as lost.
_SLOWEST = 0.05
_REST_SPEED_RAD_S = 0.01
_REST_TIMEOUT_S = 5.0
_ACTING_NODE = "action_node"
# Errors in a row on /diagnostics, one per second, after which an episode is given up.
_TROUBLE_MAX = 3
_OUTCOMES = {
    ExecuteTask.Result.SUCCEEDED: "succeeded",
    ExecuteTask.Result.TIMED_OUT: "timed_out",
    ExecuteTask.Result.CANCELED: "canceled",
    ExecuteTask.Result.FAILED: "failed",
}


class TaskSession:
    """Runs episodes, one after the other, in a graph that is up.

    Args:
        client: turned by this session while it waits.
        on_sub_step: told every new sub-step and the time since the goal, in s.

    Attributes:
        sub_steps: what the policy has said since the last goal.
    """

    def __init__(
        self,
        client: GraphClient,
        robot: RobotDescription,
        policy: str,
        on_sub_step: Callable[[str, float], None],
    ) -> None:
        self._client = client
        self._robot = robot
        self._policy = policy
        self._on_sub_step = on_sub_step
        self._status: TaskStatus | None = None
        self._video: EpisodeVideo | None = None
        self._speed_rad_s = np.inf
        self._joint_stamp_s = 0.0
        self._waited_s = 0.0
        self.sub_steps: list[str] = []
        self._sub_step_latencies_s: list[float] = []
        self._chunk_latencies_s: list[float] = []
        self._diagnostics_s = 0.0
        self._trouble: list[str] = []
        node = client.node
        self._goals = ActionClient(node, ExecuteTask, "execute_task")
        node.create_subscription(TaskStatus, "sim/task_status", self._on_status, LATCHED)
        node.create_subscription(JointState, "joint_states", self._on_joint_state, SENSOR)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, DIAGNOSTICS)
        node.create_subscription(SubStep, "substep", self._on_substep, COMMAND)
        node.create_subscription(ActionChunk, "action_chunk", self._on_chunk, COMMAND)
        for camera in robot.cameras:
            node.create_subscription(Image, camera.topic, partial(self._on_image, camera), SENSOR)

    def wait_until_ready(self) -> None:
        """Wait until the simulation runs and goals are taken."""
        self._client.wait_until(
            lambda: self._status is not None, _READY_TIMEOUT_S, "the simulation says its task"
        )
        self._client.wait_until(lambda: self._joint_stamp_s > 0.0, _READY_TIMEOUT_S, "joint_states come")
        self._client.wait_until(
            self._goals.server_is_ready, _READY_TIMEOUT_S, "the action execute_task is there"
        )

    def reset(self, seed: int) -> str:
        """Put the world to the start of an episode; the instruction it asks for."""
        response = self._client.call(
            ResetSimulation, "sim/reset", ResetSimulation.Request(seed=seed), _READY_TIMEOUT_S
        )
        if not response.success:
            raise GraphError(f"The simulation could not be reset to the seed {seed}: {response.message}.")
        reset_s = self._client.now_s()
        self._client.wait_until(
            lambda: self._status.seed == seed and self._joint_stamp_s > reset_s,
            _READY_TIMEOUT_S,
            "the simulation runs after its reset",
        )
        return response.instruction

    def run(
        self, seed: int, instruction: str | None, timeout_s: float, video: EpisodeVideo | None
    ) -> EpisodeOutcome:
        """One episode in the world as it was reset.

        Args:
            instruction: what to tell the policy; None = what the world asks for.
        """
        self._video = video
        self._trouble = []
        self.sub_steps = []
        self._sub_step_latencies_s.clear()
        self._chunk_latencies_s.clear()
        try:
            return self._run(seed, instruction or self.instruction, timeout_s, video)
        finally:
            self._video = None

    def wait_until_at_rest(self) -> bool:
        """Whether the robot comes to rest within a few seconds; for use when something has died."""
        deadline_s = monotonic() + _REST_TIMEOUT_S
        while monotonic() < deadline_s:
            self._client.turn()
            if self._speed_rad_s < _REST_SPEED_RAD_S:
                return True
        return False

    @property
    def instruction(self) -> str:
        """What the world asks for."""
        return self._status.instruction

    def broken_off(
        self, seed: int, instruction: str, video: EpisodeVideo | None, error: str
    ) -> EpisodeOutcome:
        """What is known of the episode that was under way when something died."""
        return self._outcome(seed, instruction, video, False, "failed", self.sub_steps, 0.0, 0.0, error)

    def _run(
        self, seed: int, instruction: str, timeout_s: float, video: EpisodeVideo | None
    ) -> EpisodeOutcome:
        start_s, real_start_s = self._client.now_s(), monotonic()
        patience_s = timeout_s / _SLOWEST
        goal = ExecuteTask.Goal(instruction=instruction, timeout_s=timeout_s)
        sent = self._goals.send_goal_async(goal, feedback_callback=self._on_feedback)
        handle = self._client.wait_for(sent, _READY_TIMEOUT_S, "vlm_node answers to a goal")
        if not handle.accepted:
            raise GraphError("vlm_node refused the goal; its log says why.")
        ended = handle.get_result_async()
        try:
            self._client.wait_until(lambda: ended.done() or self._is_broken(), patience_s, "the goal ends")
        except KeyboardInterrupt:
            handle.cancel_goal_async()
            raise
        if not ended.done():
            raise GraphError(f"{_ACTING_NODE}: {self._trouble[-1]}.")
        response = ended.result()
        if response.status == GoalStatus.STATUS_UNKNOWN:
            raise GraphError("vlm_node does not know the goal any more; was it restarted?")
        result = response.result
        self._settle()
        factor = (self._client.now_s() - start_s) / (monotonic() - real_start_s)
        error = result.message if result.outcome == ExecuteTask.Result.FAILED else None
        return self._outcome(
            seed,
            instruction,
            video,
            self._status.success,
            _OUTCOMES[result.outcome],
            list(result.sub_steps),
            result.duration_s,
            factor,
            error,
        )

    def _outcome(
        self,
        seed: int,
        instruction: str,
        video: EpisodeVideo | None,
        success: bool,
        outcome: str,
        sub_steps: list[str],
        duration_s: float,
        real_time_factor: float,
        error: str | None,
    ) -> EpisodeOutcome:
        return EpisodeOutcome(
            robot=self._robot.name,
            task=self._status.task,
            policy=self._policy,
            seed=seed,
            instruction=instruction,
            success=success,
            outcome=outcome,
            sub_steps=sub_steps,
            duration_s=duration_s,
            waited_for_inference_s=self._waited_s,
            sub_step_latency_s=_mean(self._sub_step_latencies_s),
            chunk_latency_s=_mean(self._chunk_latencies_s),
            real_time_factor=real_time_factor,
            video=str(video.path) if video else None,
            error=error,
        )

    def _is_broken(self) -> bool:
        """The node that moves the robot says that it cannot, and says so again."""
        return len(self._trouble) >= _TROUBLE_MAX

    def _settle(self) -> None:
        end_s = self._client.now_s() + SETTLE_S
        self._client.wait_until(
            lambda: self._client.now_s() >= end_s and self._diagnostics_s >= end_s - SETTLE_S,
            _READY_TIMEOUT_S,
            "the simulation and action_node go on after the episode",
        )

    def _on_feedback(self, message) -> None:
        feedback = message.feedback
        if self._video is not None:
            self._video.say(feedback.sub_step)
        self.sub_steps.append(feedback.sub_step)
        self._on_sub_step(feedback.sub_step, feedback.elapsed_s)

    def _on_status(self, message: TaskStatus) -> None:
        self._status = message

    def _on_substep(self, message: SubStep) -> None:
        if message.status == SubStep.ACTIVE:
            self._sub_step_latencies_s.append(self._client.now_s() - stamp_from_message(message.header.stamp))

    def _on_chunk(self, message: ActionChunk) -> None:
        self._chunk_latencies_s.append(self._client.now_s() - stamp_from_message(message.header.stamp))

    def _on_joint_state(self, message: JointState) -> None:
        self._joint_stamp_s = stamp_from_message(message.header.stamp)
        self._speed_rad_s = float(np.abs(message.velocity).max())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == _ACTING_NODE:
                self._trouble = (
                    [*self._trouble, status.message] if status.level == DiagnosticStatus.ERROR else []
                )
                values = {entry.key: entry.value for entry in status.values}
                self._waited_s = float(values.get("waited_for_inference_s", 0.0))
                self._diagnostics_s = stamp_from_message(message.header.stamp)

    def _on_image(self, camera: Camera, message: Image) -> None:
        if self._video is not None:
            self._video.add(
                camera.role, stamp_from_message(message.header.stamp), image_from_message(message)
            )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
