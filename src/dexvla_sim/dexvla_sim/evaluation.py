"""Success rates without ROS: many episodes on unseen seeds, in parallel, faster than real time."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from dexvla_model.episode_pool import run_episodes
from dexvla_model.robot import load_robot
from dexvla_sim.policies import SCRIPTED, check_scripted, load_any_policy
from dexvla_sim.rollout import EpisodeResult, InferenceLatency, Rollout
from dexvla_sim.significance import CONFIDENCE, mean_interval, success_interval
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import load_task, time_limit_s

# A policy that never says that it is done has succeeded when the outcome has stood for so long; one that does
# say it has said so long before.
SUCCESS_HELD_S = 3.0


@dataclass(frozen=True)
class EvaluationJob:
    """What to evaluate: a policy (see `dexvla_sim.policies`) on a task with a robot.

    Attributes:
        timeout_s: simulated time allowed per episode; None = the task's own limit.
    """

    robot: str
    task: str
    policy: str
    timeout_s: float | None = None
    latency: InferenceLatency = InferenceLatency()

    @property
    def time_limit_s(self) -> float:
        """Simulated s allowed per episode."""
        return time_limit_s(self.task, self.timeout_s)

    def check(self) -> None:
        """Look whether robot, task and policy are there and suit each other.

        Raises:
            UserError: one of them is wrong.
        """
        load_task(self.task)
        robot = load_robot(self.robot)
        if self.policy == SCRIPTED:
            check_scripted(robot, self.task)
        load_any_policy(self.policy, robot)


@dataclass
class EvaluationReport:
    """The outcome of an evaluation.

    Attributes:
        episodes: ordered by their seeds.
        milestones: of the task, in its order.
        success_rate: share of the episodes that succeeded; `interval` its 95 % Wilson score interval.
        mean_score: mean over the episodes of the share of milestones reached; `score_interval` its 95 %
            bootstrap interval; `jerk_interval` that of the mean squared jerk in rad^2/s^6.
    """

    robot: str
    task: str
    policy: str
    episodes: list[EpisodeResult]
    milestones: tuple[str, ...]

    def __post_init__(self) -> None:
        self.episodes.sort(key=lambda episode: episode.seed)
        self.successes = sum(episode.success for episode in self.episodes)
        self.success_rate = self.successes / len(self.episodes)
        self.interval = success_interval(self.successes, len(self.episodes))
        scores = [episode.score for episode in self.episodes]
        self.mean_score = sum(scores) / len(scores)
        self.score_interval = mean_interval(scores)
        self.jerk_interval = mean_interval([episode.mean_squared_jerk for episode in self.episodes])

    def milestone_rates(self) -> dict[str, float]:
        """The share of the episodes that reached each milestone."""
        return {
            name: sum(name in episode.milestones for episode in self.episodes) / len(self.episodes)
            for name in self.milestones
        }

    def mean(self, quantity: str) -> float:
        """Mean over the episodes of an attribute of `EpisodeResult`."""
        return sum(float(getattr(episode, quantity)) for episode in self.episodes) / len(self.episodes)

    def to_json(self) -> dict:
        """A JSON-able dict."""
        return {
            "robot": self.robot,
            "task": self.task,
            "policy": self.policy,
            "episodes": len(self.episodes),
            "successes": self.successes,
            "success_rate": self.success_rate,
            "confidence": CONFIDENCE,
            "interval": list(self.interval),
            "mean_score": self.mean_score,
            "score_interval": list(self.score_interval),
            "milestone_rates": self.milestone_rates(),
            "said_done_rate": self.mean("finished"),
            "mean_squared_jerk_rad2_s6": self.mean("mean_squared_jerk"),
            "jerk_interval_rad2_s6": list(self.jerk_interval),
            "mean_duration_s": self.mean("duration_s"),
            "waited_s": sum(episode.waited_s for episode in self.episodes),
            "results": [asdict(episode) for episode in self.episodes],
        }


def build_rollout(job: EvaluationJob) -> Rollout:
    """The simulation and policy of a job, ready for all of its episodes."""
    robot = load_robot(job.robot)
    policy = load_any_policy(job.policy, robot)
    simulation = Simulation(robot, load_task(job.task), seed=0)
    return Rollout(simulation, policy, job.latency, success_held_s=SUCCESS_HELD_S)


class _Worker:
    """One process' rollout, built once and used for all of its episodes."""

    rollout: Rollout | None = None
    timeout_s: float = 0.0

    @staticmethod
    def start(job: EvaluationJob) -> None:
        _Worker.rollout = build_rollout(job)
        _Worker.timeout_s = job.time_limit_s

    @staticmethod
    def run(seed: int) -> EpisodeResult:
        return _Worker.rollout.run(seed, _Worker.timeout_s)


def evaluate(
    job: EvaluationJob,
    seeds: Sequence[int],
    processes: int,
    progress: Callable[[EpisodeResult], None] = lambda result: None,
) -> EvaluationReport:
    """Run one episode per seed and count the successes.

    The result depends on the seeds alone, not on the number of processes. See that `job.check()` passes
    first: here a mistake shows in the processes only.
    """
    results = []
    for result in run_episodes(processes, _Worker.start, job, _Worker.run, seeds):
        results.append(result)
        progress(result)
    return EvaluationReport(job.robot, job.task, job.policy, results, load_task(job.task).milestones)
