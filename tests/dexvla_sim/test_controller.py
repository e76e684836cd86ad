"""Each row of how a stock Jazzy joint_trajectory_controller takes a stream of trajectories."""

import re

import numpy as np
import pytest

from dexvla_model.streaming import JointTrajectory
from dexvla_sim.controller import JointTrajectoryController

JOINTS = ("shoulder", "elbow")
PERIOD_S = 0.002
MEASURED = np.array([0.1, -0.2])
AT_REST = np.zeros(2)


def make_controller(**settings):
    return JointTrajectoryController(JOINTS, 1.0 / PERIOD_S, **settings)


def line(stamp_s=0.0, start=0.0, end=1.0, first_s=0.0, last_s=1.0, joints=JOINTS):
    """A straight line of all joints from `start` to `end`."""
    return JointTrajectory(
        joints, stamp_s, np.array([first_s, last_s]), np.array([[start] * len(joints), [end] * len(joints)])
    )


def sine(stamp_s, times_s):
    """Knots of a sine with exact derivatives, at rest at the end: 1 - cos over a whole period of 1 s."""
    phase = 2.0 * np.pi * np.asarray(times_s)[:, None] * np.ones(2)
    return JointTrajectory(
        JOINTS,
        stamp_s,
        np.asarray(times_s),
        1.0 - np.cos(phase),
        2.0 * np.pi * np.sin(phase) * (phase < 2.0 * np.pi - 1e-9),
        4.0 * np.pi**2 * np.cos(phase),
    )


def run(controller, start_s, stop_s, measured=MEASURED, velocities=AT_REST):
    """(M, 3, J) commands of all updates in [start, stop), and their times."""
    times = np.arange(round((stop_s - start_s) / PERIOD_S)) * PERIOD_S + start_s
    return np.array([controller.update(time, measured, velocities) for time in times.tolist()]), times


# --- before anything was sent -------------------------------------------------------------------------------


def test_holds_the_position_measured_at_activation():
    controller = make_controller()
    controller.update(5.0, MEASURED, AT_REST)
    position, velocity, acceleration = controller.update(5.002, MEASURED + 0.5, AT_REST)
    assert position == pytest.approx(MEASURED)
    assert not velocity.any() and not acceleration.any()
    assert controller.holding


# --- what is refused, and that the old trajectory goes on ---------------------------------------------------


@pytest.mark.parametrize(
    ("trajectory", "reason"),
    [
        (line(joints=()), "empty joint names"),
        (line(joints=("shoulder", "wrist")), "joint wrist doesn't match"),
        (line(joints=("shoulder",)), "don't match the controller joints: elbow is missing"),
        (line(joints=("shoulder", "shoulder")), "stands twice"),
        (JointTrajectory(JOINTS, 0.0, np.zeros(0), np.zeros((0, 2))), "empty trajectory"),
        (
            JointTrajectory(JOINTS, 0.0, np.array([0.0, 0.5, 0.5]), np.zeros((3, 2))),
            "not strictly increasing",
        ),
        (JointTrajectory(JOINTS, 0.0, np.array([0.5, 0.2]), np.zeros((2, 2))), "not strictly increasing"),
        (
            JointTrajectory(JOINTS, 0.0, np.array([0.0, 1.0]), np.zeros((2, 3))),
            r"positions \(3\) at point #0",
        ),
        (
            JointTrajectory(JOINTS, 0.0, np.array([0.0, 1.0]), [[0.0, 0.0], []]),
            r"positions \(0\) at point #1",
        ),
        (
            JointTrajectory(JOINTS, 0.0, np.array([0.0, 1.0]), np.zeros((2, 2)), [[0.0, 0.0], [0.0]]),
            r"velocities \(1\) at point #1",
        ),
        (
            JointTrajectory(
                JOINTS, 0.0, np.array([1.0]), np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 1))
            ),
            r"accelerations \(1\) at point #0",
        ),
        (JointTrajectory(JOINTS, 0.0, np.array([1.0]), np.zeros((1, 2)), efforts=np.ones((1, 2))), "effort"),
        (
            JointTrajectory(JOINTS, 0.0, np.array([1.0]), np.zeros((1, 2)), np.array([[0.0, 0.1]])),
            "last trajectory point of joint elbow is not zero: 0.1",
        ),
        (line(stamp_s=8.0, last_s=1.9), "ends in the past"),
        (
            JointTrajectory(JOINTS, 0.0, np.array([1.0]), np.zeros((1, 2)), None, np.zeros((1, 2))),
            "accelerations but no velocities",
        ),
    ],
)
def test_a_refused_trajectory_leaves_the_old_one_running(trajectory, reason):
    controller, untouched = make_controller(), make_controller()
    for each in (controller, untouched):
        assert each.accept(line(stamp_s=9.5), 9.4).accepted
        run(each, 9.5, 10.0)
    acceptance = controller.accept(trajectory, 10.0)
    assert not acceptance.accepted
    assert re.search(reason, acceptance.reason)
    np.testing.assert_array_equal(run(controller, 10.0, 11.0)[0], run(untouched, 10.0, 11.0)[0])


def test_a_moving_end_is_taken_where_the_parameter_allows_it():
    controller = make_controller(allow_nonzero_velocity_at_trajectory_end=True)
    moving = JointTrajectory(JOINTS, 0.0, np.array([1.0]), np.zeros((1, 2)), np.full((1, 2), 0.1))
    assert controller.accept(moving, 10.0).accepted


def test_a_trajectory_that_is_partly_past_is_taken():
    assert make_controller().accept(line(stamp_s=9.5), 10.0).accepted


# --- joints -------------------------------------------------------------------------------------------------


def test_joints_are_matched_by_name():
    controller = make_controller()
    swapped = JointTrajectory(("elbow", "shoulder"), 0.0, np.array([0.0]), np.array([[0.7, 0.3]]))
    assert controller.accept(swapped, 1.0).accepted
    position, _, _ = controller.update(1.0, MEASURED, AT_REST)
    assert position == pytest.approx([0.3, 0.7])


def test_joints_left_out_of_a_partial_goal_keep_their_command():
    controller = make_controller(allow_partial_joints_goal=True)
    controller.update(1.0, MEASURED, AT_REST)
    partial = JointTrajectory(
        ("elbow",), 0.0, np.array([0.0, 0.5]), np.array([[0.0], [0.4]]), np.zeros((2, 1)), np.zeros((2, 1))
    )
    assert controller.accept(partial, 1.0).accepted
    commands, _ = run(controller, 1.002, 2.0, measured=MEASURED + 0.3)
    np.testing.assert_array_equal(commands[:, 0, 0], MEASURED[0])
    assert commands[-1, 0, 1] == pytest.approx(0.4)


# --- replacement --------------------------------------------------------------------------------------------


def test_a_new_trajectory_replaces_the_old_one_at_the_next_update_without_blending():
    controller = make_controller()
    controller.accept(line(stamp_s=10.0, start=0.0, end=1.0), 9.9)
    run(controller, 10.0, 10.5)
    controller.accept(line(stamp_s=10.0, start=2.0, end=2.0), 10.5)
    position, velocity, _ = controller.update(10.5, MEASURED, AT_REST)
    assert position == pytest.approx([2.0, 2.0])
    assert velocity == pytest.approx([0.0, 0.0])


def test_of_two_trajectories_between_updates_the_later_one_counts():
    controller = make_controller()
    controller.accept(line(start=0.5, end=0.5), 1.0)
    controller.accept(line(start=0.9, end=0.9), 1.001)
    assert controller.update(1.002, MEASURED, AT_REST)[0] == pytest.approx([0.9, 0.9])


# --- time ---------------------------------------------------------------------------------------------------


def test_stamp_zero_starts_at_the_update_that_first_samples_it():
    controller = make_controller()
    controller.accept(line(stamp_s=0.0), 10.0)
    commands, times = run(controller, 10.3, 10.5)
    np.testing.assert_allclose(commands[:, 0, 0], times - 10.3 + PERIOD_S)


def test_a_stamped_trajectory_has_absolute_times_and_past_points_are_passed():
    controller = make_controller()
    times = np.linspace(0.0, 1.0, 11)
    trajectory = JointTrajectory(JOINTS, 10.0, times, times[:, None] * np.ones(2))
    assert controller.accept(trajectory, 10.43).accepted
    commands, at = run(controller, 10.43, 10.8)
    np.testing.assert_allclose(commands[:, 0, 1], at - 10.0 + PERIOD_S, atol=1e-12)


def test_a_command_is_the_trajectory_one_period_later():
    controller = make_controller()
    controller.accept(line(stamp_s=10.0), 9.0)
    assert controller.update(10.5, MEASURED, AT_REST)[0] == pytest.approx([0.502, 0.502])


def test_overlapping_trajectories_that_agree_meet_without_a_seam_whatever_the_delay():
    knots = np.arange(33) / 32.0
    reference = make_controller()
    reference.accept(sine(10.0, knots), 9.9)
    undisturbed, _ = run(reference, 10.0, 11.2)
    for delay_s in (0.0, 0.014, 0.09):
        controller = make_controller()
        controller.accept(sine(10.0, knots), 9.9)
        before, _ = run(controller, 10.0, 10.3 + delay_s)
        later = sine(10.0, knots[9:])
        assert controller.accept(later, 10.3 + delay_s).accepted
        after, _ = run(controller, 10.3 + delay_s, 11.2)
        np.testing.assert_allclose(
            np.concatenate([before, after]), undisturbed[: len(before) + len(after)], atol=1e-9
        )


def test_the_clock_running_backwards_keeps_the_command():
    controller = make_controller()
    controller.accept(line(stamp_s=10.2), 10.0)
    position, _, _ = controller.update(10.1, MEASURED, AT_REST)
    again, _, _ = controller.update(9.0, MEASURED, AT_REST)
    np.testing.assert_array_equal(position, again)


# --- before the first point ---------------------------------------------------------------------------------


def test_before_the_first_point_it_interpolates_from_the_measured_state():
    controller = make_controller()
    controller.update(9.998, MEASURED, AT_REST)
    controller.accept(line(stamp_s=10.0, start=1.0, end=1.0, first_s=0.5), 10.0)
    sagged = MEASURED - 0.05
    commands, times = run(controller, 10.0, 10.5, measured=sagged)
    share = (times + PERIOD_S - 10.0) / 0.5
    np.testing.assert_allclose(commands[:, 0], sagged + share[:, None] * (1.0 - sagged), atol=1e-12)


def test_before_the_first_point_it_interpolates_from_the_last_command_if_told_to():
    controller = make_controller(interpolate_from_desired_state=True)
    controller.update(9.998, MEASURED, AT_REST)
    controller.accept(line(stamp_s=10.0, start=1.0, end=1.0, first_s=0.5), 10.0)
    commands, times = run(controller, 10.0, 10.5, measured=MEASURED - 0.05)
    share = (times + PERIOD_S - 9.998) / 0.502
    np.testing.assert_allclose(commands[:, 0], MEASURED + share[:, None] * (1.0 - MEASURED), atol=1e-12)


def test_from_the_last_command_also_its_velocity_and_acceleration_go_on():
    knots = np.arange(33) / 32.0
    controller = make_controller(interpolate_from_desired_state=True)
    controller.accept(sine(10.0, knots), 9.9)
    before, _ = run(controller, 10.0, 10.3)
    later = sine(10.0, knots[16:])
    controller.accept(later, 10.3)
    after, _ = run(controller, 10.3, 10.4, measured=MEASURED + 1.0)
    steps = np.diff(np.concatenate([before, after])[:, 1, 0])
    seam = abs(steps[len(before) - 1])
    # The stock controller keeps the time of the update and not of the sample: at most one period is lost.
    assert seam <= 3.0 * np.abs(steps[: len(before) - 1]).max()


def test_a_first_point_at_time_zero_is_reached_at_once():
    controller = make_controller()
    controller.accept(line(stamp_s=0.0, start=1.0, end=1.0), 10.0)
    assert controller.update(10.0, MEASURED, AT_REST)[0] == pytest.approx([1.0, 1.0])


# --- between the points -------------------------------------------------------------------------------------


def test_positions_alone_are_joined_by_straight_lines():
    controller = make_controller()
    times = np.array([0.0, 0.5, 1.0])
    controller.accept(
        JointTrajectory(JOINTS, 10.0, times, np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])), 9.9
    )
    commands, _ = run(controller, 10.0, 11.0)
    assert np.abs(np.diff(commands[:, 1, 0])).max() == pytest.approx(2.0)
    assert not commands[:, 2].any()


def test_with_velocities_the_velocity_is_continuous():
    controller = make_controller()
    times = np.array([0.0, 0.5, 1.0])
    positions = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    controller.accept(JointTrajectory(JOINTS, 10.0, times, positions, np.zeros((3, 2))), 9.9)
    commands, at = run(controller, 10.0, 11.0)
    share = (at[:249] + PERIOD_S - 10.0) / 0.5
    np.testing.assert_allclose(commands[:249, 0, 0], 3 * share**2 - 2 * share**3, atol=1e-12)
    assert np.abs(np.diff(commands[:, 1, 0])).max() < 0.05
    assert np.abs(np.diff(commands[:, 2, 0])).max() > 20.0


def test_with_accelerations_too_the_acceleration_is_continuous():
    controller = make_controller()
    times = np.array([0.0, 0.5, 1.0])
    positions = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    controller.accept(
        JointTrajectory(JOINTS, 10.0, times, positions, np.zeros((3, 2)), np.zeros((3, 2))), 9.9
    )
    commands, at = run(controller, 10.0, 11.0)
    share = (at[:249] + PERIOD_S - 10.0) / 0.5
    np.testing.assert_allclose(commands[:249, 0, 0], 10 * share**3 - 15 * share**4 + 6 * share**5, atol=1e-12)
    assert np.abs(np.diff(commands[:, 2, 0])).max() < 1.0


def test_each_segment_has_the_order_that_both_of_its_ends_allow():
    controller = make_controller()
    mixed = JointTrajectory(
        JOINTS,
        10.0,
        np.array([0.0, 0.5, 1.0]),
        [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]],
        [[0.0, 0.0], [0.0, 0.0], []],
    )
    assert controller.accept(mixed, 9.9).accepted
    commands, _ = run(controller, 10.0, 11.0)
    assert commands[100, 2, 0] != 0.0
    np.testing.assert_allclose(commands[250:-1, 1], 2.0)


# --- after the last point -----------------------------------------------------------------------------------


def test_after_the_last_point_it_holds_it():
    controller = make_controller()
    controller.accept(line(stamp_s=10.0), 9.9)
    run(controller, 10.0, 11.0)
    commands, _ = run(controller, 11.0, 30.0)
    np.testing.assert_array_equal(commands[:, 0], 1.0)
    assert not commands[:, 1:].any()
    assert not controller.holding


def test_the_command_timeout_counts_from_the_last_point_and_then_holds_the_measured_position():
    controller = make_controller(cmd_timeout_s=0.5)
    controller.accept(line(stamp_s=10.0), 9.9)
    assert run(controller, 10.0, 11.5)[0][-1, 0] == pytest.approx([1.0, 1.0])
    assert not controller.holding
    assert run(controller, 11.5, 11.6)[0][-1, 0] == pytest.approx(MEASURED)
    assert controller.holding
    assert controller.accept(line(start=1.0, end=1.0), 11.6).accepted
    assert controller.update(11.6, MEASURED, AT_REST)[0] == pytest.approx([1.0, 1.0])


def test_values_are_passed_on_unlooked_at():
    controller = make_controller()
    positions = np.array([[np.nan, 5.0]])
    assert controller.accept(JointTrajectory(JOINTS, 0.0, np.array([0.0]), positions), 10.0).accepted
    np.testing.assert_array_equal(controller.update(10.0, MEASURED, AT_REST)[0], positions[0])
