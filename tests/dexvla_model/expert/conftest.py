"""Experts of every kind whose weights are all random, so that nothing is hidden behind a zero."""

import pytest
import torch

from dexvla_model.expert import ActionExpert, EmbodimentConfig, expert_from_config, expert_preset

KINDS = ("scaledp-nano", "unet-nano")


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def make_expert():
    def make(preset: str, embodiments: dict[str, EmbodimentConfig], seed: int = 0) -> ActionExpert:
        torch.manual_seed(seed)
        expert = expert_from_config(expert_preset(preset), embodiments)
        with torch.no_grad():
            for weight in expert.parameters():
                weight.normal_(0, 0.1 if weight.dim() > 1 else 0.3)
        return expert

    return make


@pytest.fixture
def make_inputs():
    """Noisy rows, time steps, conditions (width 64) and states for an embodiment."""

    def make(embodiment: EmbodimentConfig, count: int = 3, rows: int | None = None, seed: int = 1):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(count, rows or embodiment.horizon, embodiment.action_size, generator=generator)
        t = torch.randint(0, 100, (count,), generator=generator)
        condition = torch.randn(count, 64, generator=generator)
        state = torch.randn(count, embodiment.state_size, generator=generator)
        return x, t, condition, state

    return make
