"""Bags into a LeRobot dataset: one episode for each stretch of a bag without a hole."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dexvla_model.data.lerobot import DatasetSpecification, DatasetWriter, InvalidFrame, SubStepMark
from dexvla_model.episode_pool import run_episodes
from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription, load_robot, parse_robot
from dexvla_model.robot.layout import check_same_layout
from dexvla_ros.conversion.alignment import AlignedFrame, Aligner, Alignment
from dexvla_ros.conversion.bag_reader import BagReader
from dexvla_ros.conversion.episode_topics import EpisodeTopics
from dexvla_ros.conversion.pictures import read_pictures
from dexvla_ros.conversion.report import CONVERTED, REFUSED, SKIPPED, BagReport
from dexvla_ros.recording.episode_metadata import (
    FAILURE,
    SUCCESS,
    EpisodeMetadata,
    read_bag_information,
    read_episode_metadata,
)
from dexvla_ros.recording.repair import find_bags

# Room for the pieces of a bag with holes, in the numbers that the writer's episodes are ordered by.
_PIECES_MAX = 1000
_SUCCESS = {SUCCESS: True, FAILURE: False}


@dataclass(frozen=True)
class ConversionJob:
    """What to convert, and how.

    Attributes:
        bags: bag folders, or folders of such.
        robot: name or path of a robot file; empty for the one in the bags.
        out: the dataset's folder.
        rate_hz: frames per s; 0 for the robot file's action rate, at which a chunk's rows are one frame apart.
        slop_s: greatest difference in time between what makes up one observation, as camera_node has it.
        image_size: `camera`, or `model` for images as small as the robot file's model sees them.
        allow_gaps: make several episodes of a bag that has holes, rather than refuse it.
        only_success: leave out episodes that were not judged a success.
        instruction: for bags that do not say theirs.
        namespace: in which the robot's topics stand.
    """

    bags: tuple[Path, ...]
    out: Path
    robot: str = ""
    rate_hz: float = 0.0
    slop_s: float = 0.04
    image_size: str = "camera"
    allow_gaps: bool = False
    only_success: bool = False
    instruction: str = ""
    namespace: str = ""


def convert_bags(
    job: ConversionJob,
    processes: int,
    progress: Callable[[BagReport, int], None] = lambda report, total: None,
) -> list[BagReport]:
    """Convert bags into a dataset; bags that it has already are skipped, one that is refused stops nothing.

    Args:
        processes: bags that are converted at the same time; a single one is in this process.
        progress: called with every report, and the number of bags.

    Raises:
        UserError: there is no bag, the robot file does not fit, the folder holds something else, or the disk is full.
    """
    bags = [bag for path in job.bags for bag in find_bags(path)]
    twice = sorted({bag for bag in bags if bags.count(bag) > 1})
    if twice:
        raise UserError(f"{twice[0]}: this bag is named twice; name it once.")
    robot = _robot_of(job, bags)
    sizes = None
    if job.image_size == "camera":
        sizes = {camera.role: (camera.width, camera.height) for camera in robot.cameras}
    specification = DatasetSpecification.of_robot(robot, job.rate_hz or robot.rates.action_hz, sizes)
    writer = DatasetWriter.open(job.out, specification)
    try:
        known = writer.sources()
        first = writer.next_index()
        new = [bag for bag in bags if source_name(bag) not in known]
        reports = [
            BagReport(str(bag), SKIPPED, "the dataset has it already") for bag in bags if bag not in new
        ]
        for report in reports:
            progress(report, len(bags))
        items = [(bag, first + number * _PIECES_MAX) for number, bag in enumerate(new)]
        arguments = (job, robot.text, robot.path, frozenset(known))
        for report in _reports(processes, arguments, items):
            reports.append(report)
            progress(report, len(bags))
        if all(report.result == REFUSED for report in reports):
            # With nothing else to say, the first reason is the error.
            raise UserError(reports[0].reason)
        writer.finish()
    finally:
        writer.close()
    return sorted(reports, key=lambda report: report.bag)


def source_name(bag: Path, piece: int = 0, pieces: int = 1) -> str:
    """By what a dataset knows a bag, wherever it is moved to.

    Of a bag in several pieces the last one has the bag's name, so that one that was interrupted does not count.
    """
    return bag.resolve().name if piece == pieces - 1 else f"{bag.resolve().name}#{piece}"


def _reports(processes: int, arguments: tuple, items: Sequence[tuple[Path, int]]) -> Iterator[BagReport]:
    if min(processes, len(items)) > 1:
        yield from run_episodes(processes, _Worker.start, arguments, _Worker.convert, items)
        return
    _Worker.start(arguments)
    yield from map(_Worker.convert, items)


def _robot_of(job: ConversionJob, bags: Sequence[Path]) -> RobotDescription:
    if job.robot:
        return load_robot(job.robot)
    for bag in bags:
        metadata = read_episode_metadata(bag)
        if metadata is not None:
            return parse_robot(metadata.robot_file, bag / f"{metadata.robot}.yaml")
        robot = _said_at_start(bag).get("robot")
        if robot:
            return load_robot(robot)
    raise UserError(f"{bags[0]}: the bag names no robot; name one with --robot.")


def _said_at_start(bag: Path) -> Mapping[str, str]:
    """What `ros2 bag record` was told to keep by launch/record.launch.py: robot, instruction, operator."""
    return read_bag_information(bag).get("custom_data") or {}


class _Worker:
    """One process' share of a conversion."""

    current: "_Worker | None" = None

    def __init__(self, job: ConversionJob, robot: RobotDescription, known: frozenset[str]) -> None:
        self.job = job
        self.robot = robot
        self.known = known
        self.writer = DatasetWriter.join(job.out)

    @classmethod
    def start(cls, arguments: tuple[ConversionJob, str, Path, frozenset[str]]) -> None:
        job, text, path, known = arguments
        cls.current = cls(job, parse_robot(text, path), known)

    @staticmethod
    def convert(item: tuple[Path, int]) -> BagReport:
        bag, index = item
        started_s = time.monotonic()
        report = BagReport(str(bag), REFUSED)
        try:
            _Worker.current.convert_bag(bag, index, report)
        except InvalidFrame as error:
            report.reason = f"{bag}: {error}; leave this bag out."
        except UserError as error:
            report.reason = str(error)
        report.wall_s = time.monotonic() - started_s
        return report

    def convert_bag(self, bag: Path, index: int, report: BagReport) -> None:
        """Write a bag's episodes and fill in the report. Raises UserError or InvalidFrame where it is refused."""
        job = self.job
        report.bytes = sum(file.stat().st_size for file in bag.iterdir() if file.is_file())
        with BagReader(bag) as reader:
            metadata = read_episode_metadata(bag)
            self._check_robot(bag, metadata)
            if job.only_success and (metadata is None or metadata.outcome != SUCCESS):
                outcome = "unknown" if metadata is None else metadata.outcome
                report.result, report.reason = SKIPPED, f"its outcome is {outcome}"
                return
            said = _said_at_start(bag)
            instruction = said.get("instruction") or job.instruction
            if not instruction:
                raise UserError(f"{bag}: the bag does not say what the robot was told; give --instruction.")
            report.duration_s = reader.duration_s
            topics = EpisodeTopics.find(self.robot, reader.types, job.namespace, bag)
            specification = self.writer.specification
            aligner = Aligner(bag, self.robot, topics, specification.fps, job.slop_s)
            alignment = aligner.align(reader.messages(topics.all()))
            report.gaps = alignment.gaps
            report.refused_messages = alignment.refused
            report.before_first_command = alignment.before_first_command
            self._check_alignment(bag, alignment)
            about = {"operator": said.get("operator", ""), "tags": list(metadata.tags) if metadata else []}
            outcome = metadata.outcome if metadata else ""
            self._write(reader, topics, alignment, instruction, outcome, about, index, report)
        report.result = CONVERTED

    def _check_robot(self, bag: Path, metadata: EpisodeMetadata | None) -> None:
        if metadata is not None and metadata.robot_file != self.robot.text:
            recorded = parse_robot(metadata.robot_file, bag / f"{metadata.robot}.yaml")
            check_same_layout(recorded, self.robot, f"the bag {bag}")

    def _check_alignment(self, bag: Path, alignment: Alignment) -> None:
        if not alignment.frames:
            refused = "; ".join(f"{topic}: {why}" for topic, (why, _) in alignment.refused.items())
            reason = (
                f"first refusal: {refused}"
                if refused
                else "images, joint states and commands never overlap in time"
            )
            if alignment.before_first_command:
                reason = "the robot was never commanded while it was seen"
            raise UserError(f"{bag}: there is not one whole frame in it ({reason}); leave this bag out.")
        if alignment.gaps and not self.job.allow_gaps:
            raise UserError(
                f"{bag}: the episode has {len(alignment.gaps)} holes, the first: {alignment.gaps[0].sentence()}; give "
                "--allow-gaps to make an episode of each stretch between them, or leave this bag out."
            )
        if len(alignment.segments) > _PIECES_MAX:
            raise UserError(
                f"{bag}: the episode falls into {len(alignment.segments)} pieces; leave this bag out."
            )

    def _write(
        self,
        reader: BagReader,
        topics: EpisodeTopics,
        alignment: Alignment,
        instruction: str,
        outcome: str,
        about: Mapping[str, object],
        index: int,
        report: BagReport,
    ) -> None:
        pieces = len(alignment.segments)
        new = [
            (number, segment)
            for number, segment in enumerate(alignment.segments)
            if source_name(reader.path, number, pieces) not in self.known
        ]
        frames = [frame for _, segment in new for frame in segment]
        pictures = read_pictures(reader, topics.cameras, frames, self.job.image_size)
        for number, segment in new:
            source = source_name(reader.path, number, pieces)
            with self.writer.begin_episode(instruction, source, index + number, threads=False) as episode:
                for frame, images in islice(pictures, len(segment)):
                    episode.add_frame(frame.stamp_ns, frame.state.positions, frame.action, images)
                if len(episode) != len(segment):
                    raise UserError(f"{reader.path}: the bag changed while it was read; convert it again.")
                # Only the last piece of a bag shows how it ended.
                last = number == pieces - 1
                episode.end(
                    _marks(alignment.sub_steps, segment),
                    _SUCCESS.get(outcome) if last else None,
                    outcome if last else "",
                    about,
                )
            report.episodes += 1
            report.frames += len(segment)


def _marks(sub_steps: Sequence[tuple[int, str]], segment: Sequence[AlignedFrame]) -> list[SubStepMark]:
    """The sub-steps of a segment, in s after its first frame; the one under way at its start begins with it."""
    start_ns, end_ns = segment[0].stamp_ns, segment[-1].stamp_ns
    before = [entry for entry in sub_steps if entry[0] <= start_ns][-1:]
    inside = [entry for entry in sub_steps if start_ns < entry[0] <= end_ns]
    return [SubStepMark(max(0, stamp_ns - start_ns) / 1e9, text) for stamp_ns, text in before + inside]
