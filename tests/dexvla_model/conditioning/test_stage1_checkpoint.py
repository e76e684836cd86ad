"""A stage-1 model in a checkpoint folder, and the policy that comes out of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dexvla_model.checkpoint import Checkpoint, load_checkpoint, load_policy, save_checkpoint
from dexvla_model.conditioning import Stage1Model, Stage1Policy
from dexvla_model.embodiment import Embodiment
from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig
from dexvla_model.vlm import ImageSize

INSTRUCTION = "put the red cube in the tray"


@pytest.fixture
def checkpoint(make_stage1, tokenizer, statistics, robot):
    model = make_stage1(4)
    return Checkpoint(
        model, tokenizer, {robot.embodiment: statistics}, {robot.embodiment: robot}, {"steps": 7}
    )


def test_it_comes_back_as_it_was_saved(checkpoint, tmp_path):
    save_checkpoint(tmp_path / "stage1", checkpoint)
    loaded = load_checkpoint(tmp_path / "stage1")
    assert json.loads((tmp_path / "stage1" / "config.json").read_text())["kind"] == "stage1"
    assert isinstance(loaded.model, Stage1Model)
    assert loaded.model.config == checkpoint.model.config
    for name, tensor in checkpoint.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name


def test_the_loaded_policy_does_what_the_saved_one_did(
    checkpoint, tmp_path, statistics, robot, make_observation
):
    saved = Stage1Policy(checkpoint.model, checkpoint.tokenizer, statistics, robot)
    save_checkpoint(tmp_path / "stage1", checkpoint)
    loaded = load_policy(tmp_path / "stage1", robot)
    assert isinstance(loaded, Stage1Policy)
    assert loaded.name == "stage1"
    observation = make_observation()
    substeps = [policy.reason(observation, INSTRUCTION) for policy in (saved, loaded)]
    np.testing.assert_allclose(substeps[0].condition, substeps[1].condition, rtol=1e-4, atol=1e-4)
    chunks = [policy.act(substeps[0], observation.state).positions for policy in (saved, loaded)]
    np.testing.assert_allclose(*chunks, rtol=1e-3, atol=1e-3)


def test_frozen_statistics_are_in_the_checkpoint(stage1_config, checkpoint, tmp_path, make_stage1):
    model = make_stage1(image=replace(stage1_config.image, normalization="frozen_batch"))
    buffer = model.conditioner.image_encoder.resnet.embedder.embedder.normalization.running_mean
    buffer.fill_(0.25)
    save_checkpoint(tmp_path / "frozen", replace(checkpoint, model=model))
    loaded = load_checkpoint(tmp_path / "frozen").model.conditioner.image_encoder.resnet
    assert torch.equal(loaded.embedder.embedder.normalization.running_mean, buffer)


def test_a_robot_that_was_added_is_saved_with_the_model(checkpoint, tmp_path):
    single = Embodiment(EmbodimentConfig(3, 2, 8), {"scene": ImageSize(64, 48)})
    checkpoint.model.add_embodiment("single", single)
    save_checkpoint(tmp_path / "two", checkpoint)
    assert load_checkpoint(tmp_path / "two").model.config.embodiments["single"] == single


def test_a_bad_value_is_named_with_its_file(checkpoint, tmp_path):
    save_checkpoint(tmp_path / "stage1", checkpoint)
    path = tmp_path / "stage1" / "config.json"
    config = json.loads(path.read_text())
    config["model"]["image"]["pooling"] = "max"
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="image.pooling is 'max', allowed are spatial_softmax, average"):
        load_checkpoint(tmp_path / "stage1")
