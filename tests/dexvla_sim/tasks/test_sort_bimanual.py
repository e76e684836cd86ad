"""Sorting with two arms: scenes that need a handover, and a verdict that comes from the physics."""

import math

import numpy as np
import pytest

from dexvla_model.robot import load_robot
from dexvla_sim.demonstrators.bimanual_scene import beside_bar
from dexvla_sim.demonstrators.two_arms import TOOL_ROTATIONS
from dexvla_sim.kinematics import ToolKinematics
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import default_task
from dexvla_sim.tasks.pick_place import COLOURS
from dexvla_sim.tasks.sort_bimanual import (
    BAR_REGION_X_M,
    BAR_REGION_Y_M,
    BAR_YAW_RAD,
    PHRASINGS,
    SortBimanual,
)

LEFT, RIGHT = 0, 1


@pytest.fixture(scope="module")
def built() -> Simulation:
    return Simulation(load_robot("agilex_dual"), "sort_bimanual")


@pytest.fixture
def world(built) -> Simulation:
    built.reset(0)
    return built


def entry(simulation: Simulation, name: str) -> dict:
    return next(entry for entry in simulation.ground_truth()["objects"] if entry["name"] == name)


def box_place(simulation: Simulation, right_one: bool = True) -> np.ndarray:
    truth = simulation.ground_truth()
    names = [entry["name"] for entry in truth["objects"][1:]]
    name = next(name for name in names if (name == truth["box"]) == right_one)
    return np.array(entry(simulation, name)["position"])


def put_bar(simulation: Simulation, place: np.ndarray, yaw: float = 0.0) -> None:
    joint = simulation.data.joint("bar_joint")
    joint.qpos[:3] = place
    joint.qpos[3:] = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
    joint.qvel[:] = 0.0


def test_it_is_what_two_arms_do_by_default():
    assert default_task(load_robot("agilex_dual")) == "sort_bimanual"


def test_scenes_vary_and_the_bar_has_a_box_of_its_colour(world):
    colours, phrasings, places = set(), set(), set()
    for seed in range(60):
        world.reset(seed)
        truth = world.ground_truth()
        bar = entry(world, truth["target"])
        boxes = [item["name"] for item in truth["objects"][1:]]
        assert len(set(boxes)) == 2 and truth["box"] in boxes
        assert truth["box"].split()[0] == bar["colour"] == truth["target"].split()[0]
        x, y, _ = bar["position"]
        assert BAR_REGION_X_M[0] <= x <= BAR_REGION_X_M[1] and BAR_REGION_Y_M[0] <= y <= BAR_REGION_Y_M[1]
        assert abs(2 * math.atan2(bar["quaternion"][2], bar["quaternion"][3])) <= BAR_YAW_RAD + 1e-9
        colours.add(bar["colour"])
        places.add((x, y))
        phrasings.add(truth["instruction"].replace(bar["colour"], "{colour}"))
    assert colours == set(COLOURS) and phrasings == set(PHRASINGS) and len(places) == 60


def test_one_arm_alone_reaches_the_bar_and_the_other_one_alone_the_boxes(world):
    robot = world.robot
    arms = [ToolKinematics(robot, prefix) for prefix in ("left_", "right_")]

    def misses(side: int, place: np.ndarray) -> float:
        """How far from `place` the straight tool of a side stays, at best."""
        arm = arms[side]
        joints = robot.home_positions[arm.arm]
        for _ in range(3):
            joints = arm.inverse(place, TOOL_ROTATIONS[side], joints)
        limits = [robot.limits[robot.action_joints[index]] for index in arm.arm]
        joints = np.clip(joints, [limit.lower for limit in limits], [limit.upper for limit in limits])
        return float(np.linalg.norm(arm.forward(joints)[0] - place))

    for seed in range(12):
        world.reset(seed)
        bar = np.array(entry(world, world.ground_truth()["target"])["position"])
        assert misses(LEFT, bar + beside_bar(LEFT)) < 1e-3 < 0.01 < misses(RIGHT, bar + beside_bar(RIGHT))
        for right_one in (True, False):
            box = box_place(world, right_one) + [0.0, 0.0, 0.05]
            assert misses(RIGHT, box + beside_bar(RIGHT)) < 1e-3 < 0.01 < misses(LEFT, box + beside_bar(LEFT))


def test_the_right_arm_may_have_to_pick_too():
    simulation = Simulation(load_robot("agilex_dual"), SortBimanual(("left", "right")))
    picking = set()
    for seed in range(12):
        simulation.reset(seed)
        truth = simulation.ground_truth()
        bar_y, box_y = (entry(simulation, truth[key])["position"][1] for key in ("target", "box"))
        assert bar_y * box_y < 0.0
        assert simulation.task.picking_side == ("left" if bar_y > 0.0 else "right")
        picking.add(simulation.task.picking_side)
    assert picking == {"left", "right"}


def test_a_new_scene_has_reached_nothing(world):
    assert not world.success()
    assert world.task.reached(world.model, world.data) == (False, False, False, False)


def test_the_bar_at_rest_in_its_box_is_a_success(world):
    put_bar(world, box_place(world) + [0.01, -0.01, 0.02])
    world.step(1.0)
    assert world.success() and world.ground_truth()["success"]
    assert world.task.reached(world.model, world.data)[-1]


def test_the_bar_in_the_other_box_is_none(world):
    put_bar(world, box_place(world, right_one=False) + [0.0, 0.0, 0.02])
    world.step(1.0)
    assert not world.success()


def test_a_falling_bar_is_none_yet(world):
    put_bar(world, box_place(world) + [0.0, 0.0, 0.15])
    world.step(0.1)
    assert not world.success()
    world.step(1.5)
    assert world.success()


def test_a_bar_across_the_wall_is_none(world):
    put_bar(world, box_place(world) + [0.0, 0.0, 0.06], yaw=math.pi / 2)
    world.step(1.5)
    assert not world.success()


def hold_with(simulation: Simulation, prefix: str, finger_m: float = 0.0115) -> np.ndarray:
    """The bar between the fingers of one gripper, turned to it across; returns where it is."""
    joints = list(simulation.robot.action_joints)
    positions = simulation.robot.home_positions.copy()
    positions[joints.index(f"{prefix}joint6")] = math.pi / 2
    positions[joints.index(f"{prefix}joint7")] = finger_m
    simulation.place_robot(positions)
    grip = simulation.data.body(f"{prefix}grasp_frame").xpos.copy()
    put_bar(simulation, grip)
    simulation.place_robot(positions)
    return grip


@pytest.mark.parametrize(("prefix", "taken"), [("left_", False), ("right_", True)])
def test_the_bar_counts_as_handed_over_when_the_boxes_arm_alone_holds_it(world, prefix, taken):
    hold_with(world, prefix)
    assert world.ground_truth()["held"] == {"left": not taken, "right": taken}
    assert world.task.reached(world.model, world.data) == (True, True, taken, False)


def test_a_bar_that_is_still_held_in_its_box_is_none(world):
    box = world.model.body(f"box_{world.task.box_colours.index(world.task.colour)}")
    for finger_m, placed in ((0.0115, False), (0.035, True)):
        grip = hold_with(world, "right_", finger_m)
        world.data.mocap_pos[box.mocapid[0]] = grip - [0.0, 0.0, 0.02]
        hold_with(world, "right_", finger_m)
        assert world.ground_truth()["placed"] == placed
        assert world.success() == placed


def test_the_front_camera_shows_the_bar_and_both_boxes(world):
    cells = world.grounding("front")
    names = world.task.object_names
    truth = world.ground_truth()
    shown = {names[index] for index in np.flatnonzero(cells.max(axis=1))}
    assert shown == {item["name"] for item in truth["objects"]}
