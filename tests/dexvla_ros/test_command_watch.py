"""What the controllers were told last, by us or by another node."""

import numpy as np
import pytest

from dexvla_model.streaming import JointTrajectory
from dexvla_ros.command_watch import CommandWatch

GRIPPER = "gripper_controller"


@pytest.fixture
def watch(robot):
    return CommandWatch(robot)


def trajectory(robot, controller, *positions, stamp_s=5.0):
    joints = robot.controller(controller).joints
    rows = np.array([np.full(len(joints), position) for position in positions])
    return JointTrajectory(joints, stamp_s, np.arange(1, len(rows) + 1) * 0.1, rows)


def test_it_knows_where_each_controller_was_sent_last_and_nothing_of_the_others(watch, robot):
    assert watch.heard(GRIPPER, trajectory(robot, GRIPPER, 0.1, 0.5), 5.0)
    home = robot.home_positions
    np.testing.assert_array_equal(watch.commanded(otherwise=home), [*home[:6], 0.5])
    assert (watch.foreign_s, watch.foreign_controller) == (5.0, GRIPPER)


def test_our_own_come_back_and_are_known(watch, robot):
    ours = trajectory(robot, GRIPPER, 0.1, 0.3)
    watch.sent({GRIPPER: ours})
    assert not watch.heard(GRIPPER, trajectory(robot, GRIPPER, 0.1, 0.3), 5.1)
    assert watch.foreign_s == -np.inf
    # The same stamp, another place: not ours.
    assert watch.heard(GRIPPER, trajectory(robot, GRIPPER, 0.1, 0.4), 5.2)


def test_malformed_messages_are_foreign_and_leave_what_was_known(watch, robot):
    watch.heard(GRIPPER, trajectory(robot, GRIPPER, 0.2), 5.0)
    joints = robot.controller(GRIPPER).joints
    for positions in ([], [[]], [[float("nan")]], [[0.1, 0.2]]):
        odd = JointTrajectory(joints, 6.0, [0.1] * len(positions), positions)
        assert watch.heard(GRIPPER, odd, 6.0)
    assert watch.commanded(otherwise=robot.home_positions)[6] == 0.2


def test_joints_are_matched_by_name(watch, robot):
    controller = robot.controllers[0]
    backwards = tuple(reversed(controller.joints))
    rows = np.arange(6.0)[None]
    watch.heard(controller.name, JointTrajectory(backwards, 5.0, [0.1], rows), 5.0)
    np.testing.assert_array_equal(watch.commanded(robot.home_positions)[:6], np.arange(6.0)[::-1])
