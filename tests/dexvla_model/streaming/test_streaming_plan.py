"""Motion plans: piecewise constant jerk on fixed knots, the same curve for planner and controller."""

import numpy as np

from dexvla_model.streaming import JointTrajectory, Spline
from dexvla_model.streaming.plan import KNOT_S, MotionPlan, knot_at_or_after, knot_at_or_before

# Seconds of a system clock, where a float resolves 0.2 microseconds.
EPOCH_S = 1_790_000_000.0


def random_plan(seed=0, joints=3, length=40):
    steps = np.random.default_rng(seed).normal(0.0, 0.01, (length, joints))
    return MotionPlan(1000, 0.5 + np.cumsum(steps, axis=0))


def test_knot_times_are_exact_in_floats_and_in_nanoseconds():
    knots = np.arange(1000) + knot_at_or_after(EPOCH_S)
    times = knots * KNOT_S
    assert [knot_at_or_before(time) for time in times] == knots.tolist()
    assert [knot_at_or_after(time) for time in times] == knots.tolist()
    assert all((time * 1e9).is_integer() for time in (KNOT_S, 3 * KNOT_S))


def test_positions_agree_with_the_knots():
    plan = random_plan()
    positions, _, _ = plan.knots(990, 1060)
    np.testing.assert_allclose(plan.positions(np.arange(990, 1060) * KNOT_S), positions, atol=1e-14)


def test_a_controllers_quintic_through_the_knots_is_the_plan_itself():
    plan = random_plan()
    positions, velocities, accelerations = plan.knots(995, 1050)
    spline = JointTrajectory(
        ("a", "b", "c"), 0.0, np.arange(55) * KNOT_S, positions, velocities, accelerations
    ).spline()
    times = np.linspace(0.0, 54 * KNOT_S, 999)
    np.testing.assert_allclose(
        spline.sample_many(times)[:, 0], plan.positions(995 * KNOT_S + times), atol=1e-13
    )


def test_it_rests_before_its_start_and_after_its_end():
    plan = random_plan()
    positions, velocities, accelerations = plan.knots(plan.rest_knot, plan.rest_knot + 5)
    np.testing.assert_allclose(positions, np.repeat(plan.rest_positions[None], 5, axis=0))
    assert not velocities.any() and not accelerations.any()
    assert not plan.knots(plan.first - 5, plan.first)[1].any()
    assert plan.knots(plan.rest_knot - 1, plan.rest_knot)[1].any()


def test_continuing_it_changes_nothing_up_to_the_commit_knot():
    plan = random_plan()
    changed = plan.continued(1020, np.full((30, 3), 0.3))
    for before, after in zip(plan.knots(980, 1021), changed.knots(980, 1021)):
        np.testing.assert_array_equal(before, after)
    assert changed.rest_knot == 1020 + 2 + 30
    np.testing.assert_array_equal(changed.rest_positions, np.full(3, 0.3))


def test_forgetting_the_past_keeps_the_rest():
    plan = random_plan()
    for knot in (900, 1010, 1039, 1500):
        later = plan.since(knot)
        for before, after in zip(plan.knots(knot, knot + 60), later.knots(knot, knot + 60)):
            np.testing.assert_array_equal(before, after)
    assert len(plan.since(1_000_000).controls) == 1


def test_the_rest_within_a_small_speed_comes_before_the_exact_one():
    controls = np.concatenate([np.linspace(0.0, 1.0, 20), 1.0 - 1e-6 * np.exp(-np.arange(20.0))])[:, None]
    plan = MotionPlan(0, controls)
    knot = plan.rest_knot_within(0.001)
    assert 19 <= knot <= 23 < plan.rest_knot
    assert MotionPlan.at_rest(np.zeros(2), 7).rest_knot_within(0.001) == 7


def test_a_spline_stays_at_its_ends():
    spline = Spline(np.array([0.0, 1.0]), np.array([[0.0], [2.0]]))
    assert spline.sample(-1.0)[0, 0] == 0.0
    assert spline.sample(5.0)[0, 0] == 2.0
    assert spline.sample(0.25).ravel().tolist() == [0.5, 2.0, 0.0]
