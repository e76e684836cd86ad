"""Continuity across chunk seams: what the controllers send to their drives, over robots, chunk rates and delays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dexvla_model.episode_pool import run_episodes
from dexvla_model.policy import ActionChunk
from dexvla_model.robot import RobotDescription, load_robot
from dexvla_model.streaming import StreamSettings
from dexvla_model.streaming.benchmark import jumping_motion, smooth_motion
from dexvla_sim.stream_run import ChunkSource, StreamConditions, StreamRecording, stream_chunks

CHUNK_HZ = (5.0, 15.0, 30.0)
DELAYS_S = (0.0, 0.1, 0.2, 0.3)
MOTIONS = ("smooth", "jumping")
UPDATE_HZ = 500.0
# Inference takes the delay and up to this much more, a message to its controller up to this long.
JITTER_S = 0.05
_HORIZON = 16
# Made-up rows may jump by more than a policy's may.
_JUMP_MAX_RAD = 10.0


@dataclass(frozen=True)
class SeamCase:
    """One run of the sweep; `motion` is one of `MOTIONS`."""

    robot: str
    motion: str
    chunk_hz: float
    delay_s: float
    duration_s: float = 6.0
    seed: int = 0


@dataclass(frozen=True)
class SeamFigures:
    """Steps from one update of the controllers to the next, the largest of all joints.

    Velocities and accelerations are differences of the positions that the drives are sent. A velocity is
    continuous where its step is no larger than the acceleration limit times the period, an acceleration where
    its step is no larger than the jerk limit times the period: steps are shares of these.

    Attributes:
        seams: updates at which a new trajectory took over.
        velocity_at_seams, velocity_elsewhere: shares of acceleration limit x period.
        acceleration_at_seams, acceleration_elsewhere: shares of jerk limit x period.
        waiting_s: time without a scheduled row.
    """

    case: SeamCase
    seams: int
    velocity_at_seams: float
    velocity_elsewhere: float
    acceleration_at_seams: float
    acceleration_elsewhere: float
    waiting_s: float

    @property
    def continuous(self) -> bool:
        """No step is larger than its limit allows, wherever; 1e-3 is rounding."""
        steps = (
            self.velocity_at_seams,
            self.velocity_elsewhere,
            self.acceleration_at_seams,
            self.acceleration_elsewhere,
        )
        return max(steps) <= 1.0 + 1e-3


def seam_cases(
    robots: Sequence[str], duration_s: float = 6.0, chunk_hz: Sequence[float] = CHUNK_HZ,
    delays_s: Sequence[float] = DELAYS_S,
) -> list[SeamCase]:
    """All robots at all rates, delays and motions."""
    return [
        SeamCase(robot, motion, rate, delay, duration_s)
        for robot in robots
        for motion in MOTIONS
        for rate in chunk_hz
        for delay in delays_s
    ]


def sweep_seams(
    cases: Sequence[SeamCase], processes: int, progress: Callable[[SeamFigures], None] = lambda figures: None
) -> list[SeamFigures]:
    """Run all cases, in their order.

    Raises:
        UserError: there is no such robot.
    """
    for name in {case.robot for case in cases}:
        load_robot(name)
    found = []
    for figures in run_episodes(processes, _nothing, None, measure_seams, cases):
        found.append(figures)
        progress(figures)
    return sorted(found, key=lambda figures: cases.index(figures.case))


def measure_seams(case: SeamCase) -> SeamFigures:
    """Run one case."""
    robot = load_robot(case.robot)
    conditions = StreamConditions(
        update_hz=UPDATE_HZ,
        chunk_hz=case.chunk_hz,
        latency_s=(case.delay_s, case.delay_s + JITTER_S),
        message_delay_s=(0.0, JITTER_S),
    )
    settings = StreamSettings(jump_max_rad=_JUMP_MAX_RAD)
    recording = stream_chunks(robot, _source(case, robot), case.duration_s, case.seed, conditions, settings)
    return _figures(case, robot, recording)


def _figures(case: SeamCase, robot: RobotDescription, recording: StreamRecording) -> SeamFigures:
    limits = [robot.limits[joint] for joint in robot.action_joints]
    largest = np.array([[limit.acceleration, limit.jerk] for limit in limits]) / UPDATE_HZ
    # Of the positions themselves: a step in them would not show in the velocities that a controller computes.
    velocity = np.abs(np.diff(recording.commands, n=2, axis=0)) * UPDATE_HZ / largest[:, 0]
    acceleration = np.abs(np.diff(recording.commands, n=3, axis=0)) * UPDATE_HZ**2 / largest[:, 1]
    near, near_too = (recording.near_seams(len(steps)) for steps in (velocity, acceleration))
    return SeamFigures(
        case=case,
        seams=len(set(recording.seams)),
        velocity_at_seams=float(velocity[near].max(initial=0.0)),
        velocity_elsewhere=float(velocity[~near].max(initial=0.0)),
        acceleration_at_seams=float(acceleration[near_too].max(initial=0.0)),
        acceleration_elsewhere=float(acceleration[~near_too].max(initial=0.0)),
        waiting_s=recording.streamer.counters.waiting_s,
    )


def _source(case: SeamCase, robot: RobotDescription) -> ChunkSource:
    motion = (smooth_motion if case.motion == "smooth" else jumping_motion)(robot)
    step_s = 1.0 / robot.rates.action_hz

    def source(state, prefix, draw) -> ActionChunk:
        rows = motion(state.stamp_s + step_s * np.arange(_HORIZON), draw)
        if prefix is not None and len(prefix):
            rows[: len(prefix)] = prefix[:_HORIZON]  # as a policy does that is told what is committed
        return ActionChunk(state.stamp_s, step_s, robot.action_joints, rows)

    return source


def _nothing(job: None) -> None:
    """A worker needs no preparation."""
