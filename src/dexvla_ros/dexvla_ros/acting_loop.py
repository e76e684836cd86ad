"""From sub-steps and joint states to streamed trajectories: the action_node's logic. No ROS."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from dexvla_model.observation import RobotState
from dexvla_model.policy import ActionChunk, SubStep
from dexvla_model.streaming import ActionStreamer, JointTrajectory, StreamState
from dexvla_ros.command_watch import CommandWatch
from dexvla_ros.policy_protocol import Answer
from dexvla_ros.reasoning_loop import PolicyRequests

# So many inferences in a row may fail before the task counts as lost.
_ERRORS_MAX = 3
# Rounding must not put a chunk off by a whole tick.
_EPSILON_S = 1e-6


class ActingListener(Protocol):
    """Who sends what the loop decides."""

    def is_connected(self) -> bool:
        """Whether every controller would receive a trajectory."""

    def send(self, trajectories: Mapping[str, JointTrajectory]) -> None:
        """Send a trajectory to each controller, by its name."""

    def on_chunk(self, chunk: ActionChunk, substep: SubStep, inference_s: float, prefix_rows: int) -> None:
        """A chunk was inferred."""

    def on_problem(self, reason: str) -> None:
        """Something is wrong; the robot keeps to what is scheduled, or comes to rest."""


@dataclass
class ActingLoop:
    """Infers the next chunk as soon as the last one is there; without a reason to move the robot holds.

    It acts while the newest sub-step is active and young enough; the same sub-step serves several chunks.

    Args:
        policy_name: sub-steps of another policy are refused: their condition means nothing here.
        chunk_hz: chunks per second, at most.
        substep_age_max_s: an older sub-step leads to hold.
    """

    policy: PolicyRequests
    policy_name: str
    streamer: ActionStreamer
    listener: ActingListener
    clock: Callable[[], float]
    chunk_hz: float
    substep_age_max_s: float
    seed: int = 0
    episode: int | None = None
    waited_s: float = 0.0
    chunk_age_s: float = 0.0
    paused: str = ""
    blocked: str = ""
    failure: str = ""
    _substep: SubStep | None = None
    _state: RobotState | None = None
    _must_start: bool = False
    _asked: bool = False
    _next_s: float = 0.0
    _errors: int = 0
    _held_since_s: float | None = None
    _counted_waiting_s: float = 0.0
    _last_refusal: str = ""

    @property
    def acting(self) -> bool:
        """There is a sub-step to act on."""
        return self._substep is not None

    def on_state(self, state: RobotState) -> None:
        """Take the newest joint state."""
        self._state = state
        self.streamer.observe(state)

    def on_sub_step(self, substep: SubStep, episode: int, policy_name: str) -> None:
        """Act on a sub-step from now on; the first one of an episode takes the controllers over."""
        if self.paused or self.blocked:
            return
        if policy_name != self.policy_name:
            self.hold(f"the sub-step comes from the policy {policy_name}, this node runs {self.policy_name}")
            return
        if episode != self.episode:
            self.episode = episode
            self.waited_s = self._counted_waiting_s = 0.0
            self._next_s = self.clock()
            self.go_on()
            self._held_since_s = None
            self._must_start = True
            self.policy.request("reset", self.seed + episode, on_answer=self._on_reset)
        elif self._errors >= _ERRORS_MAX:
            return
        elif self._substep is None:
            self._must_start = True
        self._substep = substep
        self.check()

    def hold(self, reason: str) -> None:
        """Decelerate and stay until the next sub-step."""
        if self._substep is None:
            return
        now_s = self.clock()
        self._substep = None
        self._must_start = False
        self._held_since_s = now_s
        self.streamer.hold(now_s, reason)
        self._send(now_s)

    def pause(self, reason: str) -> None:
        """Brake, and leave the controllers to somebody else until `resume`; sub-steps are not acted on."""
        self.paused = reason
        self.hold(reason)

    def resume(self, watch: CommandWatch) -> None:
        """Act on sub-steps again, from where others have sent the controllers meanwhile."""
        self.paused = ""
        now_s = self.clock()
        otherwise = self.streamer.command(now_s)
        if otherwise is None and self._state is not None:
            robot = self.streamer.robot
            columns = [robot.state_joints.index(joint) for joint in robot.action_joints]
            otherwise = self._state.positions[columns]
        if otherwise is not None:
            self.streamer.assume(now_s, watch.commanded(otherwise))

    def block(self, reason: str) -> None:
        """Hold while the robot itself does not follow, for a reason that it gives; empty = it follows again.

        What failed meanwhile failed for that reason, so the episode goes on by itself.
        """
        if reason == self.blocked:
            return
        self.blocked = reason
        if reason:
            self.hold(reason)
        else:
            self.go_on()

    def go_on(self) -> None:
        """Act on sub-steps again after a failure."""
        self._errors = 0
        self.failure = ""

    def fail(self, reason: str) -> None:
        """Hold for the rest of the episode, or until `go_on`."""
        self._errors = _ERRORS_MAX
        self.failure = reason
        self.listener.on_problem(reason)
        self.hold(reason)

    def check(self) -> None:
        """To be called at 20 Hz or more: watches the inputs, asks for chunks and sends what is due."""
        now_s = self.clock()
        if self._substep is not None:
            if now_s - self._substep.stamp_s > self.substep_age_max_s:
                reason = f"the newest sub-step is older than {self.substep_age_max_s:g} s"
                self.listener.on_problem(reason)
                self.hold(reason)
                return
            if self._must_start and self.listener.is_connected():
                self._start(now_s)
            if not self._must_start:
                self._ask(now_s)
        self._send(now_s)

    def _start(self, now_s: float) -> None:
        self._must_start = False
        if self._held_since_s is not None:
            # Within an episode a hold for want of a sub-step is waiting for inference, too.
            self.waited_s += now_s - self._held_since_s
            self._held_since_s = None
        self._counted_waiting_s = 0.0
        self.streamer.start(now_s)

    def _ask(self, now_s: float) -> None:
        state = self._state
        if self._asked or now_s < self._next_s - _EPSILON_S or state is None:
            return
        if abs(now_s - state.stamp_s) > self.streamer.settings.state_age_max_s:
            return
        self._asked = True
        period_s = 1.0 / self.chunk_hz
        self._next_s = (self._next_s if now_s - self._next_s < period_s else now_s) + period_s
        prefix = self.streamer.prefix(now_s, state)
        substep, episode = self._substep, self.episode
        rows = 0 if prefix is None else len(prefix)
        scheduled = self.streamer.scheduled(state, rows)
        self.policy.request(
            "act",
            substep,
            state,
            prefix,
            scheduled,
            on_answer=lambda answer: self._on_answer(answer, substep, episode, rows),
        )

    def _on_reset(self, answer: Answer) -> None:
        if answer.error:
            self.fail(f"the policy could not begin an episode: {answer.error}")

    def _on_answer(self, answer: Answer, substep: SubStep, episode: int, prefix_rows: int) -> None:
        self._asked = False
        if self._substep is None or episode != self.episode:
            return
        if answer.error:
            self._errors += 1
            reason = f"the policy could not act: {answer.error}"
            if self._errors >= _ERRORS_MAX:
                self.fail(reason)
            else:
                self.listener.on_problem(reason)
            return
        now_s = self.clock()
        self._errors = 0
        self.chunk_age_s = now_s - answer.value.stamp_s
        verdict = self.streamer.add_chunk(answer.value, now_s)
        self.listener.on_chunk(answer.value, substep, answer.duration_s, prefix_rows)
        if not verdict.taken and verdict.refusal.value != self._last_refusal:
            self.listener.on_problem(f"a chunk was refused, {verdict.refusal.value}: {verdict.detail}")
        self._last_refusal = "" if verdict.taken else verdict.refusal.value
        self.check()

    def _send(self, now_s: float) -> None:
        trajectories = self.streamer.messages(now_s)
        waiting_s = self.streamer.counters.waiting_s
        self.waited_s += waiting_s - self._counted_waiting_s
        self._counted_waiting_s = waiting_s
        if trajectories:
            self.listener.send(trajectories)
        if (
            self._substep is not None
            and not self._must_start
            and self.streamer.status.state is StreamState.STOPPED
        ):
            # The streamer itself gave up: the robot does not obey, or the clock went back.
            self.fail(self.streamer.status.reason)
