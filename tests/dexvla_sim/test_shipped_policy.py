"""The checkpoint that ships: small enough, made for the shipped robot, and able to do the task."""

import json

import pytest

from dexvla_model.robot import load_robot
from dexvla_sim.evaluation import EvaluationJob, evaluate
from dexvla_sim.policies import default_policy, find_checkpoint, load_any_policy
from dexvla_sim.rollout import Rollout
from dexvla_sim.simulation import Simulation

UR5E = load_robot("ur5e")
NAME = default_policy(UR5E, "pick_place")


def test_it_is_small_and_says_how_it_was_made():
    folder = find_checkpoint(NAME)
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 25e6
    provenance = json.loads((folder / "config.json").read_text())["provenance"]
    assert provenance["command"].startswith("dexvla ") and provenance["steps"] > 0


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
def test_it_succeeds_on_most_unseen_seeds():
    report = evaluate(EvaluationJob("ur5e", "pick_place", NAME), range(3000, 3030), processes=2)
    assert report.success_rate >= 0.8
