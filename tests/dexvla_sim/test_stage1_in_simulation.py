"""A stage-1 checkpoint drives the simulated robot through the same doors as every other policy."""

import pytest
import torch

from dexvla_model.checkpoint import Checkpoint, save_checkpoint
from dexvla_model.conditioning import (
    Stage1Config,
    Stage1Model,
    Stage1Policy,
    image_encoder_preset,
    sentence_encoder_preset,
)
from dexvla_model.embodiment import Embodiment
from dexvla_model.expert import EmbodimentConfig, expert_preset
from dexvla_model.normalization import Statistics, relative_to_state
from dexvla_model.vlm import ImageSize, special_token_ids, train_tokenizer
from dexvla_sim.policies import load_any_policy
from dexvla_sim.rollout import Rollout


@pytest.fixture
def checkpoint_folder(robot, tmp_path):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["put the red cube in the tray"] * 20, 300)
    cameras = {camera.role: ImageSize(camera.model_width, camera.model_height) for camera in robot.cameras}
    head = EmbodimentConfig(len(robot.state), len(robot.action), 16)
    config = Stage1Config(
        image_encoder_preset("resnet-nano"),
        sentence_encoder_preset("distilbert-nano", vocab_size=special_token_ids(tokenizer)["vocab_size"]),
        expert_preset("unet-nano"),
        {robot.embodiment: Embodiment(head, cameras)},
        hidden_width=64,
        says_done=False,
    )
    states = 0.1 * torch.randn(50, len(robot.state))
    chunks = states.unsqueeze(1) + 0.01 * torch.randn(50, 16, len(robot.action))
    statistics = Statistics.measure(states, chunks, None, relative_to_state(robot))
    names = {robot.embodiment: statistics}, {robot.embodiment: robot}
    save_checkpoint(tmp_path / "stage1", Checkpoint(Stage1Model(config), tokenizer, *names))
    return tmp_path / "stage1"


def test_it_says_the_instruction_and_acts_until_its_time_is_up(checkpoint_folder, robot, simulation):
    policy = load_any_policy(str(checkpoint_folder), robot)
    assert isinstance(policy, Stage1Policy)
    result = Rollout(simulation, policy).run(seed=3, timeout_s=1.0)
    assert result.sub_steps == [result.instruction]
    assert not result.finished
    assert result.duration_s == pytest.approx(1.0, abs=0.05)
    assert result.refused_chunks == 0
