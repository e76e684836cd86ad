"""Training a robot on top of a checkpoint that does not know it."""

import dataclasses

import numpy as np
import pytest
import torch

from dexvla_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dexvla_model.errors import UserError
from dexvla_model.training.new_robot import embodiment_of, with_robot


class Frames:
    """Twelve frames of a robot with seven joints, each with a chunk of five rows."""

    horizon = 5

    def __len__(self):
        return 12

    def states_of(self, frames):
        return np.sin(frames[:, None] + np.arange(7)).astype(np.float32)

    def chunks_of(self, frames):
        return self.states_of(frames)[:, None] + 0.1 * np.arange(5, dtype=np.float32)[:, None], None


@pytest.fixture
def other(robot):
    """A second robot: the same file under another name."""
    text = robot.text.replace("name: ur5e", "name: left_arm").replace(robot.embodiment, "left_arm")
    return dataclasses.replace(robot, name="left_arm", embodiment="left_arm", text=text)


@pytest.fixture
def checkpoint(make_model, tokenizer, statistics, robot):
    return Checkpoint(
        make_model(4), tokenizer, {robot.embodiment: statistics}, {robot.embodiment: robot}, {"steps": 12}
    )


def test_an_unknown_robot_gets_a_head_statistics_and_its_file(checkpoint, robot, other, tmp_path):
    weights = {name: weight.clone() for name, weight in checkpoint.model.state_dict().items()}
    more, added = with_robot(checkpoint, other, Frames(), "old")
    assert added == ["a new head", "its statistics"]
    assert more.model.embodiment("left_arm") == embodiment_of(other, 5)
    save_checkpoint(tmp_path / "new", more)
    loaded = load_checkpoint(tmp_path / "new")
    assert loaded.robots.keys() == loaded.statistics.keys() == {robot.embodiment, "left_arm"}
    assert loaded.model.config == more.model.config
    after = loaded.model.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in weights.items())
    assert after.keys() - weights.keys() == {
        f"expert.heads.left_arm.{name}" for name in more.model.expert.heads["left_arm"].state_dict()
    }
    states = Frames().states_of(np.arange(12))
    assert np.allclose(loaded.statistics["left_arm"].state_mean, states.mean(axis=0), atol=1e-6)


def test_a_robot_that_is_known_stays_as_it_is(checkpoint, robot, statistics):
    same, added = with_robot(checkpoint, robot, Frames(), "old")
    assert added == []
    assert same.model is checkpoint.model
    assert same.statistics[robot.embodiment] is statistics


def test_an_imported_head_without_statistics_gets_those_of_the_data(checkpoint, robot):
    imported = dataclasses.replace(checkpoint, statistics={}, robots={})
    more, added = with_robot(imported, robot, Frames(), "old")
    assert added == ["its statistics"]
    assert more.robots == {robot.embodiment: robot}


def test_a_robot_with_another_layout_is_refused(checkpoint, robot):
    changed = dataclasses.replace(robot, action=robot.action[::-1])
    with pytest.raises(UserError, match=r"action\[0\].joint is .*the checkpoint old was made with"):
        with_robot(checkpoint, changed, Frames(), "old")
