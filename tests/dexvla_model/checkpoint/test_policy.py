"""From a checkpoint to a policy for a robot."""

import dataclasses

import numpy as np
import pytest
import torch

from dexvla_model.checkpoint import Checkpoint, load_policy, save_checkpoint
from dexvla_model.dexvla_policy import DexVLAPolicy
from dexvla_model.errors import UserError

INSTRUCTION = "put the red cube in the tray"


@pytest.fixture
def checkpoint(make_model, tokenizer, statistics, robot):
    return Checkpoint(make_model(4), tokenizer, {robot.embodiment: statistics}, {robot.embodiment: robot})


@pytest.fixture
def folder(checkpoint, tmp_path):
    save_checkpoint(tmp_path / "small", checkpoint)
    return tmp_path / "small"


def test_the_loaded_policy_does_what_the_saved_one_did(
    folder, checkpoint, tokenizer, statistics, robot, make_observation
):
    saved = DexVLAPolicy(checkpoint.model, tokenizer, statistics, robot)
    loaded = load_policy(folder, robot)
    observation = make_observation()
    for policy in (saved, loaded):
        policy.reset(3)
    a, b = (policy.reason(observation, INSTRUCTION) for policy in (saved, loaded))
    assert a.text == b.text
    # A loaded policy computes from packed weights, which rounds in another order.
    np.testing.assert_allclose(a.condition, b.condition, atol=1e-5)
    np.testing.assert_allclose(
        saved.act(a, observation.state).positions, loaded.act(b, observation.state).positions, atol=1e-4
    )
    assert loaded.name == "small"


def test_it_computes_in_bfloat16_on_request(folder, robot, make_observation):
    exact, rounded = load_policy(folder, robot), load_policy(folder, robot, dtype="bfloat16")
    assert rounded.model.expert.cond_obs_emb.weight.dtype == torch.bfloat16
    observation = make_observation()
    substep = exact.reason(observation, INSTRUCTION)
    for policy in (exact, rounded):
        policy.reset(1)
    a, b = (policy.act(substep, observation.state).positions for policy in (exact, rounded))
    assert np.isfinite(b).all()
    assert np.abs(a - b).mean() < 0.1
    assert np.isfinite(rounded.reason(observation, INSTRUCTION).condition).all()


def test_a_robot_with_another_layout_is_refused_by_its_entry(folder, robot):
    swapped = (robot.state[1], robot.state[0], *robot.state[2:])
    with pytest.raises(UserError, match=r"state\[0\].joint is 'shoulder_lift_joint'"):
        load_policy(folder, dataclasses.replace(robot, state=swapped))
    shorter = dataclasses.replace(robot, action=robot.action[:-1])
    with pytest.raises(UserError, match="the length of action is 6"):
        load_policy(folder, shorter)


def test_a_robot_with_other_image_sizes_is_refused(folder, robot):
    wide = dataclasses.replace(robot.cameras[0], model_width=168)
    with pytest.raises(UserError, match=r"cameras\[0\].model_size"):
        load_policy(folder, dataclasses.replace(robot, cameras=(wide, *robot.cameras[1:])))


def test_a_robot_without_a_head_is_refused(folder, robot):
    with pytest.raises(UserError, match="no head for the embodiment 'dog' of .*, it has: ur5e"):
        load_policy(folder, dataclasses.replace(robot, embodiment="dog"))


def test_an_unknown_device_or_type_is_refused(folder, robot):
    with pytest.raises(UserError, match="dtype is 'int8', allowed are float32, bfloat16"):
        load_policy(folder, robot, dtype="int8")
    with pytest.raises(UserError, match="device 'tpu9' is not available"):
        load_policy(folder, robot, device="tpu9")
