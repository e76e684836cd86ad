"""From action chunks to streamed trajectories: all that an action node does, without ROS."""

import math
from collections import deque

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.observation import RobotState
from dexvla_model.policy import ActionChunk
from dexvla_model.robot import RobotDescription
from dexvla_model.streaming.limiter import MotionLimiter
from dexvla_model.streaming.plan import KNOT_S, KNOTS_PER_S, MotionPlan, knot_at_or_after, knot_at_or_before
from dexvla_model.streaming.settings import StreamSettings
from dexvla_model.streaming.status import (
    ChunkVerdict,
    Refusal,
    StreamCounters,
    StreamState,
    StreamStatus,
)
from dexvla_model.streaming.timeline import ActionTimeline, interpolate_rows
from dexvla_model.streaming.trajectory import JointTrajectory

# Past motion that is kept: for prefixes of chunks from old joint states, and to compare with what is
# measured.
_HISTORY_S = 3.0
# Rest at the end of a message: a controller refuses a message that is over when it arrives.
_REST_S = 1.0
# Where scheduled rows reach into the last part of a plan, which belongs to its stop, it is planned anew so
# often.
_STOP_S = 0.5
_REPLAN_S = 0.25
# Slower than this counts as rest.
_REST_RAD_S = 0.005
# No robot moves so many times as fast as its limits allow: it was put elsewhere, as a reset simulation does.
_BEYOND_LIMITS = 2.0
# Refusals that say nothing about whether the source of chunks can be relied on.
_HARMLESS = (Refusal.STOPPED, Refusal.OUT_OF_ORDER)
# Latencies of so many chunks are remembered; the longest of them is expected next.
_LATENCIES = 8
# Largest velocity, acceleration and jerk of a rest-to-rest quintic of length 1 in time 1.
_QUINTIC = (1.875, 5.774, 60.0)


class ActionStreamer:
    """Turns chunks into trajectories for the robot's controllers, one after the other without a seam.

    How it is used, by one thread, with times of one clock:

    - `start` begins a task: the controllers are first taken over at rest, where the robot stands.
    - `observe` every joint state. `add_chunk` every chunk; `prefix` before inferring one, if the policy takes
      a prefix.
    - `messages` at 20 Hz or more, and after every chunk: it plans, watches over the inputs and gives out what
      to send.
    - `hold` ends the task: the robot decelerates and stays until the next `start`.

    What was given out is committed up to `commit_lead_s` from now and never changed; each message begins with
    committed motion and ends at rest. So a message may take that long to its controller without any effect on
    the motion; a message that never comes lets the robot come to rest; and every doubt about the inputs does,
    too (see `status`).

    Raises:
        UserError: the robot's state lacks a joint of its action.
    """

    def __init__(self, robot: RobotDescription, settings: StreamSettings = StreamSettings()) -> None:
        missing = [joint for joint in robot.action_joints if joint not in robot.state_joints]
        if missing:
            raise UserError(
                f"{robot.path}: the joint {missing[0]} is in action but not in state, so that nobody could "
                "tell where it is; add it to state."
            )
        self.robot = robot
        self.settings = settings
        self.joints = robot.action_joints
        self.counters = StreamCounters()
        limits = [robot.limits[joint] for joint in self.joints]
        self._limiter = MotionLimiter(limits, round(settings.window_s * KNOTS_PER_S), settings.smoothing_hz)
        self._measured_columns = [robot.state_joints.index(joint) for joint in self.joints]
        self._columns = {c.name: [self.joints.index(joint) for joint in c.joints] for c in robot.controllers}
        compliant = {
            j for c in robot.controllers if c.name in settings.compliant_controllers for j in c.joints
        }
        self._stiff = np.array([joint not in compliant for joint in self.joints])
        # By these one can tell that the robot was put elsewhere; fingers may snap.
        self._telling = self._stiff if self._stiff.any() else ~self._stiff
        self._fastest_rad_s = np.array([_BEYOND_LIMITS * limit.velocity for limit in limits])
        self._status = StreamStatus(StreamState.IDLE, "nothing was started yet", 0.0)
        self._now_s: float | None = None
        self._forget()

    def _forget(self) -> None:
        """Nothing is known of robot and motion any more; so the next state is no jump from the last one."""
        self._state: RobotState | None = None
        self._plan: MotionPlan | None = None
        self._rest_knot = 0  # from which on the plan rests
        self._timeline = ActionTimeline()
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._committed = 0  # up to this knot the plan is promised
        self._planned_s = -math.inf
        self._taken_over = 0  # the knot at which the controllers have been taken over
        self._take_over_due = False
        self._changed = False  # chunks came that the plan does not follow yet
        self._unsent = False  # the plan was not given out yet
        self._last_stamp_s = -math.inf
        self._rows_end_s = math.inf  # the robot waits for inference after this time
        self._refused_in_a_row = 0
        self._away_since_s: float | None = None
        self._away = ""
        self._put_elsewhere = False  # since the last take-over

    # --- inputs ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> StreamStatus:
        """State, reason and since when."""
        return self._status

    @property
    def stiff(self) -> np.ndarray:
        """(A,) bool: the joints that have to be where they are commanded to; the others are compliant."""
        return self._stiff

    def start(self, now_s: float) -> None:
        """Begin a task: take the controllers over and follow chunks from now on. Counters start from 0."""
        self._set_clock(now_s)
        self.counters = StreamCounters()
        self._timeline.clear()
        self._latencies.clear()
        self._last_stamp_s = -math.inf
        self._rows_end_s = math.inf
        self._refused_in_a_row = 0
        self._away_since_s, self._away = None, ""
        self._changed = False
        # While the robot follows our own motion the controllers are ours.
        self._take_over_due = self._at_rest() or self._distance().max() > self.settings.tracking_tolerance_rad
        reason = "waits for a fresh joint state" if self._take_over_due else "waits for the first chunk"
        self._set_status(StreamState.STARTING, reason)

    def assume(self, now_s: float, positions: np.ndarray) -> None:
        """Say what somebody else has commanded the controllers to: (A,) rad. The next `start` goes on from
        there where the robot is near it or the joint is compliant, so that a grip is kept."""
        self._set_clock(now_s)
        self._forget()
        self._plan = MotionPlan.at_rest(positions, knot_at_or_before(now_s) - 1)
        self._rest_knot = self._plan.first
        self._set_status(StreamState.STOPPED, "somebody else commands the controllers")

    def observe(self, state: RobotState) -> None:
        """Take the newest joint state; none that is malformed, not finite or older than the last."""
        positions = np.asarray(state.positions, dtype=np.float64)
        good = positions.shape == (len(self.robot.state_joints),) and np.isfinite(positions).all()
        if not good or not math.isfinite(state.stamp_s):
            self.counters.states_refused += 1
            return
        if self._state is not None and state.stamp_s < self._state.stamp_s:
            return
        before, self._state = self._state, RobotState(state.stamp_s, positions)
        if before is not None:
            self._notice_a_jump(before)
        self._compare_with_command()

    def prefix(self, now_s: float, state: RobotState) -> np.ndarray | None:
        """Promise the first rows of the chunk that is about to be inferred from `state`.

        Returns:
            (P, A) rad: the motion at the rows of a chunk that starts at `state.stamp_s`, up to the time at
            which such a chunk can first have an effect. It will be executed so, unless the stream is broken
            off. None if no motion is planned, or while the controllers are still to be taken over.
        """
        self._set_clock(now_s)
        self._take_over_if_due()
        idle = self._status.state in (StreamState.IDLE, StreamState.STOPPED)
        if idle or self._plan is None or self._take_over_due:
            return None
        latency_s = max(self._latencies, default=self.settings.expected_latency_s)
        effect_s = max(self._now_s, state.stamp_s + latency_s) + self.settings.commit_lead_s
        horizon_s = min(effect_s - state.stamp_s, self.settings.prefix_max_s)
        step_s = 1.0 / self.robot.rates.action_hz
        rows = math.floor(horizon_s / step_s + 1e-9) + 1
        if horizon_s < 0.0:
            return None
        times = state.stamp_s + np.arange(rows) * step_s
        self._committed = max(self._committed, knot_at_or_after(float(times[-1])))
        return self._plan.positions(times)

    def scheduled(self, state: RobotState, start: int) -> np.ndarray | None:
        """What chunks so far want from the one that is about to be inferred from `state`.

        Args:
            start: first row that is asked for, such as the number of rows of the prefix.

        Returns:
            (R, A) rad: rows start, start + 1, ... of a chunk that starts at `state.stamp_s`, as far as rows
            are scheduled. None where none is.
        """
        step_s = 1.0 / self.robot.rates.action_hz
        end_s = self._timeline.end_s
        if not math.isfinite(end_s):
            return None
        count = math.floor((end_s - state.stamp_s) / step_s + 1e-9) + 1 - start
        if count < 1:
            return None
        return self._timeline.positions(state.stamp_s + np.arange(start, start + count) * step_s)

    def add_chunk(self, chunk: ActionChunk, now_s: float) -> ChunkVerdict:
        """Schedule a chunk, or refuse it. A refused chunk changes nothing; many in a row lead to hold."""
        self._set_clock(now_s)
        if self._status.state is StreamState.IDLE:
            self.start(now_s)
        self._take_over_if_due()
        verdict = self._schedule(chunk)
        if verdict.taken:
            self.counters.chunks_taken += 1
            self._refused_in_a_row = 0
            self._latencies.append(self._now_s - chunk.stamp_s)
            self._last_stamp_s = chunk.stamp_s
            self._rows_end_s = self._timeline.end_s
            self._changed = True
        else:
            self.counters.refused[verdict.refusal] += 1
            self._refused_in_a_row += verdict.refusal not in _HARMLESS
        return verdict

    def hold(self, now_s: float, reason: str) -> None:
        """Decelerate as fast as the limits allow and stay at rest until `start`."""
        self._set_clock(now_s)
        self._break_off()
        self._set_status(StreamState.STOPPED, reason)

    # --- output ---------------------------------------------------------------------------------------------

    def messages(self, now_s: float) -> dict[str, JointTrajectory] | None:
        """What to send now: a trajectory for each controller, by its name; None where nothing has changed."""
        self._set_clock(now_s)
        self._watch()
        self._take_over_if_due()
        # Until the controllers are there nothing may be sent: they would glide anew from where they are.
        taken_over = self._plan is not None and self._taken_over * KNOT_S <= self._now_s
        if taken_over and (self._changed or self._plan_is_short()):
            self._follow()
        if not self._unsent:
            return None
        self._unsent = False
        self.counters.messages += 1
        return self._trajectories()

    def command(self, time_s: float) -> np.ndarray | None:
        """(A,) rad that the plan has for a time, or None where there is no plan."""
        return None if self._plan is None else self._plan.positions(np.array([time_s]))[0]

    # --- the clock, the inputs' freshness, the robot's obedience --------------------------------------------

    def _set_clock(self, now_s: float) -> None:
        before_s = self._now_s
        if before_s is None:
            self._now_s = now_s
            return
        if now_s < before_s - self.settings.clock_back_max_s:
            self._now_s = now_s
            active = self._status.state is not StreamState.IDLE
            self._forget()
            if active:
                self.counters.holds += 1
                # Trajectories that the controllers have belong to another time: replace them by rest.
                self._take_over_due = True
                self._set_status(StreamState.STOPPED, f"the clock went back by {before_s - now_s:.3f} s")
            return
        self._now_s = max(now_s, before_s)
        if self._status.state in (StreamState.STREAMING, StreamState.HOLDING):
            self.counters.waiting_s += max(0.0, self._now_s - max(before_s, self._rows_end_s))

    def _state_problem(self) -> str:
        """Why the joint state cannot be relied on; empty where it can."""
        if self._state is None:
            return "no joint state has come"
        age_s = self._now_s - self._state.stamp_s
        if abs(age_s) > self.settings.state_age_max_s:
            return f"the joint state is {age_s:.2f} s old, allowed are {self.settings.state_age_max_s:g} s"
        return ""

    def _watch(self) -> None:
        if self._status.state not in (StreamState.STREAMING, StreamState.HOLDING):
            return
        if self._away:
            self._break_off()
            self._set_status(StreamState.STOPPED, self._away)
            return
        if self._status.state is not StreamState.STREAMING:
            return
        problem = self._state_problem()
        if not problem and self._refused_in_a_row >= self.settings.rejections_max:
            problem = f"{self._refused_in_a_row} chunks in a row were refused"
        if problem:
            self._break_off()
            self._set_status(StreamState.HOLDING, problem)
        elif self._now_s > self._timeline.end_s:
            self._set_status(StreamState.HOLDING, "the last chunk is over and no other came")

    def _compare_with_command(self) -> None:
        """Notice a joint that is away from where it was sent, by more and for longer than allowed."""
        settings = self.settings
        stamp_s = self._state.stamp_s
        settled_s = self._taken_over * KNOT_S + settings.tracking_lag_s
        if self._plan is None or self._take_over_due or stamp_s < settled_s:
            self._away_since_s = None
            return
        away = self._distance()
        joint = int(np.argmax(away))
        if away[joint] <= settings.tracking_tolerance_rad:
            self._away_since_s = None
            return
        if self._away_since_s is None:
            self._away_since_s = stamp_s
        if stamp_s - self._away_since_s >= settings.tracking_patience_s:
            self._away = (
                f"the joint {self.joints[joint]} is {away[joint]:.3f} rad away from its command, allowed are "
                f"{settings.tracking_tolerance_rad:g} rad"
            )

    def _notice_a_jump(self, before: RobotState) -> None:
        """Notice that no motion leads from the last state to this one."""
        jump = np.abs(self._state.positions - before.positions)[self._measured_columns]
        possible = self._fastest_rad_s * (self._state.stamp_s - before.stamp_s) + self.settings.start_tolerance_rad
        self._put_elsewhere |= bool((jump > possible)[self._telling].any())

    def _distance(self) -> np.ndarray:
        """(A,) rad from the measured position to the nearest recent command; 0 for compliant joints."""
        recent = self._state.stamp_s - np.linspace(0.0, self.settings.tracking_lag_s, 6)
        commanded, measured = self._plan.positions(recent), self._measured()
        away = np.maximum(commanded.min(axis=0) - measured, measured - commanded.max(axis=0))
        return np.maximum(away, 0.0) * self._stiff

    # --- motion ---------------------------------------------------------------------------------------------

    def _measured(self) -> np.ndarray:
        return self._state.positions[self._measured_columns]

    def _set_status(self, state: StreamState, reason: str) -> None:
        self._status = StreamStatus(state, reason, self._now_s)

    def _commit_knot(self) -> int:
        """The first knot whose future may still be changed."""
        return max(self._lead_knot(), self._committed, self._taken_over)

    def _lead_knot(self) -> int:
        return knot_at_or_after(self._now_s + self.settings.commit_lead_s)

    def _take_over_if_due(self) -> None:
        """Plan rest where the robot stands, from a moment on until which the controllers have come there."""
        if not self._take_over_due or not self._at_rest() or self._state_problem():
            return
        measured = self._measured()
        position = measured
        offset = np.full(len(measured), self.settings.start_offset_rad)
        if self._plan is not None:
            last = self._plan.rest_positions
            near = np.abs(measured - last) <= self.settings.start_tolerance_rad
            # A grip is kept, but a robot that was put elsewhere has left behind what it held.
            gripping = ~self._stiff & (not self._put_elsewhere)
            position = np.where(near | gripping, last, measured)
            # A compliant joint away from its command holds something; but if the arm was moved by something
            # else, or there is none to tell, so may the joint be, and its controller needs time to go back.
            moved = not near[self._stiff].all() or not self._stiff.any()
            offset += np.where(gripping, moved * np.abs(position - measured), np.abs(position - last))
        within = self._limiter.clip(position)
        outside = np.abs(within - position)
        joint = int(np.argmax(outside))
        self._take_over_due = self._put_elsewhere = False
        if outside[joint] > self.settings.start_tolerance_rad:
            limits = self.robot.limits[self.joints[joint]]
            self._set_status(
                StreamState.STOPPED,
                f"the joint {self.joints[joint]} stands at {position[joint]:.3f} {limits.unit}, outside its limits of "
                f"{limits.lower:.3f} to {limits.upper:.3f} {limits.unit}",
            )
            return
        ready_s = self._now_s + self.settings.commit_lead_s + self._glide_s(offset)
        self._taken_over = self._committed = knot_at_or_after(ready_s)
        self._adopt(MotionPlan.at_rest(within, self._taken_over))
        if self._status.state is StreamState.STARTING:
            self._set_status(StreamState.STARTING, "waits for the first chunk")

    def _glide_s(self, offset_rad: np.ndarray) -> float:
        """Time for the controllers to get to rest from commands (A,) rad away, within half of the limits."""
        limits = [self.robot.limits[joint] for joint in self.joints]
        velocity, acceleration, jerk = _QUINTIC
        return max(
            max(
                2.0 * velocity * offset / limit.velocity,
                math.sqrt(2.0 * acceleration * offset / limit.acceleration),
                (2.0 * jerk * offset / limit.jerk) ** (1.0 / 3.0),
            )
            for offset, limit in zip(offset_rad.tolist(), limits)
        )

    def _adopt(self, plan: MotionPlan) -> None:
        self._plan = plan
        self._rest_knot = plan.rest_knot_within(_REST_RAD_S)
        self._unsent = True

    def _at_rest(self) -> bool:
        return self._plan is None or self._rest_knot * KNOT_S <= self._now_s

    def _schedule(self, chunk: ActionChunk) -> ChunkVerdict:
        settings = self.settings
        if self._status.state is StreamState.STOPPED:
            return ChunkVerdict(Refusal.STOPPED, self._status.reason)
        problem = self._state_problem()
        if self._plan is None or problem:
            return ChunkVerdict(Refusal.NO_STATE, problem or "the controllers have not been taken over yet")
        rows = np.asarray(chunk.positions, dtype=np.float64)
        if rows.ndim != 2 or len(rows) == 0 or rows.shape[1] != len(chunk.joints):
            return ChunkVerdict(
                Refusal.MALFORMED, f"{len(chunk.joints)} joints came with positions {rows.shape}"
            )
        if sorted(chunk.joints) != sorted(self.joints):
            odd = sorted(set(chunk.joints) ^ set(self.joints)) or ["one that stands twice"]
            return ChunkVerdict(
                Refusal.JOINTS, f"{odd[0]} is in only one of the chunk and the robot's action"
            )
        if not np.isfinite(rows).all() or not math.isfinite(chunk.stamp_s):
            return ChunkVerdict(Refusal.NOT_FINITE, "a position or the stamp is not finite")
        if not (math.isfinite(chunk.step_s) and chunk.step_s > 0.0):
            return ChunkVerdict(Refusal.MALFORMED, f"the time between rows is {chunk.step_s} s")
        age_s = self._now_s - chunk.stamp_s
        if age_s < -settings.chunk_ahead_max_s:
            return ChunkVerdict(Refusal.FROM_THE_FUTURE, f"its stamp is {-age_s:.3f} s ahead of now")
        if age_s > settings.chunk_age_max_s:
            return ChunkVerdict(Refusal.STALE, f"its stamp is {age_s:.3f} s old")
        if chunk.stamp_s <= self._last_stamp_s:
            return ChunkVerdict(
                Refusal.OUT_OF_ORDER, f"a chunk {self._last_stamp_s - chunk.stamp_s:.3f} s younger came"
            )
        rows = rows[:, [chunk.joints.index(joint) for joint in self.joints]]
        times = chunk.stamp_s + np.arange(len(rows)) * chunk.step_s
        commit = self._commit_knot()
        if times[-1] < commit * KNOT_S:
            return ChunkVerdict(
                Refusal.STALE, f"all of its rows are before the commit point, {age_s:.3f} s after its stamp"
            )
        jump = self._jump(interpolate_rows(times, rows, np.array([commit * KNOT_S]))[0], commit)
        joint = int(np.argmax(jump))
        if jump[joint] > settings.jump_max_rad:
            distance = f"{jump[joint]:.3f} rad, allowed are {settings.jump_max_rad:g} rad"
            return ChunkVerdict(Refusal.JUMP, f"{self.joints[joint]} would jump by {distance}")
        dropped = self._timeline.merge(times, rows, commit, settings.blend_s)
        self.counters.rows_dropped += dropped
        self.counters.rows_taken += len(rows) - dropped
        return ChunkVerdict()

    def _jump(self, wanted: np.ndarray, knot: int) -> np.ndarray:
        """(A,) rad to a position from the motion or from what it is to follow; 0 for compliant joints."""
        jump = np.abs(wanted - self._plan.positions(np.array([knot * KNOT_S]))[0])
        scheduled = self._timeline.at(knot)
        if scheduled is not None:
            jump = np.minimum(jump, np.abs(wanted - scheduled))
        return jump * self._stiff

    def _plan_is_short(self) -> bool:
        """Rows are scheduled for the time at which the plan would already decelerate."""
        return (
            self._status.state is StreamState.STREAMING
            and self._timeline.end_s > self._plan.rest_knot * KNOT_S - _STOP_S
            and self._now_s >= self._planned_s + _REPLAN_S
        )

    def _follow(self) -> None:
        """Plan anew from the commit point on."""
        if self._status.state is StreamState.HOLDING and self._at_rest() and not self._state_problem():
            moved = np.abs(self._measured() - self._plan.rest_positions) * self._stiff
            if moved.max() > self.settings.start_tolerance_rad:
                self._set_status(
                    StreamState.STARTING, "the robot was moved by something else: takes it over again"
                )
                self._take_over_due = True
                self._take_over_if_due()
                return
        commit = self._commit_knot()
        reference = self._timeline.reference(commit + 1, self._limiter.window)
        self._changed = False
        if reference is None:
            return
        past = self._plan.since(knot_at_or_before(self._now_s - _HISTORY_S))
        motion = self._limiter.follow(past, commit, reference)
        self._adopt(motion.plan)
        self._planned_s = self._now_s
        self._committed = commit
        self.counters.plans += 1
        self.counters.plan_failures += len(motion.failed)
        if self._status.state is not StreamState.STREAMING:
            self._set_status(StreamState.STREAMING, "follows the chunks")

    def _break_off(self) -> None:
        """Come to rest, and follow nothing that has been scheduled."""
        self._timeline.clear()
        self._changed = False
        self._refused_in_a_row = 0
        if self._status.state in (StreamState.STREAMING, StreamState.HOLDING):
            self.counters.holds += 1
            self._rows_end_s = min(self._rows_end_s, self._now_s)
        commit = max(self._lead_knot(), self._taken_over)
        if self._plan is None or self._rest_knot <= commit:
            return
        motion = self._limiter.stop(self._plan.since(knot_at_or_before(self._now_s - _HISTORY_S)), commit)
        self._adopt(motion.plan)
        # No chunk is followed before the rest.
        self._committed = max(commit, self._rest_knot)
        self.counters.plans += 1
        self.counters.plan_failures += len(motion.failed)

    def _trajectories(self) -> dict[str, JointTrajectory]:
        first = max(knot_at_or_before(self._now_s - self.settings.overlap_s), self._taken_over)
        last = max(self._plan.rest_knot, self._lead_knot(), first) + round(_REST_S * KNOTS_PER_S)
        stop = max(self._plan.rest_knot, first) + 1
        positions, velocities, accelerations = self._plan.knots(first, stop)
        # One more point, far behind: it is over only when nobody waits for it any more.
        times = (np.append(np.arange(first, stop), last) - first) * KNOT_S
        positions, velocities, accelerations = (
            np.concatenate([values, values[-1:]]) for values in (positions, velocities, accelerations)
        )
        return {
            name: JointTrajectory(
                joints=tuple(self.joints[column] for column in columns),
                stamp_s=first * KNOT_S,
                times_s=times,
                positions=positions[:, columns],
                velocities=velocities[:, columns],
                accelerations=accelerations[:, columns],
            )
            for name, columns in self._columns.items()
        }
