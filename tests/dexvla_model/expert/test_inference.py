"""An expert that was prepared for inference computes what it did before."""

import pytest
import torch

from dexvla_model import packed_linear
from dexvla_model.expert import EmbodimentConfig, Sampler, SamplingConfig, expert_from_config, expert_preset
from dexvla_model.expert.inference import InferenceBlock, prepare_for_inference
from dexvla_model.packed_linear import PackedLinear, can_pack

ARM = EmbodimentConfig(state_size=7, action_size=6, horizon=8)


@pytest.fixture(autouse=True)
def _small_ones_too(monkeypatch):
    monkeypatch.setitem(packed_linear.SMALLEST, torch.float32, 64 * 64)


def make_expert(name: str, dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    expert = expert_from_config(expert_preset(name), {"arm": ARM})
    with torch.no_grad():
        for weight in expert.parameters():
            weight.normal_(0, 0.05)
    return expert.to(dtype)


def inputs(batch: int, width: int, dtype: torch.dtype = torch.float32):
    draw = torch.Generator().manual_seed(batch)
    return {
        "condition": torch.randn(batch, width, generator=draw).to(dtype),
        "state": torch.randn(batch, 7, generator=draw).to(dtype),
        "embodiment": "arm",
        "noise": torch.randn(batch, 8, 6, generator=draw),
    }


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["scaledp-nano", "scaledp-tiny"])
def test_chunks_stay_the_same(name, batch):
    plain, prepared = make_expert(name), make_expert(name)
    prepare_for_inference(prepared, "arm")
    given = inputs(batch, plain.config.condition_width)
    torch.testing.assert_close(
        Sampler(prepared).sample(**given), Sampler(plain).sample(**given), rtol=1e-5, atol=1e-5
    )


def test_guided_chunks_stay_the_same():
    plain, prepared = make_expert("scaledp-nano"), make_expert("scaledp-nano")
    prepare_for_inference(prepared, "arm")
    known = {"prefix": torch.zeros(2, 2, 6), "scheduled": torch.full((2, 3, 6), 0.3)}
    given = inputs(2, 64) | known
    guided, config = Sampler(prepared).sample(**given), SamplingConfig(continuity="inpaint")
    torch.testing.assert_close(guided, Sampler(plain).sample(**given), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(guided, Sampler(plain, config).sample(**given), atol=1e-2)


def test_chunks_in_bfloat16_are_as_near_to_the_exact_ones_as_before():
    exact = Sampler(make_expert("scaledp-tiny")).sample(**inputs(1, 160))
    prepared = make_expert("scaledp-tiny", torch.bfloat16)
    prepare_for_inference(prepared, "arm")
    given = inputs(1, 160, torch.bfloat16)
    before = Sampler(make_expert("scaledp-tiny", torch.bfloat16)).sample(**given)
    after = Sampler(prepared).sample(**given)
    assert (after - exact).abs().mean() < 1.5 * (before - exact).abs().mean() + 1e-3


def test_large_layers_are_packed_and_heads_are_not():
    if not can_pack(torch.zeros(1)):
        pytest.skip("no packed products on this machine")
    expert = make_expert("scaledp-tiny")
    prepare_for_inference(expert, "arm")
    assert all(isinstance(block, InferenceBlock) for block in expert.blocks)
    assert isinstance(expert.blocks[0].attn.qkv, PackedLinear)
    assert type(expert.head("arm").action_in) is torch.nn.Linear


def test_the_unet_expert_can_be_prepared_too():
    plain, prepared = (expert_from_config(expert_preset("unet-tiny"), {"arm": ARM}) for _ in range(2))
    prepared.load_state_dict(plain.state_dict())
    prepare_for_inference(prepared, "arm")
    given = inputs(1, plain.config.condition_width)
    torch.testing.assert_close(
        Sampler(prepared).sample(**given), Sampler(plain).sample(**given), rtol=1e-4, atol=1e-4
    )
