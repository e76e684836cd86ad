"""Planned motions: free of collisions at every point, within the limits, and refused where there is none."""

import numpy as np
import pinocchio
import pytest

from dexvla_model.streaming.plan import KNOT_S
from dexvla_ros.motion.bodies import CLEARANCE_M
from dexvla_ros.motion.goals import MoveGoal
from dexvla_ros.motion.refusal import MotionRefused, MoveOutcome
from dexvla_ros.motion.timing import largest_share

ARM = (
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "elbow_joint",
    "wrist_1_joint",
    "wrist_2_joint",
    "wrist_3_joint",
)


def turned(robot, pan_rad):
    """Home with the arm turned about its foot."""
    positions = robot.home_positions.copy()
    positions[0] = pan_rad
    return positions


def joints(positions, **others):
    return MoveGoal(joints=ARM, positions=tuple(positions[:6]), **others)


def densely(bodies, motion):
    """Postures along a motion: from one to the next no joint goes 1 degree, and no link 1 mm."""
    end_s = motion.rest_knot * KNOT_S
    times = np.linspace(0.0, end_s, max(2, int(end_s / 0.002)))
    postures = motion.positions(times)
    parts = [postures[:1]]
    for start, end in zip(postures[:-1], postures[1:]):
        # No point of an arm is further than 1.4 m from any of its joints' axes.
        count = max(1, int(np.ceil(np.abs(end - start).sum() * 1.4 / 0.001)))
        assert np.abs(end - start).max() / count < np.deg2rad(1.0)
        parts.append(start + (end - start) * (np.arange(1, count + 1) / count)[:, None])
    return np.concatenate(parts)


def assert_is_sound(planner, motion, start, goal_rad, speed=1.0):
    limits = [planner.robot.limits[joint] for joint in planner.robot.action_joints]
    assert largest_share(motion, limits) <= speed
    positions, velocities, accelerations = motion.knots(-2, motion.rest_knot + 3)
    np.testing.assert_allclose(positions[0], start, atol=1e-12)
    np.testing.assert_allclose(positions[-1], goal_rad, atol=1e-12)
    for ends in (velocities, accelerations):
        assert np.abs(ends[[0, -1]]).max() < 1e-12
    lower, upper = (np.array([getattr(limit, side) for limit in limits]) for side in ("lower", "upper"))
    assert (motion.controls >= lower - 1e-9).all() and (motion.controls <= upper + 1e-9).all()
    assert all(planner.bodies.contact(posture) is None for posture in densely(planner.bodies, motion))


def test_a_free_way_is_straight_and_takes_hardly_longer_than_it_has_to(planner, robot):
    start, goal = turned(robot, -0.8), turned(robot, 0.6)
    motion = planner.plan(start, joints(goal))
    assert_is_sound(planner, motion, start, goal)
    # Rest to rest over D with acceleration a and jerk j: t = a / j + sqrt((a / j)^2 + 4 D / a).
    fastest_s = 0.1 + np.sqrt(0.1**2 + 4.0 * 1.4 / 5.0)
    assert fastest_s <= motion.rest_knot * KNOT_S <= fastest_s + 0.25


def test_it_goes_around_a_post_without_touching_it(planner_with_post, robot):
    start, goal = turned(robot, -0.9), turned(robot, 0.9)
    straight = np.linspace(start, goal, 200)
    assert any(planner_with_post.bodies.contact(posture) is not None for posture in straight)
    motion = planner_with_post.plan(start, joints(goal))
    assert_is_sound(planner_with_post, motion, start, goal)


def test_it_keeps_off_the_table(planner, robot):
    start = np.array([-0.5, -1.48, 2.52, -1.7, -2.21, -0.88, 0.0])
    goal = np.array([-0.61, -1.07, 1.64, -2.35, -0.97, -0.84, 0.0])
    touching = [planner.bodies.contact(posture) for posture in np.linspace(start, goal, 60)]
    assert touching[0] is None and touching[-1] is None
    assert any(contact is not None and "table" in str(contact) for contact in touching)
    motion = planner.plan(start, joints(goal))
    assert_is_sound(planner, motion, start, goal)


def test_half_the_speed_is_half_of_every_limit(planner, robot):
    start, goal = turned(robot, -0.8), turned(robot, 0.6)
    motion = planner.plan(start, joints(goal, speed=0.5))
    assert_is_sound(planner, motion, start, goal, speed=0.5)


def test_a_link_is_taken_to_a_pose(planner, robot):
    home = planner.bodies.link_pose(robot.home_positions, "grasp_frame")
    target = home.translation + [0.05, 0.1, -0.05]
    quaternion = pinocchio.Quaternion(home.rotation).coeffs()
    motion = planner.plan(
        robot.home_positions, MoveGoal(link="grasp_frame", position=target, quaternion=quaternion)
    )
    assert_is_sound(planner, motion, robot.home_positions, motion.rest_positions)
    there = planner.bodies.link_pose(motion.rest_positions, "grasp_frame")
    np.testing.assert_allclose(there.translation, target, atol=1e-4)
    np.testing.assert_allclose(there.rotation, home.rotation, atol=1e-4)
    # The fingers stay as they are.
    assert motion.rest_positions[6] == robot.home_positions[6]


def test_a_pose_may_be_given_in_the_frame_of_another_link(planner, robot):
    motion = planner.plan(
        robot.home_positions,
        MoveGoal(link="grasp_frame", frame="grasp_frame", position=np.array([0.0, 0.0, 0.05])),
    )
    before = planner.bodies.link_pose(robot.home_positions, "grasp_frame")
    after = planner.bodies.link_pose(motion.rest_positions, "grasp_frame")
    np.testing.assert_allclose(before.actInv(after).translation, [0.0, 0.0, 0.05], atol=1e-4)


def test_named_poses_are_those_of_the_srdf(planner, robot):
    home = planner.plan(turned(robot, 0.4), MoveGoal(named="home"))
    np.testing.assert_allclose(home.rest_positions, robot.home_positions, atol=1e-12)
    ready = planner.plan(robot.home_positions, MoveGoal(named="ready")).rest_positions
    assert np.abs(ready - robot.home_positions).max() > 0.05


def refusal(planner, start, goal):
    with pytest.raises(MotionRefused) as caught:
        planner.plan(start, goal)
    return caught.value.outcome, str(caught.value)


def test_a_start_in_collision_is_refused_and_names_the_bodies(planner, robot):
    start = np.array([0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0])
    outcome, sentence = refusal(planner, start, MoveGoal(named="home"))
    assert outcome is MoveOutcome.START_IN_COLLISION
    assert "stands in collision" in sentence and "table" in sentence


def test_a_goal_in_collision_is_refused_and_names_the_bodies(planner_with_post, robot):
    inside = np.array([-0.64, -1.55, 1.39, -1.28, -1.16, -0.94, 0.0])
    outcome, sentence = refusal(planner_with_post, turned(robot, -0.9), joints(inside))
    assert outcome is MoveOutcome.GOAL_IN_COLLISION
    assert "post" in sentence and "would touch" in sentence


@pytest.mark.parametrize(
    ("goal", "outcome", "words"),
    [
        (
            MoveGoal(named="nowhere"),
            MoveOutcome.INVALID_GOAL,
            "There is no pose named 'nowhere'; the poses are home",
        ),
        (
            MoveGoal(joints=("elbow",), positions=(0.0,)),
            MoveOutcome.INVALID_GOAL,
            "There is no joint 'elbow'",
        ),
        (MoveGoal(joints=("elbow_joint",), positions=(4.0,)), MoveOutcome.INVALID_GOAL, "would be at 4 rad"),
        (
            MoveGoal(joints=("elbow_joint",), positions=(np.nan,)),
            MoveOutcome.INVALID_GOAL,
            "would be at nan rad",
        ),
        (MoveGoal(joints=("elbow_joint",), positions=()), MoveOutcome.INVALID_GOAL, "1 joints came with 0"),
        (MoveGoal(link="tip"), MoveOutcome.INVALID_GOAL, "There is no link 'tip'"),
        (
            MoveGoal(link="grasp_frame", position=np.array([3.0, 0.0, 0.5])),
            MoveOutcome.UNREACHABLE,
            "No posture takes grasp_frame to x 3.000",
        ),
    ],
)
def test_a_goal_that_cannot_be_is_refused_in_one_sentence(planner, robot, goal, outcome, words):
    found, sentence = refusal(planner, robot.home_positions, goal)
    assert found is outcome
    assert words in sentence and sentence.count(". ") == 0


def test_the_clearance_is_kept_but_where_start_or_goal_are_nearer(planner, robot):
    assert CLEARANCE_M > 0.0
    planner.bodies.keep_clear()
    assert planner.bodies.too_near(robot.home_positions) is None
    low = robot.home_positions.copy()
    # Lower the arm until something is nearer than the clearance, but does not touch.
    for lift in np.arange(low[1], 0.5, 0.001):
        low[1] = lift
        if planner.bodies.too_near(low) is not None:
            break
    assert planner.bodies.contact(low) is None
    planner.bodies.keep_clear(low)
    assert planner.bodies.too_near(low) is None
    planner.bodies.keep_clear()
