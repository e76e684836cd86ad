"""The simulation's clock goes on across resets, and trajectories are stamped in it."""

import numpy as np
import pytest

from dexvla_model.streaming import JointTrajectory
from dexvla_ros.simulated_world import FIRST_TIME_S, Rhythm, SimulatedWorld
from dexvla_sim.simulation import Simulation


@pytest.fixture(scope="module")
def simulation(robot) -> Simulation:
    return Simulation(robot, "pick_place", seed=0)


@pytest.fixture
def refusals() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def world(simulation, refusals) -> SimulatedWorld:
    simulation.reset(0)
    return SimulatedWorld(simulation, lambda controller, reason: refusals.append((controller, reason)))


def gripper_trajectory(stamp_s: float, position: float) -> JointTrajectory:
    joints = ("robotiq_85_left_knuckle_joint",)
    return JointTrajectory(joints, stamp_s, np.array([0.5, 1.0]), np.full((2, 1), position), np.zeros((2, 1)))


def test_the_clock_never_goes_back(world):
    assert world.time_s == FIRST_TIME_S
    world.simulation.step(0.5)
    world.reset(1)
    assert world.time_s == pytest.approx(FIRST_TIME_S + 0.5)
    world.simulation.step(0.25)
    assert world.joint_states().stamp_s == pytest.approx(FIRST_TIME_S + 0.75)


def test_a_trajectory_is_followed_at_the_time_of_its_stamp_after_a_reset(world):
    world.simulation.step(0.5)
    world.reset(1)
    world.send("gripper_controller", gripper_trajectory(world.time_s, 0.4))
    world.simulation.step(1.5)
    assert world.joint_states().positions[-1] == pytest.approx(0.4, abs=0.02)


def test_a_trajectory_from_before_the_reset_is_refused_as_past(world, refusals):
    world.simulation.step(2.0)
    world.reset(1)
    assert not world.send("gripper_controller", gripper_trajectory(FIRST_TIME_S, 0.4)).accepted
    assert refusals[0][0] == "gripper_controller"
    assert "past" in refusals[0][1]


def test_a_rhythm_keeps_its_rate_exactly():
    rhythm = Rhythm(0.1)
    due = [number for number in range(1000) if rhythm.is_due(1.0 + number * 0.01)]
    assert due == list(range(0, 1000, 10))


def test_a_rhythm_that_was_late_does_not_make_up_for_it():
    rhythm = Rhythm(0.1)
    assert rhythm.is_due(1.0)
    assert rhythm.is_due(5.0)
    assert not rhythm.is_due(5.05)
    assert rhythm.is_due(5.1)
