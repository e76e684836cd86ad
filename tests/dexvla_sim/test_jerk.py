"""The mean squared jerk against motions whose jerk is known, and in the simulation."""

import numpy as np
import pytest

from dexvla_model.robot import load_robot
from dexvla_model.streaming import JointTrajectory
from dexvla_sim.jerk import JerkMeter, mean_squared_jerk
from dexvla_sim.simulation import Simulation


def test_a_cubic_has_the_jerk_of_its_third_derivative():
    t = np.arange(0.0, 0.4, 0.002)[:, None]
    positions = np.hstack([2.0 * t**3, 1.0 - t])
    assert mean_squared_jerk(positions, 0.002) == pytest.approx((12.0**2 + 0.0) / 2, rel=1e-3)


def test_the_minimum_jerk_motion_has_its_known_cost():
    # Flash & Hogan: 720 D^2 / T^5 integrated over T.
    t = np.linspace(0.0, 1.0, 4001)[:, None]
    positions = 10 * t**3 - 15 * t**4 + 6 * t**5
    assert mean_squared_jerk(positions, t[1, 0]) == pytest.approx(720.0, rel=1e-2)


def test_rows_that_are_not_finite_are_left_out():
    positions = np.zeros((20, 2))
    positions[10] = np.nan
    assert mean_squared_jerk(positions, 0.01) == 0.0
    assert mean_squared_jerk(np.zeros((2, 2)), 0.01) == 0.0


def test_the_meter_hears_the_arm_and_not_the_fingers_and_leaves_the_listener_in_place():
    simulation = Simulation(load_robot("ur5e"), "posture", 0)
    heard = []
    simulation.on_command = heard.append
    meter = JerkMeter(simulation)

    def jerk_of(controller: str, joint: str) -> float:
        simulation.reset(0)
        names = simulation.robot.controller(controller).joints
        here = dict(zip(simulation.joint_states().names, simulation.joint_states().positions))
        goal = [here[name] + 0.2 * (name == joint) for name in names]
        meter.start()
        rest = np.zeros((1, len(names)))
        simulation.send(
            controller, JointTrajectory(names, 0.0, np.array([0.5]), np.array([goal]), rest, rest)
        )
        simulation.step(0.2)
        return meter.stop()

    arm, gripper = [controller for controller in simulation.robot.controllers]
    assert jerk_of(arm.name, arm.joints[0]) > 1.0
    assert jerk_of(gripper.name, gripper.joints[0]) < 1e-6
    assert len(heard) == 200
    simulation.on_command(np.zeros((3, 7)))
    assert len(heard) == 201
    simulation.close()
