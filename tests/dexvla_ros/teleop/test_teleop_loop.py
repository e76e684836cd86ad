"""Who has the robot: taking it over, handing it back, and all that ends in a hold."""

from dataclasses import replace

import numpy as np
import pytest

from dexvla_model.streaming import JointTrajectory
from dexvla_ros.teleop.teleop_loop import TeleopState

GRIPPER = 6


@pytest.fixture
def bench(make_bench):
    return make_bench("keyboard").run(0.3)


def other_command(bench, offset_rad=0.0, gripper_rad=None):
    """A trajectory of another node, for each controller: rest near the home pose."""
    robot = bench.robot
    positions = robot.home_positions + offset_rad
    if gripper_rad is not None:
        positions[GRIPPER] = gripper_rad
    for controller in robot.controllers:
        columns = [robot.action_joints.index(joint) for joint in controller.joints]
        rows = np.tile(positions[columns], (2, 1))
        yield (
            controller.name,
            JointTrajectory(controller.joints, bench.clock.now_s, np.array([0.1, 0.2]), rows, rows * 0.0),
        )


def test_engaging_pauses_the_policies_and_takes_over_at_rest(bench):
    bench.loop.engage()
    assert bench.node.paused
    assert bench.loop.state is TeleopState.ENGAGING
    bench.run(1.0)
    assert bench.loop.state is TeleopState.READY
    (sent,) = bench.node.sent
    for trajectory in sent.values():
        assert not np.any(trajectory.velocities)
    np.testing.assert_allclose(bench.positions, bench.robot.home_positions, atol=1e-6)


def test_it_waits_for_the_policies_and_gives_up_when_they_do_not_pause(bench):
    bench.node.problem = "action_node has not answered"
    bench.loop.engage()
    bench.run(1.0)
    assert bench.node.sent == []
    assert bench.loop.reason == "action_node has not answered"
    bench.run(4.0)
    assert bench.loop.state is TeleopState.RELEASED
    assert "could not take the robot over: action_node has not answered" == bench.loop.reason
    assert not bench.node.paused and bench.node.sent == []


def test_it_waits_until_the_robot_stands(bench):
    drift = np.zeros(7)
    for tick in range(100):
        drift[0] += 0.002
        bench.positions = bench.robot.home_positions + drift
        bench.run(0.01)
        if tick == 50:
            bench.loop.engage()
    assert bench.node.sent == []
    assert bench.loop.reason == "waits until the robot stands"
    bench.run(1.0)
    assert bench.loop.state is TeleopState.READY


def test_it_does_not_take_over_while_another_node_commands(bench):
    for tick in range(50):
        for controller, trajectory in other_command(bench):
            bench.loop.on_command(controller, trajectory)
        if tick == 1:
            bench.loop.engage()
        bench.run(0.1)
    assert bench.loop.state is TeleopState.RELEASED
    assert "another node commands" in bench.loop.reason
    assert bench.node.sent == []


def test_it_goes_on_from_the_last_command_so_that_a_grip_is_kept(bench):
    for controller, trajectory in other_command(bench, offset_rad=0.01, gripper_rad=0.6):
        bench.loop.on_command(controller, trajectory)
    # The fingers are on something, and the arm sags.
    bench.positions[GRIPPER] = 0.35
    bench.engage()
    final = {joint: p for t in bench.node.sent[0].values() for joint, p in zip(t.joints, t.positions[-1])}
    expected = bench.robot.home_positions + 0.01
    expected[GRIPPER] = 0.6
    np.testing.assert_allclose([final[joint] for joint in bench.robot.action_joints], expected, atol=1e-6)


def test_its_own_messages_are_not_taken_for_anothers(keyboard):
    for sent in keyboard.node.sent:
        for controller, trajectory in sent.items():
            keyboard.loop.on_command(controller, trajectory)
    assert keyboard.loop.state is TeleopState.READY


def test_a_command_of_another_node_during_the_take_over_is_a_hold(bench):
    bench.loop.engage()
    bench.run(0.1)
    for controller, trajectory in other_command(bench):
        bench.loop.on_command(controller, trajectory)
    bench.run(1.0)
    assert bench.loop.state is TeleopState.HOLDING


def test_a_command_of_another_node_is_a_hold(keyboard):
    keyboard.press("w", 0.6)
    for controller, trajectory in other_command(keyboard):
        keyboard.loop.on_command(controller, trajectory)
    assert keyboard.loop.state is TeleopState.HOLDING
    assert "another node commands joint_trajectory_controller" in keyboard.loop.reason
    # The policies are not let go on by a hold.
    assert keyboard.node.paused


def test_handing_back_lets_the_policies_go_on_only_when_the_robot_stands(keyboard):
    keyboard.press("w", 1.0)
    keyboard.loop.release()
    assert keyboard.loop.state is TeleopState.RELEASING and keyboard.node.paused
    while keyboard.node.paused:
        keyboard.run(0.01)
    assert np.abs(np.diff(np.stack(keyboard.track[-10:]), axis=0)).max() < 1e-3
    assert keyboard.loop.state is TeleopState.RELEASED
    sent = len(keyboard.node.sent)
    keyboard.press("w", 0.5)
    assert len(keyboard.node.sent) == sent


def test_joint_states_that_cease_are_a_hold(keyboard):
    keyboard.press("w", 0.6)
    keyboard.frozen = True
    keyboard.press("w", 0.6)
    assert keyboard.loop.state is TeleopState.HOLDING
    assert "no fresh joint state" in keyboard.loop.reason


def test_a_robot_that_does_not_follow_is_a_hold(keyboard):
    keyboard.press("w", 0.4)
    blocked = keyboard.positions
    for _ in range(20):
        keyboard.positions = blocked
        for key in "w":
            keyboard.input.press(key, keyboard.clock.now_s)
        for _ in range(10):
            keyboard.clock.now_s += 0.01
            keyboard.loop.on_state(replace(keyboard.loop._measured, stamp_s=keyboard.clock.now_s))
            keyboard.loop.check()
    assert keyboard.loop.state is TeleopState.HOLDING
    assert "away from its command" in keyboard.loop.reason


def test_a_robot_that_was_moved_at_rest_is_not_pulled_back(keyboard):
    keyboard.node.sent.clear()
    keyboard.positions = keyboard.robot.home_positions + np.array([0.1, 0, 0, 0, 0, 0, 0])
    keyboard.run(0.05)
    keyboard.tap("w").run(0.3)
    assert keyboard.loop.state is TeleopState.HOLDING
    keyboard.node.sent.clear()
    keyboard.run(0.3)
    keyboard.loop.engage()
    keyboard.run(1.0)
    assert keyboard.loop.state is TeleopState.READY
    assert keyboard.positions[0] == pytest.approx(keyboard.robot.home_positions[0] + 0.1, abs=1e-4)


def test_without_a_controller_it_does_not_engage(bench):
    bench.node.connected = False
    bench.loop.engage()
    bench.run(4.5)
    assert bench.loop.state is TeleopState.RELEASED
    assert "no controller listens" in bench.loop.reason


def test_every_message_ends_at_rest(keyboard):
    keyboard.press("w", 1.0)
    for sent in keyboard.node.sent:
        for trajectory in sent.values():
            assert not np.any(trajectory.velocities[-1])
            assert not np.any(trajectory.accelerations[-1])


def test_a_robot_that_stops_by_itself_is_a_hold_until_a_human_engages_again(keyboard):
    keyboard.press("w", 0.6)
    keyboard.loop.block("the robot is in protective stop")
    keyboard.press("w", 0.6)
    assert keyboard.loop.state is TeleopState.HOLDING
    assert keyboard.loop.reason == "the robot is in protective stop"
    assert np.abs(np.diff(np.stack(keyboard.track[-10:]), axis=0)).max() < 1e-4
    keyboard.loop.engage()
    assert keyboard.loop.state is TeleopState.HOLDING
    keyboard.loop.block("the robot runs no program")
    assert keyboard.loop.reason == "the robot runs no program"
    keyboard.loop.block("")
    keyboard.press("w", 0.6)
    assert keyboard.loop.state is TeleopState.HOLDING and "follows again" in keyboard.loop.reason
    keyboard.loop.engage()
    keyboard.run(1.0)
    assert keyboard.loop.state is TeleopState.READY


def test_a_stopped_robot_is_not_taken_from_the_policies(bench):
    bench.loop.block("the robot is in protective stop")
    bench.loop.engage()
    bench.run(0.5)
    assert bench.loop.state is TeleopState.RELEASED and not bench.node.paused
    assert bench.loop.reason == "the robot is in protective stop"


def test_a_stop_during_the_take_over_is_a_hold(bench):
    bench.loop.engage()
    bench.run(0.1)
    bench.loop.block("the robot is in protective stop")
    bench.run(1.0)
    assert bench.loop.state is TeleopState.HOLDING
