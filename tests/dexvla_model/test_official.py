"""Weights under the published names: golden tensors of the published code, and the formulas written out."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn import functional

from dexvla_model.errors import UserError
from dexvla_model.expert.time_embedding import sinusoidal_time_embedding
from dexvla_model.official import expert_from_official, fusion_from_official

RELATIVE = 1e-5
PAD = 151643


def relative_error(ours: torch.Tensor, published: torch.Tensor) -> float:
    return ((ours - published).abs().max() / published.abs().max()).item()


def weights_of(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix("weights."): tensor for key, tensor in tensors.items() if key.startswith("weights.")
    }


@pytest.fixture(scope="module")
def golden(golden_folder):
    path = golden_folder / "expert_a.safetensors"
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    expert = expert_from_official(
        weights_of(tensors),
        prediction_horizon=int(metadata["prediction_horizon"]),
        num_heads=int(metadata["num_heads"]),
    )
    return expert, tensors


@torch.no_grad()
def test_golden_noise_prediction(golden):
    expert, g = golden
    embedding = sinusoidal_time_embedding(g["forward.t"], g["forward.time_embedding"].shape[1])
    assert torch.equal(embedding.float(), g["forward.time_embedding"])
    noise = expert.predict_noise(g["forward.x"], g["forward.t"], g["forward.cond"], g["forward.state"])
    assert relative_error(noise, g["forward.noise_pred"]) < RELATIVE


@torch.no_grad()
def test_golden_sample(golden):
    expert, g = golden
    actions = expert.sample(g["forward.cond"][:1], g["forward.state"][:1], noise=g["sample.init_noise"])
    assert relative_error(actions, g["sample.actions"]) < RELATIVE


@torch.no_grad()
def test_golden_loss(golden):
    expert, g = golden
    loss = expert.loss(
        g["loss.actions"],
        g["forward.cond"],
        g["forward.state"],
        g["loss.is_pad"],
        noise=g["loss.noise"],
        t=g["loss.t"],
    )
    assert relative_error(loss, g["loss.loss"][0]) < RELATIVE


@torch.no_grad()
def test_golden_fusion(golden_folder):
    g = load_file(golden_folder / "fusion_a.safetensors")
    fusion = fusion_from_official(weights_of(g))
    is_prompt = (g["input_ids"] != PAD) & (g["labels"] == -100)
    condition = fusion(g["hidden_states"], is_prompt, g["labels"] != -100)
    assert condition.shape == g["condition"].shape
    assert relative_error(condition, g["condition"]) < RELATIVE


def random_weights(
    depth=2, width=24, condition=10, state=5, action=3, horizon=6, hidden=1024, frequencies=256, ratio=4
) -> dict[str, torch.Tensor]:
    """A state dict under the published names; the last three sizes are the published ones."""
    generator = torch.Generator().manual_seed(7)
    shapes = {
        "x_embedder": (width, action),
        "t_embedder.mlp.0": (width, frequencies),
        "t_embedder.mlp.2": (width, width),
        "cond_obs_emb": (width, condition),
        "combine.0": (hidden, condition + state),
        "combine.2": (hidden, hidden),
        "combine.4": (condition, hidden),
        "final_layer.linear": (action, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }
    for i in range(depth):
        shapes |= {
            f"blocks.{i}.attn.qkv": (3 * width, width),
            f"blocks.{i}.attn.proj": (width, width),
            f"blocks.{i}.mlp.fc1": (ratio * width, width),
            f"blocks.{i}.mlp.fc2": (width, ratio * width),
            f"blocks.{i}.adaLN_modulation.1": (6 * width, width),
        }
    weights = {"pos_embed": torch.randn(1, horizon, width, generator=generator)}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) / shape[1] ** 0.5
        weights[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    return weights


def published_forward(w, x, t, condition, state, heads):
    """The published forward pass, written out from its description, one operation after the other."""

    def linear(name, value):
        return value @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(value):
        centred = value - value.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def modulated(value, shift, scale):
        return norm(value) * (1 + scale[:, None]) + shift[:, None]

    sinusoid = sinusoidal_time_embedding(t, w["t_embedder.mlp.0.weight"].shape[1]).float()
    time = linear("t_embedder.mlp.2", functional.silu(linear("t_embedder.mlp.0", sinusoid)))
    combined = torch.cat([condition, state], dim=1)
    combined = linear("combine.4", linear("combine.2", linear("combine.0", combined).relu()).relu())
    c = functional.silu(time + linear("cond_obs_emb", combined))
    h = linear("x_embedder", x) + w["pos_embed"]
    n, rows, width = h.shape
    for i in range(sum(key.endswith("attn.qkv.bias") for key in w)):
        parts = linear(f"blocks.{i}.adaLN_modulation.1", c).split(width, dim=1)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        q, k, v = (
            part.view(n, rows, heads, -1).transpose(1, 2)
            for part in linear(f"blocks.{i}.attn.qkv", modulated(h, shift1, scale1)).split(width, dim=-1)
        )
        attention = (q @ k.transpose(2, 3) / (width // heads) ** 0.5).softmax(-1) @ v
        h = h + gate1[:, None] * linear(
            f"blocks.{i}.attn.proj", attention.transpose(1, 2).reshape(n, rows, width)
        )
        hidden = functional.gelu(
            linear(f"blocks.{i}.mlp.fc1", modulated(h, shift2, scale2)), approximate="tanh"
        )
        h = h + gate2[:, None] * linear(f"blocks.{i}.mlp.fc2", hidden)
    shift, scale = linear("final_layer.adaLN_modulation.1", c).split(width, dim=1)
    return linear("final_layer.linear", modulated(h, shift, scale))


@torch.no_grad()
def test_the_noise_equals_the_formulas_written_out():
    weights = random_weights()
    expert = expert_from_official(weights, prediction_horizon=6, num_heads=4)
    generator = torch.Generator().manual_seed(8)
    x, condition, state = (torch.randn(4, *size, generator=generator) for size in ((6, 3), (10,), (5,)))
    t = torch.tensor([0, 33, 66, 99])
    expected = published_forward(weights, x, t, condition, state, heads=4)
    assert expected.abs().max() > 0.1
    assert relative_error(expert.predict_noise(x, t, condition, state), expected) < RELATIVE


@pytest.mark.parametrize(
    ("heads", "sizes"),
    [
        (2, {"depth": 1, "width": 16, "hidden": 20, "frequencies": 32, "ratio": 2}),
        (8, {"depth": 3, "width": 64, "condition": 48, "state": 7, "action": 14, "horizon": 50, "ratio": 3}),
        (1, {"condition": 33, "state": 1, "action": 1, "horizon": 1, "hidden": 7, "frequencies": 100}),
    ],
)
@torch.no_grad()
def test_every_size_is_read_off_the_tensors(heads, sizes):
    weights = random_weights(**sizes)
    horizon, action = weights["pos_embed"].shape[1], weights["x_embedder.weight"].shape[1]
    condition = weights["combine.4.weight"].shape[0]
    state = weights["combine.0.weight"].shape[1] - condition
    expert = expert_from_official(weights, prediction_horizon=horizon, num_heads=heads)
    generator = torch.Generator().manual_seed(8)
    shapes = ((horizon, action), (1, condition), (state,))
    x, c, s = (torch.randn(3, *size, generator=generator) for size in shapes)
    t = torch.tensor([1, 40, 99])
    expected = published_forward(weights, x, t, c[:, 0], s, heads)
    for given in (c, c[:, 0]):
        assert relative_error(expert.predict_noise(x, t, given, s), expected) < RELATIVE
    chunks = expert.sample(c, s, noise=x)
    assert chunks.shape == x.shape and torch.isfinite(chunks).all()


def test_a_missing_tensor_is_named():
    weights = random_weights()
    del weights["blocks.1.attn.proj.bias"]
    with pytest.raises(UserError, match="blocks.1.attn.proj.bias"):
        expert_from_official(weights, prediction_horizon=6, num_heads=4)


def test_an_unknown_tensor_is_named():
    with pytest.raises(UserError, match="'extra.weight' is not part of"):
        expert_from_official(
            random_weights() | {"extra.weight": torch.zeros(1)}, prediction_horizon=6, num_heads=4
        )


def test_a_wrong_horizon_is_named_by_its_tensor():
    with pytest.raises(UserError, match=r"pos_embed.*shape \(1, 6, 24\), expected \(1, 9, 24\)"):
        expert_from_official(random_weights(), prediction_horizon=9, num_heads=4)


def test_a_weight_that_is_not_finite_is_named():
    weights = random_weights()
    weights["blocks.1.mlp.fc1.weight"][3, 5] = float("nan")
    with pytest.raises(UserError, match=r"expert's tensor 'blocks.1.mlp.fc1.weight' holds nan at \[3, 5\]"):
        expert_from_official(weights, prediction_horizon=6, num_heads=4)


@pytest.mark.parametrize("name", ["condition", "state"])
def test_an_input_that_is_not_finite_is_named(name):
    expert = expert_from_official(random_weights(), prediction_horizon=6, num_heads=4)
    tensors = {"condition": torch.zeros(2, 10), "state": torch.zeros(2, 5)}
    tensors[name][1, 4] = float("inf")
    x, t = torch.zeros(2, 6, 3), torch.tensor([3, 4])
    for call in (
        lambda: expert.predict_noise(x, t, **tensors),
        lambda: expert.sample(**tensors),
        lambda: expert.loss(x, **tensors),
    ):
        with pytest.raises(UserError, match=rf"{name} holds inf at \[1, 4\]"):
            call()


def test_a_wrong_fusion_tensor_is_named():
    with pytest.raises(UserError, match="reasoning_film.scale_fc.weight"):
        fusion_from_official({})
