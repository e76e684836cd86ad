"""vlm_node: the action server execute_task; observations -> substep while a goal is active."""

import sys
from collections import deque
from dataclasses import replace

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.task import Future
from visualization_msgs.msg import MarkerArray

from dexvla_model.observation import InvalidObservation, Observation
from dexvla_model.policy import SubStep
from dexvla_msgs.action import ExecuteTask
from dexvla_msgs.msg import Observation as ObservationMessage
from dexvla_msgs.msg import SubStep as SubStepMessage
from dexvla_ros.messages.ground_truth import ground_truth_from_message
from dexvla_ros.messages.observations import observation_from_message
from dexvla_ros.messages.stamps import stamp_from_message
from dexvla_ros.messages.sub_steps import stopped_message, sub_step_to_message
from dexvla_ros.nodes.diagnostics import ERROR, OK
from dexvla_ros.nodes.home_motion import HomeMotion
from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.nodes.policy_parameters import POLICY_PARAMETERS, start_policy
from dexvla_ros.nodes.qos import COMMAND, SENSOR
from dexvla_ros.nodes.stack_node import StackNode, run_node
from dexvla_ros.policy_process import PolicyProcess
from dexvla_ros.reasoning_loop import Ending, Outcome, ReasoningLoop, Task
from dexvla_sim.policies import SCRIPTED

PARAMETERS = (
    *POLICY_PARAMETERS,
    ParameterSpec("timeout_s", 60.0, "Time limit of a goal that names none, s.", 1.0, 86400.0),
    ParameterSpec(
        "observation_timeout_s",
        2.0,
        "A goal fails when there was no observation for this long, s.",
        0.1,
        60.0,
    ),
    ParameterSpec(
        "done_confirmations", 3, "How often in a row the policy has to say that it is done.", 1, 100
    ),
    ParameterSpec("done_time_s", 0.5, "Over what time the policy has to say so at least, s.", 0.0, 60.0),
    ParameterSpec(
        "home_around_tasks",
        True,
        "Let motion_node take the robot home before a task, and after one that was not cancelled and did not "
        "fail.",
    ),
)
_POLL_S = 0.05
_GROUND_TRUTH_HISTORY = 10
_GROUND_TRUTH_SLOP_S = 0.02


class VlmNode(StackNode):
    """Says the sub-step again and again while a goal is active; a new goal replaces the old one."""

    parameters = PARAMETERS

    def __init__(self) -> None:
        self._worker: PolicyProcess | None = None
        self._server: ActionServer | None = None
        self._home: HomeMotion | None = None
        self._loop: ReasoningLoop | None = None
        super().__init__("vlm_node")

    def configure(self) -> None:
        settings = self.settings
        self._problem = ""
        self._goals: dict[int, tuple[ServerGoalHandle, Future]] = {}
        self._inference_s = 0.0
        self._ground_truths: deque[tuple[float, MarkerArray]] = deque(maxlen=_GROUND_TRUTH_HISTORY)
        self._worker = start_policy(self, settings, "reason", self._on_worker_death)
        self._policy_name = self._worker.ready.policy
        self._loop = ReasoningLoop(
            policy=self._worker,
            listener=self,
            clock=self.now_s,
            observation_timeout_s=settings.observation_timeout_s,
            confirmations=settings.done_confirmations,
            confirm_s=settings.done_time_s,
            seed=settings.seed,
        )
        self._publish = self.publish_on(SubStepMessage, "substep", COMMAND)
        self.listen(ObservationMessage, "observation", self._on_observation, SENSOR)
        if settings.policy == SCRIPTED:
            self.listen(MarkerArray, "sim/objects", self._on_objects, SENSOR)
        self.every(_POLL_S, self._check)
        self._home = HomeMotion(self) if settings.home_around_tasks else None
        # The goal that the robot goes home for.
        self._going_home: ServerGoalHandle | None = None
        self._server = ActionServer(
            self,
            ExecuteTask,
            "execute_task",
            self._execute,
            goal_callback=self._on_goal,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )

    def deactivate(self) -> None:
        self._loop.end(Ending(Outcome.CANCELED, "The node was deactivated."))
        if self._home is not None:
            self._home.cancel()

    def release(self) -> None:
        if self._home is not None:
            self._home.destroy()
            self._home = None
        if self._server is not None:
            self._server.destroy()
            self._server = None
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def on_failure(self, reason: str) -> None:
        if self._loop is not None:
            self._loop.fail(reason)

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        values = {"policy": self._policy_name, "inference_s": self._inference_s}
        task = self._loop.task
        if task is not None:
            values["instruction"] = task.instruction
            values["sub_step"] = task.progress.sub_steps[-1] if task.progress.sub_steps else ""
        if self._problem:
            return ERROR, self._problem, values
        if self._going_home is not None:
            return OK, "waits until the robot is at home", values
        return OK, "idle" if task is None else "working on a task", values

    # What the reasoning loop tells

    def on_sub_step(self, task: Task, substep: SubStep, inference_s: float, is_new: bool) -> None:
        """Publish it, and as feedback where it is new."""
        self._inference_s = inference_s
        # A task counts as done only when the policy has repeated it; until then the robot goes on.
        self._publish(
            sub_step_to_message(
                substep, task.instruction, self._policy_name, task.episode, inference_s, SubStepMessage.ACTIVE
            )
        )
        if is_new:
            feedback = ExecuteTask.Feedback(sub_step=substep.text, elapsed_s=self.now_s() - task.started_s)
            self._goals[task.episode][0].publish_feedback(feedback)

    def on_end(self, task: Task, ending: Ending) -> None:
        """Make the robot hold and answer the client."""
        finished = ending.outcome is Outcome.SUCCEEDED
        if finished:
            message = sub_step_to_message(
                task.answer, task.instruction, self._policy_name, task.episode, 0.0, SubStepMessage.FINISHED
            )
        else:
            message = stopped_message(self.now_s(), task.instruction, self._policy_name, task.episode)
        self._publish(message)
        if ending.outcome is Outcome.FAILED:
            self.report_once(f"the task {task.instruction!r} failed: {ending.message}")
        self._goals.pop(task.episode)[1].set_result(
            ExecuteTask.Result(
                outcome=int(ending.outcome),
                message=ending.message,
                sub_steps=task.progress.sub_steps,
                duration_s=max(0.0, self.now_s() - task.started_s),
            )
        )

    # Callbacks

    def _on_goal(self, goal: ExecuteTask.Goal) -> GoalResponse:
        reason = ""
        if not self.active:
            reason = f"the node is {self.lifecycle_label}, not active"
        elif self._problem:
            reason = self._problem
        elif not goal.instruction.strip():
            reason = "the instruction is empty"
        elif not 0.0 <= goal.timeout_s < float("inf"):
            reason = f"timeout_s is {goal.timeout_s}, needed is 0 (the default) or more"
        if reason:
            self.get_logger().error(f"goal refused: {reason}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    async def _execute(self, goal: ServerGoalHandle) -> ExecuteTask.Result:
        request = goal.request
        began_s = self.now_s()
        problem = await self._go_home(goal)
        if problem:
            outcome = Outcome.CANCELED if goal.is_cancel_requested else Outcome.FAILED
            if outcome is Outcome.FAILED:
                self.report_once(f"the task {request.instruction!r} was not begun: {problem}", problem)
            result = ExecuteTask.Result(
                outcome=int(outcome),
                message=f"The robot is not at home: {problem}",
                duration_s=max(0.0, self.now_s() - began_s),
            )
        else:
            result = await self._carry_out(goal)
        if result.outcome == ExecuteTask.Result.SUCCEEDED:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return result

    async def _carry_out(self, goal: ServerGoalHandle) -> ExecuteTask.Result:
        request = goal.request
        ended = Future()
        # The loop ends the task before, and the new one takes its number from there.
        task = self._loop.start(request.instruction.strip(), request.timeout_s or self.settings.timeout_s)
        self._goals[task.episode] = (goal, ended)
        self.get_logger().info(f"goal {task.episode}: {task.instruction}")
        result = await ended
        # After a cancelled or failed task the robot stays: nobody expects it to move then.
        over = result.outcome in (ExecuteTask.Result.SUCCEEDED, ExecuteTask.Result.TIMED_OUT)
        if over and self.active and self._loop.task is None and not goal.is_cancel_requested:
            problem = await self._go_home(goal)
            if problem:
                result.message += f" It did not go home: {problem}"
        return result

    async def _go_home(self, goal: ServerGoalHandle) -> str:
        """Take the robot home, where that is wanted; why it is not there, or empty."""
        if self._home is None:
            return ""
        if self._going_home is not None:
            self._home.cancel()
        self._loop.end(Ending(Outcome.CANCELED, "Replaced by a new goal."))
        self._going_home = goal
        problem = await self._home.go()
        if self._going_home is goal:
            self._going_home = None
        elif not problem:
            problem = "A new goal came."
        return problem

    def _check(self) -> None:
        task, homing = self._loop.task, self._going_home
        if homing is not None and homing.is_cancel_requested:
            self._home.cancel()
        if task is not None and self._goals[task.episode][0].is_cancel_requested:
            self._loop.end(Ending(Outcome.CANCELED, "The client cancelled the goal."))
        self._loop.check()

    def _on_objects(self, message: MarkerArray) -> None:
        if message.markers:
            self._ground_truths.append((stamp_from_message(message.markers[0].header.stamp), message))

    def _on_observation(self, message: ObservationMessage) -> None:
        if self._loop.task is None:
            return
        try:
            observation = observation_from_message(self.robot, message)
        except InvalidObservation as error:
            self.report_once(f"an observation is malformed: {error}")
            return
        if self.settings.policy == SCRIPTED:
            observation = self._with_ground_truth(observation)
        if observation is not None:
            self._loop.on_observation(observation)

    def _with_ground_truth(self, observation: Observation) -> Observation | None:
        for stamp_s, message in reversed(self._ground_truths):
            if abs(stamp_s - observation.stamp_s) <= _GROUND_TRUTH_SLOP_S:
                return replace(observation, ground_truth=ground_truth_from_message(message))
        return None

    def _on_worker_death(self, reason: str) -> None:
        self._problem = f"{reason}; restart the node"
        self.report_once(self._problem)
        self._loop.fail(reason)
        self.publish_diagnostics()


def main() -> None:
    """Run the node; the entry point of the command `vlm_node`."""
    sys.exit(run_node(VlmNode))


if __name__ == "__main__":
    main()
