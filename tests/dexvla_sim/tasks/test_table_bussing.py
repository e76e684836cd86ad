"""Table bussing: scenes that can be solved, and a verdict that comes from the physics."""

import itertools

import numpy as np
import pytest

from dexvla_model.errors import UserError
from dexvla_model.robot import load_robot
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import load_task
from dexvla_sim.tasks.table_bussing import (
    MOST_IN_A_PLACE,
    OBJECT_REGION_X_M,
    OBJECT_REGION_Y_M,
    OBJECT_SPACING_M,
    OBJECT_YAW_RAD,
    PHRASINGS,
    PLACES,
    RANK_SPACING_X_M,
)
from dexvla_sim.tasks.tableware import KINDS


@pytest.fixture(scope="module")
def shared_bussing() -> Simulation:
    return Simulation(load_robot("fr3"), "table_bussing", seed=0)


@pytest.fixture
def bussing(shared_bussing: Simulation) -> Simulation:
    shared_bussing.reset(0)
    return shared_bussing


def put(simulation, index, container, offset=(0.0, 0.0, 0.03)):
    """Put the object that was the `index`-nearest into a container, by hand."""
    joint = simulation.data.joint(f"{simulation.task.kinds[index].name}_joint")
    joint.qpos[:3] = simulation.data.body(container).xpos + np.array(offset)
    joint.qvel[:] = 0.0


def put_all_away(simulation):
    for index, kind in enumerate(simulation.task.kinds):
        put(simulation, index, kind.place)


@pytest.mark.parametrize("objects", [2, 3, 4])
def test_scenes_vary_and_can_be_solved(shared_bussing, objects):
    task = load_task("table_bussing" if objects == 2 else f"table_bussing_{objects}")
    model, data = shared_bussing.model, shared_bussing.data
    kinds, phrasings, trays = set(), set(), set()
    for seed in range(40):
        shared_bussing.reset(0)
        task.randomise(model, data, np.random.default_rng(seed))
        shared_bussing.place_robot(shared_bussing.robot.home_positions)
        scene = task.ground_truth(model, data)
        names = [entry["name"] for entry in scene["objects"]]
        places = [entry["place"] for entry in scene["objects"]]
        assert len(set(names)) == objects and set(places) == set(PLACES)
        assert max(places.count(place) for place in PLACES) <= MOST_IN_A_PLACE
        where = np.array([entry["position"][:2] for entry in scene["objects"]])
        for one, other in itertools.combinations(where, 2):
            assert np.linalg.norm(one - other) >= OBJECT_SPACING_M
        assert (np.diff(where[:, 0]) >= RANK_SPACING_X_M).all()
        assert scene["target"] == names[0]
        assert (where >= [OBJECT_REGION_X_M[0], OBJECT_REGION_Y_M[0]]).all()
        assert (where <= [OBJECT_REGION_X_M[1], OBJECT_REGION_Y_M[1]]).all()
        for entry in scene["objects"]:
            _, _, z, w = entry["quaternion"]
            assert abs(2 * np.arctan2(z, w)) <= OBJECT_YAW_RAD + 1e-9
        assert not scene["success"]
        kinds.update(names)
        phrasings.add(scene["instruction"])
        trays.add(tuple(scene["tray"]["position"]))
    assert kinds == {kind.name for kind in KINDS}
    assert phrasings == set(PHRASINGS) and len(trays) == 40


def test_no_instruction_names_an_object():
    assert not any(kind.name in phrasing for kind in KINDS for phrasing in PHRASINGS)


def test_an_unknown_number_of_objects_is_refused():
    with pytest.raises(UserError, match="table_bussing_4"):
        load_task("table_bussing_9")


def test_all_shapes_stand_still_at_the_height_of_the_grip(shared_bussing):
    data, task = shared_bussing.data, load_task("table_bussing_4")
    for seed in (0, 1, 2):
        shared_bussing.reset(0)
        task.randomise(shared_bussing.model, data, np.random.default_rng(seed))
        shared_bussing.place_robot(shared_bussing.robot.home_positions)
        before = [entry["position"] for entry in task.ground_truth(shared_bussing.model, data)["objects"]]
        shared_bussing.step(1.0)
        after = task.ground_truth(shared_bussing.model, data)["objects"]
        for position, entry in zip(before, after):
            assert entry["position"] == pytest.approx(position, abs=5e-4)


def test_only_this_episodes_objects_are_seen(bussing):
    names = bussing.task.object_names
    cells = dict(zip(names, bussing.grounding("scene")))
    present = {kind.name for kind in bussing.task.kinds} | set(PLACES)
    assert {name for name in names if cells[name].any()} == present


def test_everything_at_rest_where_it_belongs_is_a_success(bussing):
    put_all_away(bussing)
    bussing.step(1.0)
    assert bussing.success() and bussing.ground_truth()["success"]
    assert bussing.task.reached(bussing.model, bussing.data) == (False, True) * 2


def test_two_of_a_kind_of_place_fit_side_by_side(shared_bussing):
    task = load_task("table_bussing_4")
    shared_bussing.reset(0)
    task.randomise(shared_bussing.model, shared_bussing.data, np.random.default_rng(0))
    shared_bussing.place_robot(shared_bussing.robot.home_positions)
    beside = {place: iter((-0.04, 0.04)) for place in PLACES}
    for kind in task.kinds:
        joint = shared_bussing.data.joint(f"{kind.name}_joint")
        joint.qpos[:3] = shared_bussing.data.body(kind.place).xpos + [next(beside[kind.place]), 0.0, 0.03]
    shared_bussing.step(1.0)
    assert task.success(shared_bussing.model, shared_bussing.data)


def test_a_falling_object_is_no_success_yet(bussing):
    put_all_away(bussing)
    put(bussing, 0, bussing.task.kinds[0].place, (0.0, 0.0, 0.20))
    bussing.step(0.19)
    assert not bussing.success()
    bussing.step(1.5)
    assert bussing.success()


@pytest.mark.parametrize("index", [0, 1])
def test_an_object_in_the_wrong_container_is_no_success(bussing, index):
    put_all_away(bussing)
    wrong = next(place for place in PLACES if place != bussing.task.kinds[index].place)
    put(bussing, index, wrong, (0.03, 0.0, 0.03))
    bussing.step(1.0)
    assert not bussing.success()
    assert bussing.ground_truth()["target"] == bussing.task.kinds[index].name


def test_an_object_that_is_left_is_no_success(bussing):
    put(bussing, 0, bussing.task.kinds[0].place)
    bussing.step(1.0)
    assert not bussing.success()
    assert bussing.task.reached(bussing.model, bussing.data) == (False, True, False, False)


def test_milestones_name_every_object_twice():
    assert load_task("table_bussing_3").milestones == (
        "object 1 grasped",
        "object 1 placed",
        "object 2 grasped",
        "object 2 placed",
        "object 3 grasped",
        "object 3 placed",
    )
