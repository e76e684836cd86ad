"""Episodes without ROS: the demonstrator succeeds under real latencies, and what is recorded is what was seen."""

import numpy as np
import pytest

from dexvla_model.data.demonstrations import open_dataset, read_episode
from dexvla_model.errors import UserError
from dexvla_model.policy import DONE_TEXT
from dexvla_model.robot import load_robot
from dexvla_sim.demonstrate import DemonstrationJob, record_demonstrations
from dexvla_sim.evaluation import EvaluationJob, evaluate, success_interval
from dexvla_sim.policies import default_policy, load_any_policy
from dexvla_sim.rollout import InferenceLatency, Rollout
from dexvla_sim.scripted_policy import ScriptedPolicy
from dexvla_sim.simulation import Simulation

UR5E = load_robot("ur5e")


@pytest.fixture(scope="module")
def simulation():
    simulation = Simulation(UR5E, "pick_place", 0)
    yield simulation
    simulation.close()


@pytest.fixture(scope="module")
def result(simulation):
    return Rollout(simulation, ScriptedPolicy(UR5E)).run(seed=11, timeout_s=20.0)


def test_the_demonstrator_succeeds_and_says_so(result):
    assert result.success and result.finished
    assert result.sub_steps[0].startswith("move above") and result.sub_steps[-1] == DONE_TEXT


def test_the_robot_never_waits_for_inference(result):
    assert result.waited_s == 0.0
    assert result.refused_chunks == 0


def test_an_episode_is_a_function_of_its_seed(simulation, result):
    assert Rollout(simulation, ScriptedPolicy(UR5E)).run(seed=11, timeout_s=20.0) == result


def test_an_episode_ends_at_its_timeout(simulation):
    result = Rollout(simulation, ScriptedPolicy(UR5E)).run(seed=11, timeout_s=1.0)
    assert not result.finished and not result.success
    assert result.duration_s == pytest.approx(1.0, abs=0.05)


def test_slow_inference_does_not_stop_the_robot_within_a_chunk(simulation):
    slow = InferenceLatency(reason_s=0.4, act_s=0.2, act_period_s=0.3)
    result = Rollout(simulation, ScriptedPolicy(UR5E), slow).run(seed=12, timeout_s=25.0)
    assert result.success and result.waited_s == 0.0


def test_demonstrations_are_recorded_and_gone_on_with(tmp_path):
    job = DemonstrationJob("ur5e", "pick_place", tmp_path / "data", disturb=False, timeout_s=0.5)
    recorded = record_demonstrations(job, [100, 101], processes=1)
    assert [episode.kept for episode in recorded] == [True, True]
    index = open_dataset(job.out)
    episode = read_episode(job.out, index.episodes[0])
    assert len(episode) == len(episode.sub_steps) == 5
    assert episode.images["scene"].shape[1:] == (112, 140, 3)
    np.testing.assert_allclose(episode.action_chunks[:, 0], episode.state, atol=1e-5)
    assert record_demonstrations(job, [100, 101, 102], processes=1)[0].seed == 102


def test_grounding_marks_the_tokens_that_show_an_object(simulation):
    simulation.reset(3)
    cells = simulation.grounding("scene")
    assert cells.shape == (5, 20)
    present = {f"{colour} cube" for colour in simulation.task.colours} | {"tray"}
    for name, shares in zip(simulation.task.object_names, cells):
        assert (shares.max() > 8) == (name in present), name


def test_an_evaluation_counts_and_gives_an_interval():
    report = evaluate(EvaluationJob("ur5e", "pick_place", "scripted", timeout_s=20.0), [5, 4], processes=2)
    assert report.success_rate == 1.0
    assert [episode.seed for episode in report.episodes] == [4, 5]
    assert report.to_json()["successes"] == 2


def test_wilsons_interval_at_known_points():
    # Wilson (1927), as tabulated by Newcombe (1998): 81 of 263.
    assert success_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert success_interval(0, 10)[0] == 0.0


def test_an_unknown_policy_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="--policy nobody.*allowed: scripted"):
        load_any_policy("nobody", UR5E)


def test_an_unknown_task_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="juggle.*pick_place"):
        evaluate(EvaluationJob("ur5e", "juggle", "scripted"), [1], processes=1)


def test_the_default_policy_is_named_after_robot_and_task():
    assert default_policy(UR5E, "pick_place") == "ur5e_pick_place_tiny"
