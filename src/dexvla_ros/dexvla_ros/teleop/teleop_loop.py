"""From a source of teleoperation to streamed trajectories; one commander at a time. No ROS."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np

from dexvla_model.observation import RobotState
from dexvla_model.policy import ActionChunk
from dexvla_model.streaming import ActionStreamer, JointTrajectory, StreamState
from dexvla_model.streaming.plan import KNOT_S, knot_at_or_after, knot_at_or_before
from dexvla_ros.command_watch import CommandWatch
from dexvla_ros.teleop.source import Moment, TeleopSource, Wish

# The robot counts as at rest when no joint has moved by more than this within the time.
_REST_RAD = 0.004
_REST_S = 0.2
# Nobody else may have commanded the controllers for so long.
_SILENCE_S = 0.3
# Engaging is given up after this long.
_ENGAGE_S = 4.0
# The plan counts as at rest where it moves less than this over half a second.
_PLANNED_REST_RAD = 1e-4


class TeleopState(Enum):
    """Who has the robot, and what becomes of it; see TeleopState.msg."""

    RELEASED = "released"
    ENGAGING = "engaging"
    READY = "ready"
    MOVING = "moving"
    HOLDING = "holding"
    RELEASING = "releasing"


_ENGAGED = (TeleopState.READY, TeleopState.MOVING)


class TeleopListener(Protocol):
    """Who does what the loop decides."""

    def is_connected(self) -> bool:
        """Whether every controller would receive a trajectory."""

    def send(self, trajectories: Mapping[str, JointTrajectory]) -> None:
        """Send a trajectory to each controller, by its name."""

    def pause_policies(self) -> None:
        """Ask whoever drives the robot to brake and to pause; may be called again."""

    def policies_problem(self) -> str:
        """Why they are not known to have paused; empty = they have, or there are none."""

    def resume_policies(self) -> None:
        """They may go on."""

    def on_change(self) -> None:
        """State or reason has changed."""


@dataclass
class TeleopLoop:
    """Takes the robot from the policies, drives it by a source, and hands it back.

    It engages when asked: policies pause, the robot comes to rest, and the controllers are taken over where
    they were commanded to last. Then the source's rows go through the streamer. Whatever is in doubt ends in
    HOLDING, which only a new `engage` ends. `release` brakes, and lets the policies go on.
    """

    streamer: ActionStreamer
    source: TeleopSource
    listener: TeleopListener
    clock: Callable[[], float]
    watch: CommandWatch
    state: TeleopState = TeleopState.RELEASED
    reason: str = "the robot has not been taken over yet"
    holds: int = 0
    in_doubt: bool = False  # the last hold was not asked for
    blocked: str = ""  # why the robot itself does not follow
    _measured: RobotState | None = None
    _still: tuple[float, np.ndarray] | None = None  # since when the robot stands, and where
    _deadline_s: float = math.inf
    _ready_s: float | None = None  # when the controllers have been taken over
    _started: bool = False
    _last_knot: int = -1
    _columns: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        robot = self.streamer.robot
        self._columns = [robot.state_joints.index(joint) for joint in robot.action_joints]

    # --- inputs ---------------------------------------------------------------------------------------------

    @property
    def engaged(self) -> bool:
        """The human has the robot, or is taking it or giving it back."""
        return self.state is not TeleopState.RELEASED

    @property
    def measured(self) -> np.ndarray | None:
        """(A,) rad of the newest joint state, in the order of the action vector."""
        return None if self._measured is None else self._measured.positions[self._columns]

    def on_state(self, state: RobotState) -> None:
        """Take the newest joint state."""
        self._measured = state
        self.streamer.observe(state)
        where = self.measured
        if self._still is None or np.abs(where - self._still[1]).max() > _REST_RAD:
            self._still = (state.stamp_s, where)

    def on_command(self, controller: str, trajectory: JointTrajectory) -> None:
        """A trajectory came on a controller's topic: ours, or another node's."""
        foreign = self.watch.heard(controller, trajectory, self.clock())
        ours = self.state in _ENGAGED or (self.state is TeleopState.ENGAGING and self._started)
        if foreign and ours:
            self.hold(f"another node commands {controller}: stop it, then engage again")

    def engage(self) -> None:
        """Take the robot, or go on after a hold; not while the robot itself does not follow."""
        if self.state in (*_ENGAGED, TeleopState.ENGAGING):
            return
        if self.blocked:
            self._set(self.state, self.blocked)
            return
        self._deadline_s = self.clock() + _ENGAGE_S
        self._started, self._ready_s = False, None
        self.listener.pause_policies()
        self._set(TeleopState.ENGAGING, "asks the policies to pause")
        self.check()

    def release(self) -> None:
        """Brake, and let the policies go on when the robot stands."""
        if self.state in (TeleopState.RELEASED, TeleopState.RELEASING):
            return
        self._brake("the robot is handed back")
        self._set(TeleopState.RELEASING, "comes to rest")
        self.check()

    def hold(self, reason: str, asked_for: bool = False) -> None:
        """Brake and stay, until engaged again. `asked_for`: by the human, so that nothing is wrong."""
        if self.state not in (*_ENGAGED, TeleopState.ENGAGING):
            return
        self.holds += 1
        self.in_doubt = not asked_for
        self._brake(reason)
        self._set(TeleopState.HOLDING, reason)

    def block(self, reason: str) -> None:
        """Hold while the robot itself does not follow, for a reason that it gives; empty = it follows again.

        What moves again by then is the human's to say: a new `engage` ends the hold.
        """
        before, self.blocked = self.blocked, reason
        if reason:
            self.hold(reason)
        if before and self.reason == before:
            self._set(self.state, reason or "the robot follows again; engage to go on")

    # --- at 30 Hz or more, and after every input ------------------------------------------------------------

    def check(self) -> None:
        """Watch the inputs, ask the source for motion, and send what is due."""
        for wish in self.source.wishes():
            if wish is Wish.ENGAGE:
                self.engage()
            elif wish is Wish.RELEASE:
                self.release()
            else:
                self.hold("the stop key was pressed", asked_for=True)
        now_s = self.clock()
        if self.state is TeleopState.ENGAGING:
            self._engage(now_s)
        elif self.state in _ENGAGED:
            self._drive(now_s)
        elif self.state is TeleopState.RELEASING and self._stands(now_s):
            self.listener.resume_policies()
            self._set(TeleopState.RELEASED, "handed back")
        if self.engaged:
            self._send(now_s)

    def _engage(self, now_s: float) -> None:
        if not self._started:
            problem = self._reason_to_wait(now_s)
            if problem:
                if now_s > self._deadline_s:
                    self._give_up(problem)
                else:
                    self._set(TeleopState.ENGAGING, problem)
                return
            # Where the controllers were sent last, a grip is kept and nothing sags.
            self.streamer.assume(now_s, self.watch.commanded(otherwise=self.measured))
            self.streamer.start(now_s)
            self._started = True
            self._set(TeleopState.ENGAGING, "takes the controllers over")
            return
        if self.streamer.status.state is StreamState.STOPPED:
            self.hold(self.streamer.status.reason)
        elif self._ready_s is not None and now_s >= self._ready_s:
            self._last_knot = -1
            self.source.start(self.streamer.command(now_s), now_s)
            self._set(TeleopState.READY, "waits for input")
        elif now_s > self._deadline_s:
            self._give_up(self.streamer.status.reason)

    def _reason_to_wait(self, now_s: float) -> str:
        if self._measured is None or abs(now_s - self._measured.stamp_s) > self._state_age_max_s:
            return "no fresh joint state has come"
        problem = self.listener.policies_problem()
        if problem:
            return problem
        if not self.listener.is_connected():
            return "no controller listens"
        if now_s - self.watch.foreign_s < _SILENCE_S:
            return f"another node commands {self.watch.foreign_controller} and does not pause"
        return "" if self._stands(now_s) else "waits until the robot stands"

    def _give_up(self, reason: str) -> None:
        self._brake(reason)
        self.listener.resume_policies()
        self._set(TeleopState.RELEASED, f"could not take the robot over: {reason}")

    def _drive(self, now_s: float) -> None:
        problem = self.source.problem(now_s) or self._streamer_problem(now_s)
        if problem:
            self.hold(problem)
            return
        first = knot_at_or_before(now_s)
        if first > self._last_knot:
            self._plan(now_s, first)
        moving = not self._resting(now_s)
        note = self.source.note
        if moving:
            self._set(TeleopState.MOVING, note or "follows the input")
        else:
            self._set(TeleopState.READY, note or "waits for input")

    def _plan(self, now_s: float, first: int) -> None:
        commit = knot_at_or_after(now_s + self.streamer.settings.commit_lead_s)
        commit_s = commit * KNOT_S
        moment = Moment(now_s, first, commit, self.streamer.command(commit_s), self._resting(commit_s))
        rows = self.source.rows(moment)
        if rows is None:
            return
        if self._resting(now_s) and self._was_moved(now_s):
            self.hold("the robot was moved by something else: engage again")
            return
        self._last_knot = first
        chunk = ActionChunk(first * KNOT_S, KNOT_S, self.streamer.joints, rows)
        verdict = self.streamer.add_chunk(chunk, now_s)
        if not verdict.taken:
            self.hold(f"the motion was refused, {verdict.refusal.value}: {verdict.detail}")

    def _streamer_problem(self, now_s: float) -> str:
        status = self.streamer.status
        if self._measured is None or abs(now_s - self._measured.stamp_s) > self._state_age_max_s:
            return "no fresh joint state comes"
        return status.reason if status.state is StreamState.STOPPED else ""

    def _send(self, now_s: float) -> None:
        trajectories = self.streamer.messages(now_s)
        if not trajectories:
            return
        if self.state is TeleopState.ENGAGING:
            self._ready_s = max(trajectory.stamp_s for trajectory in trajectories.values())
        self.watch.sent(trajectories)
        self.listener.send(trajectories)

    def _brake(self, reason: str) -> None:
        now_s = self.clock()
        self.streamer.hold(now_s, reason)
        self._send(now_s)

    @property
    def _state_age_max_s(self) -> float:
        return self.streamer.settings.state_age_max_s

    def _stands(self, now_s: float) -> bool:
        """The robot has not moved for a while, and is not planned to."""
        return (
            self._still is not None and now_s - self._still[0] >= _REST_S and self._resting(now_s)
        )

    def _resting(self, time_s: float) -> bool:
        """Whether the plan rests from a time on."""
        here = self.streamer.command(time_s)
        if here is None:
            return True
        later = (self.streamer.command(time_s + ahead_s) for ahead_s in (0.1, 0.5))
        return all(np.abs(there - here).max() < _PLANNED_REST_RAD for there in later)

    def _was_moved(self, now_s: float) -> bool:
        """Whether a joint that is not compliant stands elsewhere than it was sent."""
        away = np.abs(self.measured - self.streamer.command(now_s)) * self.streamer.stiff
        return bool(away.max() > self.streamer.settings.start_tolerance_rad)

    def _set(self, state: TeleopState, reason: str) -> None:
        changed = (state, reason) != (self.state, self.reason)
        self.state, self.reason = state, reason
        if changed:
            self.listener.on_change()
