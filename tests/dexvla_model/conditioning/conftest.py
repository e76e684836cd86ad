"""A stage-1 model small enough to build in milliseconds, and batches for it."""

from dataclasses import replace

import pytest
import torch

from dexvla_model.batch import Batch, TaskText
from dexvla_model.conditioning import Stage1Config, Stage1Model, image_encoder_preset, sentence_encoder_preset
from dexvla_model.embodiment import Embodiment
from dexvla_model.expert import EmbodimentConfig, expert_preset
from dexvla_model.vlm import ImageSize, special_token_ids

HORIZON = 16


@pytest.fixture(scope="session")
def stage1_config(tokenizer, robot) -> Stage1Config:
    cameras = {camera.role: ImageSize(camera.model_width, camera.model_height) for camera in robot.cameras}
    head = EmbodimentConfig(len(robot.state), len(robot.action), HORIZON)
    return Stage1Config(
        image_encoder_preset("resnet-nano"),
        sentence_encoder_preset("distilbert-nano", vocab_size=special_token_ids(tokenizer)["vocab_size"]),
        expert_preset("scaledp-nano"),
        {robot.embodiment: Embodiment(head, cameras)},
        hidden_width=64,
    )


@pytest.fixture
def make_stage1(stage1_config):
    """A model whose weights are all random, so that nothing is hidden behind a zero."""

    def make(seed: int = 0, std: float = 0.1, **changes) -> Stage1Model:
        torch.manual_seed(seed)
        model = Stage1Model(replace(stage1_config, **changes))
        with torch.no_grad():
            for weight in model.parameters():
                # Convolutions and their norms keep what makes their features neither vanish nor explode.
                if weight.dim() in (2, 3):
                    weight.normal_(0, std)
        return model.eval()

    return make


@pytest.fixture
def make_stage1_batch(robot, make_images):
    def make(texts: list[TaskText], chunks: int = 2, seed: int = 0) -> Batch:
        count = len(texts)
        generator = torch.Generator().manual_seed(seed)
        state = torch.randn(count, chunks, len(robot.state), generator=generator)
        actions = torch.rand(count, chunks, HORIZON, len(robot.action), generator=generator) * 2 - 1
        return Batch(robot.embodiment, make_images(count, seed), None, state, actions, texts=tuple(texts))

    return make
