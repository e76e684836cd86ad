"""A stream of chunks through streamer and controllers in simulated time, without physics: what drives would be sent."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dexvla_model.observation import RobotState, select_joints
from dexvla_model.policy import ActionChunk
from dexvla_model.robot import RobotDescription
from dexvla_model.streaming import ActionStreamer, StreamSettings
from dexvla_sim.controller import JointTrajectoryController

# Gives the chunk for a state and the committed rows (P, A) behind it, or None; it may draw from the generator.
ChunkSource = Callable[[RobotState, np.ndarray | None, np.random.Generator], ActionChunk | None]

_START_OF_STREAM_S = 0.1
_FIRST_CHUNK_S = 0.8
_OBSERVED_EVERY_S = 0.01
_POLLED_EVERY_S = 0.02


@dataclass(frozen=True)
class StreamConditions:
    """Under which a stream runs; all times in s.

    Attributes:
        update_hz: of the controllers.
        chunk_hz: requests for a chunk. latency_s: shortest and longest inference.
        message_delay_s: shortest and longest way of a message to its controller.
        plant_lag_s: by which the measured joints are behind the commanded ones. sag_rad: and how far below.
        hold_s: when the streamer is told to hold; never if None. dies_s: when it is gone; never if None.
        until_s: no chunk is asked for from then on.
        start_s: reading of the clock at the start.
    """

    update_hz: float = 500.0
    chunk_hz: float = 10.0
    latency_s: tuple[float, float] = (0.05, 0.3)
    message_delay_s: tuple[float, float] = (0.0, 0.05)
    plant_lag_s: float = 0.03
    sag_rad: float = 0.0
    hold_s: float | None = None
    dies_s: float | None = None
    until_s: float = float("inf")
    start_s: float = 100.0


@dataclass
class StreamRecording:
    """What the controllers sent to their drives, and what led to it.

    Attributes:
        commands: (M, A) rad of every update, in the order of the robot's actions. velocities: (M, A) rad/s.
            accelerations: (M, A) rad/s^2. times_s: (M,) after the start.
        seams: updates that were the first of a new trajectory.
        prefixes: stamp after the start and (P, A) rows of every promise that the streamer made.
    """

    streamer: ActionStreamer
    commands: np.ndarray
    velocities: np.ndarray
    accelerations: np.ndarray
    times_s: np.ndarray
    seams: list[int]
    prefixes: list[tuple[float, np.ndarray | None]] = field(default_factory=list)

    def near_seams(self, updates: int) -> np.ndarray:
        """(updates,) bool: of the differences between updates k - 1 and k + 1, those that a seam touches."""
        near = np.zeros(updates, dtype=bool)
        for seam in self.seams:
            near[max(0, seam - 3) : seam + 2] = True
        return near


def stream_chunks(
    robot: RobotDescription,
    source: ChunkSource,
    duration_s: float = 6.0,
    seed: int = 0,
    conditions: StreamConditions = StreamConditions(),
    settings: StreamSettings = StreamSettings(),
) -> StreamRecording:
    """Run a stream from home. Chunks come late, in any order; messages in order, late as well.

    Raises:
        RuntimeError: a controller refused a message.
    """
    period_s = 1.0 / conditions.update_hz
    below = conditions.sag_rad * np.array([entry.relative for entry in robot.action])
    draw, delays = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    streamer = ActionStreamer(robot, settings)
    controllers = {
        c.name: JointTrajectoryController(c.joints, conditions.update_hz, interpolate_from_desired_state=True)
        for c in robot.controllers
    }
    columns = {c.name: [robot.action_joints.index(joint) for joint in c.joints] for c in robot.controllers}
    command = np.zeros((3, len(robot.action_joints)))
    command[0] = robot.home_positions
    on_the_way_to_plant = deque([command[0].copy()] * max(1, round(conditions.plant_lag_s / period_s)))
    chunks: list[tuple[float, ActionChunk]] = []
    mail: deque = deque()
    prefixes, seams, commands = [], [], []
    next_chunk_s, last_delivery_s = _FIRST_CHUNK_S, 0.0
    ticks = round(duration_s / period_s)
    observed, polled = (max(1, round(each / period_s)) for each in (_OBSERVED_EVERY_S, _POLLED_EVERY_S))
    for tick in range(ticks):
        elapsed_s = tick * period_s
        now_s = conditions.start_s + elapsed_s
        on_the_way_to_plant.append(command[0].copy())
        measured = on_the_way_to_plant.popleft() - below
        proprioception = select_joints(robot.action_joints, measured, robot.state_joints)
        if conditions.dies_s is None or elapsed_s < conditions.dies_s:
            if tick == round(_START_OF_STREAM_S / period_s):
                streamer.start(now_s)
            if tick % observed == 0:
                streamer.observe(RobotState(now_s, proprioception))
            arrived = sorted((c for c in chunks if c[0] <= elapsed_s), key=lambda c: c[0])
            chunks = [c for c in chunks if c[0] > elapsed_s]
            for _, chunk in arrived:
                streamer.add_chunk(chunk, now_s)
            if next_chunk_s <= elapsed_s < conditions.until_s:
                next_chunk_s += 1.0 / conditions.chunk_hz
                state = RobotState(now_s - draw.uniform(0.0, 0.01), proprioception)
                prefix = streamer.prefix(now_s, state)
                prefixes.append((state.stamp_s - conditions.start_s, prefix))
                chunk = source(state, prefix, draw)
                latency = draw.uniform(*conditions.latency_s)
                if chunk is not None:
                    chunks.append((elapsed_s + latency, chunk))
            if conditions.hold_s is not None and tick == round(conditions.hold_s / period_s):
                streamer.hold(now_s, "told to")
            if arrived or tick % polled == 0:
                out = streamer.messages(now_s)
                if out is not None:
                    delivery_s = elapsed_s + delays.uniform(*conditions.message_delay_s)
                    last_delivery_s = max(last_delivery_s, delivery_s)
                    mail.append((last_delivery_s, out))
        while mail and mail[0][0] <= elapsed_s:
            for name, trajectory in mail.popleft()[1].items():
                acceptance = controllers[name].accept(trajectory, now_s)
                if not acceptance.accepted:
                    raise RuntimeError(f"{name} refused a message of the streamer: {acceptance.reason}")
            seams.append(tick)
        for name, controller in controllers.items():
            at = columns[name]
            command[:, at] = controller.update(now_s, measured[at], np.zeros(len(at)))
        commands.append(command.copy())
    recorded = np.array(commands)
    times_s = np.arange(1, ticks + 1) * period_s
    return StreamRecording(
        streamer, recorded[:, 0], recorded[:, 1], recorded[:, 2], times_s, seams, prefixes
    )
