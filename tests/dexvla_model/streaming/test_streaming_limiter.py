"""The limiter: within every limit at every instant, close to the reference, at rest in the end."""

import numpy as np
import pytest
import ruckig

from dexvla_model.robot import JointLimits
from dexvla_model.streaming.limiter import MotionLimiter
from dexvla_model.streaming.plan import KNOT_S, MotionPlan

ARM = JointLimits(-2.0, 2.0, 3.0, 5.0, 50.0)
SLOW = JointLimits(-1.0, 1.0, 0.2, 1.0, 400.0)
GRIPPER = JointLimits(0.0, 0.8, 0.5, 10.0, 100.0)
WHEEL = JointLimits(-np.inf, np.inf, 2.0, 4.0, 30.0)
LIMITS = (ARM, SLOW, GRIPPER, WHEEL)
START = np.array([0.1, -0.9, 0.0, 500.0])


def assert_within_limits(plan, start, limits=LIMITS):
    """Positions, velocities and accelerations at 16 instants between knots, jerk in each interval."""
    positions, velocities, accelerations = plan.knots(start, plan.rest_knot + 2)
    jerks = np.diff(accelerations, axis=0) / KNOT_S
    for t in np.linspace(0.0, KNOT_S, 17):
        p = positions[:-1] + velocities[:-1] * t + accelerations[:-1] * t**2 / 2 + jerks * t**3 / 6
        v = velocities[:-1] + accelerations[:-1] * t + jerks * t**2 / 2
        a = accelerations[:-1] + jerks * t
        for joint, limit in enumerate(limits):
            assert p[:, joint].min() >= limit.lower - 1e-9
            assert p[:, joint].max() <= limit.upper + 1e-9
            assert np.abs(v[:, joint]).max() <= limit.velocity + 1e-9
            assert np.abs(a[:, joint]).max() <= limit.acceleration + 1e-9
    for joint, limit in enumerate(limits):
        assert np.abs(jerks[:, joint]).max() <= limit.jerk * (1.0 + 1e-9)


def moving_plan(limiter, commit=100):
    """A plan whose joints all move."""
    target = START + np.array([1.5, 0.8, 0.7, 3.0])
    plan = limiter.follow(
        MotionPlan.at_rest(START, commit), commit, np.tile(target, (limiter.window, 1))
    ).plan
    assert (np.abs(plan.knots(commit + 12, commit + 13)[1]) > 0.1).all()
    return plan


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_of_jumping_references_stays_within_the_limits(seed):
    draw = np.random.default_rng(seed)
    limiter = MotionLimiter(LIMITS)
    plan, commit = MotionPlan.at_rest(START, 100), 100
    for _ in range(40):
        commit += int(draw.integers(1, 20))
        held = draw.integers(1, 12)
        jumps = START + draw.normal(0.0, draw.choice([0.05, 0.5, 5.0]), (limiter.window // held + 1, 4))
        motion = limiter.follow(plan, commit, np.repeat(jumps, held, axis=0)[: limiter.window])
        assert motion.failed == ()
        for before, after in zip(
            plan.knots(commit - 20, commit + 1), motion.plan.knots(commit - 20, commit + 1)
        ):
            np.testing.assert_array_equal(before, after)
        plan = motion.plan
        assert plan.rest_knot <= commit + limiter.window
    assert_within_limits(plan, 100)


@pytest.mark.parametrize("seed", range(3))
def test_any_limits_are_kept(seed):
    draw = np.random.default_rng(seed)
    limits = [
        JointLimits(
            -1.0,
            1.0,
            *(10.0 ** draw.uniform(low, high) for low, high in ((-1, 0.7), (-0.3, 1.5), (0.5, 3.5))),
        )
        for _ in range(6)
    ]
    limiter = MotionLimiter(limits)
    plan, commit = MotionPlan.at_rest(np.zeros(6), 0), 0
    for _ in range(15):
        commit += int(draw.integers(1, 15))
        plan = limiter.follow(plan, commit, np.tile(draw.uniform(-1.5, 1.5, 6), (limiter.window, 1))).plan
    assert_within_limits(plan, 0, limits)


def test_a_smooth_reference_within_the_limits_is_followed_to_a_tenth_of_a_milliradian():
    limiter = MotionLimiter([ARM])
    commit = 100
    plan = MotionPlan.at_rest(np.zeros(1), commit)
    worst = 0.0
    for step in range(20):
        times = (np.arange(commit + 1, commit + 1 + limiter.window) - 100) * KNOT_S
        reference = 0.4 * (1.0 - np.cos(2.0 * times))[:, None]
        plan = limiter.follow(plan, commit, reference).plan
        followed = plan.knots(commit + 1, commit + 9)[0]
        if step > 3:
            worst = max(worst, np.abs(followed - reference[:8]).max())
        commit += 8
    assert worst < 1e-4


def test_a_target_is_reached_about_as_fast_as_possible():
    limiter = MotionLimiter([ARM])
    plan = limiter.follow(MotionPlan.at_rest(np.zeros(1), 0), 0, np.full((64, 1), 1.0)).plan
    problem = ruckig.InputParameter(1)
    problem.current_position, problem.target_position = [0.0], [1.0]
    problem.max_velocity, problem.max_acceleration, problem.max_jerk = [3.0], [5.0], [50.0]
    fastest = ruckig.Trajectory(1)
    ruckig.Ruckig(1).calculate(problem, fastest)
    arrived = np.flatnonzero(np.abs(plan.knots(0, 66)[0][:, 0] - 1.0) > 0.01)[-1] * KNOT_S
    assert arrived < fastest.duration + 0.2


@pytest.mark.parametrize("knot", [104, 108, 112, 120, 130])
def test_a_stop_takes_two_knots_longer_than_the_time_optimal_one_at_most(knot):
    limiter = MotionLimiter(LIMITS)
    plan = moving_plan(limiter)
    motion = limiter.stop(plan, knot)
    assert motion.failed == ()
    assert_within_limits(motion.plan, 100)
    _, velocity, acceleration = (values[0] for values in plan.knots(knot, knot + 1))
    for joint, limit in enumerate(LIMITS):
        problem = ruckig.InputParameter(1)
        problem.control_interface = ruckig.ControlInterface.Velocity
        problem.current_velocity, problem.current_acceleration = [velocity[joint]], [acceleration[joint]]
        problem.target_velocity, problem.target_acceleration = [0.0], [0.0]
        problem.max_acceleration, problem.max_jerk = [limit.acceleration], [limit.jerk]
        optimal = ruckig.Trajectory(1)
        ruckig.Ruckig(1).calculate(problem, optimal)
        speeds = np.abs(motion.plan.knots(knot, knot + limiter.window)[1][:, joint])
        stopped = (
            (np.flatnonzero(speeds > 0.01 * limit.velocity)[-1] + 1) * KNOT_S if speeds.max() else 0.0
        )
        assert stopped <= optimal.duration + 2 * KNOT_S + 1e-9


def test_a_reference_beyond_a_position_limit_ends_at_the_limit():
    limiter = MotionLimiter([ARM])
    plan = limiter.follow(MotionPlan.at_rest(np.zeros(1), 0), 0, np.full((64, 1), 9.0)).plan
    assert plan.rest_positions[0] == pytest.approx(2.0, abs=1e-3)
    assert_within_limits(plan, 0, [ARM])


def test_where_the_solver_fails_the_joint_goes_on_as_planned_before(monkeypatch):
    limiter = MotionLimiter(LIMITS)
    plan = moving_plan(limiter)
    solve, calls = limiter._follow.solve, []

    def fails_for_the_second(*arguments):
        calls.append(arguments)
        return None if len(calls) == 2 else solve(*arguments)

    monkeypatch.setattr(limiter._follow, "solve", fails_for_the_second)
    motion = limiter.follow(plan, 110, np.tile(START, (limiter.window, 1)))
    assert motion.failed == (1,)
    np.testing.assert_array_equal(motion.plan.knots(100, 200)[0][:, 1], plan.knots(100, 200)[0][:, 1])
    assert motion.plan.rest_positions[0] == pytest.approx(START[0], abs=0.01)
    assert_within_limits(motion.plan, 100)


def test_a_solution_beyond_a_limit_is_not_used(monkeypatch):
    limiter = MotionLimiter(LIMITS)
    plan = moving_plan(limiter)
    monkeypatch.setattr(limiter._follow, "solve", lambda state, *_: np.linspace(0.0, 1e5, limiter.window - 2))
    motion = limiter.follow(plan, 110, np.tile(START, (limiter.window, 1)))
    assert motion.failed == (0, 1, 2, 3)
    np.testing.assert_array_equal(motion.plan.knots(100, 200)[0], plan.knots(100, 200)[0])


def test_a_reference_that_is_not_finite_changes_nothing():
    limiter = MotionLimiter(LIMITS)
    plan = moving_plan(limiter)
    motion = limiter.follow(plan, 110, np.full((limiter.window, 4), np.nan))
    assert motion.failed == (0, 1, 2, 3)
    np.testing.assert_array_equal(motion.plan.knots(100, 200)[0], plan.knots(100, 200)[0])
