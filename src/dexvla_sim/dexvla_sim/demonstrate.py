"""Writing demonstrations: episodes in simulation, every frame labelled by the scripted demonstrator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dexvla_model.data.demonstrator_labels import ACTION_CHUNK, GROUNDING_PREFIX, label_features
from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter, EpisodeWriter, marks_of_texts
from dexvla_model.episode_pool import run_episodes
from dexvla_model.observation import Observation
from dexvla_model.robot import load_robot
from dexvla_sim.disturbance import Disturbance, disturbance_of
from dexvla_sim.policies import SCRIPTED, load_any_policy
from dexvla_sim.rollout import InferenceLatency, Rollout
from dexvla_sim.scripted_policy import ScriptedPolicy
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import load_task

# The demonstrator answers at once, so that what it says and does belongs to the frame at hand.
_LABELLING_LATENCY = InferenceLatency(reason_s=0.0, act_s=0.04, act_period_s=0.2)
# A robot that a disturbance jammed against something refuses chunks and stands still: frames that teach
# nothing.
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
        as_video: pictures as H.264 instead of PNG images inside the Parquet files. Images of the model's size
            are small: as PNG they are lossless, four times as large, and faster to write and to read.
    """

    robot: str
    task: str
    out: Path
    policy: str = "scripted"
    disturb: bool = True
    timeout_s: float = 20.0
    start_rad: float | None = None
    as_video: bool = False

    def specification(self) -> DatasetSpecification:
        """Of the dataset.

        Raises:
            UserError: robot or task is wrong.
        """
        robot = load_robot(self.robot)
        extra = label_features(robot, ScriptedPolicy.horizon, load_task(self.task).object_names)
        return DatasetSpecification.of_robot(
            robot, robot.rates.observation_hz, as_video=self.as_video, extra=extra
        )

    def source(self, seed: int) -> str:
        """By what the dataset knows an episode."""
        return f"{self.task} {seed}"


class EpisodeRecorder:
    """Writes the frames of one episode as they come, with the demonstrator's answer at each.

    Args:
        begin: starts the episode in a dataset, with its instruction.
    """

    def __init__(
        self, demonstrator: ScriptedPolicy, simulation: Simulation, begin: Callable[[str], EpisodeWriter]
    ) -> None:
        self._demonstrator = demonstrator
        self._simulation = simulation
        self._begin = begin
        self._episode: EpisodeWriter | None = None
        self._sub_steps: list[str] = []

    @property
    def frames(self) -> int:
        """How many were written."""
        return len(self._sub_steps)

    def __call__(self, observation: Observation) -> None:
        """Write a frame."""
        if self._episode is None:
            self._episode = self._begin(self._simulation.instruction)
        substep = self._demonstrator.reason(observation, self._simulation.instruction)
        chunk = self._demonstrator.act(substep, observation.state).positions
        labels = {ACTION_CHUNK: chunk}
        if self._simulation.task.object_names:
            for role in observation.images:
                labels[GROUNDING_PREFIX + role] = self._simulation.grounding(role)
        # The first row is where the robot is; the second is the command that moves it on.
        stamp_ns, state = round(1e9 * observation.stamp_s), observation.state.positions
        self._episode.add_frame(stamp_ns, state, chunk[1], observation.images, labels)
        self._sub_steps.append(substep.text)

    def end(self, success: bool) -> None:
        """The episode is whole."""
        fps = self._simulation.robot.rates.observation_hz
        self._episode.end(marks_of_texts(self._sub_steps, fps), success)

    def abort(self) -> None:
        """Forget the episode."""
        if self._episode is not None:
            self._episode.abort()


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
        self.writer = DatasetWriter.join(job.out)
        self.simulation = Simulation(robot, load_task(job.task), seed=0)
        self.demonstrator = ScriptedPolicy(robot)
        self.policy = load_any_policy(job.policy, robot)

    @classmethod
    def start(cls, job: DemonstrationJob) -> None:
        cls.current = cls(job)

    @staticmethod
    def record(place: tuple[int, int]) -> RecordedEpisode:
        """Record the episode of a seed under a number among the staged ones: `place` is both."""
        worker, (seed, index) = _Worker.current, place

        def begin(instruction: str) -> EpisodeWriter:
            return worker.writer.begin_episode(instruction, worker.job.source(seed), index, threads=False)

        recorder = EpisodeRecorder(worker.demonstrator, worker.simulation, begin)
        scripted = worker.job.policy == SCRIPTED
        rollout = Rollout(
            worker.simulation,
            worker.policy,
            latency=_LABELLING_LATENCY if scripted else InferenceLatency(),
            on_observation=recorder,
        )
        if worker.job.disturb:
            settings = disturbance_of(worker.job.task)
            if worker.job.start_rad is not None:
                settings = replace(settings, probability=1.0, start_rad=worker.job.start_rad)
            disturbance = Disturbance(worker.simulation.robot, seed, settings)
            rollout.on_reset = lambda simulation: simulation.place_robot(disturbance.start_positions)
            rollout.change_chunk = disturbance
        result = rollout.run(seed, worker.job.timeout_s)
        kept = result.refused_chunks <= _MOST_REFUSALS
        if kept:
            recorder.end(result.success)
        else:
            recorder.abort()
        return RecordedEpisode(seed, recorder.frames if kept else 0, result.success, kept)


def record_demonstrations(
    job: DemonstrationJob,
    seeds: Sequence[int],
    processes: int,
    progress: Callable[[RecordedEpisode], None] = lambda episode: None,
    finishing: Callable[[int, int], None] = lambda done, total: None,
) -> list[RecordedEpisode]:
    """Record one episode per seed into the dataset `job.out`; those that are there already are left alone.

    After an interruption the same call goes on; until all episodes are there, a new dataset cannot be read.

    Args:
        finishing: called with the number of the dataset's files that are made in the end and their total.

    Raises:
        UserError: the output folder, robot, task or policy is wrong, or the disk is full.
    """
    robot = load_robot(job.robot)
    load_any_policy(job.policy, robot)
    specification = job.specification()
    ScriptedPolicy(robot).prepare(job.task)
    writer = DatasetWriter.open(job.out, specification)
    try:
        known, first = writer.sources(), writer.next_index()
        missing = [seed for seed in seeds if job.source(seed) not in known]
        places = [(seed, first + number) for number, seed in enumerate(missing)]
        recorded = []
        for episode in run_episodes(processes, _Worker.start, job, _Worker.record, places):
            recorded.append(episode)
            progress(episode)
        writer.finish(finishing)
    finally:
        writer.close()
    return recorded
