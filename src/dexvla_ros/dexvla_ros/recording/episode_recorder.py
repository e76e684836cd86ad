"""Episodes one after the other: begun, marked, judged, numbered. No ROS."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription
from dexvla_ros.recording.bag_metadata import BagTopic
from dexvla_ros.recording.bag_writer import BagWriter, WriterSettings, disk_full_sentence
from dexvla_ros.recording.disk import free_bytes
from dexvla_ros.recording.episode import EpisodeRequest, EpisodeSummary, TopicCount
from dexvla_ros.recording.episode_metadata import DISCARDED, UNJUDGED, EpisodeMetadata, SubStepMark
from dexvla_ros.recording.provenance import host_name, software_version

_NAME = re.compile(r"episode_(\d{6})")


class Source(Protocol):
    """A topic that is subscribed to; see `dexvla_ros.recording.subscriptions.RecordedTopic`."""

    bag_topic: BagTopic
    definition: str

    @property
    def name(self) -> str: ...

    @property
    def lost(self) -> int: ...


class EpisodeRecorder:
    """Records into `out`, one episode at a time.

    Args:
        clock: the node clock, in ns.
        on_stop: called, from any thread, with a sentence, when an episode cannot go on; then call `end`.

    Attributes:
        request: of the episode, or of the last one.
    """

    def __init__(
        self,
        out: Path,
        robot: RobotDescription,
        settings: WriterSettings,
        clock: Callable[[], int],
        sim_time: bool,
        on_stop: Callable[[str], None],
    ) -> None:
        self._out = out
        self._robot = robot
        self._settings = settings
        self._clock = clock
        self._sim_time = sim_time
        self._on_stop = on_stop
        self._writer: BagWriter | None = None
        self._metadata: EpisodeMetadata | None = None
        self._tracks: dict[str, _Track] = {}
        self.request = EpisodeRequest("")
        self.last: EpisodeSummary | None = None

    @property
    def recording(self) -> bool:
        return self._writer is not None

    @property
    def path(self) -> Path | None:
        """Bag of the episode, or of the last one."""
        if self._writer is not None:
            return self._writer.bag
        return self.last.path if self.last is not None else None

    @property
    def sub_step(self) -> str:
        """What was marked last in this episode."""
        return self._metadata.sub_steps[-1].text if self.recording and self._metadata.sub_steps else ""

    @property
    def stopped(self) -> str:
        """Why the writer does not go on; empty while it does."""
        return self._writer.stopped if self._writer is not None else ""

    @property
    def disk_free(self) -> int:
        """Room on the disk, in bytes."""
        return self._writer.disk_free if self._writer is not None else free_bytes(self._out)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for the disk."""
        return self._writer.waiting_bytes if self._writer is not None else 0

    def seconds(self) -> float:
        """Time since the start of the episode."""
        return max(0.0, (self._clock() - self._metadata.started_ns) / 1e9) if self.recording else 0.0

    def start(self, request: EpisodeRequest, sources: Iterable[Source]) -> Path:
        """Begin an episode; its bag.

        An empty instruction or operator is that of the episode before.

        Raises:
            UserError: there never was an instruction, one is under way, or the disk has no room.
        """
        if self.recording:
            raise UserError(f"{self._writer.bag.name} is being recorded; end it first.")
        request = replace(
            request,
            instruction=request.instruction.strip() or self.request.instruction,
            operator=request.operator.strip() or self.request.operator,
        )
        if not request.instruction:
            raise UserError("The instruction is empty; say what the robot is going to do.")
        free, reserve = free_bytes(self._out), self._settings.disk_reserve_bytes
        if free < reserve:
            raise UserError(f"Nothing is recorded: {disk_full_sentence(self._out, free, reserve)}.")
        bag = self._out / f"episode_{self._next_number():06d}"
        metadata = EpisodeMetadata(
            episode=bag.name,
            robot=self._robot.name,
            robot_file=self._robot.text,
            version=software_version(),
            host=host_name(),
            instruction=request.instruction,
            operator=request.operator,
            tags=request.tags,
            started_ns=self._clock(),
            sim_time=self._sim_time,
        )
        try:
            writer = BagWriter(bag, self._settings, metadata.to_custom_data(), self._on_stop)
        except OSError as error:
            raise UserError(f"{bag}: the bag cannot be made ({error.strerror}); correct out.") from error
        self.request, self._metadata, self._writer = request, metadata, writer
        self._tracks = {}
        for source in sources:
            self._track(source)
        return bag

    def put(self, source: Source, data: bytes, sequence: int, log_ns: int, publish_ns: int) -> None:
        """Take a message; without an episode it is forgotten."""
        writer = self._writer
        if writer is None:
            return
        track = self._tracks.get(source.name)
        if track is None:
            track = self._track(source)
        track.put(writer, data, sequence, log_ns, publish_ns)

    def mark(self, text: str, time_ns: int = 0) -> SubStepMark:
        """Say at which sub-step the demonstrator is from now, or from `time_ns`, on.

        Raises:
            UserError: there is no episode, or the text is empty.
        """
        if not self.recording:
            raise UserError("No episode is being recorded; start one first.")
        if not text.strip():
            raise UserError("The sub-step is empty; say it in words.")
        mark = SubStepMark(time_ns or self._clock(), text.strip())
        marks = tuple(sorted((*self._metadata.sub_steps, mark), key=lambda entry: entry.time_ns))
        self._metadata = replace(self._metadata, sub_steps=marks)
        self._writer.put_metadata(self._metadata.to_custom_data())
        return mark

    def end(self, outcome: str, ending: str) -> EpisodeSummary:
        """End the episode with one of OUTCOMES; waits until the bag is whole.

        Raises:
            UserError: there is no episode.
        """
        writer = self._taken()
        error = ""
        counts = self._counts_at_end(writer)
        try:
            writer.drain()
            counts = self._counts_at_end(writer)
            drops = {name: count.drops for name, count in counts.items() if count.drops}
            metadata = replace(
                self._metadata, outcome=outcome, ending=ending, ended_ns=self._clock(), drops=drops
            )
            writer.finish(metadata.to_custom_data())
        except OSError as problem:
            error = (
                f"{writer.bag}: the bag could not be finished ({problem.strerror or problem}); "
                f"make room and run: dexvla record --repair {writer.bag}"
            )
        return self._finished(writer, writer.bag, outcome, ending, counts, error)

    def discard(self) -> EpisodeSummary:
        """End the episode and delete it.

        Raises:
            UserError: there is no episode.
        """
        writer = self._taken()
        error = ""
        try:
            writer.drain()
            writer.discard()
        except OSError as problem:
            reason = problem.strerror or problem
            error = f"{writer.bag}: the episode could not be deleted ({reason}); delete it."
        counts = self._counts_at_end(writer)
        return self._finished(writer, None, DISCARDED, "The operator discarded it.", counts, error)

    def counts(self) -> dict[str, TopicCount]:
        """What has been recorded so far, by topic."""
        return {name: track.count() for name, track in self._tracks.items()}

    def close(self) -> EpisodeSummary | None:
        """End an episode that nobody has ended, and keep it."""
        return self.end(UNJUDGED, "The recorder was shut down.") if self.recording else None

    def _track(self, source: Source) -> "_Track":
        number = self._writer.add_topic(source.bag_topic, source.definition)
        track = self._tracks[source.name] = _Track(source, number, source.lost)
        return track

    def _taken(self) -> BagWriter:
        writer, self._writer = self._writer, None
        if writer is None:
            raise UserError("No episode is being recorded; start one first.")
        return writer

    def _counts_at_end(self, writer: BagWriter) -> dict[str, TopicCount]:
        """As `counts`, with what was handed over and never reached the file among the drops."""
        written = writer.counts()
        return {
            name: replace(
                count,
                messages=written.get(name, 0),
                drops=count.drops + count.messages - written.get(name, 0),
            )
            for name, count in self.counts().items()
        }

    def _finished(
        self,
        writer: BagWriter,
        path: Path | None,
        outcome: str,
        ending: str,
        counts: dict[str, TopicCount],
        error: str,
    ) -> EpisodeSummary:
        start_ns, end_ns = writer.time_span_ns
        self.last = EpisodeSummary(path, outcome, ending, (end_ns - start_ns) / 1e9, counts, error)
        return self.last

    def _next_number(self) -> int:
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            names = [entry.name for entry in self._out.iterdir()]
        except OSError as error:
            raise UserError(
                f"{self._out}: the folder cannot be used ({error.strerror}); correct out."
            ) from error
        numbers = [int(match[1]) for match in map(_NAME.fullmatch, names) if match]
        return max(numbers, default=-1) + 1


class _Track:
    """The counts of one topic in one episode."""

    def __init__(self, source: Source, number: int, lost_before: int) -> None:
        self._source = source
        self._number = number
        self._lost_before = lost_before
        self._messages = 0
        self._bytes = 0
        self._refused = 0

    def put(self, writer: BagWriter, data: bytes, sequence: int, log_ns: int, publish_ns: int) -> None:
        if writer.put(self._number, sequence, log_ns, publish_ns, data):
            self._messages += 1
            self._bytes += len(data)
        else:
            self._refused += 1

    def count(self) -> TopicCount:
        lost = self._source.lost - self._lost_before
        return TopicCount(self._messages, self._bytes, lost + self._refused)
