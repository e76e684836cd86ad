"""Success rates without ROS: many episodes on unseen seeds, in parallel, faster than real time."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from scipy.stats import binomtest

from dexvla_model.episode_pool import run_episodes
from dexvla_model.robot import load_robot
from dexvla_sim.policies import load_any_policy
from dexvla_sim.rollout import EpisodeResult, InferenceLatency, Rollout
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import load_task

CONFIDENCE = 0.95


@dataclass(frozen=True)
class EvaluationJob:
    """What to evaluate: a policy (see `dexvla_sim.policies`) on a task with a robot."""

    robot: str
    task: str
    policy: str
    timeout_s: float = 30.0
    latency: InferenceLatency = InferenceLatency()


@dataclass
class EvaluationReport:
    """The outcome of an evaluation.

    Attributes:
        success_rate: share of the episodes that succeeded; `interval` its 95 % Wilson score interval.
    """

    robot: str
    task: str
    policy: str
    episodes: list[EpisodeResult]
    success_rate: float
    interval: tuple[float, float]

    def to_json(self) -> dict:
        """A JSON-able dict."""
        return {
            "robot": self.robot,
            "task": self.task,
            "policy": self.policy,
            "episodes": len(self.episodes),
            "successes": sum(episode.success for episode in self.episodes),
            "success_rate": self.success_rate,
            "confidence": CONFIDENCE,
            "interval": list(self.interval),
            "mean_duration_s": sum(episode.duration_s for episode in self.episodes) / len(self.episodes),
            "waited_s": sum(episode.waited_s for episode in self.episodes),
            "results": [asdict(episode) for episode in self.episodes],
        }


def success_interval(successes: int, episodes: int) -> tuple[float, float]:
    """Wilson's score interval of a success rate at 95 % (Wilson 1927)."""
    interval = binomtest(successes, episodes).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


class _Worker:
    """One process' rollout, built once and used for all of its episodes."""

    rollout: Rollout | None = None
    timeout_s: float = 0.0

    @staticmethod
    def start(job: EvaluationJob) -> None:
        robot = load_robot(job.robot)
        policy = load_any_policy(job.policy, robot)
        _Worker.rollout = Rollout(Simulation(robot, load_task(job.task), seed=0), policy, job.latency)
        _Worker.timeout_s = job.timeout_s

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

    The result depends on the seeds alone, not on the number of processes.

    Raises:
        UserError: robot, task or policy is wrong.
    """
    load_task(job.task)
    load_any_policy(job.policy, load_robot(job.robot))
    results = []
    for result in run_episodes(processes, _Worker.start, job, _Worker.run, seeds):
        results.append(result)
        progress(result)
    results.sort(key=lambda result: result.seed)
    successes = sum(result.success for result in results)
    return EvaluationReport(
        robot=job.robot,
        task=job.task,
        policy=job.policy,
        episodes=results,
        success_rate=successes / len(results),
        interval=success_interval(successes, len(results)),
    )
