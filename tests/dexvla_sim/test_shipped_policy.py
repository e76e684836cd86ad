"""The checkpoints that ship: small enough, made for the shipped robots, and able to do their tasks."""

import json

import pytest
import yaml

from dexvla_model.resources import find_resource, list_checkpoints
from dexvla_model.robot import load_robot
from dexvla_sim.evaluation import EvaluationJob, evaluate
from dexvla_sim.policies import DEFAULTS, default_policy, find_checkpoint, load_any_policy
from dexvla_sim.rollout import Rollout
from dexvla_sim.scripted_policy import ScriptedPolicy
from dexvla_sim.simulation import Simulation
from dexvla_sim.tasks import load_task

UR5E = load_robot("ur5e")
TASKS = [
    (robot, task)
    for robot, tasks in yaml.safe_load(find_resource(DEFAULTS).read_text()).items()
    for task in tasks
]
NAME = default_policy(UR5E, "pick_place")


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*"))


@pytest.mark.parametrize("name", list_checkpoints())
def test_each_is_small_and_says_how_it_was_made(name):
    folder = find_checkpoint(name)
    assert size_of(folder) < 25e6
    provenance = json.loads((folder / "config.json").read_text())["provenance"]
    assert provenance["command"].startswith("dexvla ") and provenance["steps"] > 0
    # No folder of the machine on which it was trained.
    assert not any(provenance[key].startswith("/") for key in ("initial_checkpoint", "vlm_checkpoint") if key in provenance)


def test_all_together_are_small():
    assert sum(size_of(find_checkpoint(name)) for name in list_checkpoints()) < 60e6


@pytest.mark.parametrize(("robot", "task"), TASKS)
def test_the_policy_of_a_task_knows_its_robot_and_says_what_is_due(robot, task):
    description = load_robot(robot)
    simulation = Simulation(description, load_task(task), seed=2000)
    policy = load_any_policy(default_policy(description, task), description)
    policy.reset(2000)
    observation = simulation.observation()
    text = policy.reason(observation, simulation.instruction).text
    said = ScriptedPolicy(description).reason(observation, simulation.instruction).text
    simulation.close()
    # The first words name the sub-step, the numbers behind them the place.
    assert text.split()[:2] == said.split()[:2]


def test_it_names_the_cube_of_the_instruction_and_where_it_is():
    simulation = Simulation(UR5E, "pick_place", seed=2000)
    policy = load_any_policy(NAME, UR5E)
    named, near = 0, 0
    for seed in range(2000, 2008):
        simulation.reset(seed)
        policy.reset(seed)
        words = policy.reason(simulation.observation(), simulation.instruction).text.split()
        truth = simulation.ground_truth()
        target = next(cube for cube in truth["objects"] if cube["name"] == truth["target"])
        named += target["colour"] in words
        said_cm = [float(word) for word in words[-2:]]
        near += all(abs(said - 100 * true) <= 2.5 for said, true in zip(said_cm, target["position"]))
    simulation.close()
    assert named >= 7 and near >= 6


def test_it_does_the_task_from_pixels():
    simulation = Simulation(UR5E, "pick_place", seed=2000)
    rollout = Rollout(simulation, load_any_policy(NAME, UR5E))
    results = [rollout.run(seed, timeout_s=25.0) for seed in (1000, 1001, 1002)]
    simulation.close()
    assert sum(result.success for result in results) >= 2
    assert all(result.waited_s == 0.0 for result in results)


@pytest.mark.slow
@pytest.mark.parametrize(("robot", "task"), [pair for pair in TASKS if pair[1] != "pick_place"])
def test_the_policy_of_a_task_succeeds_on_half_of_unseen_seeds(robot, task):
    name = default_policy(load_robot(robot), task)
    report = evaluate(EvaluationJob(robot, task, name, timeout_s=45.0), range(3000, 3030), processes=2)
    assert report.success_rate >= 0.5


@pytest.mark.slow
def test_it_succeeds_on_most_unseen_seeds():
    report = evaluate(EvaluationJob("ur5e", "pick_place", NAME), range(3000, 3030), processes=2)
    assert report.success_rate >= 0.8
