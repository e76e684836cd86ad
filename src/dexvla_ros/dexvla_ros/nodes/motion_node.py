"""motion_node: the action server move_to -> planned trajectories for every controller; the policy pauses."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.task import Future

from dexvla_model.streaming import ActionStreamer
from dexvla_msgs.action import MoveTo
from dexvla_msgs.msg import SubStep as SubStepMessage
from dexvla_msgs.msg import TeleopState as TeleopStateMessage
from dexvla_ros.command_watch import CommandWatch
from dexvla_ros.messages.move_goals import goal_from_message
from dexvla_ros.motion.goals import MoveGoal, named_poses
from dexvla_ros.motion.move_loop import Move, MoveLoop
from dexvla_ros.motion.obstacles import parse_obstacles
from dexvla_ros.motion.planner import MotionPlanner, PlannerSettings
from dexvla_ros.motion.planners import PLANNERS, make_planner
from dexvla_ros.motion.refusal import MotionRefused, MoveOutcome
from dexvla_ros.nodes.commander_node import CommanderNode
from dexvla_ros.nodes.diagnostics import ERROR, OK
from dexvla_ros.nodes.parameters import ParameterSpec
from dexvla_ros.nodes.qos import COMMAND, LATCHED
from dexvla_ros.nodes.stack_node import run_node
from dexvla_ros.nodes.streaming_parameters import stream_settings, streaming_parameters
from dexvla_ros.teleop.settings import TELEOP_STREAM

PARAMETERS = (
    ParameterSpec(
        "planner", "auto", "Who finds the way; auto = moveit where moveit_py is installed.", allowed=PLANNERS
    ),
    ParameterSpec("speed", 0.5, "Share of the joints' limits for a goal that names none.", 0.01, 1.0),
    ParameterSpec(
        "planning_time_s", 5.0, "Time after which a search for a way gives up, s (real time).", 0.1, 120.0
    ),
    ParameterSpec(
        "obstacles",
        (),
        "Boxes to plan around, each NAME X Y Z LENGTH WIDTH HEIGHT, m, the centre in the URDF's root frame.",
    ),
    *streaming_parameters(TELEOP_STREAM),
)
_POLL_S = 0.01
_FEEDBACK_PERIOD_S = 0.2
# A task counts as under way when a sub-step came within this time, s.
_TASK_S = 1.0


class MotionNode(CommanderNode):
    """Moves the robot to poses; in doubt it brakes and holds."""

    parameters = PARAMETERS

    def __init__(self) -> None:
        self._loop: MoveLoop | None = None
        self._server: ActionServer | None = None
        self._thread: ThreadPoolExecutor | None = None
        super().__init__("motion_node")

    def configure(self) -> None:
        settings = self.settings
        stream = stream_settings(settings)
        boxes = parse_obstacles(settings.obstacles, "motion_node: the parameter obstacles")
        planning = PlannerSettings(settings.planning_time_s, stream.compliant_controllers, boxes)
        self._planner: MotionPlanner = make_planner(settings.planner, self.robot, planning)
        self._goals: dict[int, tuple[ServerGoalHandle, Future]] = {}
        self._last_message = "no move yet"
        self._teleop, self._substep_s = TeleopStateMessage.RELEASED, -np.inf
        self._thread = ThreadPoolExecutor(1, "planning")
        watch = CommandWatch(self.robot)
        streamer = ActionStreamer(self.robot, stream)
        self._loop = MoveLoop(streamer, self, self.now_s, watch, named_poses(self.robot))
        self.connect(self._loop)
        self.listen(TeleopStateMessage, "teleop/state", self._on_teleop_state, LATCHED)
        self.listen(SubStepMessage, "substep", self._on_sub_step, COMMAND)
        self.every(_POLL_S, self._check)
        self.every(_FEEDBACK_PERIOD_S, self._feed_back)
        self._server = ActionServer(
            self,
            MoveTo,
            "move_to",
            self._execute,
            goal_callback=self._on_goal,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )

    def deactivate(self) -> None:
        self._loop.abandon("the node was deactivated")

    def release(self) -> None:
        if self._server is not None:
            self._server.destroy()
            self._server = None
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None

    def on_failure(self, reason: str) -> None:
        if self._loop is not None:
            self._loop.fail(reason)

    def health(self) -> tuple[bytes, str, dict[str, object]]:
        move = self._loop.move
        values = {
            "planner": type(self._planner).__name__,
            "state": "idle" if move is None else move.phase.value,
            "progress": self._loop.progress(),
            "holds": self._loop.driver.holds,
        }
        problem = self.take_state_problem()
        if problem:
            return ERROR, problem, values
        if self._loop.driver.blocked:
            return ERROR, f"holding: {self._loop.driver.blocked}; it goes on by itself then", values
        if move is not None and not self.is_connected():
            return ERROR, f"no controller listens on {', '.join(self.outlets.unheard())}", values
        return OK, self._last_message if move is None else f"{move.phase.value}: {move.goal}", values

    # What the loop asks for, besides what every commander does

    def resume_policies(self) -> None:
        """action_node may go on, unless teleoperation has it pause."""
        if not self.context.ok():
            return
        if self._teleop == TeleopStateMessage.RELEASED:
            self.pause.want(False)
        else:
            self.pause.leave_to_another()

    def on_change(self) -> None:
        """Nobody waits for it: feedback goes out at its own rate."""

    def other_commander(self) -> str:
        """Who else has the robot, as a sentence."""
        if self._teleop != TeleopStateMessage.RELEASED:
            return "Teleoperation has the robot; hand it back first."
        if self.now_s() - self._substep_s < _TASK_S:
            return "A task is under way; cancel it first."
        return ""

    def plan_in_background(self, start: np.ndarray, goal: MoveGoal, on_done: Callable[..., None]) -> None:
        """Plan in a thread, then call `on_done(motion, refusal)` where this node's callbacks run."""

        def plan() -> None:
            motion = refusal = None
            try:
                motion = self._planner.plan(start, goal)
            except MotionRefused as refused:
                refusal = refused
            except Exception as error:
                reason = f"planning failed with {type(error).__name__}: {error}"
                self.deliver(lambda: self.report_once(reason))
                refusal = MotionRefused(MoveOutcome.FAILED, f"{reason[0].upper()}{reason[1:]}.")
            self.deliver(lambda: on_done(motion, refusal))

        self._thread.submit(plan)

    def on_end(self, move: Move) -> None:
        """Answer the client, if it has been told of the move already."""
        self._last_message = move.message
        if move.outcome is MoveOutcome.FAILED:
            self.report_once(f"the move to {move.goal} failed: {move.message}", move.message)
        waiting = self._goals.pop(id(move), None)
        if waiting is not None:
            waiting[1].set_result(None)

    # Callbacks

    def _on_goal(self, goal: MoveTo.Goal) -> GoalResponse:
        if not self.active:
            self.get_logger().error(f"goal refused: the node is {self.lifecycle_label}, not active")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    async def _execute(self, handle: ServerGoalHandle) -> MoveTo.Result:
        began_s = self.now_s()
        goal = goal_from_message(handle.request, self.settings.speed)
        self.get_logger().info(f"goal: {goal}")
        move = self._loop.begin(goal)
        if move is self._loop.move:
            ended = Future()
            self._goals[id(move)] = (handle, ended)
            await ended
        result = MoveTo.Result(
            outcome=int(move.outcome), message=move.message, duration_s=max(0.0, self.now_s() - began_s)
        )
        if move.outcome is MoveOutcome.SUCCEEDED:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result

    def _check(self) -> None:
        move = self._loop.move
        waiting = self._goals.get(id(move))
        if waiting is not None and waiting[0].is_cancel_requested:
            self._loop.cancel()
        self._loop.check()

    def _feed_back(self) -> None:
        move = self._loop.move
        waiting = self._goals.get(id(move))
        if waiting is not None:
            feedback = MoveTo.Feedback(phase=move.phase.value, progress=self._loop.progress())
            waiting[0].publish_feedback(feedback)

    def _on_teleop_state(self, message: TeleopStateMessage) -> None:
        self._teleop = message.state

    def _on_sub_step(self, message: SubStepMessage) -> None:
        self._substep_s = self.now_s() if message.status == SubStepMessage.ACTIVE else -np.inf


def main() -> None:
    """Run the node; the entry point of the command `motion_node`."""
    sys.exit(run_node(MotionNode))


if __name__ == "__main__":
    main()
