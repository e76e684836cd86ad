"""Pouring: scenes that can be solved, and a verdict that comes from the physics."""

import json
from functools import cache

import numpy as np
import pytest

from dexvla_model.robot import load_robot
from dexvla_sim.engine import mujoco
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import default_task
from dexvla_sim.tasks.pour import (
    BALLS,
    BOWL_OPENING_M,
    BOWL_REGION_X_M,
    BOWL_REGION_Y_M,
    CUP_FOOT_M,
    CUP_REGION_X_M,
    CUP_REGION_Y_M,
    ENOUGH_BALLS,
    PHRASINGS,
)

UPRIGHT = (1.0, 0.0, 0.0, 0.0)


@cache
def world(robot: str = "ur5e_inspire") -> Simulation:
    return Simulation(load_robot(robot), "pour")


@pytest.fixture
def simulation() -> Simulation:
    world().reset(0)
    return world()


def place(simulation: Simulation, name: str, position, quaternion=UPRIGHT) -> None:
    """Put a free body at a place (x, y, z), at rest."""
    joint = simulation.data.joint(f"{name}_joint")
    joint.qpos[:3], joint.qpos[3:], joint.qvel[:] = position, quaternion, 0.0


def bowl(simulation: Simulation) -> np.ndarray:
    return np.array(simulation.ground_truth()["bowl"]["position"])


def drop_into_bowl(simulation: Simulation, count: int, above_m: float = 0.02) -> None:
    for index in range(count):
        angle = 2.0 * np.pi * index / BALLS
        place(simulation, f"ball_{index}", bowl(simulation) + [0.03 * np.cos(angle), 0.03 * np.sin(angle), above_m])


def reached(simulation: Simulation) -> dict[str, bool]:
    mujoco.mj_forward(simulation.model, simulation.data)
    verdict = simulation.task.reached(simulation.model, simulation.data)
    return dict(zip(simulation.task.milestones, verdict, strict=True))


def test_an_arm_with_a_thumb_pours_by_default():
    assert default_task(load_robot("ur5e_inspire")) == "pour"
    assert default_task(load_robot("inspire")) == "posture"
    assert default_task(load_robot("fr3_leap")) == "pour"
    assert default_task(load_robot("leap")) == "posture"


def test_scenes_vary_and_stay_in_their_regions(simulation):
    cups, bowls, phrasings = set(), set(), set()
    for seed in range(40):
        simulation.reset(seed)
        truth = simulation.ground_truth()
        cup, place_of_bowl = truth["cup"]["position"], truth["bowl"]["position"]
        for value, (low, high) in zip(
            (*cup[:2], *place_of_bowl[:2]), (CUP_REGION_X_M, CUP_REGION_Y_M, BOWL_REGION_X_M, BOWL_REGION_Y_M)
        ):
            assert low <= value <= high
        assert truth["cup"]["balls"] == BALLS and truth["bowl"]["balls"] == 0
        cups.add(tuple(cup))
        bowls.add(tuple(place_of_bowl))
        phrasings.add(truth["instruction"])
    assert len(cups) == len(bowls) == 40
    assert phrasings == set(PHRASINGS)


@pytest.mark.parametrize("seed", range(2))
def test_an_untouched_scene_stays_as_it_is_and_is_no_success(simulation, seed):
    simulation.reset(seed)
    before = np.array(simulation.ground_truth()["balls"])
    simulation.step(1.0)
    truth = simulation.ground_truth()
    assert np.abs(np.array(truth["balls"]) - before).max() < 0.002
    assert truth["cup"]["balls"] == BALLS and not truth["cup"]["held"]
    assert not any(reached(simulation).values()) and not simulation.success()


def test_the_ground_truth_is_plain_json(simulation):
    truth = dict(simulation.ground_truth())
    assert json.loads(json.dumps(truth)) == truth


def test_balls_at_rest_in_the_bowl_are_a_success(simulation):
    drop_into_bowl(simulation, BALLS)
    simulation.step(1.5)
    assert simulation.success() and reached(simulation)["poured"]
    assert simulation.ground_truth()["bowl"]["balls"] == BALLS


@pytest.mark.parametrize(("count", "expected"), [(ENOUGH_BALLS, True), (ENOUGH_BALLS - 1, False)])
def test_enough_balls_are_needed(simulation, count, expected):
    drop_into_bowl(simulation, count)
    simulation.step(1.5)
    assert simulation.success() == expected


def test_falling_balls_are_no_success_yet(simulation):
    drop_into_bowl(simulation, BALLS, above_m=0.20)
    simulation.step(0.19)
    assert not simulation.success()
    simulation.step(2.0)
    assert simulation.success()


def test_balls_beside_the_bowl_do_not_count(simulation):
    for index in range(BALLS):
        place(simulation, f"ball_{index}", bowl(simulation) + [BOWL_OPENING_M + 0.03, 0.03 * (index - 3), 0.01])
    simulation.step(1.5)
    assert simulation.ground_truth()["bowl"]["balls"] == 0 and not simulation.success()


def test_a_cup_that_lies_in_the_bowl_spoils_it(simulation):
    drop_into_bowl(simulation, BALLS)
    simulation.step(1.0)
    assert simulation.success()
    # On its side across the rim.
    place(simulation, "cup", bowl(simulation) + [0.0, 0.07, 0.09], (np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0))
    simulation.step(0.4)
    assert not simulation.success()


def test_a_cup_that_is_turned_over_empties_itself(simulation):
    """The balls roll out of the inside that they lie in: they are not glued to it, and its walls are hollow."""
    cup = np.array(simulation.ground_truth()["cup"]["position"])
    place(simulation, "cup", [*cup[:2], 0.25], (0.0, 1.0, 0.0, 0.0))
    for index in range(BALLS):
        ball = simulation.data.joint(f"ball_{index}_joint").qpos
        ball[2] = 0.25 - CUP_FOOT_M - 0.01
    simulation.step(0.1)
    assert simulation.ground_truth()["cup"]["balls"] < BALLS or simulation.data.body("ball_0").xpos[2] < 0.15


def test_a_pushed_cup_slides_and_stays_upright(simulation):
    joint = simulation.data.joint("cup_joint")
    start = joint.qpos[:2].copy()
    body = simulation.model.body("cup").id
    for _ in range(100):
        # 0.5 N at the height at which the hand touches it: more than it takes to overcome the plate's friction.
        simulation.data.xfrc_applied[body] = (0.5, 0.0, 0.0, 0.0, 0.04 * 0.5, 0.0)
        simulation.step(0.002)
    simulation.data.xfrc_applied[body] = 0.0
    simulation.step(0.5)
    assert np.linalg.norm(joint.qpos[:2] - start) > 0.01
    assert simulation.data.body("cup").xmat[8] > 0.99


@pytest.mark.parametrize("robot", ["ur5e_inspire", "fr3_leap"])
def test_the_cameras_see_what_it_is_about(robot):
    """By the scene's camera all of it, by the hand's the cup."""
    simulation = world(robot)
    for seed in range(3):
        simulation.reset(seed)
        cup, balls, bowl_seen = simulation.grounding("scene").astype(int).sum(axis=1)
        # Of 255 for one vision token.
        assert cup > 80 and bowl_seen > 150 and balls >= 2
        assert simulation.grounding("wrist")[0].astype(int).sum() > 40
