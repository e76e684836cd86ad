"""The sweep over robots, chunk rates and delays: continuous streams pass, and a broken one is found."""

import dataclasses

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_model.robot import load_robot
from dexvla_sim import seam_sweep
from dexvla_sim.seam_sweep import SeamCase, measure_seams, seam_cases, sweep_seams


def test_the_sweep_covers_every_rate_delay_and_motion_of_every_robot():
    cases = seam_cases(["ur5e", "fr3"])
    assert len(cases) == len(set(cases)) == 2 * 2 * 3 * 4


@pytest.mark.parametrize("robot", ["ur5e", "inspire"])
def test_random_chunks_at_30_hz_with_300_ms_of_inference_are_continuous(robot):
    figures = measure_seams(SeamCase(robot, "jumping", 30.0, 0.3, duration_s=2.0))
    assert figures.seams > 5
    assert figures.continuous
    assert figures.acceleration_elsewhere > 0.5  # it really moves at its limits


@pytest.mark.parametrize(
    ("position_step_rad", "velocity_step_rad_s"), [(0.0, 0.2), (0.0005, 0.0)], ids=["velocity", "position"]
)
def test_a_step_at_a_seam_is_found(monkeypatch, position_step_rad, velocity_step_rad_s):
    stream_chunks = seam_sweep.stream_chunks

    def with_a_step(*arguments):
        recording = stream_chunks(*arguments)
        commands = recording.commands.copy()
        behind = commands[recording.seams[-1] :]
        behind += position_step_rad + velocity_step_rad_s * np.arange(len(behind))[:, None] / 500.0
        return dataclasses.replace(recording, commands=commands)

    monkeypatch.setattr(seam_sweep, "stream_chunks", with_a_step)
    figures = measure_seams(SeamCase("ur5e", "smooth", 5.0, 0.0, duration_s=2.0))
    assert not figures.continuous
    assert figures.velocity_at_seams > 1.5 > figures.velocity_elsewhere


def test_the_order_of_the_results_does_not_depend_on_who_is_done_first():
    cases = [SeamCase("inspire", "smooth", rate, 0.0, duration_s=2.0) for rate in (15.0, 5.0)]
    seen = []
    results = sweep_seams(cases, 2, seen.append)
    assert [figures.case for figures in results] == cases
    assert len(seen) == 2
    assert np.isfinite([figures.velocity_at_seams for figures in results]).all()


def test_an_unknown_robot_is_refused_before_anything_runs():
    with pytest.raises(UserError, match="nope"):
        sweep_seams(seam_cases(["nope"]), 1)


def test_limits_are_those_of_the_robot_file():
    limit = load_robot("ur5e").limits["elbow_joint"]
    assert limit.acceleration == 5.0 and limit.jerk == 50.0
