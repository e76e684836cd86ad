"""Baselines in a rollout: policies that plan where others reason and never say that they are done."""

import numpy as np
import pytest

from dexvla_model.baselines.bins import knot_rows
from dexvla_model.baselines.planned_chunk import PlannedRows
from dexvla_model.errors import UserError
from dexvla_model.policy import SubStep
from dexvla_model.robot import load_robot
from dexvla_sim.policies import absolute_name, find_checkpoint, load_any_policy
from dexvla_sim.rollout import Rollout
from dexvla_sim.simulation import Simulation

UR5E = load_robot("ur5e")


class Planner:
    """Plans to stay where the robot is but for its first joint, which turns."""

    name = "planner"
    robot = UR5E
    knots = knot_rows(16, 4)

    def __init__(self):
        self._planned = PlannedRows(UR5E, self.knots, 16)

    def get_ready(self, method):
        pass

    def reset(self, seed):
        pass

    def reason(self, observation, instruction, previous=None):
        plan = np.tile(observation.state.positions, (len(self.knots), 1))
        plan[:, 0] += 0.02 * np.array(self.knots)
        return SubStep(instruction, plan.reshape(-1).astype(np.float32), observation.stamp_s)

    def act(self, substep, state, prefix=None, scheduled=None):
        return self._planned.chunk(substep, state, prefix)


def test_a_planning_policy_keeps_the_robot_moving():
    simulation = Simulation(UR5E, "pick_place", 0)
    try:
        simulation.reset(3)
        start = simulation.robot_state().positions
        result = Rollout(simulation, Planner()).run(seed=3, timeout_s=2.0)
        moved = simulation.robot_state().positions - start
    finally:
        simulation.close()
    assert not result.finished
    assert result.refused_chunks == 0 and result.waited_s == 0.0
    assert moved[0] > 0.1
    assert np.abs(moved[1:6]).max() < 0.05


def test_policies_of_lerobot_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pusher").mkdir()
    assert find_checkpoint("lerobot:pusher").resolve() == tmp_path / "pusher"
    assert absolute_name("lerobot:pusher") == f"lerobot:{tmp_path / 'pusher'}"
    assert absolute_name("scripted") == "scripted"
    with pytest.raises(UserError, match="--policy lerobot:nobody: there is no folder nobody"):
        find_checkpoint("lerobot:nobody")
    with pytest.raises(UserError, match="lerobot:pusher: there is no config.json"):
        load_any_policy("lerobot:pusher", UR5E)
