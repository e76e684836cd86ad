"""One episode without ROS: the same observations, policy, streamer and controllers as in the graph, in
simulated time.

Inference takes simulated time here as it takes real time in the graph (`InferenceLatency`), so the policy is
judged under the delays that it will run with. Everything is a function of the seeds: two rollouts alike are
equal.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dexvla_model.observation import Observation
from dexvla_model.policy import ActionChunk, Policy
from dexvla_model.streaming import ActionStreamer, StreamSettings
from dexvla_model.task_progress import TaskProgress
from dexvla_sim.jerk import JerkMeter
from dexvla_sim.simulation import Simulation

# Time in which the arm comes to rest and objects settle before the outcome is read off the physics.
SETTLE_S = 1.0
# Period of everything that polls: joint states, due answers, the end of the episode.
TICK_S = 0.02


@dataclass(frozen=True)
class InferenceLatency:
    """How long the policy takes, in s of simulated time, and how often it may answer.

    The defaults are what the graph takes on two CPU cores with the shipped policy (docs/performance.md).
    """

    reason_s: float = 0.06
    act_s: float = 0.09
    act_period_s: float = 0.2


@dataclass
class EpisodeResult:
    """What became of an episode.

    Attributes:
        finished: the policy itself said that it was done. success: the simulation's physics says so.
        sub_steps: what the policy said, repeats collapsed.
        refused_chunks: chunks that the streamer did not take.
        waited_s: time during which the robot had no scheduled row left and waited for inference.
        milestones: names of the task's milestones that held at some moment, in the task's order.
        score: their share, from 0 to 1; 1 for a success.
        mean_squared_jerk: of the commanded motion until the end of the policy's work, in rad^2/s^6 (see
            `JerkMeter`).
    """

    seed: int
    instruction: str
    success: bool
    finished: bool
    sub_steps: list[str]
    duration_s: float
    waited_s: float
    refused_chunks: int
    milestones: list[str]
    score: float
    mean_squared_jerk: float


@dataclass
class _Pending:
    """An answer that is already computed and arrives at `due_s`."""

    due_s: float = 0.0
    answer: Any = None


class _Judge:
    """Looks at one episode's physics: which milestones were reached, for how long it has succeeded."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._names = simulation.task.milestones
        self._reached = [False] * len(self._names)
        self._success_since_s: float | None = None

    def look(self) -> None:
        """Take the present moment into account."""
        simulation = self._simulation
        now = simulation.task.reached(simulation.model, simulation.data)
        self._reached = [before or here for before, here in zip(self._reached, now, strict=True)]

    def success_lasts_s(self) -> float:
        """Time in s for which the episode has been a success without a break at the moments of asking."""
        if not self._simulation.success():
            self._success_since_s = None
            return 0.0
        if self._success_since_s is None:
            self._success_since_s = self._simulation.time_s
        return self._simulation.time_s - self._success_since_s

    def reached(self, success: bool) -> list[str]:
        """Names of the milestones that held at some moment: all of them for a success."""
        return [name for name, reached in zip(self._names, self._reached) if reached or success]

    def score(self, success: bool) -> float:
        """The share of the milestones that were reached."""
        if success or not self._names:
            return float(success)
        return sum(self._reached) / len(self._names)


@dataclass
class Rollout:
    """Runs episodes of one policy in one simulation.

    Attributes:
        on_observation: called with an observation at every period of the robot's observation rate, whether
            the policy is free to take it or not; without it only those that the policy takes are rendered.
        on_reset: called right after a reset, such as to put the robot elsewhere.
        change_chunk: replaces a chunk before it is streamed, to disturb the robot.
        success_held_s: if given, a success that has lasted so long ends the episode too: not every policy
            says when it is done.
    """

    simulation: Simulation
    policy: Policy
    latency: InferenceLatency = field(default_factory=InferenceLatency)
    settings: StreamSettings = field(default_factory=StreamSettings)
    on_observation: Callable[[Observation], None] | None = None
    on_reset: Callable[[Simulation], None] = lambda simulation: None
    change_chunk: Callable[[ActionChunk], ActionChunk] = lambda chunk: chunk
    success_held_s: float | None = None

    def run(self, seed: int, timeout_s: float) -> EpisodeResult:
        """One episode from a reset to `seed`, until it is done or `timeout_s` has passed."""
        simulation, robot = self.simulation, self.simulation.robot
        simulation.reset(seed)
        self.on_reset(simulation)
        self.policy.reset(seed)
        streamer = ActionStreamer(robot, self.settings)
        streamer.start(simulation.time_s)
        progress = TaskProgress()
        judge = _Judge(simulation)
        jerk = JerkMeter(simulation)
        jerk.start()
        substep = None
        reasoning, acting = _Pending(), _Pending()
        observation_period_s = 1.0 / robot.rates.observation_hz
        start_s = simulation.time_s
        next_observation_s = next_act_s = start_s
        while not progress.finished and simulation.time_s - start_s < timeout_s:
            now_s = simulation.time_s
            judge.look()
            if self.success_held_s is not None and judge.success_lasts_s() >= self.success_held_s:
                break
            state = simulation.robot_state()
            streamer.observe(state)
            if reasoning.answer is not None and now_s >= reasoning.due_s:
                substep, reasoning.answer = reasoning.answer, None
                progress.add(substep)
            if now_s >= next_observation_s and (self.on_observation or reasoning.answer is None):
                observation = simulation.observation()
                next_observation_s += observation_period_s
                if self.on_observation:
                    self.on_observation(observation)
                if reasoning.answer is None:
                    answer = self.policy.reason(observation, simulation.instruction, substep)
                    reasoning = _Pending(now_s + self.latency.reason_s, answer)
            if acting.answer is not None and now_s >= acting.due_s:
                chunk, acting.answer = self.change_chunk(acting.answer), None
                streamer.add_chunk(chunk, now_s)
            if acting.answer is None and substep is not None and now_s >= next_act_s:
                prefix = streamer.prefix(now_s, state)
                scheduled = streamer.scheduled(state, 0 if prefix is None else len(prefix))
                answer = self.policy.act(substep, state, prefix, scheduled)
                acting = _Pending(now_s + self.latency.act_s, answer)
                next_act_s = now_s + self.latency.act_period_s
            self._send(streamer.messages(now_s))
            simulation.step(TICK_S)
        duration_s = simulation.time_s - start_s
        squared_jerk = jerk.stop()
        streamer.hold(simulation.time_s, "the episode is over")
        self._send(streamer.messages(simulation.time_s))
        simulation.step(SETTLE_S)
        judge.look()
        success = simulation.success()
        return EpisodeResult(
            seed=seed,
            instruction=simulation.instruction,
            success=success,
            finished=progress.finished,
            sub_steps=progress.sub_steps,
            duration_s=duration_s,
            waited_s=streamer.counters.waiting_s,
            refused_chunks=streamer.counters.refused.total(),
            milestones=judge.reached(success),
            score=judge.score(success),
            mean_squared_jerk=squared_jerk,
        )

    def _send(self, messages: dict | None) -> None:
        for controller, trajectory in (messages or {}).items():
            self.simulation.send(controller, trajectory)
