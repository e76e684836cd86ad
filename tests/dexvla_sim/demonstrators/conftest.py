"""What the tests of pouring share: rollouts without pictures, and scenes by hand."""

import numpy as np
import pytest

from dexvla_model.observation import Observation
from dexvla_sim.demonstrators.pour_scene import PourScene
from dexvla_sim.rollout import Rollout
from dexvla_sim.scripted_policy import ScriptedPolicy


@pytest.fixture
def rollout(simulation):
    """Of the scripted policy, which does not look at pictures: none are rendered."""
    simulation.observation = lambda: Observation(
        simulation.time_s, {}, simulation.robot_state(), simulation.ground_truth()
    )
    yield Rollout(simulation, ScriptedPolicy(simulation.robot))
    del simulation.observation


@pytest.fixture(scope="session")
def scene_with():
    """Function from the places of cup and bowl, (x, y) m on the table or (x, y, z), and changes to a scene."""

    def scene_with(cup=(0.54, -0.12), bowl=(0.52, 0.20), **changes) -> PourScene:
        values = dict(
            cup=np.array([*cup, 0.0][:3]), up=np.array([0.0, 0.0, 1.0]), bowl=np.array([*bowl, 0.0]),
            held=False, balls=6, success=False,
        )  # fmt: skip
        return PourScene(**(values | changes))

    return scene_with
