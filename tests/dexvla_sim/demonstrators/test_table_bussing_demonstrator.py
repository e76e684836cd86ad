"""The scripted demonstrator of table bussing: one object after another, from every state, without memory."""

import re

import numpy as np
import pytest

from dexvla_model.policy import DONE_TEXT
from dexvla_model.robot import load_robot
from dexvla_sim.demonstrators.gripper_arm import TOOL_ROTATION
from dexvla_sim.demonstrators.table_bussing import BussingScene, TableBussingDemonstrator
from dexvla_sim.kinematics import ToolKinematics
from dexvla_sim.scripted_policy import ScriptedPolicy
from dexvla_sim.simulation import Simulation

ARM = slice(0, 7)
OPEN_M = 0.04


@pytest.fixture(scope="module")
def franka():
    return load_robot("fr3")


@pytest.fixture(scope="module")
def shared_bussing(franka) -> Simulation:
    return Simulation(franka, "table_bussing", seed=0)


@pytest.fixture
def bussing(shared_bussing: Simulation) -> Simulation:
    shared_bussing.reset(0)
    return shared_bussing


@pytest.fixture(scope="module")
def busser(franka) -> ScriptedPolicy:
    return ScriptedPolicy(franka)


def put(simulation, index, place):
    """Put the object that was the `index`-nearest at (x, y, z), by hand."""
    joint = simulation.data.joint(f"{simulation.task.kinds[index].name}_joint")
    joint.qpos[:3] = place
    joint.qvel[:] = 0.0


def in_container(simulation, index, offset=(-0.04, 0.0, 0.03)):
    put(simulation, index, simulation.data.body(simulation.task.kinds[index].place).xpos + np.array(offset))


def carried_to(said):
    """Names and containers, in the order in which things are carried away."""
    found = [re.fullmatch(r"carry the (\w+) to the (\w+) at -?\d+ -?\d+", text) for text in said]
    return [match.groups() for match in found if match]


def test_it_takes_the_nearest_first_to_where_it_belongs_and_says_so(bussing, busser, drive):
    kinds = bussing.task.kinds
    x, y = (round(100 * value) for value in bussing.ground_truth()["objects"][0]["position"][:2])
    outcome = drive(bussing, busser, timeout_s=30.0)
    assert outcome.success and outcome.finished and outcome.duration_s < 25.0
    assert carried_to(outcome.sub_steps) == [(kind.name, kind.place) for kind in kinds]
    verbs = [text.split()[0] for text in outcome.sub_steps]
    once = ["move", "lower", "grasp", "lift", "carry", "release"]
    assert verbs == once + once + ["move", "done"]
    name = kinds[0].name
    assert outcome.sub_steps[:2] == [f"move above the {name} at {x} {y}", f"lower to the {name} at {x} {y}"]
    assert outcome.sub_steps[-2:] == ["move away", DONE_TEXT]


@pytest.mark.parametrize(
    ("name", "task"),
    [("fr3", "table_bussing_4"), pytest.param("ur5e", "table_bussing_3", marks=pytest.mark.slow)],
)
def test_it_clears_more_objects_and_puts_them_side_by_side(drive, name, task):
    robot = load_robot(name)
    simulation = Simulation(robot, task, seed=1)
    outcome = drive(simulation, ScriptedPolicy(robot), timeout_s=60.0)
    assert outcome.success and outcome.finished
    assert carried_to(outcome.sub_steps) == [(kind.name, kind.place) for kind in simulation.task.kinds]


def test_it_picks_a_dropped_object_up_again(bussing, busser, drive, command):
    dropped = []

    def drop(simulation):
        held = any(entry["held"] for entry in simulation.ground_truth()["objects"])
        if not dropped and held and simulation.data.body("grasp_frame").xpos[2] > 0.08:
            dropped.append(simulation.time_s)
            positions = simulation.robot_state().positions
            opened = np.append(positions[ARM], OPEN_M)
            command(simulation, np.stack([positions, opened]), np.array([0.0, 0.3]))
            simulation.step(0.8)

    outcome = drive(bussing, busser, disturb=drop, timeout_s=40.0)
    assert dropped and outcome.success
    lifted = [text for text in outcome.sub_steps if text.startswith("lift")]
    assert lifted == [f"lift the {bussing.task.kinds[index].name}" for index in (0, 0, 1)]


def test_what_is_due_follows_from_where_things_are(bussing, busser, observe):
    first, second = (kind.name for kind in bussing.task.kinds)

    def due():
        bussing.place_robot(bussing.robot.home_positions)
        return busser.reason(observe(bussing), bussing.instruction).text

    assert due().startswith(f"move above the {first} at ")
    put(bussing, 1, (0.34, 0.0, 0.02))
    assert due() == f"move above the {second} at 34 0"
    in_container(bussing, 1)
    bussing.step(1.0)
    assert due().startswith(f"move above the {first} at ")
    in_container(bussing, 0)
    bussing.step(1.0)
    assert due() == DONE_TEXT


def test_it_opens_the_fingers_around_what_it_has_placed_before_it_goes_on(bussing, busser, observe):
    first, second = bussing.task.kinds
    in_container(bussing, 0)
    bussing.step(1.0)
    kinematics = ToolKinematics(bussing.robot)
    above = bussing.data.body(first.name).xpos + [0.0, 0.0, 0.025]
    arm = kinematics.inverse(above, TOOL_ROTATION, bussing.robot.home_positions[ARM])
    bussing.place_robot(np.append(arm, 0.023))
    observation = observe(bussing)
    substep = busser.reason(observation, bussing.instruction)
    assert substep.text.startswith(f"release the {first.name} at ")
    chunk = busser.act(substep, observation.state)
    assert chunk.positions[-1, 7] > 0.035
    tools = np.array([kinematics.forward(row[ARM])[0] for row in chunk.positions])
    opened = np.argmax(chunk.positions[:, 7] > 0.03)
    assert np.abs(tools[opened] - tools[0]).max() < 0.01
    target = bussing.data.body(second.name).xpos
    assert np.linalg.norm(tools[-1, :2] - target[:2]) < np.linalg.norm(tools[0, :2] - target[:2]) - 0.02


def test_the_second_object_of_a_container_goes_beside_the_first(franka, observe):
    simulation = Simulation(franka, "table_bussing_4", seed=0)
    kinds = simulation.task.kinds
    one, other = (index for index, kind in enumerate(kinds) if kind.place == kinds[0].place)
    demonstrator = TableBussingDemonstrator(franka)
    scene = demonstrator.scene(simulation.ground_truth())
    middle = simulation.data.body(kinds[0].place).xpos[0]
    assert scene.name == kinds[one].name and scene.tray[0] == pytest.approx(middle - 0.04)
    in_container(simulation, one)
    put(simulation, other, (0.34, 0.0, 0.02))
    simulation.step(1.0)
    scene = demonstrator.scene(simulation.ground_truth())
    assert scene.name == kinds[other].name and scene.tray[0] == pytest.approx(middle + 0.04)


def test_the_condition_carries_the_whole_scene(bussing, franka):
    scene = TableBussingDemonstrator(franka).scene(bussing.ground_truth())
    vector = scene.to_vector()
    again = BussingScene.from_vector(vector)
    assert vector.dtype == np.float32
    assert np.array_equal(again.to_vector(), vector)
    assert (again.name, again.place, again.placed) == (scene.name, scene.place, scene.placed)
    assert again.tray == pytest.approx(scene.tray, abs=1e-6)


def test_chunks_keep_within_the_limits(bussing, busser, observe):
    robot = bussing.robot
    velocity = np.array([robot.limits[joint].velocity for joint in robot.action_joints])
    lower = np.array([robot.limits[joint].lower for joint in robot.action_joints])
    upper = np.array([robot.limits[joint].upper for joint in robot.action_joints])
    for seed in range(8):
        bussing.reset(seed)
        observation = observe(bussing)
        chunk = busser.act(busser.reason(observation, bussing.instruction), observation.state)
        assert chunk.positions.shape == (busser.horizon, 8)
        assert (chunk.positions >= lower).all() and (chunk.positions <= upper).all()
        assert (np.abs(np.diff(chunk.positions, axis=0)) / chunk.step_s <= velocity).all()
