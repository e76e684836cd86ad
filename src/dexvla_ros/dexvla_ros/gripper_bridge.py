"""From a gripper's trajectories to goals of its action, one at a time. No ROS."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from dexvla_model.robot import JointLimits
from dexvla_model.streaming import JointTrajectory

# The node that listens where a gripper's controller would, which is not loaded then.
BRIDGE_NODE = "gripper_action_node"


class GoalEnd(Enum):
    """How a goal ended."""

    REACHED = "reached"
    STALLED = "stalled on something"
    ABORTED = "aborted"
    CANCELED = "canceled"


class GripperAction(Protocol):
    """The gripper's action server, as far as the bridge uses it; goals are known by their number."""

    def is_ready(self) -> bool:
        """Whether a server is there."""

    def send(self, number: int, position: float) -> None:
        """Send a goal in the joint's unit; `on_accepted`, `on_rejected` and `on_end` hear of it."""

    def cancel(self, number: int) -> None:
        """Cancel a goal that was accepted."""


@dataclass(frozen=True)
class BridgeSettings:
    """How trajectories become goals.

    Attributes:
        tolerance: positions that differ by less are the same, in the joint's unit.
        rate_hz: goals per second, at most.
        lookahead_s: a goal is where the trajectory is this much later: a gripper takes a moment to begin.
        answer_timeout_s: a server that has not said so long whether it takes a goal is given up.
        goal_timeout_s: so is one that does not end a goal.
        retry_s: pause after a goal that was rejected or given up.
    """

    tolerance: float
    rate_hz: float
    lookahead_s: float
    answer_timeout_s: float
    goal_timeout_s: float
    retry_s: float


@dataclass
class _Goal:
    number: int
    position: float
    sent_s: float
    accepted: bool = False
    cancelled: bool = False


class GripperBridge:
    """Follows the newest trajectory of one joint by goals: where it goes, at most one goal under way.

    A goal that the trajectory has left is cancelled, and the next one is sent when it has ended. A goal
    that was given up is cancelled, too, when its server answers at last.

    Attributes:
        problem: what keeps the gripper from following, in one sentence; empty = nothing.
        outcome: how the last goal ended; None before the first.
        counts: goals sent, and those that were rejected, aborted or given up.
    """

    def __init__(
        self, joint: str, limits: JointLimits, settings: BridgeSettings, action: GripperAction
    ) -> None:
        self._joint, self._limits, self._settings, self._action = joint, limits, settings, action
        self._times_s = np.empty(0)
        self._positions = np.empty(0)
        self._goal: _Goal | None = None
        self._settled: float | None = None
        self._number = 0
        self._next_s = -np.inf
        self.problem = ""
        self.outcome: GoalEnd | None = None
        self.counts = {"sent": 0, "rejected": 0, "aborted": 0, "given_up": 0}

    def on_trajectory(self, trajectory: JointTrajectory, now_s: float) -> str:
        """Follow a trajectory from now on; why it is refused, or empty.

        Args:
            now_s: node clock, which a stamp of 0 stands for.
        """
        if self._joint not in trajectory.joints:
            return f"it names {', '.join(trajectory.joints) or 'no joint'}, not {self._joint}"
        column = trajectory.joints.index(self._joint)
        rows = [row[column] if len(row) == len(trajectory.joints) else np.nan for row in trajectory.positions]
        times_s = np.asarray(trajectory.times_s, dtype=float)
        positions = np.asarray(rows, dtype=float)
        if not len(positions) or len(times_s) != len(positions):
            return "it has no points"
        if not (
            np.isfinite(positions).all() and np.isfinite(times_s).all() and (np.diff(times_s) > 0.0).all()
        ):
            return "a value is missing or not finite, or the times do not increase"
        self._times_s = (trajectory.stamp_s or now_s) + times_s
        self._positions = np.clip(positions, self._limits.lower, self._limits.upper)
        return ""

    def wanted(self, now_s: float) -> float | None:
        """Where the gripper is to be, in the joint's unit; None before the first trajectory."""
        if not len(self._times_s):
            return None
        return float(np.interp(now_s + self._settings.lookahead_s, self._times_s, self._positions))

    def stop(self) -> None:
        """Cancel what is under way and forget the trajectory: the gripper stays where it is."""
        self._times_s = self._positions = np.empty(0)
        self._give_up()
        self._settled = None

    def check(self, now_s: float, real_s: float) -> None:
        """To be called at 10 Hz or more: sends and cancels what is due.

        Args:
            now_s: node clock. real_s: a clock that never jumps.
        """
        wanted = self.wanted(now_s)
        if wanted is None:
            return
        if not self._action.is_ready():
            # A server that comes back knows nothing of its goals.
            self._goal, self._settled = None, None
            self.problem = "the gripper's action server is not there: it stays as it is"
            return
        if self._goal is not None:
            self._watch(self._goal, wanted, real_s)
            return
        if self._settled is not None and abs(wanted - self._settled) < self._settings.tolerance:
            return
        if real_s >= self._next_s:
            self._send(wanted, real_s)

    def on_accepted(self, number: int) -> None:
        """The server has taken a goal."""
        if self._goal is not None and self._goal.number == number:
            self._goal.accepted = True
            self.problem = ""
            if self._goal.cancelled:
                self._action.cancel(number)
        else:
            self._action.cancel(number)

    def on_rejected(self, number: int, real_s: float) -> None:
        """The server does not take a goal: it is offered again."""
        if self._goal is None or self._goal.number != number:
            return
        self._goal = None
        self.counts["rejected"] += 1
        self.problem = "the gripper's action server rejects goals"
        self._next_s = real_s + self._settings.retry_s

    def on_end(self, number: int, end: GoalEnd) -> None:
        """A goal has ended."""
        if self._goal is None or self._goal.number != number:
            return
        goal, self._goal = self._goal, None
        self.outcome = end
        self.problem = ""
        if end is GoalEnd.CANCELED:
            self._settled = None
            if not goal.cancelled:
                self.problem = "somebody else cancels the gripper's goals"
            return
        # A gripper that has closed on something, or cannot go on, is not told the same again.
        self._settled = goal.position
        if end is GoalEnd.ABORTED:
            self.counts["aborted"] += 1
            self.problem = (
                f"the gripper broke the goal {goal.position:.3f} off; it tries again at the next motion"
            )

    def _watch(self, goal: _Goal, wanted: float, real_s: float) -> None:
        settings = self._settings
        waited_s = real_s - goal.sent_s
        if not goal.accepted and waited_s > settings.answer_timeout_s:
            self.problem = f"the gripper's action server has not answered for {settings.answer_timeout_s:g} s"
        elif waited_s > settings.goal_timeout_s:
            self.problem = f"the gripper has not ended a goal within {settings.goal_timeout_s:g} s"
        else:
            due = real_s >= self._next_s
            if due and not goal.cancelled and abs(wanted - goal.position) >= settings.tolerance:
                goal.cancelled = True
                if goal.accepted:
                    self._action.cancel(goal.number)
            return
        self.counts["given_up"] += 1
        self._give_up()
        self._next_s = real_s + settings.retry_s

    def _send(self, position: float, real_s: float) -> None:
        self._number += 1
        self._goal = _Goal(self._number, position, real_s)
        self._next_s = real_s + 1.0 / self._settings.rate_hz
        self.counts["sent"] += 1
        self._action.send(self._number, position)

    def _give_up(self) -> None:
        goal, self._goal = self._goal, None
        if goal is not None and goal.accepted:
            self._action.cancel(goal.number)
