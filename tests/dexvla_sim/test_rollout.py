"""Episodes without ROS: the demonstrator succeeds under real latencies, and what is recorded is what was seen."""

from dataclasses import replace

import pytest

from dexvla_model.errors import UserError
from dexvla_model.policy import DONE_TEXT
from dexvla_model.robot import load_robot
from dexvla_sim.evaluation import EvaluationJob, evaluate
from dexvla_sim.policies import default_policy, is_shipped, load_any_policy
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


def test_an_episode_cut_short_counts_what_it_reached(simulation):
    result = Rollout(simulation, ScriptedPolicy(UR5E)).run(seed=11, timeout_s=3.6)
    assert not result.success
    assert result.milestones == ["grasped", "lifted"]
    assert result.score == 0.5


def test_a_success_that_lasts_ends_the_episode_of_a_policy_that_never_says_so(simulation):
    class Mute(ScriptedPolicy):
        def reason(self, *arguments):
            return replace(super().reason(*arguments), finished=False)

    result = Rollout(simulation, Mute(UR5E), success_held_s=1.0).run(seed=11, timeout_s=20.0)
    assert result.success and not result.finished
    assert result.duration_s < 8.0


def test_slow_inference_does_not_stop_the_robot_within_a_chunk(simulation):
    slow = InferenceLatency(reason_s=0.4, act_s=0.2, act_period_s=0.3)
    result = Rollout(simulation, ScriptedPolicy(UR5E), slow).run(seed=12, timeout_s=25.0)
    assert result.success and result.waited_s == 0.0


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
    summary = report.to_json()
    assert summary["successes"] == 2 and summary["mean_score"] == 1.0
    assert summary["milestone_rates"] == {"grasped": 1.0, "lifted": 1.0, "over the tray": 1.0, "placed": 1.0}
    assert summary["mean_squared_jerk_rad2_s6"] > 1.0


def test_an_unknown_policy_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="--policy nobody.*allowed: scripted"):
        load_any_policy("nobody", UR5E)


def test_an_unknown_task_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="juggle.*pick_place"):
        EvaluationJob("ur5e", "juggle", "scripted").check()


def test_the_default_policy_is_one_that_ships_or_the_name_of_none():
    assert is_shipped(default_policy(UR5E, "pick_place"))
    assert not is_shipped(default_policy(UR5E, "posture"))
