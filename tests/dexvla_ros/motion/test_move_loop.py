"""From a goal to trajectories and back to rest, on a robot that does what it is sent."""

import numpy as np
import pytest

from dexvla_model.streaming import JointTrajectory
from dexvla_ros.motion.goals import MoveGoal
from dexvla_ros.motion.move_loop import MovePhase
from dexvla_ros.motion.refusal import MoveOutcome

TICK_S = 0.01
AWAY = MoveGoal(joints=("shoulder_pan_joint", "robotiq_85_left_knuckle_joint"), positions=(0.5, 0.4))
# What interpolating a track sampled at 100 Hz adds to a derivative, at most.
SAMPLED = 1.02


def test_it_moves_to_the_goal_within_the_limits_and_hands_the_robot_back(bench, robot):
    bench.tracked()
    move = bench.move(AWAY)
    assert (move.outcome, move.message) == (MoveOutcome.SUCCEEDED, "The robot is at a joint goal.")
    assert not bench.paused
    track = bench.tracked()
    assert abs(track[-1][0] - 0.5) < 1e-3 and abs(track[-1][6] - 0.4) < 1e-3
    np.testing.assert_allclose(track[-1][1:6], robot.home_positions[1:6], atol=1e-3)
    limits = [robot.limits[joint] for joint in robot.action_joints]
    for order, name in ((1, "velocity"), (2, "acceleration")):
        largest = np.abs(np.diff(track, n=order, axis=0)).max(axis=0) / TICK_S**order
        assert (largest <= np.array([getattr(limit, name) for limit in limits]) * SAMPLED).all(), name


def test_what_is_streamed_is_what_was_planned_and_checked(bench):
    bench.tracked()
    bench.move(AWAY)
    track = bench.tracked()
    motion = bench.planner.plan(track[0], AWAY)
    planned = motion.positions(np.arange(0.0, motion.rest_knot / 32.0 + 0.1, 0.002))
    off = [np.abs(planned - posture).max(axis=1).min() for posture in track]
    assert max(off) < 0.004


def test_every_message_comes_to_rest_by_itself(bench):
    bench.move(AWAY)
    for trajectories in bench.sent:
        for trajectory in trajectories.values():
            assert np.abs(trajectory.velocities[-1]).max() == 0.0


def test_a_robot_that_is_there_already_does_not_move_and_is_not_taken(bench):
    sent = len(bench.sent)
    move = bench.move(MoveGoal(named="home"))
    assert move.outcome is MoveOutcome.SUCCEEDED and "already" in move.message
    assert len(bench.sent) == sent


def test_cancelling_brakes_within_the_limits_and_holds(bench, robot):
    bench.loop.begin(AWAY)
    bench.run(10.0, until=lambda: bench.loop.progress() > 0.4)
    bench.tracked()
    bench.loop.cancel()
    bench.run(2.0)
    (move,) = bench.ended
    assert move.outcome is MoveOutcome.CANCELED
    track = bench.tracked()
    assert abs(track[-1][0] - 0.5) > 0.05
    assert np.abs(np.diff(track[-50:], axis=0)).max() < 1e-6
    limit = robot.limits["shoulder_pan_joint"].acceleration
    assert np.abs(np.diff(track[:, 0], n=2)).max() / TICK_S**2 <= limit * SAMPLED
    assert not bench.paused


def test_a_start_in_collision_is_refused_and_nothing_moves(bench):
    bench.positions = np.array([0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0])
    bench.run(0.5)
    move = bench.move(MoveGoal(named="home"))
    assert move.outcome is MoveOutcome.START_IN_COLLISION
    np.testing.assert_allclose(bench.positions[1], 0.3, atol=1e-6)
    assert not bench.paused


def test_without_fresh_joint_states_it_refuses(bench):
    bench.frozen = True
    bench.run(1.0)
    bench.loop.begin(AWAY)
    assert bench.ended[0].outcome is MoveOutcome.FAILED
    assert "joint state" in bench.ended[0].message


def test_joint_states_that_cease_on_the_way_end_it_in_hold(bench):
    bench.loop.begin(AWAY)
    bench.run(10.0, until=lambda: bench.loop.progress() > 0.3)
    bench.frozen = True
    bench.run(6.0, until=lambda: bool(bench.ended))
    assert bench.ended[0].outcome is MoveOutcome.FAILED
    assert "joint state" in bench.ended[0].message


def test_a_robot_that_does_not_follow_is_noticed(bench):
    bench.loop.begin(AWAY)
    bench.run(10.0, until=lambda: bench.loop.progress() > 0.3)
    bench.stuck = True
    bench.run(6.0, until=lambda: bool(bench.ended))
    assert bench.ended[0].outcome is MoveOutcome.FAILED
    assert "away from" in bench.ended[0].message


def test_a_human_who_takes_the_robot_ends_it(bench):
    bench.loop.begin(AWAY)
    bench.run(10.0, until=lambda: bench.loop.progress() > 0.3)
    bench.other = "teleop_node has the robot."
    bench.run(3.0)
    assert bench.ended[0].outcome is MoveOutcome.BUSY
    assert bench.ended[0].message == "teleop_node has the robot."


def test_commands_of_another_node_end_it(bench):
    bench.loop.begin(AWAY)
    bench.run(10.0, until=lambda: bench.loop.progress() > 0.3)
    arm = bench.robot.controllers[0]
    foreign = JointTrajectory(arm.joints, bench.clock.now_s, np.array([1.0]), np.zeros((1, 6)))
    bench.loop.on_command(arm.name, foreign)
    bench.run(3.0)
    assert bench.ended[0].outcome is MoveOutcome.FAILED
    assert "another node commands" in bench.ended[0].message.lower()


def test_a_node_that_is_deactivated_brakes_and_answers_at_once(bench):
    bench.loop.begin(AWAY)
    bench.run(10.0, until=lambda: bench.loop.progress() > 0.3)
    bench.loop.abandon("the node was deactivated")
    assert bench.ended[0].outcome is MoveOutcome.FAILED and bench.loop.move is None
    assert bench.ended[0].message == "The node was deactivated." and not bench.paused
    last = max(trajectory.end_s for trajectory in bench.sent[-1].values())
    assert np.abs(bench.commanded(last)[0] - 0.5) > 0.05


def test_one_move_at_a_time(bench):
    bench.loop.begin(AWAY)
    bench.loop.begin(MoveGoal(named="home"))
    assert bench.ended[0].outcome is MoveOutcome.BUSY
    bench.ended.clear()
    bench.run(10.0, until=lambda: bool(bench.ended))
    assert bench.ended[0].outcome is MoveOutcome.SUCCEEDED


@pytest.mark.parametrize(
    "goal", [MoveGoal(), MoveGoal(named="home", link="grasp_frame"), MoveGoal(named="home", speed=0.0)]
)
def test_a_goal_that_means_nothing_is_refused_at_once(bench, goal):
    bench.loop.begin(goal)
    assert bench.ended[0].outcome is MoveOutcome.INVALID_GOAL


def test_a_robot_that_stops_by_itself_holds_and_the_move_goes_on_when_it_follows_again(bench):
    bench.loop.begin(AWAY)
    bench.run(10.0, until=lambda: bench.loop.progress() > 0.4)
    bench.loop.block("the robot is in protective stop")
    bench.run(2.0)
    assert bench.loop.move.phase is MovePhase.WAITING and bench.paused and not bench.ended
    rest = bench.positions
    assert abs(rest[0] - 0.5) > 0.05
    bench.run(6.0)
    np.testing.assert_allclose(bench.positions, rest, atol=1e-6)
    # Somebody has pushed it a little.
    bench.positions = rest + np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    bench.sent.clear()
    bench.run(0.5)
    bench.loop.block("")
    bench.run(20.0, until=lambda: bool(bench.ended))
    (move,) = bench.ended
    assert move.outcome is MoveOutcome.SUCCEEDED, move.message
    assert abs(bench.positions[0] - 0.5) < 1e-3 and not bench.paused


def test_a_plan_from_before_a_stop_is_not_driven_after_it(bench):
    late = []
    plan = bench.plan_in_background
    bench.plan_in_background = lambda start, goal, on_done: late.append((start, goal, on_done))
    bench.loop.begin(AWAY)
    bench.run(3.0, until=lambda: bool(late))
    bench.loop.block("the robot is in protective stop")
    bench.run(0.5)
    bench.loop.block("")
    bench.run(3.0, until=lambda: len(late) == 2)
    plan(*late[0])
    bench.run(0.5)
    assert bench.loop.move.phase is MovePhase.PLANNING
    plan(*late[1])
    bench.run(10.0, until=lambda: bool(bench.ended))
    assert bench.ended[0].outcome is MoveOutcome.SUCCEEDED


def test_a_move_that_waits_for_the_robot_can_be_cancelled(bench):
    bench.loop.begin(AWAY)
    bench.run(10.0, until=lambda: bench.loop.progress() > 0.3)
    bench.loop.block("the robot is in protective stop")
    bench.run(1.0)
    bench.loop.cancel()
    bench.run(2.0, until=lambda: bool(bench.ended))
    assert bench.ended[0].outcome is MoveOutcome.CANCELED and not bench.paused


def test_a_stopped_robot_is_no_start(bench):
    bench.loop.block("the robot is in protective stop")
    bench.loop.begin(AWAY)
    assert bench.ended[0].outcome is MoveOutcome.FAILED
    assert bench.ended[0].message == "The robot is in protective stop."
