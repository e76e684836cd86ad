"""Importing episodes in several processes, each frame by frame, into one dataset; what both sources have in
common."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dexvla_model.data.lerobot.episode_writer import InvalidFrame
from dexvla_model.data.lerobot.language import SubStepMark
from dexvla_model.data.lerobot.layout import DatasetInfo
from dexvla_model.data.lerobot.specification import DatasetSpecification
from dexvla_model.data.lerobot.writer import DatasetWriter
from dexvla_model.episode_pool import run_episodes
from dexvla_model.errors import UserError
from dexvla_model.observation import resize_image
from dexvla_model.robot.description import RobotDescription, load_robot


@dataclass(frozen=True)
class ImportedEpisode:
    """One episode of a source, before it is written.

    Attributes:
        state: (N, S) and action: (N, A), float32, in the robot's order and units.
        images: called once, yields for each frame its images by camera role, at any size.
        start_stamp_ns: of the first frame.
        success: None where the source does not say.
    """

    instruction: str
    state: np.ndarray
    action: np.ndarray
    images: Iterator[Mapping[str, np.ndarray]]
    sub_steps: Sequence[SubStepMark] = ()
    start_stamp_ns: int = 0
    success: bool | None = None
    outcome: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class EpisodeSource(Protocol):
    """Episodes that can be read one by one; picklable, so that any process can."""

    robot: str

    def names(self) -> list[str]:
        """What identifies each episode."""

    def read(self, index: int, robot: RobotDescription, fps: float) -> ImportedEpisode:
        """One episode at `fps` frames per s. Raises UserError."""


@dataclass(frozen=True)
class _Job:
    source: EpisodeSource
    out: Path
    first: int = 0
    indices: tuple[int, ...] = ()


class _Worker:
    """One process' share: built once, used for all of its episodes."""

    current: "_Worker | None" = None

    def __init__(self, job: _Job):
        self.job = job
        self.robot = load_robot(job.source.robot)
        self.writer = DatasetWriter.join(job.out)
        self.names = job.source.names()

    @classmethod
    def start(cls, job: _Job) -> None:
        cls.current = cls(job)

    @staticmethod
    def write(position: int) -> int:
        worker = _Worker.current
        index = worker.job.indices[position]
        return write_episode(
            worker.writer,
            worker.job.source,
            index,
            worker.names[index],
            worker.robot,
            worker.job.first + position,
        )


def write_episode(
    writer: DatasetWriter, source: EpisodeSource, index: int, name: str, robot: RobotDescription, place: int
) -> int:
    """Write one episode of the source at a place among the staged ones; returns its number of frames.

    Raises:
        UserError: the episode cannot be read or holds something that may not go into a dataset.
    """
    fps = writer.specification.fps
    episode = source.read(index, robot, fps)
    sizes = {
        camera.role: writer.specification.features[f"observation.images.{camera.role}"]["shape"][:2]
        for camera in robot.cameras
    }
    try:
        with writer.begin_episode(episode.instruction, name, index=place, threads=False) as part:
            for number, images in enumerate(episode.images):
                shown = {}
                for camera in robot.cameras:
                    image = images[camera.role]
                    shown[camera.role] = (
                        image
                        if list(image.shape[:2]) == list(sizes[camera.role])
                        else resize_image(image, camera)
                    )
                stamp_ns = episode.start_stamp_ns + round(number * 1e9 / fps)
                part.add_frame(stamp_ns, episode.state[number], episode.action[number], shown)
            part.end(episode.sub_steps, episode.success, episode.outcome, episode.metadata)
            return len(part)
    except InvalidFrame as error:
        raise UserError(f"{name}: {error}; leave this episode out or mend it.") from error


def import_episodes(
    source: EpisodeSource,
    specification: DatasetSpecification,
    out: Path,
    processes: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DatasetInfo:
    """Write all episodes of a source that are not in `out` yet; goes on where it was interrupted.

    Args:
        processes: how many encode at once.
        progress: called with the number of episodes written, or there already, and their total.

    Raises:
        UserError: an episode cannot be imported, or `out` holds something else; what was written before
            stays.
    """
    names = source.names()
    writer = DatasetWriter.open(out, specification)
    try:
        known = writer.sources()
        missing = tuple(index for index, name in enumerate(names) if name not in known)
        done = len(names) - len(missing)
        progress(done, len(names))
        job = _Job(source, out, writer.next_index(), missing)
        for _ in run_episodes(processes, _Worker.start, job, _Worker.write, range(len(missing))):
            done += 1
            progress(done, len(names))
        return writer.finish()
    finally:
        writer.close()
