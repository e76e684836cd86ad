"""Chunks in, servo commands out: the streamer through the emulated stock controllers at 500 Hz."""

import dataclasses

import numpy as np
import pytest

from dexvla_model.policy import ActionChunk
from dexvla_model.robot import load_robot
from dexvla_model.streaming import StreamSettings, StreamState
from dexvla_sim.stream_run import StreamConditions, stream_chunks

PERIOD_S = 0.002
STEP_S = 0.1
START_S = 100.0
SYSTEM_CLOCK_S = 1_790_000_000.0  # where a float resolves 0.24 microseconds


@pytest.fixture(scope="module")
def robot():
    return load_robot("ur5e")


def stream(robot, source, duration_s=6.0, seed=0, settings=StreamSettings(), start_s=START_S, **conditions):
    """Run a stream. `source(state, prefix, draw)` gives a chunk or None; chunks come late, in any order."""
    conditions = StreamConditions(update_hz=1.0 / PERIOD_S, start_s=start_s, **conditions)
    return stream_chunks(robot, source, duration_s, seed, conditions, settings)


def derivatives(recording):
    """Velocities, accelerations and jerks of consecutive samples: averages over 1, 2 and 3 periods."""
    velocities = np.diff(recording.commands, axis=0) / PERIOD_S
    accelerations = np.diff(velocities, axis=0) / PERIOD_S
    return velocities, accelerations, np.diff(accelerations, axis=0) / PERIOD_S


# --- sources of chunks --------------------------------------------------------------------------------------


def wanted(robot, times_s):
    """A smooth motion that the robot can follow: (M, A) at (M,) times; at home until 1.2 s."""
    t = np.maximum(0.0, np.asarray(times_s)[:, None] - 1.2)
    arm = 0.3 * np.sin(1.3 * t + np.arange(6)) * (1.0 - np.exp(-t * t))
    gripper = 0.2 * (1.0 - np.cos(1.5 * t))
    return robot.home_positions + np.concatenate([arm, gripper], axis=1)


def chunk_at(robot, state, positions):
    return ActionChunk(state.stamp_s, STEP_S, robot.action_joints, positions)


def smooth(robot, start_s=START_S):
    rows = np.arange(16) * STEP_S
    return lambda state, prefix, draw: chunk_at(robot, state, wanted(robot, state.stamp_s - start_s + rows))


def jumping(robot, size_rad=0.25):
    def source(state, prefix, draw):
        walk = np.cumsum(draw.normal(0.0, size_rad, (16, 7)), axis=0)
        return chunk_at(robot, state, robot.home_positions + walk)

    return source


def hostile(robot):
    """Smooth ones among ones that are broken, permuted, stale, far away, early, doubled or missing."""
    good = smooth(robot)

    def source(state, prefix, draw):
        chunk = good(state, prefix, draw)
        kind = draw.integers(12)
        if kind == 0:
            chunk.positions[draw.integers(16), draw.integers(7)] = draw.choice([np.nan, np.inf])
        elif kind == 1:
            order = draw.permutation(7)
            joints = tuple(chunk.joints[index] for index in order)
            chunk = dataclasses.replace(chunk, joints=joints, positions=chunk.positions[:, order])
        elif kind == 2:
            chunk = dataclasses.replace(chunk, stamp_s=chunk.stamp_s - draw.uniform(0.2, 2.0))
        elif kind == 3:
            chunk.positions[:, :6] += draw.normal(0.0, 1.0, 6)
        elif kind == 4:
            chunk = dataclasses.replace(chunk, stamp_s=chunk.stamp_s + draw.uniform(0.2, 2.0))
        elif kind == 5:
            chunk = dataclasses.replace(chunk, joints=chunk.joints[:-1], positions=chunk.positions[:, :-1])
        elif kind == 6:
            chunk.positions[:] *= 100.0
        elif kind == 7:
            return None
        return chunk

    return source


def in_bursts(source, calls=8):
    """Nothing for some calls, then again."""
    count = iter(range(10**6))

    def bursty(state, prefix, draw):
        chunk = source(state, prefix, draw)
        return chunk if next(count) // calls % 2 == 0 else None

    return bursty


# --- what always holds --------------------------------------------------------------------------------------


def assert_within_limits(robot, recording):
    """Differences of samples are averages of the derivatives, so they obey the same limits."""
    velocities, accelerations, jerks = derivatives(recording)
    for column, joint in enumerate(robot.action_joints):
        limit = robot.limits[joint]
        assert recording.commands[:, column].min() >= limit.lower - 1e-9
        assert recording.commands[:, column].max() <= limit.upper + 1e-9
        assert np.abs(velocities[:, column]).max() <= limit.velocity
        assert np.abs(accelerations[:, column]).max() <= limit.acceleration
        assert np.abs(jerks[:, column]).max() <= limit.jerk


def assert_no_seam(robot, recording):
    """Velocity steps between samples are no larger where a message is taken than elsewhere."""
    steps = np.abs(np.diff(recording.commands, n=2, axis=0)) / PERIOD_S
    near = recording.near_seams(len(steps))
    assert near.any()
    for column, joint in enumerate(robot.action_joints):
        # A seam may meet the very sample with the largest acceleration: its neighbours differ by the jerk.
        neighbour = robot.limits[joint].jerk * PERIOD_S * 5 * PERIOD_S + 1e-5
        assert steps[near, column].max() <= steps[~near, column].max() + neighbour


def assert_ends_at_rest(recording):
    np.testing.assert_allclose(
        recording.commands[-50:], recording.commands[-1:].repeat(50, axis=0), atol=1e-9
    )


@pytest.mark.parametrize("chunk_hz", [5.0, 10.0, 15.0])
@pytest.mark.parametrize("kind", ["smooth", "jumping", "hostile", "bursts"])
def test_limits_hold_and_seams_vanish_and_it_ends_at_rest(robot, kind, chunk_hz):
    source = {
        "smooth": smooth(robot),
        "jumping": jumping(robot),
        "hostile": hostile(robot),
        "bursts": in_bursts(jumping(robot)),
    }[kind]
    settings = StreamSettings(jump_max_rad=10.0 if kind in ("jumping", "bursts") else 0.5)
    seed = round(chunk_hz) + len(kind)
    recording = stream(
        robot, source, 8.0, seed, settings, chunk_hz=chunk_hz, message_delay_s=(0.0, 0.1), until_s=4.0
    )
    assert recording.streamer.counters.chunks_taken > 5
    assert recording.streamer.counters.plan_failures == 0
    assert np.ptp(recording.commands, axis=0)[:6].min() > 0.1
    assert_within_limits(robot, recording)
    assert_no_seam(robot, recording)
    assert_ends_at_rest(recording)


@pytest.mark.parametrize("chunk_hz", [5.0, 10.0, 15.0])
def test_a_smooth_motion_is_followed_within_two_milliradians_and_never_waits(robot, chunk_hz):
    recording = stream(robot, smooth(robot), chunk_hz=chunk_hz, seed=3)
    after = recording.times_s > 2.5
    distance = np.abs(recording.commands - wanted(robot, recording.times_s))[after]
    assert distance.max() < 2e-3
    assert recording.streamer.counters.waiting_s == 0.0
    assert recording.streamer.counters.holds == 0


@pytest.mark.parametrize("source", [smooth, jumping])
def test_a_message_may_come_late_without_any_effect(robot, source):
    settings = StreamSettings(jump_max_rad=10.0)
    prompt = stream(robot, source(robot), 4.0, message_delay_s=(0.0, 0.0), settings=settings)
    late = stream(robot, source(robot), 4.0, message_delay_s=(0.05, 0.1), settings=settings)
    started = prompt.times_s > 1.0
    np.testing.assert_allclose(late.commands[started], prompt.commands[started], atol=1e-9)


def test_a_system_clocks_coarse_floats_are_fine_enough(robot):
    recording = stream(robot, smooth(robot, SYSTEM_CLOCK_S), 5.0, start_s=SYSTEM_CLOCK_S)
    after = recording.times_s > 2.5
    assert np.abs(recording.commands - wanted(robot, recording.times_s))[after].max() < 2e-3
    _, accelerations, _ = derivatives(recording)
    for column, joint in enumerate(robot.action_joints):
        assert np.abs(accelerations[:, column]).max() < 1.1 * robot.limits[joint].acceleration


@pytest.mark.parametrize("source", [smooth, jumping])
def test_what_a_prefix_promises_is_executed(robot, source):
    recording = stream(robot, source(robot), settings=StreamSettings(jump_max_rad=10.0), seed=5)
    compared = 0
    for stamp_s, prefix in recording.prefixes:
        times = stamp_s + np.arange(len(prefix)) * STEP_S
        known = times < recording.times_s[-1]
        for column in range(7):
            executed = np.interp(times[known], recording.times_s, recording.commands[:, column])
            np.testing.assert_allclose(prefix[known, column], executed, atol=1e-5)
        compared += known.sum()
    assert compared > 100


def test_hold_stops_as_fast_as_the_limits_allow_and_stays(robot):
    settings = StreamSettings(jump_max_rad=10.0)
    recording = stream(robot, jumping(robot, 0.5), settings=settings, hold_s=3.0, message_delay_s=(0.0, 0.1))
    assert_within_limits(robot, recording)
    assert_no_seam(robot, recording)
    velocities = np.abs(derivatives(recording)[0])
    assert velocities[1500].max() > 0.3
    # From full speed: v / a + a / j; and the lead, the way of the message and two knots.
    latest = max(
        limit.velocity / limit.acceleration + limit.acceleration / limit.jerk
        for limit in robot.limits.values()
    )
    stopped = 3.0 + 0.1 + 1 / 32 + latest + 2 / 32
    assert velocities[recording.times_s[:-1] > stopped].max() < 0.01
    assert_ends_at_rest(recording)
    assert recording.streamer.status.state is StreamState.STOPPED


def test_a_streamer_that_dies_leaves_a_robot_that_comes_to_rest(robot):
    recording = stream(robot, jumping(robot), settings=StreamSettings(jump_max_rad=10.0), dies_s=3.0)
    assert np.abs(derivatives(recording)[0][1400]).max() > 0.05
    assert_within_limits(robot, recording)
    assert_ends_at_rest(recording)


def test_inference_that_stalls_lets_the_robot_rest_at_its_last_row_and_go_on_later(robot):
    calls = iter(range(1000))

    def stalls(state, prefix, draw):
        return smooth(robot)(state, prefix, draw) if not 20 <= next(calls) < 50 else None

    recording = stream(robot, stalls, duration_s=8.0, settings=StreamSettings(jump_max_rad=2.0))
    assert_within_limits(robot, recording)
    assert_no_seam(robot, recording)
    assert recording.streamer.counters.waiting_s > 0.5
    velocities = np.abs(derivatives(recording)[0])
    still = (recording.times_s[:-1] > 5.0) & (recording.times_s[:-1] < 5.7)
    assert velocities[still].max() < 0.05
    after = recording.times_s > 7.5
    assert np.abs(recording.commands - wanted(robot, recording.times_s))[after].max() < 2e-3


def test_a_start_with_a_robot_that_sags_is_within_the_limits(robot):
    recording = stream(robot, smooth(robot), sag_rad=0.015, message_delay_s=(0.0, 0.1), duration_s=4.0)
    assert np.abs(recording.commands[0] - recording.commands[300]).max() == pytest.approx(0.015, abs=1e-3)
    assert recording.streamer.status.state is StreamState.STREAMING
    assert_within_limits(robot, recording)
