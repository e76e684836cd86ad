"""Frames at a dataset's rate, chosen from observations at whatever rate the cameras had."""

import numpy as np
import pytest

from dexvla_ros.conversion.frame_clock import Hole, choose_frames


def chosen(stamps_s, rate_hz):
    """Stamps of the frames in s, and the holes."""
    stamps_ns = [round(stamp_s * 1e9) for stamp_s in stamps_s]
    out = list(choose_frames(((stamp, None) for stamp in stamps_ns), rate_hz))
    return [o[0] / 1e9 for o in out if not isinstance(o, Hole)], [o for o in out if isinstance(o, Hole)]


def test_at_the_cameras_rate_every_observation_is_a_frame():
    stamps = 5.0 + np.arange(100) / 30
    frames, holes = chosen(stamps, 30.0)
    np.testing.assert_allclose(frames, stamps, atol=1e-9)
    assert not holes


def test_jitter_changes_nothing():
    draw = np.random.default_rng(0)
    stamps = 5.0 + np.arange(300) / 30 + draw.uniform(-0.008, 0.008, 300)
    frames, holes = chosen(stamps, 30.0)
    assert len(frames) == 300 and not holes


@pytest.mark.parametrize("true_hz", [29.97, 30.03])
def test_a_camera_that_is_a_little_off_its_rate_has_neither_holes_nor_leftovers(true_hz):
    stamps = 5.0 + np.arange(6000) / true_hz
    frames, holes = chosen(stamps, 30.0)
    assert len(frames) == 6000 and not holes


def test_a_third_of_the_rate_takes_every_third():
    stamps = 5.0 + np.arange(91) / 30
    frames, holes = chosen(stamps, 10.0)
    np.testing.assert_allclose(frames, stamps[::3], atol=1e-9)
    assert not holes


def test_a_rate_that_does_not_divide_takes_the_nearest():
    frames, holes = chosen(5.0 + np.arange(300) / 30, 20.0)
    assert len(frames) == pytest.approx(200, abs=2) and not holes
    assert np.abs(np.diff(frames) - 0.05).max() < 0.02


def test_missing_observations_are_a_hole_with_its_edges():
    stamps = np.delete(5.0 + np.arange(30) / 10, [10, 11, 12])
    frames, (hole,) = chosen(stamps, 10.0)
    assert len(frames) == 27
    assert hole == Hole(round(5.9e9), round(6.3e9), 3)


def test_after_a_hole_the_ticks_go_on_as_before():
    stamps = np.concatenate([5.0 + np.arange(10) / 10, 7.0 + np.arange(10) / 10])
    frames, (hole,) = chosen(stamps, 10.0)
    assert len(frames) == 20
    assert hole.ticks == 10


def test_no_observation_is_no_frame():
    assert chosen([], 10.0) == ([], [])
