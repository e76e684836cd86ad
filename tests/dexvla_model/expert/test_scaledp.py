"""ScaleDP's sizes, and how it starts; what it shares with other experts is in test_heads."""

import pytest
import torch

from dexvla_model.expert import EmbodimentConfig, ScaleDP, expert_preset

ARM = EmbodimentConfig(state_size=7, action_size=6, horizon=8)


@pytest.mark.parametrize(("preset", "parameters"), [("scaledp-h", 955_861_518), ("scaledp-l", 462_632_462)])
def test_published_sizes_have_the_published_parameter_counts(preset, parameters):
    with torch.device("meta"):
        expert = ScaleDP(expert_preset(preset), {"aloha": EmbodimentConfig(14, 14, 50)})
    assert sum(weight.numel() for weight in expert.parameters()) == parameters


def test_a_second_robot_costs_its_head_alone():
    """Horizon 20, 16 joints: the five matrices and biases of a head, and its positions."""
    with torch.device("meta"):
        expert = ScaleDP(expert_preset("scaledp-h"), {"aloha": EmbodimentConfig(14, 14, 50)})
        expert.add_embodiment("hand", EmbodimentConfig(22, 16, 20))
    head = (16 * 1280 + 1280) + 22 * 1024 + 20 * 1280 + (1280 * 16 + 16)
    assert sum(weight.numel() for weight in expert.parameters()) == 955_861_518 + head


def test_a_new_expert_predicts_zero_and_each_block_starts_as_the_identity(make_inputs):
    expert = ScaleDP(expert_preset("scaledp-nano"), {"arm": ARM})
    assert not expert(*make_inputs(ARM), "arm").any()
    h = torch.randn(3, 8, 64)
    torch.testing.assert_close(expert.blocks[0](h, expert.blocks[0].modulation(torch.randn(3, 64))), h)


@torch.no_grad()
def test_a_shorter_chunk_has_the_first_positions(make_expert, make_inputs):
    """Its rows see each other and their own positions only: the same as in a head of that horizon."""
    expert = make_expert("scaledp-nano", {"arm": ARM})
    short = make_expert("scaledp-nano", {"arm": EmbodimentConfig(7, 6, 5)})
    weights = expert.state_dict()
    weights["heads.arm.pos_embed"] = weights["heads.arm.pos_embed"][:, :5]
    short.load_state_dict(weights)
    inputs = make_inputs(ARM, rows=5)
    assert torch.equal(expert(*inputs, "arm"), short(*inputs, "arm"))
