"""Limits and seams, read off recorded commands."""

import numpy as np
import pytest

from dexvla_ros.command_report import report_commands

STEP_S = 0.002


@pytest.fixture
def recording(robot) -> dict[str, np.ndarray]:
    """Two episodes of a gentle swing of all joints, with a leap in between, and two trajectories in each."""
    joints = [joint for controller in robot.controllers for joint in controller.joints]
    times_s = np.arange(2000) * STEP_S
    amplitude, frequency = 0.05, 4.0
    swing = np.sin(frequency * times_s)[:, None] * np.ones(len(joints))
    offset = np.where(np.arange(2000) < 1000, 0.1, 0.3)[:, None]
    return {
        "joints": np.array(joints),
        "times_s": times_s,
        "positions_rad": offset + amplitude * swing,
        "velocities_rad_s": amplitude
        * frequency
        * np.cos(frequency * times_s)[:, None]
        * np.ones(len(joints)),
        "accelerations_rad_s2": -amplitude * frequency**2 * swing,
        "episode_starts": np.array([0, 1000]),
        "seams": np.array([100, 500, 1100, 1500]),
    }


def test_a_gentle_motion_is_within_limits_and_a_reset_counts_for_nothing(recording, robot):
    report = report_commands(recording, robot)
    assert report.within_limits
    assert (report.updates, report.seams) == (2000, 4)
    slowest = min(limit.velocity for limit in robot.limits.values())
    assert report.velocity_share == pytest.approx(0.2 / slowest, rel=1e-3)


@pytest.mark.parametrize(
    ("field", "value"),
    [("positions_rad", 9.0), ("velocities_rad_s", 4.0), ("accelerations_rad_s2", 11.0)],
)
def test_a_single_command_beyond_a_limit_is_found(recording, robot, field, value):
    recording[field][700, 2] = value
    assert not report_commands(recording, robot).within_limits


def test_a_step_in_position_is_a_velocity_beyond_its_limit(recording, robot):
    recording["positions_rad"][700:1000] += 0.05
    report = report_commands(recording, robot)
    assert not report.within_limits
    assert report.velocity_share > 1.0


def test_a_step_in_velocity_is_told_apart_at_seams_and_elsewhere(recording, robot):
    before = report_commands(recording, robot)
    recording["velocities_rad_s"][500:1000] += 0.1
    after = report_commands(recording, robot)
    assert after.seam_velocity_step_rad_s == pytest.approx(0.1, abs=0.01)
    assert after.other_velocity_step_rad_s == before.other_velocity_step_rad_s


def test_an_empty_recording_has_no_figures(recording, robot):
    empty = {
        name: values[:0] if name not in ("joints", "seams") else values for name, values in recording.items()
    }
    empty["episode_starts"], empty["seams"] = np.array([0]), np.array([], dtype=np.int64)
    assert report_commands(empty, robot).updates == 0
