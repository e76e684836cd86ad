"""The U-Net expert: its size, and its arithmetic written out."""

import math

import pytest
import torch
from torch.nn import functional

from dexvla_model.expert import EmbodimentConfig, Sampler, expert_from_config, expert_preset
from dexvla_model.expert.time_embedding import unet_time_embedding

ARM = EmbodimentConfig(state_size=7, action_size=6, horizon=16)


@pytest.fixture
def expert(make_expert):
    return make_expert("unet-nano", {"arm": ARM})


def test_the_full_size_has_the_parameter_count_of_the_published_code():
    with torch.device("meta"):
        expert = expert_from_config(expert_preset("unet"), {"aloha": EmbodimentConfig(14, 14, 50)})
    assert sum(weight.numel() for weight in expert.parameters()) == 89_636_878


def test_the_horizon_costs_no_parameters():
    def count(horizon):
        with torch.device("meta"):
            expert = expert_from_config(expert_preset("unet"), {"aloha": EmbodimentConfig(14, 14, horizon)})
        return sum(weight.numel() for weight in expert.parameters())

    assert count(50) == count(16)


def test_frequencies_angles_and_output_are_rounded_to_bfloat16():
    t = torch.tensor([0, 1, 17, 99])
    embedded = unet_time_embedding(t, 32)
    assert embedded.dtype == torch.bfloat16
    for i, step in enumerate(t.tolist()):
        for k in (0, 3, 15):
            frequency = torch.tensor(math.exp(-k * math.log(10000) / 15)).bfloat16()
            angle = (torch.tensor(float(step)) * frequency.float()).bfloat16()
            # exp and its argument are rounded separately: the frequency may be off by its last place.
            assert math.isclose(embedded[i, k], math.sin(angle), abs_tol=0.02 * max(1.0, float(angle)))
            assert math.isclose(embedded[i, 16 + k], math.cos(angle), abs_tol=0.02 * max(1.0, float(angle)))


def published_forward(w, x, t, condition, state, groups=8):
    """The published forward pass for three widths, written out from its description."""

    def linear(name, value):
        return functional.linear(value, w[f"{name}.weight"], w[f"{name}.bias"])

    def convolution(name, value, **options):
        weight = w[f"{name}.weight"]
        padding = options.pop("padding", weight.shape[2] // 2)
        return functional.conv1d(value, weight, w[f"{name}.bias"], padding=padding, **options)

    def norm_mish(name, value):
        n, width, rows = value.shape
        grouped = value.reshape(n, groups, -1)
        centred = grouped - grouped.mean(-1, keepdim=True)
        normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        normed = normed.reshape(n, width, rows) * w[f"{name}.weight"][:, None] + w[f"{name}.bias"][:, None]
        return normed * torch.tanh(functional.softplus(normed))

    def block(name, first, shortcut):
        scale, shift = linear(f"{name}.film", mish_c).chunk(2, dim=1)
        h = norm_mish(f"{name}.norm", first) * scale[:, :, None] + shift[:, :, None]
        h = norm_mish(f"{name}.second.norm", convolution(f"{name}.second.convolution", h))
        return h + shortcut

    def residual(name, value):
        shortcut = convolution(f"{name}.shortcut", value) if f"{name}.shortcut.weight" in w else value
        return block(name, convolution(f"{name}.first", value), shortcut)

    sinusoid = unet_time_embedding(t, w["t_embedder.mlp.0.weight"].shape[1]).float()
    time = linear("t_embedder.mlp.2", functional.mish(linear("t_embedder.mlp.0", sinusoid)))
    width = condition.shape[1]
    normed = functional.layer_norm(condition, (width,), w["condition_norm.weight"], w["condition_norm.bias"])
    columns = torch.cat([w["combine.weight"], w["heads.arm.state_in.weight"]], dim=1)
    combined = torch.cat([normed, state], dim=1) @ columns.T + w["combine.bias"]
    mish_c = functional.mish(torch.cat([time, combined], dim=1))

    rows = x.transpose(1, 2)
    first = convolution("heads.arm.action_in.convolution", rows)
    h = block("entry", first, convolution("heads.arm.action_in.shortcut", rows))
    h = residual("down.0.0", h)
    h = convolution("halving.0", h, stride=2, padding=1)
    middle = h = residual("down.1.1", residual("down.1.0", h))
    h = convolution("halving.1", h, stride=2, padding=1)
    deepest = h = residual("down.2.1", residual("down.2.0", h))
    h = residual("middle.1", residual("middle.0", h))
    for level, skip in enumerate((deepest, middle)):
        h = residual(f"up.{level}.1", residual(f"up.{level}.0", torch.cat([h, skip], dim=1)))
        weight, bias = w[f"doubling.{level}.weight"], w[f"doubling.{level}.bias"]
        h = functional.conv_transpose1d(h, weight, bias, stride=2, padding=1)
    h = norm_mish("exit.norm", convolution("exit.convolution", h))
    return convolution("heads.arm.action_out", h).transpose(1, 2)


@torch.no_grad()
def test_the_noise_equals_the_formulas_written_out(expert, make_inputs):
    x, t, condition, state = make_inputs(ARM, count=4)
    expected = published_forward(expert.state_dict(), x, t, condition, state)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(expert(x, t, condition, state, "arm"), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("horizon", [1, 2, 3, 5, 13, 50])
def test_horizons_that_halving_does_not_divide_work_and_use_every_row(make_expert, make_inputs, horizon):
    robot = EmbodimentConfig(7, 6, horizon)
    expert = make_expert("unet-nano", {"arm": robot})
    x, t, condition, state = make_inputs(robot)
    noise = expert(x, t, condition, state, "arm")
    assert noise.shape == x.shape
    for row in (0, horizon - 1):
        changed = x.clone()
        changed[:, row] += 1
        moved = (expert(changed, t, condition, state, "arm") - noise).abs().amax(dim=(0, 2))
        assert moved[row] > 1e-5


@torch.no_grad()
def test_chunks_are_sampled_from_it(expert, make_inputs):
    _, _, condition, state = make_inputs(ARM)
    chunk = Sampler(expert).sample(condition, state, "arm", noise=torch.randn(3, 16, 6))
    assert chunk.shape == (3, 16, 6)
    assert chunk.abs().max() <= 1.0
