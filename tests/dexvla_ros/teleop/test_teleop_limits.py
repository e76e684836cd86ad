"""Whatever the hand does, what is sent stays within every limit, and one message meets the next."""

import numpy as np
import pytest

from dexvla_ros.teleop.teleop_loop import TeleopState


def assert_within_limits(bench):
    """Every message at nine instants of each segment, which is constant in jerk."""
    assert len(bench.node.sent) > 20
    for sent in bench.node.sent:
        for trajectory in sent.values():
            limits = [bench.robot.limits[joint] for joint in trajectory.joints]
            lower, upper, velocity, acceleration, jerk = (
                np.array([getattr(limit, name) for limit in limits])
                for name in ("lower", "upper", "velocity", "acceleration", "jerk")
            )
            p, v, a = trajectory.positions[:-1], trajectory.velocities[:-1], trajectory.accelerations[:-1]
            step = np.diff(trajectory.times_s)[:, None]
            j = np.diff(trajectory.accelerations, axis=0) / step
            assert (np.abs(j) <= jerk * (1.0 + 1e-6)).all()
            for t in (share * step for share in np.linspace(0.0, 1.0, 9)):
                positions = p + v * t + a * t**2 / 2 + j * t**3 / 6
                assert (positions >= lower - 1e-9).all() and (positions <= upper + 1e-9).all()
                assert (np.abs(v + a * t + j * t**2 / 2) <= velocity + 1e-6).all()
                assert (np.abs(a + j * t) <= acceleration + 1e-6).all()


def assert_seamless(bench):
    """What was committed at the time of a message is not changed by it."""
    for before, after in zip(bench.node.sent[:-1], bench.node.sent[1:]):
        for name, trajectory in after.items():
            start_s = trajectory.stamp_s + trajectory.times_s[0]
            old = before[name].spline().sample(start_s - before[name].stamp_s)
            new = trajectory.spline().sample(trajectory.times_s[0])
            np.testing.assert_allclose(new[0], old[0], atol=1e-6)
            np.testing.assert_allclose(new[1], old[1], atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_any_keys_stay_within_the_limits(keyboard, seed):
    draw = np.random.default_rng(seed)
    keys = list("wsadrfujikolgh123456+") + ["tab", "up", "down", "up", "down"]
    for _ in range(10):
        keyboard.tap("+")
    for _ in range(25):
        key = str(draw.choice(keys))
        for _ in range(int(draw.integers(1, 8))):
            keyboard.tap(key).run(0.03)
        keyboard.run(float(draw.uniform(0.0, 0.2)))
        if keyboard.loop.state is TeleopState.HOLDING:
            keyboard.loop.engage()
            keyboard.run(1.0)
    assert keyboard.loop.streamer.counters.plan_failures == 0
    assert_within_limits(keyboard)
    assert_seamless(keyboard)


@pytest.mark.parametrize("seed", range(2))
def test_any_sticks_stay_within_the_limits(make_bench, seed):
    draw = np.random.default_rng(seed)
    bench = make_bench("gamepad").engage()
    bench.input.on_joy([0.0] * 8, [0] * 11, bench.clock.now_s)
    for _ in range(25):
        axes = draw.uniform(-1.5, 1.5, 8).tolist()
        buttons = [0, 0, 0, 0, int(draw.random() < 0.8), *[0] * 6]
        for _ in range(int(draw.integers(1, 10))):
            bench.input.on_joy(axes, buttons, bench.clock.now_s)
            bench.run(0.02)
    assert bench.loop.state in (TeleopState.READY, TeleopState.MOVING)
    assert_within_limits(bench)
    assert_seamless(bench)


def test_a_leader_that_shakes_stays_within_the_limits(make_bench, robot):
    draw = np.random.default_rng(0)
    bench = make_bench("leader")
    names = robot.action_joints
    bench.every_tick = lambda: bench.source.on_joint_state(
        names, (robot.home_positions + draw.uniform(-0.1, 0.1, len(names))).tolist(), bench.clock.now_s
    )
    bench.run(0.3)
    bench.loop.engage()
    bench.run(2.5)
    assert bench.loop.state is TeleopState.MOVING
    assert_within_limits(bench)
    assert_seamless(bench)
