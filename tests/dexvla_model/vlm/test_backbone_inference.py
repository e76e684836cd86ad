"""A backbone with packed weights says and sees the same."""

import pytest
import torch

from dexvla_model import packed_linear
from dexvla_model.packed_linear import PackedLinear, can_pack
from dexvla_model.reasoner import Reasoner

INSTRUCTION = "put the red cube in the tray"


@pytest.fixture(autouse=True)
def _small_ones_too(monkeypatch):
    if not can_pack(torch.zeros(1)):
        pytest.skip("no packed products on this machine")
    monkeypatch.setitem(packed_linear.SMALLEST, torch.float32, 32 * 32)
    monkeypatch.setitem(packed_linear.SMALLEST, torch.bfloat16, 32 * 32)


@pytest.fixture
def make_reasoner(make_model, tokenizer, robot):
    def make(dtype: torch.dtype, pack_weights: bool) -> Reasoner:
        model = make_model(3, std=0.2).to(dtype)
        return Reasoner(model, model.prompt(tokenizer, robot.embodiment), pack_weights)

    return make


def test_packed_weights_give_the_same_but_for_rounding(make_reasoner, make_images):
    plain, packed = make_reasoner(torch.float32, False), make_reasoner(torch.float32, True)
    for seed in range(4):
        a, b = (reasoner.decode(make_images(1, seed), INSTRUCTION) for reasoner in (plain, packed))
        assert a.ids == b.ids
        torch.testing.assert_close(a.hidden_states, b.hidden_states, rtol=1e-4, atol=1e-4)


def test_nothing_is_packed_before_it_is_needed(make_reasoner, make_images):
    reasoner = make_reasoner(torch.float32, True)
    layers = reasoner.model.vlm.qwen
    assert not any(isinstance(module, PackedLinear) for module in layers.modules())
    reasoner.decode(make_images(1), INSTRUCTION)
    assert sum(isinstance(module, PackedLinear) for module in layers.modules()) > 10


def test_getting_ready_packs_before_the_first_cycle(make_reasoner):
    reasoner = make_reasoner(torch.float32, True)
    reasoner.get_ready()
    assert any(isinstance(module, PackedLinear) for module in reasoner.model.vlm.qwen.modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_drafts_change_nothing_with_packed_weights(make_reasoner, make_images, dtype):
    reasoner = make_reasoner(dtype, True)
    for seed in range(3):
        images = make_images(1, seed)
        alone = reasoner.decode(images, INSTRUCTION)
        for draft in (alone.ids, alone.ids[:3] + [300] + alone.ids[4:], [301] * 5):
            drafted = reasoner.decode(images, INSTRUCTION, draft)
            assert drafted.ids == alone.ids
            if dtype == torch.bfloat16:
                assert torch.equal(drafted.hidden_states, alone.hidden_states)
