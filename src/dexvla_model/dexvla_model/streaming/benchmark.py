"""How long planning takes, and how closely a stream follows what the policy wants."""

import time
from collections.abc import Callable

import numpy as np

from dexvla_model.observation import RobotState
from dexvla_model.policy import ActionChunk
from dexvla_model.robot import RobotDescription
from dexvla_model.streaming.settings import StreamSettings
from dexvla_model.streaming.streamer import ActionStreamer

# Times (T,) s and a generator -> positions (T, A), rad or m.
Motion = Callable[[np.ndarray, np.random.Generator], np.ndarray]

_TICK_S = 0.01
_SETTLING_S = 4.0


def benchmark_stream(
    robot: RobotDescription,
    settings: StreamSettings = StreamSettings(),
    duration_s: float = 30.0,
    chunk_hz: float = 8.0,
    latency_s: tuple[float, float] = (0.05, 0.3),
    horizon: int = 16,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Stream made-up chunks, in simulated time, on a robot that follows its commands at once.

    Args:
        duration_s: simulated time, in s. chunk_hz: chunks per second.
        latency_s: shortest and longest time from a joint state to the arrival of its chunk, in s.
        horizon: rows of a chunk.

    Returns:
        By kind of chunks, `smooth` (sines within 60 % of the limits) and `jumping` (random rows, so that the
        limits bind all the time): times per plan and message in ms of this machine, and for smooth ones the
        distance from the wanted motion in mrad, the largest of all joints, after the first seconds.
    """
    kinds = {"smooth": smooth_motion(robot), "jumping": jumping_motion(robot)}
    return {
        kind: _run(robot, settings, duration_s, chunk_hz, latency_s, horizon, seed, wanted, kind == "smooth")
        for kind, wanted in kinds.items()
    }


def _middles(robot: RobotDescription) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half width of a range on the roomier side of home, (A,) rad each."""
    limits = [robot.limits[joint] for joint in robot.action_joints]
    home = robot.home_positions
    room = np.array([min(max(h - l.lower, l.upper - h), 0.6) for h, l in zip(home, limits)])
    inward = np.array([1.0 if l.upper - h >= h - l.lower else -1.0 for h, l in zip(home, limits)])
    return home + 0.5 * inward * room, 0.5 * room


def smooth_motion(robot: RobotDescription) -> Motion:
    """Sines within 60 % of the limits."""
    middle, room = _middles(robot)
    limits = [robot.limits[joint] for joint in robot.action_joints]
    rate = np.array(
        [
            min(2.0, 0.6 * l.velocity / r, np.sqrt(0.6 * l.acceleration / r))
            for l, r in zip(limits, room)
        ]
    )

    def wanted(times_s: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        return middle + room * np.sin(times_s[:, None] * rate + np.arange(len(rate)))

    return wanted


def jumping_motion(robot: RobotDescription) -> Motion:
    """Random rows, so that the limits bind all the time."""
    middle, room = _middles(robot)

    def wanted(times_s: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        return middle + room * draw.uniform(-1.0, 1.0, (len(times_s), len(room)))

    return wanted


def _run(
    robot, settings, duration_s, chunk_hz, latency_s, horizon, seed, wanted, measure_error
) -> dict[str, float]:
    draw = np.random.default_rng(seed)
    streamer = ActionStreamer(robot, settings)
    step_s = 1.0 / robot.rates.action_hz
    columns = [
        robot.action_joints.index(joint) if joint in robot.action_joints else None
        for joint in robot.state_joints
    ]
    position = robot.home_positions
    on_the_way: list[tuple[float, ActionChunk]] = []
    planning, idle, distances = [], [], []
    next_chunk_s = 0.0
    for tick in range(round(duration_s / _TICK_S)):
        now_s = 1.0 + tick * _TICK_S
        measured = np.array([0.0 if column is None else position[column] for column in columns])
        state = RobotState(now_s, measured)
        if tick == 0:
            streamer.start(now_s)
        streamer.observe(state)
        if now_s >= next_chunk_s:
            next_chunk_s = now_s + 1.0 / chunk_hz
            streamer.prefix(now_s, state)
            rows = wanted(now_s + np.arange(horizon) * step_s, draw)
            chunk = ActionChunk(now_s, step_s, robot.action_joints, rows)
            on_the_way.append((now_s + draw.uniform(*latency_s), chunk))
        for arrival in [arrival for arrival in on_the_way if arrival[0] <= now_s]:
            on_the_way.remove(arrival)
            streamer.add_chunk(arrival[1], now_s)
        before = time.perf_counter()
        out = streamer.messages(now_s)
        (idle if out is None else planning).append(time.perf_counter() - before)
        command = streamer.command(now_s)
        position = position if command is None else command
        if measure_error and now_s > 1.0 + _SETTLING_S:
            distances.append(np.abs(position - wanted(np.array([now_s]), draw)[0]).max())
    figures = {
        "plans": float(streamer.counters.plans),
        "plan_failures": float(streamer.counters.plan_failures),
        "plan_and_message_ms_mean": float(np.mean(planning) * 1e3),
        "plan_and_message_ms_p99": float(np.percentile(planning, 99) * 1e3),
        "idle_call_ms_mean": float(np.mean(idle) * 1e3),
        "waiting_s": streamer.counters.waiting_s,
    }
    if measure_error:
        figures["distance_mrad_rms"] = float(np.sqrt(np.mean(np.square(distances))) * 1e3)
        figures["distance_mrad_max"] = float(np.max(distances) * 1e3)
    return figures
