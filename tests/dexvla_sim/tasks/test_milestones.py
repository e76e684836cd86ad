"""Milestones come from the physics, and of the right object."""

import numpy as np
import pytest

from dexvla_model.robot import load_robot
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import TASKS


def reached(simulation) -> dict[str, bool]:
    task = simulation.task
    return dict(zip(task.milestones, task.reached(simulation.model, simulation.data), strict=True))


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_names_its_milestones(name):
    milestones = TASKS[name]().milestones
    assert milestones and len(set(milestones)) == len(milestones)
    assert all(isinstance(milestone, str) for milestone in milestones)
    assert TASKS[name]().time_limit_s >= 30.0


def test_a_cube_that_lies_in_the_tray_is_placed_but_was_not_grasped_now(simulation, move_object):
    assert not any(reached(simulation).values())
    tray = np.array(simulation.ground_truth()["tray"]["position"])
    move_object(simulation, simulation.task.target, tuple(tray + [0.0, 0.0, 0.03]))
    simulation.step(0.5)
    assert reached(simulation) == {"grasped": False, "lifted": False, "over the tray": False, "placed": True}


def test_another_cube_counts_for_nothing(simulation, move_object):
    tray = np.array(simulation.ground_truth()["tray"]["position"])
    move_object(simulation, (simulation.task.target + 1) % 3, tuple(tray + [0.0, 0.0, 0.03]))
    simulation.step(0.5)
    assert not any(reached(simulation).values())


def test_a_posture_is_arrived_at_before_the_robot_rests():
    simulation = Simulation(load_robot("ur5e"), "posture", 3)
    assert reached(simulation) == {"arrived": False}
    for joint, goal in simulation.task.goals.items():
        simulation.data.joint(joint).qpos[0] = goal
        simulation.data.joint(joint).qvel[0] = 1.0
    assert reached(simulation) == {"arrived": True} and not simulation.success()
    simulation.close()
