"""The expert of one stage in the model of the next."""

from dataclasses import replace

import pytest
import torch

from dexvla_model.carry_over import carry_over_expert
from dexvla_model.dexvla import DexVLA
from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, expert_from_config, expert_preset

NANO = expert_preset("scaledp-nano")
ONE, TWO = EmbodimentConfig(3, 2, 8), EmbodimentConfig(5, 5, 12)


def make_expert(seed: int, heads: dict[str, EmbodimentConfig], config=NANO):
    torch.manual_seed(seed)
    expert = expert_from_config(config, heads)
    with torch.no_grad():
        for weight in expert.parameters():
            weight.normal_(0, 0.1)
    return expert.eval()


def predict(expert, embodiment: str) -> torch.Tensor:
    shape = expert.head(embodiment).config
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, shape.horizon, shape.action_size, generator=generator)
    condition = torch.randn(2, expert.config.condition_width, generator=generator)
    state = torch.randn(2, shape.state_size, generator=generator)
    return expert(x, torch.tensor([3, 70]), condition, state, embodiment)


@pytest.mark.parametrize("config", [NANO, expert_preset("unet-nano")], ids=["scaledp", "unet"])
def test_the_expert_is_carried_over_bit_for_bit(config):
    old = make_expert(0, {"one": ONE, "two": TWO}, config)
    new = make_expert(1, {"one": ONE, "two": TWO}, config)
    report = carry_over_expert(old, new)
    assert set(report.carried) == set(old.state_dict())
    assert report.initialised == report.left == ()
    for name in ("one", "two"):
        assert torch.equal(predict(new, name), predict(old, name))
    assert str(report) == f"{len(report.carried)} tensors carried over"


def test_it_goes_from_a_stage_1_model_into_a_dexvla(model_config):
    """The backbone's width is the stage-1 condition's: nothing of the expert is lost."""
    heads = {name: embodiment.head for name, embodiment in model_config.embodiments.items()}
    old, model = make_expert(0, heads, model_config.expert), DexVLA(model_config)
    backbone = {name: weight.clone() for name, weight in model.vlm.state_dict().items()}
    report = carry_over_expert(old, model.expert)
    assert report.initialised == report.left == ()
    (name,) = heads
    assert torch.equal(predict(model.expert.eval(), name), predict(old, name))
    assert all(torch.equal(model.vlm.state_dict()[key], weight) for key, weight in backbone.items())


def test_robots_come_and_go_as_heads():
    old, new = make_expert(0, {"one": ONE, "gone": TWO}), make_expert(1, {"one": ONE, "fresh": TWO})
    before = {name: weight.clone() for name, weight in new.heads["fresh"].state_dict().items()}
    report = carry_over_expert(old, new)
    assert torch.equal(predict(new, "one"), predict(old, "one"))
    assert all(torch.equal(new.heads["fresh"].state_dict()[name], weight) for name, weight in before.items())
    assert {name.split(".")[1] for name in report.initialised} == {"fresh"}
    assert {name.split(".")[1] for name in report.left} == {"gone"}
    assert str(report).endswith("freshly initialised: heads.fresh; left behind: heads.gone")


def test_another_condition_width_costs_what_touches_the_condition():
    old = make_expert(0, {"one": ONE})
    new = make_expert(1, {"one": ONE}, replace(NANO, condition_width=96))
    report = carry_over_expert(old, new)
    touched = {name.rpartition(".")[0] for name in report.initialised}
    assert touched == {"combine.condition_in", "combine.out", "cond_obs_emb"}
    for name in report.carried:
        assert torch.equal(new.state_dict()[name], old.state_dict()[name])


def test_experts_that_do_not_fit_are_refused():
    old = make_expert(0, {"one": ONE})
    with pytest.raises(UserError, match="is a ScaleDP, the new one a UNet: choose the same"):
        carry_over_expert(old, make_expert(1, {"one": ONE}, expert_preset("unet-nano")))
    with pytest.raises(UserError, match="expert.depth is 3, the expert of the earlier stage has 2"):
        carry_over_expert(old, make_expert(1, {"one": ONE}, replace(NANO, depth=3)))
    with pytest.raises(UserError, match="the head of 'one' is .*choose the same sizes, or another name"):
        carry_over_expert(old, make_expert(1, {"one": TWO}))
