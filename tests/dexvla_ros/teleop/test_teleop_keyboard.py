"""Keys: what moves, for how long, and what stops it."""

import numpy as np
import pytest

from dexvla_ros.teleop.teleop_loop import TeleopState
from dexvla_sim.kinematics import ToolKinematics, rotation_vector


@pytest.fixture(scope="module")
def kinematics(robot):
    return ToolKinematics(robot)


@pytest.fixture
def tool(kinematics):
    """Function from positions (A,) to the tool's position and rotation."""
    return lambda positions: kinematics.forward(positions[kinematics.arm])


def speed_rad_s(bench):
    return np.abs(bench.track[-1] - bench.track[-2]).max() / 0.01


def test_a_tap_moves_at_once_and_comes_to_rest_by_itself(keyboard, tool):
    start = tool(keyboard.positions)[0]
    keyboard.tap("w").run(0.15)
    assert speed_rad_s(keyboard) > 0.02
    keyboard.run(1.0)
    assert speed_rad_s(keyboard) < 1e-6
    moved = tool(keyboard.positions)[0] - start
    assert 0.005 < moved[0] < 0.04
    np.testing.assert_allclose(moved[1:], 0.0, atol=1e-3)
    assert keyboard.loop.state is TeleopState.READY


def test_a_held_key_moves_on_at_the_speed_that_is_set(keyboard, tool):
    keyboard.press("w", 2.0)
    moved = tool(keyboard.track[-1])[0] - tool(keyboard.track[-101])[0]
    assert moved[0] / 1.0 == pytest.approx(0.4 * 0.2, rel=0.02)
    assert keyboard.loop.state is TeleopState.MOVING


def test_a_released_key_brings_it_to_rest_within_half_a_second(keyboard):
    keyboard.press("w", 1.5).run(0.7)
    assert speed_rad_s(keyboard) < 1e-3


@pytest.mark.parametrize(
    ("key", "axis", "sign"),
    [("w", 0, 1), ("s", 0, -1), ("a", 1, 1), ("d", 1, -1), ("r", 2, 1), ("f", 2, -1)],
)
def test_each_key_moves_the_tool_straight_along_its_axis(keyboard, tool, key, axis, sign):
    start, facing = tool(keyboard.positions)
    keyboard.tracked()
    keyboard.press(key, 1.2).run(1.0)
    track = np.stack([tool(positions)[0] for positions in keyboard.tracked()]) - start
    assert track[-1, axis] * sign > 0.04
    beside = np.delete(track, axis, axis=1)
    assert np.abs(beside).max() < 5e-4
    turned = rotation_vector(tool(keyboard.positions)[1] @ facing.T)
    assert np.abs(turned).max() < 2e-3


@pytest.mark.parametrize(("key", "axis", "sign"), [("u", 0, 1), ("k", 1, -1), ("o", 2, 1)])
def test_a_turn_keeps_the_tool_where_it_is(keyboard, tool, key, axis, sign):
    start, facing = tool(keyboard.positions)
    keyboard.tracked()
    keyboard.press(key, 1.0).run(1.0)
    track = np.stack([tool(positions)[0] for positions in keyboard.tracked()]) - start
    assert np.abs(track).max() < 1e-3
    turned = rotation_vector(tool(keyboard.positions)[1] @ facing.T)
    assert turned[axis] * sign > 0.2
    assert np.abs(np.delete(turned, axis)).max() < 5e-3


def test_in_the_tool_frame_the_tool_moves_along_its_own_axis(keyboard, tool):
    start, facing = tool(keyboard.positions)
    keyboard.tap("tab").press("r", 1.0).run(1.0)
    assert keyboard.source.mode == "tool"
    moved = tool(keyboard.positions)[0] - start
    assert moved @ facing[:, 2] > 0.03
    np.testing.assert_allclose(moved, (moved @ facing[:, 2]) * facing[:, 2], atol=1e-3)


def test_a_joint_is_jogged_alone(keyboard, robot):
    before = keyboard.positions
    keyboard.tap("2").press("down", 0.8).run(1.0)
    moved = keyboard.positions - before
    assert moved[1] < -0.1
    np.testing.assert_allclose(np.delete(moved, 1), 0.0, atol=1e-6)
    assert keyboard.source.mode == robot.action_joints[1]


def test_the_gripper_closes_and_opens_and_the_arm_stays(keyboard):
    before = keyboard.positions
    keyboard.press("g", 1.5).run(0.8)
    closed = keyboard.positions - before
    assert closed[6] > 0.2
    np.testing.assert_allclose(closed[:6], 0.0, atol=1e-6)
    keyboard.press("h", 3.0).run(0.8)
    # It opens as far as it goes, and not beyond.
    assert keyboard.positions[6] == pytest.approx(0.002, abs=2e-3)


def test_faster_and_slower_change_the_speed_within_bounds(keyboard):
    for _ in range(20):
        keyboard.tap("+")
    assert keyboard.source.speed == 1.0
    for _ in range(40):
        keyboard.tap("-")
    assert keyboard.source.speed == pytest.approx(0.05)


def test_the_stop_key_holds_until_it_is_engaged_again(keyboard):
    keyboard.press("w", 0.6).tap("space")
    assert keyboard.loop.state is TeleopState.HOLDING
    keyboard.run(0.6)
    rest = keyboard.positions
    keyboard.press("w", 0.6)
    np.testing.assert_allclose(keyboard.positions, rest, atol=1e-9)
    keyboard.tap("enter").run(1.2)
    assert keyboard.loop.state is TeleopState.READY
    keyboard.press("w", 0.6)
    assert np.abs(keyboard.positions - rest).max() > 0.01


def test_a_key_without_an_action_stops_the_motion(keyboard):
    keyboard.press("w", 0.8).tap("?").run(0.5)
    assert speed_rad_s(keyboard) < 1e-3
    assert keyboard.loop.state is TeleopState.READY


def test_one_kind_of_motion_ends_before_another_begins(keyboard):
    keyboard.press("w", 0.8)
    keyboard.tap("1").press("up", 0.6).run(0.8)
    assert keyboard.loop.state is TeleopState.READY
    assert keyboard.positions[0] > -0.3


def test_nothing_moves_before_it_is_engaged(make_bench):
    bench = make_bench("keyboard").run(0.5)
    bench.press("w", 0.5)
    assert bench.node.sent == []
    assert bench.loop.state is TeleopState.RELEASED
