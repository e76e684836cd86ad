"""Where a suite's episodes run: processes on this machine, or a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dexvla_model.episode_pool import run_episodes
from dexvla_model.errors import UserError
from dexvla_sim.evaluation import EvaluationJob, build_rollout
from dexvla_sim.rollout import EpisodeResult, Rollout

# Which job, and the episode's seed.
Work = tuple[int, int]
# From jobs and work to the results as they come in, in any order.
Dispatch = Callable[[Sequence[EvaluationJob], Sequence[Work]], Iterator[tuple[Work, EpisodeResult]]]


class EpisodeWorker:
    """Runs episodes of several jobs; keeps the simulation and policy of the last one."""

    def __init__(self, jobs: Sequence[EvaluationJob]) -> None:
        self._jobs = jobs
        self._index = -1
        self._rollout: Rollout | None = None

    def run(self, work: Work) -> tuple[Work, EpisodeResult]:
        """One episode; it depends on `work` and the jobs alone, whatever ran before."""
        index, seed = work
        if index != self._index:
            self.close()
            self._rollout = build_rollout(self._jobs[index])
            self._index = index
        return work, self._rollout.run(seed, self._jobs[index].time_limit_s)

    def close(self) -> None:
        """Free what is kept."""
        if self._rollout is not None:
            self._rollout.simulation.close()
        self._rollout, self._index = None, -1


class _Process:
    """The worker of one process of this machine."""

    worker: EpisodeWorker | None = None

    @staticmethod
    def start(jobs: Sequence[EvaluationJob]) -> None:
        _Process.worker = EpisodeWorker(jobs)

    @staticmethod
    def run(work: Work) -> tuple[Work, EpisodeResult]:
        return _Process.worker.run(work)


def run_in_processes(
    jobs: Sequence[EvaluationJob], work: Sequence[Work], processes: int
) -> Iterator[tuple[Work, EpisodeResult]]:
    """Run the episodes in processes of this machine."""
    return run_episodes(processes, _Process.start, tuple(jobs), _Process.run, work)


def run_on_ray(
    jobs: Sequence[EvaluationJob], work: Sequence[Work], address: str, workers: int = 0
) -> Iterator[tuple[Work, EpisodeResult]]:
    """Run the episodes on a Ray cluster, one worker per CPU core that it has.

    The cluster's machines need this package and, at the same paths, the robots' files and the checkpoints.
    Episodes on a machine that is lost are run again elsewhere: they depend on nothing but their seeds.

    Args:
        address: of the cluster's head, such as ray://HOST:10001 or HOST:6379; `auto` is the one that runs on
            this machine, `local` starts one here for as long as this takes.
        workers: at most so many; 0 for no limit.

    Raises:
        UserError: Ray is not installed, or no cluster answers there.
    """
    ray, actor_pool = _import_ray()
    if not work:
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--ray {address}: no Ray cluster answers there ({reason}); start one with `ray start --head`."
        ) from error
    try:
        cores = int(ray.cluster_resources().get("CPU", 1))
        count = max(1, min(len(work), cores, workers or cores))
        # One thread each, as in the processes of one machine.
        environment = {"env_vars": {"OMP_NUM_THREADS": "1"}}
        actor = ray.remote(EpisodeWorker).options(
            num_cpus=1, max_restarts=-1, max_task_retries=2, runtime_env=environment
        )
        pool = actor_pool([actor.remote(tuple(jobs)) for _ in range(count)])
        yield from pool.map_unordered(lambda worker, item: worker.run.remote(item), list(work))
    except ray.exceptions.RayActorError as error:
        raise UserError(
            f"--ray {address}: the cluster lost a worker for good ({error}); look at `ray status`."
        ) from error
    finally:
        ray.shutdown()


def _import_ray() -> tuple[Any, Any]:
    """Ray, and its pool of actors; imported here because few need it.

    Raises:
        UserError: it is not installed.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ImportError as error:
        raise UserError(
            "--ray needs Ray, which is not installed (it is an extra): pip install ray, or leave --ray out."
        ) from error
    return ray, ActorPool
