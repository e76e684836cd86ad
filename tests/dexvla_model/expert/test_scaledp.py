"""ScaleDP's sizes and its heads."""

import pytest
import torch

from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, ScaleDP, ScaleDPConfig, scaledp_preset

ARM = EmbodimentConfig(state_size=7, action_size=6, horizon=8)
HAND = EmbodimentConfig(state_size=20, action_size=16, horizon=12)


@pytest.fixture
def expert():
    torch.manual_seed(0)
    expert = ScaleDP(scaledp_preset("scaledp-nano"), {"arm": ARM})
    with torch.no_grad():
        for weight in expert.parameters():
            weight.normal_(0, 0.1)
    return expert


def inputs(embodiment: EmbodimentConfig, count: int = 3):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, embodiment.horizon, embodiment.action_size, generator=generator)
    t = torch.tensor([0, 50, 99])[:count]
    condition = torch.randn(count, 64, generator=generator)
    state = torch.randn(count, embodiment.state_size, generator=generator)
    return x, t, condition, state


@pytest.mark.parametrize(("preset", "parameters"), [("scaledp-h", 955_861_518), ("scaledp-l", 462_632_462)])
def test_published_sizes_have_the_published_parameter_counts(preset, parameters):
    with torch.device("meta"):
        expert = ScaleDP(scaledp_preset(preset), {"aloha": EmbodimentConfig(14, 14, 50)})
    assert sum(weight.numel() for weight in expert.parameters()) == parameters


def test_the_noise_has_the_shape_of_the_chunk(expert):
    x, t, condition, state = inputs(ARM)
    assert expert(x, t, condition, state, "arm").shape == x.shape


def test_a_condition_may_carry_a_token_axis(expert):
    x, t, condition, state = inputs(ARM)
    torch.testing.assert_close(
        expert(x, t, condition.unsqueeze(1), state, "arm"), expert(x, t, condition, state, "arm")
    )


def test_several_states_share_the_condition(expert):
    _, _, condition, _ = inputs(ARM)
    states = torch.randn(3, 4, 7)
    together = expert.embed_condition(condition, states, "arm")
    single = torch.stack([expert.embed_condition(condition, states[:, k], "arm") for k in range(4)], dim=1)
    torch.testing.assert_close(together, single)


def test_every_input_changes_the_noise(expert):
    x, t, condition, state = inputs(ARM)
    noise = expert(x, t, condition, state, "arm")
    for changed in ((x + 1, t, condition, state), (x, (t + 1) % 100, condition, state)):
        assert not torch.allclose(expert(*changed, "arm"), noise)
    for changed in ((x, t, condition + 1, state), (x, t, condition, state + 1)):
        assert not torch.allclose(expert(*changed, "arm"), noise)


def test_a_new_expert_predicts_zero_and_each_block_starts_as_the_identity():
    expert = ScaleDP(scaledp_preset("scaledp-nano"), {"arm": ARM})
    x, t, condition, state = inputs(ARM)
    assert not expert(x, t, condition, state, "arm").any()
    h = torch.randn(3, 8, 64)
    torch.testing.assert_close(expert.blocks[0](h, expert.blocks[0].modulation(torch.randn(3, 64))), h)


def test_a_new_head_touches_nothing_else(expert):
    before = {name: weight.clone() for name, weight in expert.state_dict().items()}
    noise = expert(*inputs(ARM), "arm")
    expert.add_embodiment("hand", HAND)
    after = expert.state_dict()
    assert {name for name in after if name not in before} == {
        f"heads.hand.{name}"
        for name in (
            "action_in.weight",
            "action_in.bias",
            "state_in.weight",
            "pos_embed",
            "action_out.weight",
            "action_out.bias",
        )
    }
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert torch.equal(expert(*inputs(ARM), "arm"), noise)
    assert expert(*inputs(HAND), "hand").shape == (3, 12, 16)


def test_heads_share_the_trunk_only(expert):
    expert.add_embodiment("hand", HAND)
    expert(*inputs(ARM), "arm").square().mean().backward()
    assert expert.blocks[0].mlp.fc1.weight.grad is not None
    assert expert.heads["arm"].action_in.weight.grad is not None
    assert expert.heads["hand"].action_in.weight.grad is None


def test_an_unknown_embodiment_is_named_with_those_that_are_there(expert):
    with pytest.raises(UserError, match="no head for embodiment 'dog', it has: arm"):
        expert(*inputs(ARM), "dog")


@pytest.mark.parametrize("name", ["arm", "Arm", "an arm", "", "arm.left"])
def test_a_bad_or_taken_name_of_an_embodiment_is_refused(expert, name):
    with pytest.raises(UserError, match="embodiment"):
        expert.add_embodiment(name, ARM)


def test_bad_sizes_are_refused():
    with pytest.raises(UserError, match="expert.heads is 5"):
        ScaleDPConfig(depth=2, width=64, heads=5, condition_width=8)
    with pytest.raises(UserError, match="depth is 0"):
        ScaleDPConfig(depth=0, width=64, heads=4, condition_width=8)
    with pytest.raises(UserError, match="horizon is 0"):
        EmbodimentConfig(7, 7, 0)
    with pytest.raises(UserError, match="'big' is unknown, allowed are .*scaledp-h"):
        scaledp_preset("big")
