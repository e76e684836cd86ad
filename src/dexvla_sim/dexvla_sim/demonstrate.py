"""Writing demonstrations: episodes in simulation, every frame labelled by the scripted demonstrator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dexvla_model.data.demonstrations import Episode, create_dataset, has_episode, write_episode
from dexvla_model.episode_pool import run_episodes
from dexvla_model.observation import Observation
from dexvla_model.policy import ActionChunk
from dexvla_model.robot import load_robot
from dexvla_sim.disturbance import Disturbance, DisturbanceSettings
from dexvla_sim.policies import SCRIPTED, load_any_policy
from dexvla_sim.rollout import InferenceLatency, Rollout
from dexvla_sim.scripted_policy import ScriptedPolicy
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import load_task

# The demonstrator answers at once, so that what it says and does belongs to the frame at hand.
_LABELLING_LATENCY = InferenceLatency(reason_s=0.0, act_s=0.04, act_period_s=0.2)
# A robot that a disturbance jammed against something refuses chunks and stands still: frames that teach nothing.
_MOST_REFUSALS = 5


@dataclass(frozen=True)
class DemonstrationJob:
    """What to record.

    Attributes:
        policy: who drives, "scripted" or a checkpoint folder. The labels are the demonstrator's in either
            case, so that a learned policy's own mistakes are shown a way out of (DAgger, Ross et al. 2011).
        disturb: push the robot off its way in some episodes.
        timeout_s: longest episode, in simulated s; short ones give many scenes cheaply.
        start_rad: if given, every episode starts so far from home (standard deviation per arm joint).
    """

    robot: str
    task: str
    out: Path
    policy: str = "scripted"
    disturb: bool = True
    timeout_s: float = 20.0
    start_rad: float | None = None


class EpisodeRecorder:
    """Collects the frames of one episode with the demonstrator's answer at each."""

    def __init__(self, demonstrator: ScriptedPolicy, simulation: Simulation):
        self._demonstrator = demonstrator
        self._simulation = simulation
        self.observations: list[Observation] = []
        self.chunks: list[ActionChunk] = []
        self.sub_steps: list[str] = []
        self.grounding: list[dict[str, np.ndarray]] = []

    def __call__(self, observation: Observation) -> None:
        substep = self._demonstrator.reason(observation, self._simulation.instruction)
        self.observations.append(observation)
        self.chunks.append(self._demonstrator.act(substep, observation.state))
        self.sub_steps.append(substep.text)
        self.grounding.append({role: self._simulation.grounding(role) for role in observation.images})

    def episode(self, seed: int, success: bool) -> Episode:
        """What was collected."""
        roles = self.observations[0].images
        return Episode(
            images={role: np.stack([observation.images[role] for observation in self.observations]) for role in roles},
            state=np.stack([observation.state.positions for observation in self.observations]).astype(np.float32),
            action_chunks=np.stack([chunk.positions for chunk in self.chunks]).astype(np.float32),
            grounding={role: np.stack([cells[role] for cells in self.grounding]) for role in roles},
            sub_steps=self.sub_steps,
            instruction=self._simulation.instruction,
            seed=seed,
            success=success,
        )


@dataclass(frozen=True)
class RecordedEpisode:
    """One line of a recording's report; an episode in which the robot got stuck is not kept."""

    seed: int
    frames: int
    success: bool
    kept: bool


class _Worker:
    """One process' simulation and policy, built once and used for all of its episodes."""

    current: "_Worker | None" = None

    def __init__(self, job: DemonstrationJob):
        robot = load_robot(job.robot)
        self.job = job
        self.simulation = Simulation(robot, load_task(job.task), seed=0)
        self.demonstrator = ScriptedPolicy(robot)
        self.policy = load_any_policy(job.policy, robot)

    @classmethod
    def start(cls, job: DemonstrationJob) -> None:
        cls.current = cls(job)

    @staticmethod
    def record(seed: int) -> RecordedEpisode:
        worker = _Worker.current
        recorder = EpisodeRecorder(worker.demonstrator, worker.simulation)
        scripted = worker.job.policy == SCRIPTED
        rollout = Rollout(
            worker.simulation,
            worker.policy,
            latency=_LABELLING_LATENCY if scripted else InferenceLatency(),
            on_observation=recorder,
        )
        if worker.job.disturb:
            settings = DisturbanceSettings()
            if worker.job.start_rad is not None:
                settings = replace(settings, probability=1.0, start_rad=worker.job.start_rad)
            disturbance = Disturbance(worker.simulation.robot, seed, settings)
            rollout.on_reset = lambda simulation: simulation.place_robot(disturbance.start_positions)
            rollout.change_chunk = disturbance
        result = rollout.run(seed, worker.job.timeout_s)
        kept = result.refused_chunks <= _MOST_REFUSALS
        if kept:
            write_episode(worker.job.out, recorder.episode(seed, result.success))
        return RecordedEpisode(seed, len(recorder.observations) if kept else 0, result.success, kept)


def record_demonstrations(
    job: DemonstrationJob,
    seeds: Sequence[int],
    processes: int,
    progress: Callable[[RecordedEpisode], None] = lambda episode: None,
) -> list[RecordedEpisode]:
    """Record one episode per seed into `job.out`; episodes that are there already are left alone.

    Raises:
        UserError: the output folder, robot, task or policy is wrong.
    """
    robot = load_robot(job.robot)
    load_any_policy(job.policy, robot)
    task = load_task(job.task)
    create_dataset(job.out, robot, job.task, ScriptedPolicy(robot).horizon, task.object_names)
    missing = [seed for seed in seeds if not has_episode(job.out, seed)]
    recorded = []
    for episode in run_episodes(processes, _Worker.start, job, _Worker.record, missing):
        recorded.append(episode)
        progress(episode)
    return recorded
