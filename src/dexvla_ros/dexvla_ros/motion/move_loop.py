"""One goal after the other: take the robot, plan, move, hand it back. The motion_node's logic; no ROS."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from dexvla_model.observation import RobotState
from dexvla_model.robot import RobotDescription
from dexvla_model.streaming import ActionStreamer, JointTrajectory
from dexvla_model.streaming.plan import MotionPlan
from dexvla_ros.command_watch import CommandWatch
from dexvla_ros.motion.goals import MoveGoal, check_goal, full_goal, joint_positions
from dexvla_ros.motion.motion_source import MotionSource
from dexvla_ros.motion.refusal import MotionRefused, MoveOutcome
from dexvla_ros.teleop.teleop_loop import TeleopListener, TeleopLoop, TeleopState

# A robot so near to its goal is there, in rad or m.
_THERE = 0.005
# At the end a joint that is not compliant may be this far away, in rad or m: friction and gravity.
_ARRIVED = 0.03
# After the end of the motion it has to arrive within this time, s.
_SETTLE_S = 2.0
# A hand-over that takes longer is not waited for, s.
_RELEASE_S = 4.0


class MovePhase(Enum):
    """Where a move stands; the texts are those of the action's feedback."""

    WAITING = "waits for the robot"
    TAKING = "takes the robot"
    PLANNING = "plans"
    MOVING = "moves"
    ENDING = "comes to rest"


@dataclass
class Move:
    """A goal under way. `end` (A,) rad is where it leads, once that is planned."""

    goal: MoveGoal
    started_s: float
    phase: MovePhase = MovePhase.TAKING
    end: np.ndarray | None = None
    outcome: MoveOutcome = MoveOutcome.FAILED
    message: str = ""
    ending_s: float = 0.0


class MoveListener(TeleopListener, Protocol):
    """Who does what the loop decides."""

    def other_commander(self) -> str:
        """Who else has the robot, as a sentence; empty = nobody."""

    def plan_in_background(self, start: np.ndarray, goal: MoveGoal, on_done: Callable[..., None]) -> None:
        """Plan beside the loop, then call `on_done(motion, refusal)` where the loop runs."""

    def on_end(self, move: Move) -> None:
        """The move is over: its outcome and message say how."""


class MoveLoop:
    """Plans and drives one move at a time, through the loop that takes the robot for teleoperation.

    A move brakes and ends in hold when it is cancelled, when somebody else takes the robot, and when anything
    is in doubt: joint states that do not come, a joint that does not follow, another node that commands a
    controller. When the robot itself says that it does not follow, the move holds until it does.
    """

    def __init__(
        self,
        streamer: ActionStreamer,
        listener: MoveListener,
        clock: Callable[[], float],
        watch: CommandWatch,
        poses: Mapping[str, Mapping[str, float]],
    ) -> None:
        self._robot: RobotDescription = streamer.robot
        self._poses = poses
        self._listener = listener
        self._clock = clock
        self._source = MotionSource()
        self._state: RobotState | None = None
        self.driver = TeleopLoop(streamer, self._source, listener, clock, watch)
        self.move: Move | None = None

    def begin(self, goal: MoveGoal) -> Move:
        """Begin a move; where there is a reason against it, it has ended already, and `on_end` was told."""
        now_s = self._clock()
        move = Move(goal, now_s)
        refusal = self._reason_against(goal, now_s)
        if refusal is not None:
            move.outcome, move.message = refusal.outcome, str(refusal)
            self._listener.on_end(move)
            return move
        if self._is_there(goal):
            move.outcome, move.message = MoveOutcome.SUCCEEDED, f"The robot is at {goal} already."
            self._listener.on_end(move)
            return move
        self.move = move
        self._source.forget()
        self.driver.engage()
        self.check()
        return move

    def cancel(self) -> None:
        """Brake, and end the move."""
        self._end(MoveOutcome.CANCELED, "The move was cancelled; the robot holds.")

    def fail(self, reason: str) -> None:
        """Brake, and end the move as failed."""
        self._end(MoveOutcome.FAILED, _sentence(reason))

    def abandon(self, reason: str) -> None:
        """Brake, and end the move without waiting for rest: nobody is going to call `check` for a while."""
        move = self.move
        if move is None:
            return
        self.fail(reason)
        if self.move is move:
            self._listener.resume_policies()
            self._finish(move)

    def block(self, reason: str) -> None:
        """Hold while the robot itself does not follow, for a reason that it gives; empty = it follows again.

        A move that is under way is planned anew then, from where the robot stands.
        """
        self.driver.block(reason)
        move = self.move
        if move is None or move.phase is MovePhase.ENDING:
            return
        if reason:
            move.phase = MovePhase.WAITING
            self._source.forget()
        else:
            move.phase = MovePhase.TAKING
            self.driver.engage()

    def on_state(self, state: RobotState) -> None:
        """Take the newest joint state."""
        self._state = state
        self.driver.on_state(state)

    def on_command(self, controller: str, trajectory: JointTrajectory) -> None:
        """A trajectory came on a controller's topic: ours, or another node's."""
        self.driver.on_command(controller, trajectory)

    def progress(self) -> float:
        """Share of the motion's time that has passed, 0 to 1."""
        return self._source.progress(self._clock())

    def check(self) -> None:
        """To be called at 50 Hz or more."""
        self.driver.check()
        move, driver = self.move, self.driver
        if move is None:
            return
        if move.phase is MovePhase.ENDING:
            self._wait_for_release(move)
            return
        other = self._listener.other_commander()
        if other:
            self._end(MoveOutcome.BUSY, other)
        elif move.phase is MovePhase.WAITING:
            return
        elif driver.state in (TeleopState.HOLDING, TeleopState.RELEASED):
            self._end(MoveOutcome.FAILED, _sentence(driver.reason))
        elif move.phase is MovePhase.TAKING and self._source.taken_at is not None:
            move.phase = MovePhase.PLANNING
            start = self._source.taken_at
            self._listener.plan_in_background(
                start, move.goal, lambda motion, refusal: self._on_planned(move, start, motion, refusal)
            )
        elif move.phase is MovePhase.MOVING and self._clock() >= self._source.end_s:
            self._arrive(move)

    def _reason_against(self, goal: MoveGoal, now_s: float) -> MotionRefused | None:
        if self.move is not None:
            return MotionRefused(MoveOutcome.BUSY, "Another move is under way; cancel it first.")
        other = self._listener.other_commander()
        if other:
            return MotionRefused(MoveOutcome.BUSY, other)
        if self.driver.blocked:
            return MotionRefused(MoveOutcome.FAILED, _sentence(self.driver.blocked))
        age_max_s = self.driver.streamer.settings.state_age_max_s
        if self._state is None or abs(now_s - self._state.stamp_s) > age_max_s:
            return MotionRefused(
                MoveOutcome.FAILED, "No fresh joint state has come; see to the robot's driver."
            )
        try:
            check_goal(goal, self._robot, self._poses)
        except MotionRefused as refusal:
            return refusal
        return None

    def _is_there(self, goal: MoveGoal) -> bool:
        if goal.link:
            return False
        measured = self.driver.measured
        wanted = full_goal(
            measured, joint_positions(goal, self._robot, self._poses), self._robot.action_joints
        )
        return bool(np.abs(wanted - measured).max() < _THERE)

    def _on_planned(
        self, move: Move, start: np.ndarray, motion: MotionPlan | None, refusal: MotionRefused | None
    ) -> None:
        # Meanwhile the move may have ended, or have been broken off and taken the robot anew.
        current = move is self.move and start is self._source.taken_at
        if not current or move.phase is not MovePhase.PLANNING:
            return
        if motion is None:
            self._end(refusal.outcome, str(refusal))
            return
        move.end = motion.rest_positions
        move.phase = MovePhase.MOVING
        self._source.play(motion)
        self.check()

    def _arrive(self, move: Move) -> None:
        away = np.abs(self.driver.measured - move.end) * self.driver.streamer.stiff
        joint = int(np.argmax(away))
        if away[joint] <= _ARRIVED:
            self._end(MoveOutcome.SUCCEEDED, f"The robot is at {move.goal}.")
        elif self._clock() > self._source.end_s + _SETTLE_S:
            name = self._robot.action_joints[joint]
            unit = self._robot.limits[name].unit
            self._end(MoveOutcome.FAILED, f"The joint {name} is {away[joint]:.3f} {unit} away from the goal.")

    def _end(self, outcome: MoveOutcome, message: str) -> None:
        move = self.move
        if move is None or move.phase is MovePhase.ENDING:
            return
        move.phase, move.outcome, move.message = MovePhase.ENDING, outcome, message
        move.ending_s = self._clock()
        self.driver.release()
        self._wait_for_release(move)

    def _wait_for_release(self, move: Move) -> None:
        late = abs(self._clock() - move.ending_s) > _RELEASE_S
        if self.driver.state is TeleopState.RELEASED or late:
            self._finish(move)

    def _finish(self, move: Move) -> None:
        self.move = None
        self._source.forget()
        self._listener.on_end(move)


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."
