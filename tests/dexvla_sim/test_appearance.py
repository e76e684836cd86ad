"""Light, surfaces and camera mounts differ between episodes, a little, and by the seed alone."""

import numpy as np
import pytest

from dexvla_model.robot import load_robot
from dexvla_sim.simulation import Simulation


@pytest.fixture(scope="module")
def simulation():
    simulation = Simulation(load_robot("ur5e"), "pick_place")
    yield simulation
    simulation.close()


def look(simulation: Simulation, seed: int) -> dict[str, np.ndarray]:
    simulation.reset(seed)
    model = simulation.model
    names = ("light_diffuse", "light_dir", "cam_pos", "cam_quat", "geom_rgba")
    return {name: getattr(model, name).copy() for name in names}


def test_two_seeds_look_different_in_light_surfaces_and_cameras(simulation):
    one, other = look(simulation, 1), look(simulation, 2)
    for name, values in one.items():
        assert not np.array_equal(values, other[name]), name


def test_a_seed_looks_the_same_whatever_was_before(simulation):
    first = look(simulation, 5)
    for seed in range(6, 12):
        look(simulation, seed)
    again = look(simulation, 5)
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)


def test_changes_stay_small_around_the_world_s_own_look(simulation):
    looks = [look(simulation, seed) for seed in range(40)]
    positions = np.stack([values["cam_pos"] for values in looks])
    assert np.abs(positions - positions.mean(axis=0)).max() < 0.02
    quaternions = np.stack([values["cam_quat"] for values in looks])
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=-1), 1.0, atol=1e-9)
    turns = 2.0 * np.arccos(np.clip(np.abs((quaternions * quaternions[0]).sum(-1)), 0.0, 1.0))
    assert turns.max() < 0.08
    diffuse = np.stack([values["light_diffuse"] for values in looks])
    assert diffuse.max() / diffuse[diffuse > 0.0].min() < 4.0
    np.testing.assert_allclose(np.linalg.norm(np.stack([v["light_dir"] for v in looks]), axis=-1), 1.0, atol=1e-6)
