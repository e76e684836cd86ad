"""The commanded action at any time, read off the trajectories that were sent."""

import dataclasses

import numpy as np
import pytest

from dexvla_model.policy import ActionChunk
from dexvla_model.robot import load_robot
from dexvla_model.observation import RobotState
from dexvla_model.streaming import ActionStreamer, CommandHistory, InvalidTrajectory, JointTrajectory


@pytest.fixture(scope="module")
def robot():
    return load_robot("ur5e")


def trajectory(robot, controller: str, stamp_s: float, times_s, values) -> JointTrajectory:
    """All joints of a controller at the same value, in the reverse of its order."""
    joints = robot.controller(controller).joints[::-1]
    positions = np.repeat(np.asarray(values, dtype=float)[:, None], len(joints), axis=1)
    return JointTrajectory(joints, stamp_s, np.asarray(times_s, dtype=float), positions)


@pytest.fixture
def history(robot) -> CommandHistory:
    history = CommandHistory(robot)
    history.add("gripper_controller", trajectory(robot, "gripper_controller", 1.0, [0.0], [0.3]), 1.0)
    return history


ARM = "joint_trajectory_controller"


def test_nothing_is_known_before_every_controller_was_commanded(history, robot):
    assert history.action(2.0) is None
    history.add(ARM, trajectory(robot, ARM, 3.0, [0.0, 1.0], [0.0, 1.0]), 3.0)
    assert history.action(2.9) is None
    assert history.action(3.0) is not None


def test_a_trajectory_is_followed_and_its_end_held(history, robot):
    history.add(ARM, trajectory(robot, ARM, 3.0, [0.0, 1.0], [0.0, 1.0]), 2.95)
    np.testing.assert_allclose(history.action(3.25), [0.25] * 6 + [0.3])
    np.testing.assert_allclose(history.action(9.0), [1.0] * 6 + [0.3])


def test_joints_are_matched_by_name(history, robot):
    joints = robot.controller(ARM).joints
    order = [3, 1, 5, 0, 2, 4]
    positions = np.array([[0.1 * index for index in order]])
    history.add(ARM, JointTrajectory(tuple(joints[i] for i in order), 3.0, np.zeros(1), positions), 3.0)
    np.testing.assert_allclose(history.action(3.0)[:6], 0.1 * np.arange(6))


def test_without_a_stamp_it_counts_from_its_arrival(history, robot):
    history.add(ARM, trajectory(robot, ARM, 0.0, [0.0, 1.0], [0.0, 1.0]), 5.0)
    np.testing.assert_allclose(history.action(5.5)[:6], 0.5)


def test_a_single_point_is_reached_from_the_command_before_it(history, robot):
    history.add(ARM, trajectory(robot, ARM, 3.0, [0.0], [1.0]), 3.0)
    history.add(ARM, trajectory(robot, ARM, 4.0, [0.5], [2.0]), 4.0)
    np.testing.assert_allclose(history.action(4.25)[:6], 1.5)
    history.add(ARM, trajectory(robot, ARM, 4.25, [0.5], [1.5]), 4.25)
    np.testing.assert_allclose(history.action(4.5)[:6], 1.5)


def test_the_order_of_arrival_does_not_matter(robot, history):
    parts = [trajectory(robot, ARM, 3.0 + k, [0.0, 2.0], [k, k + 2.0]) for k in range(4)]
    other = CommandHistory(robot)
    other.add("gripper_controller", trajectory(robot, "gripper_controller", 1.0, [0.0], [0.3]), 1.0)
    for part in parts:
        history.add(ARM, part, 0.0)
    for part in parts[::-1]:
        other.add(ARM, part, 0.0)
    for time_s in np.linspace(3.0, 8.0, 41):
        assert np.array_equal(history.action(time_s), other.action(time_s))


def test_it_reads_off_a_stream_what_the_streamer_commands(robot):
    streamer, history = ActionStreamer(robot), CommandHistory(robot)
    position, draw = robot.home_positions, np.random.default_rng(0)
    streamer.start(1.0)
    commanded = {}
    for tick in range(300):
        now_s = 1.0 + 0.02 * tick
        streamer.observe(RobotState(now_s, np.array(position)))
        if tick % 10 == 0:
            rows = robot.home_positions + draw.uniform(-0.1, 0.1, (16, len(position)))
            streamer.add_chunk(ActionChunk(now_s, 0.1, robot.action_joints, rows), now_s)
        for name, message in (streamer.messages(now_s) or {}).items():
            history.add(name, message, now_s)
        commanded[now_s] = position = streamer.command(now_s)
    moved = max(np.abs(value - robot.home_positions).max() for value in commanded.values())
    assert moved > 0.02
    known = {time_s: value for time_s, value in commanded.items() if history.action(time_s) is not None}
    assert len(known) > 250
    for time_s, value in known.items():
        np.testing.assert_allclose(history.action(time_s), value, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": ("elbow_joint",)}, "the joints elbow_joint, the controller has shoulder_pan"),
        ({"times_s": np.array([0.0, 0.0])}, "strict order of time"),
        ({"positions": np.full((2, 6), np.nan)}, "positions are not finite"),
        ({"positions": [[0.0] * 6, [0.0] * 5]}, "positions are not one for each joint"),
        ({"velocities": [[0.0] * 6, [np.inf] * 6]}, "velocities are not finite"),
    ],
)
def test_what_a_controller_refuses_is_refused(history, robot, changes, message):
    good = trajectory(robot, ARM, 3.0, [0.0, 1.0], [0.0, 1.0])
    with pytest.raises(InvalidTrajectory, match=message):
        history.add(ARM, dataclasses.replace(good, **changes), 3.0)


def test_a_point_without_velocities_among_others_is_allowed(history, robot):
    good = trajectory(robot, ARM, 3.0, [0.0, 1.0], [0.0, 1.0])
    history.add(ARM, dataclasses.replace(good, velocities=[[0.0] * 6, []]), 3.0)
    np.testing.assert_allclose(history.action(3.5)[:6], 0.5)
