"""First reading of a bag: which messages make up which frame, and what is missing. No files are touched."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.observation import InvalidObservation, RobotState
from dexvla_model.robot import RobotDescription
from dexvla_model.streaming import CommandHistory, InvalidTrajectory
from dexvla_ros.conversion.bag_reader import BagMessage
from dexvla_ros.conversion.episode_topics import EpisodeTopics
from dexvla_ros.conversion.frame_clock import Hole, choose_frames
from dexvla_ros.conversion.report import Gap
from dexvla_ros.messages.joint_states import state_from_message
from dexvla_ros.messages.stamps import NANOSECONDS_PER_SECOND, stamp_in_nanoseconds
from dexvla_ros.messages.trajectories import trajectory_from_message
from dexvla_ros.observation_assembler import Capture, Match, ObservationAssembler

# A clock that goes back by more than this was set back; less is messages that overtook each other.
_CLOCK_BACK_NS = 50_000_000


@dataclass(frozen=True)
class AlignedFrame:
    """A frame but for its pictures.

    Attributes:
        stamp_ns: of the newest image.
        image_stamps_ns: by camera role.
        state: the measured joints. action: (A,) commanded positions in rad at `stamp_ns`.
    """

    stamp_ns: int
    image_stamps_ns: dict[str, int]
    state: RobotState
    action: np.ndarray


@dataclass
class Alignment:
    """What a bag has for a dataset.

    Attributes:
        segments: frames one period apart, a segment for each stretch without a hole.
        gaps: what is missing between them.
        sub_steps: (stamp_ns, text) in order of time; marks by people where there are any, else what the policy said.
        refused: by topic, the first reason and the number of messages that may not be used.
        before_first_command: frames left out because the robot had not been commanded yet.
    """

    segments: list[list[AlignedFrame]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    sub_steps: list[tuple[int, str]] = field(default_factory=list)
    refused: dict[str, tuple[str, int]] = field(default_factory=dict)
    before_first_command: int = 0

    @property
    def frames(self) -> int:
        return sum(len(segment) for segment in self.segments)


class Aligner:
    """Aligns the messages of one bag.

    Args:
        bag: names it in messages.
        rate_hz: of the frames.
        slop_s: see `ObservationAssembler`; what camera_node has for its parameter of that name.
    """

    def __init__(
        self, bag: Path, robot: RobotDescription, topics: EpisodeTopics, rate_hz: float, slop_s: float
    ) -> None:
        self._bag = bag
        self._robot = robot
        self._topics = topics
        self._rate_hz = rate_hz
        self._slop_s = slop_s
        # Every set of images that belongs together is offered to the frame clock, which does the thinning.
        self._assembler = ObservationAssembler(robot, slop_s, stale_s=1.0, rate_hz=1e9)
        self._history = CommandHistory(robot)
        self._stamps_ns: dict[str, list[int]] = defaultdict(list)
        self._reasons: dict[str, str] = {}
        self._refused: Counter[str] = Counter()
        self._marks: list[tuple[int, str]] = []
        self._said: list[tuple[int, str]] = []

    def align(self, messages: Iterable[BagMessage]) -> Alignment:
        """Align all messages of a bag, in the order of receipt.

        Raises:
            UserError: a clock went back.
        """
        matches = [(match.stamp_ns, match) for match in self._matches(messages)]
        alignment = Alignment(refused={t: (self._reasons[t], n) for t, n in self._refused.items()})
        alignment.sub_steps = _changes(self._marks or self._said)
        segment: list[AlignedFrame] = []
        for chosen in choose_frames(matches, self._rate_hz):
            if isinstance(chosen, Hole):
                if segment:
                    alignment.gaps += self._gaps(chosen)
                    alignment.segments.append(segment)
                    segment = []
                continue
            frame = self._frame(chosen[1])
            if frame is None:
                alignment.before_first_command += 1
            else:
                segment.append(frame)
        if segment:
            alignment.segments.append(segment)
        return alignment

    def _matches(self, messages: Iterable[BagMessage]) -> Iterator[Match]:
        for message in messages:
            if message.topic in self._topics.cameras:
                header = message.message.header
                stamp_ns = self._stamp_ns(message.topic, header.stamp)
                role = self._topics.cameras[message.topic].role
                self._assembler.add_capture(role, Capture(stamp_ns, header.frame_id, _no_picture))
            elif message.topic == self._topics.joint_states:
                if not self._take_state(message):
                    continue
            else:
                self._take_other(message)
                continue
            match = self._assembler.match()
            if match is not None:
                yield match

    def _take_state(self, message: BagMessage) -> bool:
        try:
            state = state_from_message(self._robot, message.message)
        except InvalidObservation as error:
            self._refuse(message.topic, str(error))
            return False
        self._stamp_ns(message.topic, message.message.header.stamp)
        self._assembler.add_state(state)
        return True

    def _take_other(self, message: BagMessage) -> None:
        if message.topic in self._topics.commands:
            try:
                self._history.add(
                    self._topics.commands[message.topic].name,
                    trajectory_from_message(message.message),
                    message.received_ns / NANOSECONDS_PER_SECOND,
                )
            except InvalidTrajectory as error:
                self._refuse(message.topic, str(error))
        elif message.topic == self._topics.marks:
            self._marks.append((stamp_in_nanoseconds(message.message.header.stamp), message.message.text))
        elif message.topic == self._topics.sub_steps:
            self._said.append((stamp_in_nanoseconds(message.message.header.stamp), message.message.text))

    def _stamp_ns(self, topic: str, stamp) -> int:
        stamp_ns = stamp_in_nanoseconds(stamp)
        known = self._stamps_ns[topic]
        if known and stamp_ns < known[-1] - _CLOCK_BACK_NS:
            raise UserError(
                f"{self._bag}: the clock of {topic} goes back from {known[-1] / 1e9:.3f} to {stamp_ns / 1e9:.3f} s after "
                f"{len(known)} messages; cut the bag there, or record the episode again."
            )
        known.append(stamp_ns)
        return stamp_ns

    def _refuse(self, topic: str, reason: str) -> None:
        self._reasons.setdefault(topic, reason)
        self._refused[topic] += 1

    def _frame(self, match: Match) -> AlignedFrame | None:
        action = self._history.action(match.stamp_ns / NANOSECONDS_PER_SECOND)
        if action is None:
            return None
        stamps_ns = {role: capture.stamp_ns for role, capture in match.captures.items()}
        return AlignedFrame(match.stamp_ns, stamps_ns, match.state, action)

    def _gaps(self, hole: Hole) -> list[Gap]:
        """Why there is a hole: the topics that were silent for longer than frames and states may be apart."""
        period_ns = 1e9 / self._rate_hz
        gaps = []
        for topic in (*self._topics.cameras, self._topics.joint_states):
            stamps_ns = np.sort(np.array(self._stamps_ns[topic], dtype=np.int64))
            inside = stamps_ns[
                (stamps_ns > hole.after_ns - period_ns) & (stamps_ns < hole.before_ns + period_ns)
            ]
            edges = np.concatenate([[hole.after_ns - period_ns], inside, [hole.before_ns + period_ns]])
            longest = int(np.argmax(np.diff(edges)))
            allowed_ns = 1.5 * period_ns if topic in self._topics.cameras else self._slop_s * 1e9
            if edges[longest + 1] - edges[longest] > allowed_ns:
                gaps.append(Gap(topic, float(edges[longest] / 1e9), float(edges[longest + 1] / 1e9)))
        if not gaps:
            reason = f"images and joint states within {self._slop_s:g} s of each other"
            gaps.append(Gap(reason, hole.after_ns / 1e9, hole.before_ns / 1e9))
        return gaps


def _no_picture() -> np.ndarray:
    raise AssertionError("the first reading needs no pictures")


def _changes(texts: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """In order of time, without those that say what the one before said."""
    ordered = sorted(texts, key=lambda entry: entry[0])
    return [entry for index, entry in enumerate(ordered) if index == 0 or entry[1] != ordered[index - 1][1]]
