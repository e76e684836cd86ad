"""Where a straight line ends: singular poses, joint limits. It slows down and stops, and never jumps."""

import numpy as np
import pytest

from dexvla_ros.teleop.teleop_loop import TeleopState
from dexvla_sim.kinematics import ToolKinematics


@pytest.fixture(scope="module")
def kinematics(robot):
    return ToolKinematics(robot)


def hold(bench, key, seconds):
    """Hold a key; the reasons that were shown."""
    reasons = set()
    for _ in range(round(seconds / 0.03)):
        bench.tap(key).run(0.03)
        reasons.add(bench.loop.reason)
    return reasons


@pytest.fixture
def fast(keyboard):
    for _ in range(10):
        keyboard.tap("+")
    keyboard.tracked()
    return keyboard


def test_an_arm_that_is_stretched_slows_down_says_why_and_stops(fast, kinematics):
    reasons = hold(fast, "w", 5.0)
    assert "the arm is near a singular pose" in reasons
    assert fast.loop.state in (TeleopState.MOVING, TeleopState.READY)
    track = fast.tracked()
    tool = np.stack([kinematics.forward(positions[:6])[0] for positions in track])
    assert tool[-1, 0] - tool[0, 0] > 0.2
    # It has come to a halt although the key is held, and never was fast or off its line.
    assert np.abs(track[-1] - track[-30]).max() < 0.02
    assert np.abs(np.diff(track, axis=0)).max() < 2.0 * 0.01
    assert np.abs(tool[:, 1:] - tool[0, 1:]).max() < 0.01


def test_it_comes_back_from_a_singular_pose(fast, kinematics):
    hold(fast, "w", 5.0)
    stretched = kinematics.forward(fast.positions[:6])[0]
    hold(fast, "s", 2.0)
    back = kinematics.forward(fast.positions[:6])[0] - stretched
    assert back[0] < -0.08
    np.testing.assert_allclose(back[1:], 0.0, atol=5e-3)


def test_a_joint_stops_before_its_limit(fast, robot):
    for _ in range(3):
        fast.tap("7")
    reasons = hold(fast, "up", 2.5)
    joint = robot.action_joints[6]
    assert f"{joint} is near its limit" in reasons
    limit = robot.limits[joint].upper
    assert limit - 0.01 < fast.positions[6] <= limit
    assert fast.loop.state in (TeleopState.READY, TeleopState.MOVING)


def test_a_line_that_leads_a_joint_to_its_limit_is_followed_up_to_there(robot, make_bench, kinematics):
    bench = make_bench("keyboard")
    # The pan joint stands close to its limit; turning the line would need it to go on.
    bench.positions[0] = robot.limits[robot.action_joints[0]].upper - 0.15
    bench.engage()
    for _ in range(10):
        bench.tap("+")
    bench.tracked()
    reasons = set()
    start, rotation = kinematics.forward(bench.positions[:6])
    # Counter-clockwise about the base, in steps along the tangent.
    for key in ("a", "w", "s", "d"):
        reasons |= hold(bench, key, 1.2)
        bench.run(0.6)
    track = bench.tracked()
    limit = robot.limits[robot.action_joints[0]].upper
    assert track[:, 0].max() <= limit
    assert any("shoulder_pan_joint is near its limit" in reason for reason in reasons)
    assert np.abs(np.diff(track, axis=0)).max() < 0.03
