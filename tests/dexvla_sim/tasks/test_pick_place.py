"""Pick and place: scenes that can be solved, and a verdict that comes from the physics."""

import itertools

import numpy as np

from dexvla_sim.tasks.pick_place import (
    CUBE_REGION_X_M,
    CUBE_REGION_Y_M,
    CUBE_SPACING_M,
    CUBE_YAW_RAD,
    CUBES,
    PHRASINGS,
)


def tray(simulation) -> np.ndarray:
    return np.array(simulation.ground_truth()["tray"]["position"])


def others(simulation) -> list[int]:
    return [index for index in range(CUBES) if index != simulation.task.target]


def test_scenes_vary_and_keep_the_cubes_apart_and_in_their_region(simulation):
    colours, targets, trays, phrasings = set(), set(), set(), set()
    for seed in range(60):
        simulation.reset(seed)
        scene = simulation.ground_truth()
        names = [entry["name"] for entry in scene["objects"]]
        assert len(set(names)) == CUBES and scene["target"] in names
        places = np.array([entry["position"] for entry in scene["objects"]])
        for one, other in itertools.combinations(places, 2):
            assert np.linalg.norm(one - other) >= CUBE_SPACING_M
        assert (places[:, 0] >= CUBE_REGION_X_M[0]).all() and (places[:, 0] <= CUBE_REGION_X_M[1]).all()
        assert (places[:, 1] >= CUBE_REGION_Y_M[0]).all() and (places[:, 1] <= CUBE_REGION_Y_M[1]).all()
        for entry in scene["objects"]:
            assert abs(2 * np.arctan2(entry["quaternion"][2], entry["quaternion"][3])) <= CUBE_YAW_RAD + 1e-9
        colours.update(entry["colour"] for entry in scene["objects"])
        targets.add(scene["target"].split()[0])
        trays.add(tuple(scene["tray"]["position"]))
        phrasings.add(scene["instruction"].replace(scene["target"].split()[0], "{colour}"))
    assert colours == targets == {"red", "green", "blue", "yellow"}
    assert len(trays) == 60
    assert phrasings == set(PHRASINGS)


def test_a_new_scene_is_no_success(simulation):
    assert not simulation.success()


def test_the_target_at_rest_in_the_tray_is_a_success(simulation, move_object):
    move_object(simulation, simulation.task.target, tuple(tray(simulation) + [0.03, -0.03, 0.03]))
    simulation.step(1.0)
    assert simulation.success()
    assert simulation.ground_truth()["success"]


def test_a_falling_target_is_no_success_yet(simulation, move_object):
    move_object(simulation, simulation.task.target, tuple(tray(simulation) + [0.0, 0.0, 0.20]))
    simulation.step(0.19)
    assert not simulation.success()
    simulation.step(1.0)
    assert simulation.success()


def test_another_cube_in_the_tray_spoils_it(simulation, move_object):
    move_object(simulation, simulation.task.target, tuple(tray(simulation) + [0.03, 0.03, 0.03]))
    move_object(simulation, others(simulation)[0], tuple(tray(simulation) + [-0.03, -0.03, 0.03]))
    simulation.step(1.0)
    assert not simulation.success()


def test_the_wrong_cube_in_the_tray_is_no_success(simulation, move_object):
    move_object(simulation, others(simulation)[0], tuple(tray(simulation) + [0.0, 0.0, 0.03]))
    simulation.step(1.0)
    assert not simulation.success()


def test_beside_the_tray_is_no_success(simulation, move_object):
    move_object(simulation, simulation.task.target, tuple(tray(simulation) + [0.0, -0.11, 0.02]))
    simulation.step(1.0)
    assert not simulation.success()


def test_held_in_the_gripper_over_the_tray_is_no_success(simulation, drive, policy):
    verdicts = []

    def look(simulation):
        scene = simulation.ground_truth()
        target = next(entry for entry in scene["objects"] if entry["name"] == scene["target"])
        if target["held"] and np.abs(np.array(target["position"]) - tray(simulation))[:2].max() < 0.03:
            verdicts.append(simulation.success())

    drive(simulation, policy, disturb=look)
    assert verdicts and not any(verdicts)


def test_cubes_are_large_enough_for_the_model(simulation):
    """Each cube covers at least 8 x 8 pixels of the picture that the model sees of the scene."""
    for seed in range(5):
        simulation.reset(seed)
        image = simulation.observation().images["scene"].astype(int)
        for entry in simulation.ground_truth()["objects"]:
            saturated = image.max(axis=2) - image.min(axis=2) > 60
            strongest = {"red": [0], "green": [1], "blue": [2], "yellow": [0, 1]}[entry["colour"]]
            weakest = [channel for channel in range(3) if channel not in strongest]
            mask = saturated & (image[..., strongest].min(axis=2) > image[..., weakest].max(axis=2) + 40)
            rows, columns = np.nonzero(mask)
            assert np.ptp(rows) + 1 >= 8 and np.ptp(columns) + 1 >= 8
