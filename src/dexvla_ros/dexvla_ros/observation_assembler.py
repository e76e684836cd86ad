"""Putting images and joint states together that belong together in time. No ROS."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dexvla_model.observation import Observation, RobotState, build_observation
from dexvla_model.robot import RobotDescription
from dexvla_ros.messages.stamps import NANOSECONDS_PER_SECOND

# Joint states are kept this long, which bounds the delay of images that still find theirs.
_STATE_HISTORY_S = 1.0
_IMAGE_HISTORY = 8


@dataclass(frozen=True)
class Capture:
    """One image, taken at `stamp_ns`.

    Attributes:
        frame: the camera's optical frame.
        decode: gives the image as (H, W, 3) uint8 RGB at the camera's size, or raises InvalidObservation;
            called only for images that become part of an observation.
    """

    stamp_ns: int
    frame: str
    decode: Callable[[], np.ndarray]

    @property
    def stamp_s(self) -> float:
        return self.stamp_ns / NANOSECONDS_PER_SECOND


@dataclass(frozen=True)
class Match:
    """Captures by camera role that belong together, with the state at them and the `source` given with it.

    `stamp_ns` is that of the newest capture.
    """

    stamp_ns: int
    captures: dict[str, Capture]
    state: RobotState
    source: Any


@dataclass(frozen=True)
class MatchedObservation:
    """An observation with what it was made of.

    Attributes:
        stamp_ns: `observation.stamp_s` to the nanosecond: of the newest of the images.
        captures, images: by camera role; images are (H, W, 3) uint8 RGB at the camera's size.
        source: what was given with the state.
    """

    observation: Observation
    stamp_ns: int
    captures: dict[str, Capture]
    images: dict[str, np.ndarray]
    source: Any


@dataclass
class ObservationAssembler:
    """Makes an observation whenever there is a newest set of images, one per camera, that belong together.

    Its state is the newest one that is not newer than the images, decided only once joint_states have got as
    far as the images: so it does not depend on which of them arrives first, live or out of a recording.

    Args:
        slop_s: greatest difference between the stamps of images, and of the joint state and the images.
        stale_s: a camera, or joint_states, counts as stale when its newest stamp is older than this.
        rate_hz: observations per second at most; None for the robot file's observation rate.
    """

    robot: RobotDescription
    slop_s: float
    stale_s: float
    rate_hz: float | None = None
    _captures: dict[str, deque[Capture]] = field(init=False)
    _states: deque[tuple[RobotState, Any]] = field(init=False)
    _newest_s: float | None = None

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        self._captures = {camera.role: deque(maxlen=_IMAGE_HISTORY) for camera in self.robot.cameras}
        self._states = deque()
        self._newest_s = None

    def add_state(self, state: RobotState, source: Any = None) -> None:
        """Take a measurement of the joints; `source` comes back with the observation that uses it."""
        if self._states and state.stamp_s < self._states[-1][0].stamp_s - self.slop_s:
            self.clear()  # the clock was set back
        self._states.append((state, source))
        while self._states[0][0].stamp_s < state.stamp_s - _STATE_HISTORY_S:
            self._states.popleft()

    def add_capture(self, role: str, capture: Capture) -> None:
        """Take an image of the camera `role`."""
        self._captures[role].append(capture)

    def take(self) -> MatchedObservation | None:
        """The newest observation that can be made and has not been taken yet, at `rate_hz` at most.

        Raises:
            InvalidObservation: an image is malformed; its set is dropped.
        """
        match = self.match()
        if match is None:
            return None
        images = {role: capture.decode() for role, capture in match.captures.items()}
        stamp_s = match.stamp_ns / NANOSECONDS_PER_SECOND
        observation = build_observation(self.robot, stamp_s, images, match.state)
        return MatchedObservation(observation, match.stamp_ns, match.captures, images, match.source)

    def match(self) -> Match | None:
        """What `take` makes an observation of, without looking at the images."""
        captures = self._newest_set()
        if captures is None:
            return None
        stamp_ns = max(capture.stamp_ns for capture in captures.values())
        stamp_s = stamp_ns / NANOSECONDS_PER_SECOND
        # Half a period of slack: images at just the wanted rate must not be dropped for their jitter.
        slack_s = 0.5 / max(camera.rate_hz for camera in self.robot.cameras)
        period_s = 1.0 / (self.rate_hz or self.robot.rates.observation_hz)
        if self._newest_s is not None and stamp_s < self._newest_s + max(period_s - slack_s, 1e-9):
            return None
        if not self._states or self._states[-1][0].stamp_s < stamp_s:
            return None
        matched = next((entry for entry in reversed(self._states) if entry[0].stamp_s <= stamp_s), None)
        if matched is None or stamp_s - matched[0].stamp_s > self.slop_s:
            return None
        self._newest_s = stamp_s
        return Match(stamp_ns, captures, *matched)

    def problems(self, now_s: float) -> list[str]:
        """What keeps observations from being made at `now_s`, one phrase each; empty if nothing does."""
        problems = []
        for role, captures in self._captures.items():
            problems += self._staleness(
                f"the camera {role}", captures[-1].stamp_s if captures else None, now_s
            )
        state_s = self._states[-1][0].stamp_s if self._states else None
        problems += self._staleness("joint_states", state_s, now_s)
        if not problems and (self._newest_s is None or now_s - self._newest_s > self.stale_s):
            problems.append(
                f"no images and joint states within {self.slop_s:g} s of each other (parameter slop_s)"
            )
        return problems

    def _staleness(self, what: str, stamp_s: float | None, now_s: float) -> Sequence[str]:
        if stamp_s is None:
            return [f"nothing has come from {what}"]
        if now_s - stamp_s > self.stale_s:
            return [f"the newest message from {what} is {now_s - stamp_s:.2f} s old"]
        return []

    def _newest_set(self) -> dict[str, Capture] | None:
        """One capture per camera, within the slop of the camera whose newest image is the oldest."""
        if not all(self._captures.values()):
            return None
        pivot_s = min(captures[-1].stamp_s for captures in self._captures.values())
        chosen = {
            role: min(captures, key=lambda capture: abs(capture.stamp_s - pivot_s))
            for role, captures in self._captures.items()
        }
        stamps_s = [capture.stamp_s for capture in chosen.values()]
        return chosen if max(stamps_s) - min(stamps_s) <= self.slop_s else None
