"""A gripper that takes actions only: which goals it gets, and what servers do to them. No ROS."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from action_msgs.msg import GoalStatus

from dexvla_model.errors import UserError
from dexvla_model.robot import JointLimits
from dexvla_model.streaming import JointTrajectory
from dexvla_ros.gripper_bridge import BridgeSettings, GoalEnd, GripperBridge
from dexvla_ros.messages.gripper_goals import gripper_goals

LIMITS = JointLimits(0.0, 0.04, 0.2, 1.0, 10.0, "m")
SETTINGS = BridgeSettings(0.002, 4.0, 0.2, answer_timeout_s=2.0, goal_timeout_s=10.0, retry_s=1.0)


class Server:
    def __init__(self):
        self.ready, self.sent, self.cancelled = True, [], []

    def is_ready(self):
        return self.ready

    def send(self, number, position):
        self.sent.append((number, round(position, 4)))

    def cancel(self, number):
        self.cancelled.append(number)


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def bridge(server):
    return GripperBridge("finger", LIMITS, SETTINGS, server)


def path(positions, stamp_s=0.0, joints=("finger",), step_s=0.5):
    times = step_s * np.arange(1, len(positions) + 1)
    return JointTrajectory(joints, stamp_s, times, [[position] * len(joints) for position in positions])


def follow(bridge, positions, now_s=100.0):
    assert bridge.on_trajectory(path(positions), now_s) == ""
    bridge.check(now_s + 10.0, now_s + 10.0)


def test_before_the_first_trajectory_nothing_is_sent(bridge, server):
    bridge.check(1.0, 1.0)
    assert server.sent == []


def test_the_goal_is_where_the_trajectory_is_a_moment_later_and_inside_the_limits(bridge, server):
    bridge.on_trajectory(path([0.0, 0.1], stamp_s=100.0), 99.0)
    bridge.check(100.4, 1.0)
    # 0.2 s later it is a fifth of the way from closed to the upper limit.
    assert server.sent == [(1, 0.008)]


@pytest.mark.parametrize(
    ("trajectory", "words"),
    [
        (path([0.01], joints=("other",)), "other, not finger"),
        (path([]), "no points"),
        (path([0.01, float("nan")]), "not finite"),
        (JointTrajectory(("finger",), 0.0, [1.0, 1.0], [[0.0], [0.01]]), "do not increase"),
        (JointTrajectory(("finger", "b"), 0.0, [1.0], [[0.0]]), "missing"),
    ],
)
def test_a_trajectory_that_makes_no_sense_is_refused_and_the_old_one_stands(bridge, trajectory, words):
    bridge.on_trajectory(path([0.02]), 1.0)
    assert words in bridge.on_trajectory(trajectory, 2.0)
    assert bridge.wanted(50.0) == pytest.approx(0.02)


def test_one_goal_at_a_time_and_the_same_position_is_not_sent_twice(bridge, server):
    follow(bridge, [0.03])
    bridge.on_accepted(1)
    bridge.check(120.0, 120.0)
    bridge.on_end(1, GoalEnd.REACHED)
    follow(bridge, [0.031], 130.0)
    assert server.sent == [(1, 0.03)]


def test_a_goal_that_the_trajectory_leaves_is_cancelled_and_the_next_one_waits_for_its_end(bridge, server):
    follow(bridge, [0.03])
    bridge.on_accepted(1)
    follow(bridge, [0.0], 120.0)
    assert server.cancelled == [1] and len(server.sent) == 1
    bridge.on_end(1, GoalEnd.CANCELED)
    bridge.check(131.0, 131.0)
    assert server.sent[-1] == (2, 0.0)


def test_goals_come_no_faster_than_allowed(bridge, server):
    bridge.on_trajectory(path([0.03]), 0.0)
    bridge.check(10.0, 10.0)
    bridge.on_accepted(1)
    bridge.on_end(1, GoalEnd.REACHED)
    bridge.on_trajectory(path([0.0]), 10.0)
    bridge.check(20.0, 10.2)
    assert len(server.sent) == 1
    bridge.check(20.1, 10.3)
    assert len(server.sent) == 2


def test_closing_on_a_thing_is_not_tried_again_and_no_problem(bridge, server):
    follow(bridge, [0.0])
    bridge.on_accepted(1)
    bridge.on_end(1, GoalEnd.STALLED)
    bridge.check(200.0, 200.0)
    assert len(server.sent) == 1 and bridge.problem == ""


def test_an_aborted_goal_is_said_and_the_next_motion_tries_again(bridge, server):
    follow(bridge, [0.0])
    bridge.on_accepted(1)
    bridge.on_end(1, GoalEnd.ABORTED)
    bridge.check(200.0, 200.0)
    assert "broke the goal 0.000 off" in bridge.problem and len(server.sent) == 1
    follow(bridge, [0.02], 210.0)
    assert len(server.sent) == 2


def test_a_rejected_goal_is_offered_again_after_a_pause(bridge, server):
    follow(bridge, [0.0])
    bridge.on_rejected(1, 110.0)
    bridge.check(110.5, 110.5)
    assert len(server.sent) == 1 and "rejects" in bridge.problem
    bridge.check(111.1, 111.1)
    bridge.on_accepted(2)
    assert len(server.sent) == 2 and bridge.problem == ""


def test_a_server_that_answers_late_is_given_up_and_its_answer_cancelled(bridge, server):
    follow(bridge, [0.03])
    bridge.check(112.5, 112.5)
    assert "has not answered for 2 s" in bridge.problem
    bridge.on_accepted(1)
    assert server.cancelled == [1]
    bridge.check(114.0, 114.0)
    bridge.on_accepted(2)
    assert server.sent[-1] == (2, 0.03) and server.cancelled == [1]
    bridge.on_end(1, GoalEnd.REACHED)  # of the goal before: means nothing
    bridge.check(114.1, 114.1)
    assert len(server.sent) == 2


def test_a_goal_that_never_ends_is_given_up(bridge, server):
    follow(bridge, [0.03])
    bridge.on_accepted(1)
    bridge.check(121.0, 121.0)
    assert server.cancelled == [1] and "not ended a goal within 10 s" in bridge.problem


def test_a_server_that_dies_is_told_anew_when_it_is_back(bridge, server):
    follow(bridge, [0.03])
    bridge.on_accepted(1)
    server.ready = False
    bridge.check(111.0, 111.0)
    assert "not there" in bridge.problem
    server.ready = True
    bridge.check(112.0, 112.0)
    bridge.on_accepted(2)
    assert server.sent == [(1, 0.03), (2, 0.03)] and bridge.problem == ""


def test_stopping_cancels_and_forgets(bridge, server):
    follow(bridge, [0.03])
    bridge.on_accepted(1)
    bridge.stop()
    bridge.check(130.0, 130.0)
    assert server.cancelled == [1] and len(server.sent) == 1


def test_the_messages_of_both_kinds_of_action(monkeypatch):
    class GripperCommand:
        Goal = lambda: SimpleNamespace(command=SimpleNamespace())  # noqa: E731

    class ParallelGripperCommand:
        Goal = SimpleNamespace

    module = ModuleType("control_msgs.action")
    module.GripperCommand, module.ParallelGripperCommand = GripperCommand, ParallelGripperCommand
    monkeypatch.setitem(sys.modules, "control_msgs", ModuleType("control_msgs"))
    monkeypatch.setitem(sys.modules, "control_msgs.action", module)
    franka = gripper_goals("control_msgs/action/GripperCommand")
    goal = franka.make("finger", 0.02, 30.0)
    assert (goal.command.position, goal.command.max_effort) == (0.02, 30.0)
    robotiq = gripper_goals("control_msgs/action/ParallelGripperCommand").make("knuckle", 0.4, 5.0)
    assert (list(robotiq.command.name), list(robotiq.command.position)) == (["knuckle"], [0.4])
    met = SimpleNamespace(stalled=True)
    assert franka.end(GoalStatus.STATUS_ABORTED, met) is GoalEnd.STALLED
    assert franka.end(GoalStatus.STATUS_CANCELED, met) is GoalEnd.CANCELED
    assert franka.end(GoalStatus.STATUS_ABORTED, SimpleNamespace(stalled=False)) is GoalEnd.ABORTED


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "control_msgs.action", None)
    with pytest.raises(UserError, match="control_msgs is not installed.*ros-jazzy-control-msgs"):
        gripper_goals("control_msgs/action/GripperCommand")
