"""Disturbances: within the limits, only for a while, and a function of the seed."""

import numpy as np

from dexvla_model.policy import ActionChunk
from dexvla_model.robot import load_robot
from dexvla_sim.disturbance import Disturbance, DisturbanceSettings, disturbance_of

UR5E = load_robot("ur5e")
ALWAYS = DisturbanceSettings(probability=1.0, arm_rad=0.3, grip_probability=1.0, window_s=(1.0, 2.0))


def still_chunk(stamp_s: float) -> ActionChunk:
    return ActionChunk(stamp_s, 0.1, UR5E.action_joints, np.tile(UR5E.home_positions, (16, 1)))


def test_an_undisturbed_episode_is_left_alone():
    disturbance = Disturbance(UR5E, 0, DisturbanceSettings(probability=0.0))
    np.testing.assert_array_equal(disturbance(still_chunk(1.0)).positions, still_chunk(1.0).positions)
    np.testing.assert_array_equal(disturbance.start_positions, UR5E.home_positions)


def test_a_push_moves_arm_and_fingers_while_it_lasts():
    pushed = Disturbance(UR5E, 1, ALWAYS)(still_chunk(1.0)).positions - still_chunk(1.0).positions
    assert np.abs(pushed[:, :6]).max() > 0.05
    assert np.abs(pushed[:, 6]).max() > 0.05
    before = Disturbance(UR5E, 1, ALWAYS)(still_chunk(-1.0)).positions
    np.testing.assert_array_equal(before, still_chunk(-1.0).positions)


def test_disturbed_commands_stay_within_the_position_limits():
    huge = DisturbanceSettings(probability=1.0, arm_rad=50.0, start_rad=50.0, grip_probability=1.0)
    lower = np.array([UR5E.limits[joint].lower for joint in UR5E.action_joints])
    upper = np.array([UR5E.limits[joint].upper for joint in UR5E.action_joints])
    for seed in range(20):
        disturbance = Disturbance(UR5E, seed, huge)
        for positions in (disturbance(still_chunk(0.5)).positions, disturbance.start_positions[None]):
            assert ((lower <= positions) & (positions <= upper)).all()


def test_the_same_seed_disturbs_alike():
    first, second = (Disturbance(UR5E, 5, ALWAYS)(still_chunk(1.0)).positions for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, Disturbance(UR5E, 6, ALWAYS)(still_chunk(1.0)).positions)


def test_pushes_reach_the_second_half_of_long_tasks_and_are_gentle_where_a_cup_is_full():
    usual = disturbance_of("pick_place")
    assert usual == DisturbanceSettings()
    for task in ("table_bussing", "table_bussing_4", "sort_bimanual"):
        assert disturbance_of(task).window_s[1] > usual.window_s[1]
    assert disturbance_of("pour").arm_rad < usual.arm_rad
