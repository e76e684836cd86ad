"""The timeline: rows of chunks at absolute times, old and new blended, the last one held."""

import numpy as np
import pytest

from dexvla_model.streaming.plan import KNOT_S
from dexvla_model.streaming.timeline import ActionTimeline, interpolate_rows

STEP_S = 0.1


def chunk(stamp_s, value, rows=16, joints=2):
    """Times and rows: `value` is a number or a function of the times."""
    times = stamp_s + np.arange(rows) * STEP_S
    column = value(times) if callable(value) else np.full(rows, value)
    return times, np.repeat(column[:, None], joints, axis=1)


def knot(time_s):
    return round(time_s / KNOT_S)


def test_a_chunk_is_aligned_by_its_stamp():
    timeline = ActionTimeline()
    timeline.merge(*chunk(10.03, np.sin), knot(10.5), 0.2)
    wanted = np.sin(np.arange(knot(10.5), knot(11.4)) * KNOT_S)
    np.testing.assert_allclose(timeline.reference(knot(10.5), len(wanted))[:, 0], wanted, atol=1e-3)


def test_rows_before_the_commit_point_are_dropped_and_counted():
    timeline = ActionTimeline()
    assert timeline.merge(*chunk(10.0, 1.0), knot(10.5), 0.2) == 5
    assert timeline.at(knot(10.5) - 1) is None
    assert timeline.at(knot(10.5)) == pytest.approx([1.0, 1.0])


def test_the_last_row_is_held():
    timeline = ActionTimeline()
    timeline.merge(*chunk(10.0, lambda times: times), knot(10.0), 0.2)
    assert timeline.end_s == pytest.approx(11.5)
    reference = timeline.reference(knot(11.0), 200)
    np.testing.assert_allclose(reference[20:], 11.5)
    assert timeline.at(knot(12.0)) is None


def test_the_new_rows_take_over_along_a_ramp():
    timeline = ActionTimeline()
    timeline.merge(*chunk(10.0, 0.0), knot(10.0), 0.2)
    timeline.merge(*chunk(10.3, 1.0), knot(10.5), 0.25)
    share = timeline.reference(knot(10.5), 16)[:, 0]
    np.testing.assert_allclose(share[:9], np.arange(9) / 8.0)
    np.testing.assert_allclose(share[8:], 1.0)


def test_chunks_that_agree_leave_the_reference_as_it_is():
    one, two = ActionTimeline(), ActionTimeline()
    for timeline in (one, two):
        timeline.merge(*chunk(10.0, lambda times: 2.0 * times), knot(10.2), 0.2)
    two.merge(*chunk(10.13, lambda times: 2.0 * times), knot(10.4), 0.2)
    np.testing.assert_allclose(one.reference(knot(10.4), 30), two.reference(knot(10.4), 30), atol=1e-9)


def test_nothing_is_blended_with_rows_that_are_over():
    timeline = ActionTimeline()
    timeline.merge(*chunk(10.0, 0.0), knot(10.0), 0.2)
    timeline.merge(*chunk(12.0, 1.0), knot(12.0), 0.2)
    np.testing.assert_array_equal(timeline.reference(knot(12.0), 10), 1.0)


def test_clearing_forgets_all():
    timeline = ActionTimeline()
    timeline.merge(*chunk(10.0, 0.0), knot(10.0), 0.2)
    timeline.clear()
    assert timeline.reference(knot(10.0), 5) is None
    assert timeline.end_s == -np.inf


def test_rows_are_joined_smoothly_and_exactly_even_late_in_a_clocks_life():
    for start_s in (0.0, 1.79e9):
        times, rows = chunk(start_s, lambda times, start_s=start_s: (times - start_s) ** 2, rows=8)
        at = start_s + np.linspace(0.1, 0.6, 50)
        np.testing.assert_allclose(interpolate_rows(times, rows, at)[:, 0], (at - start_s) ** 2, atol=1e-6)


def test_a_single_row_is_a_target():
    timeline = ActionTimeline()
    timeline.merge(*chunk(10.0, 0.7, rows=1), knot(9.9), 0.2)
    np.testing.assert_array_equal(timeline.reference(knot(10.0), 5), 0.7)
