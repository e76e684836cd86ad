"""action_node: the newest substep and joint state -> trajectories for every controller, and action_chunk."""

import sys
from collections.abc import Mapping
from functools import partial

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage

from dexvla_model.observation import InvalidObservation
from dexvla_model.policy import ActionChunk, SubStep
from dexvla_model.streaming import ActionStreamer, JointTrajectory, StreamState
from dexvla_msgs.msg import ActionChunk as ActionChunkMessage
from dexvla_msgs.msg import SubStep as SubStepMessage
from dexvla_ros.acting_loop import ActingLoop
from dexvla_ros.command_watch import CommandWatch
from dexvla_ros.messages.action_chunks import action_chunk_to_message
from dexvla_ros.messages.joint_states import state_from_message
from dexvla_ros.messages.sub_steps import sub_step_from_message
from dexvla_ros.messages.trajectories import trajectory_from_message
from dexvla_ros.nodes.controller_outlets import ControllerOutlets
from dexvla_ros.nodes.diagnostics import ERROR, OK, WARN
from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.nodes.policy_parameters import POLICY_PARAMETERS, start_policy
from dexvla_ros.nodes.policy_pause import PAUSE_SERVICE
from dexvla_ros.nodes.qos import COMMAND, SENSOR
from dexvla_ros.nodes.robot_watch import RobotWatch
from dexvla_ros.nodes.stack_node import StackNode, run_node
from dexvla_ros.nodes.streaming_parameters import stream_settings, streaming_parameters
from dexvla_ros.policy_process import PolicyProcess

PARAMETERS = (
    *POLICY_PARAMETERS,
    ParameterSpec("chunk_hz", 5.0, "Action chunks per second, at most, Hz.", 0.1, 100.0),
    ParameterSpec(
        "substep_age_max_s", 0.8, "Age from which a sub-step is not acted on any more, s.", 0.05, 60.0
    ),
    *streaming_parameters(),
)
_POLL_S = 0.02
# Of this node: act again after a failure within a task, when its cause is gone.
GO_ON_SERVICE = "action_node/go_on"


class ActionNode(StackNode):
    """Drives the controllers while there is a sub-step to act on; in doubt the robot brakes and holds."""

    parameters = PARAMETERS

    def __init__(self) -> None:
        self._worker: PolicyProcess | None = None
        self._loop: ActingLoop | None = None
        super().__init__("action_node")

    def configure(self) -> None:
        settings = self.settings
        self._problem = ""
        self._inference_s = 0.0
        self._state_problem = ""
        streamer = ActionStreamer(self.robot, stream_settings(settings))
        self._worker = start_policy(self, settings, "act", self._on_worker_death)
        self._loop = ActingLoop(
            policy=self._worker,
            policy_name=self._worker.ready.policy,
            streamer=streamer,
            listener=self,
            clock=self.now_s,
            chunk_hz=settings.chunk_hz,
            substep_age_max_s=settings.substep_age_max_s,
            seed=settings.seed,
        )
        self._outlets = ControllerOutlets(self)
        # The newest command to each controller: another node's, after this one was paused.
        self._commands: dict[str, bytes] = {}
        for controller in self.robot.controllers:
            keep = partial(self._commands.__setitem__, controller.name)
            self.listen(JointTrajectoryMessage, controller.topic, keep, COMMAND, raw=True)
        self.serve(SetBool, PAUSE_SERVICE, self._on_pause)
        self.serve(Trigger, GO_ON_SERVICE, self._on_go_on)
        RobotWatch(self, self._loop.block)
        self._publish_chunk = self.publish_on(ActionChunkMessage, "action_chunk", COMMAND)
        self.listen(JointState, "joint_states", self._on_joint_state, SENSOR)
        self.listen(SubStepMessage, "substep", self._on_sub_step, COMMAND)
        self.every(_POLL_S, self._loop.check)

    def deactivate(self) -> None:
        self._loop.hold("the node was deactivated")

    def release(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def on_failure(self, reason: str) -> None:
        if self._loop is not None:
            self._loop.fail(reason)

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        streamer = self._loop.streamer
        counters, status = streamer.counters, streamer.status
        values = {
            "state": status.state.value,
            "episode": self._loop.episode or 0,
            "waited_for_inference_s": self._loop.waited_s,
            "inference_s": self._inference_s,
            "chunk_age_s": self._loop.chunk_age_s,
            "chunks_taken": counters.chunks_taken,
            "chunks_refused": sum(counters.refused.values()),
            "holds": counters.holds,
            "plan_failures": counters.plan_failures,
        }
        problem = self._problem or self._state_problem
        self._state_problem = ""
        if problem:
            return ERROR, problem, values
        if not self.is_connected():
            return ERROR, f"no controller listens on {', '.join(self._outlets.unheard())}", values
        if self._loop.blocked:
            return ERROR, f"holding: {self._loop.blocked}; it goes on by itself then", values
        if self._loop.failure:
            return WARN, f"holding: {self._loop.failure}; a new task or {GO_ON_SERVICE} lets it go on", values
        if self._loop.paused:
            return WARN, f"{self._loop.paused}; {PAUSE_SERVICE} with false lets it go on", values
        if self._loop.acting and status.state in (StreamState.HOLDING, StreamState.STOPPED):
            return WARN, f"holding: {status.reason}", values
        return OK, status.reason, values

    # What the acting loop asks for

    def is_connected(self) -> bool:
        """Whether somebody listens on every controller's topic."""
        return not self._outlets.unheard()

    def send(self, trajectories: Mapping[str, JointTrajectory]) -> None:
        """Publish a trajectory for each controller."""
        self._outlets.send(trajectories)

    def on_chunk(self, chunk: ActionChunk, substep: SubStep, inference_s: float, prefix_rows: int) -> None:
        """Publish the chunk, to record and to plot."""
        self._inference_s = inference_s
        self._publish_chunk(action_chunk_to_message(chunk, substep.stamp_s, inference_s, prefix_rows))

    def on_problem(self, reason: str) -> None:
        """Log the first of its kind: what stands after a colon is this time's figures."""
        self.report_once(reason, reason.partition(":")[0])

    # Callbacks

    def _on_joint_state(self, message: JointState) -> None:
        try:
            self._loop.on_state(state_from_message(self.robot, message))
        except InvalidObservation as error:
            self._state_problem = f"joint_states cannot be used: {error}"
            self.report_once(self._state_problem)

    def _on_sub_step(self, message: SubStepMessage) -> None:
        if message.status == SubStepMessage.ACTIVE:
            if not self._problem:
                self._loop.on_sub_step(sub_step_from_message(message), message.episode, message.policy)
            return
        finished = message.status == SubStepMessage.FINISHED
        self._loop.hold("the task is done" if finished else "the task was stopped")
        self.publish_diagnostics()

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data and not self._loop.paused:
            self._loop.pause("paused: another node has the controllers")
        elif not request.data and self._loop.paused:
            watch = CommandWatch(self.robot)
            for controller, raw in self._commands.items():
                message = deserialize_message(raw, JointTrajectoryMessage)
                watch.heard(controller, trajectory_from_message(message), self.now_s())
            self._loop.resume(watch)
        response.success = True
        response.message = self._loop.paused or "the policy may act"
        self.publish_diagnostics()
        return response

    def _on_go_on(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._loop.go_on()
        response.success = not self._loop.blocked
        response.message = self._loop.blocked or "the policy may act"
        self.publish_diagnostics()
        return response

    def _on_worker_death(self, reason: str) -> None:
        self._problem = f"{reason}; restart the node"
        self.report_once(self._problem)
        self._loop.fail(reason)
        self.publish_diagnostics()


def main() -> None:
    """Run the node; the entry point of the command `action_node`."""
    sys.exit(run_node(ActionNode))


if __name__ == "__main__":
    main()
