"""The whole model with several robots: new heads, batches that mix embodiments."""

import copy
import dataclasses
import json

import pytest
import torch

from dexvla_model.dexvla import Batch, DexVLA, DexVLAConfig, Embodiment
from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, expert_preset
from dexvla_model.vlm import ImageSize

HAND = Embodiment(EmbodimentConfig(state_size=9, action_size=5, horizon=6), {"palm": ImageSize(56, 56)})
TEXTS = (["put the red cube in the tray", "go"], ["move above the cube at 10 -20", "done"])


@pytest.fixture(params=["scaledp-nano", "unet-nano"])
def model(request, make_model, model_config):
    """A model of each kind of expert that was made for one robot, with all weights random."""
    config = dataclasses.replace(model_config, expert=expert_preset(request.param, condition_width=64))
    torch.manual_seed(3)
    model = DexVLA(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.1)
    return model.eval()


@pytest.fixture
def hand_batch():
    def make(prompt, count: int = 2, grounding: bool = False) -> Batch:
        generator = torch.Generator().manual_seed(8)
        images = {"palm": torch.randint(0, 256, (count, 56, 56, 3), dtype=torch.uint8, generator=generator)}
        return Batch(
            "hand",
            images,
            prompt.encode([TEXTS[0][0]] * count, [TEXTS[1][1]] * count),
            state=torch.randn(count, 9, generator=generator),
            actions=torch.rand(count, 6, 5, generator=generator) * 2 - 1,
            grounding=torch.rand(count, 2, 4, generator=generator).round() if grounding else None,
        )

    return make


def losses(model, batch, prompt, **options):
    return model(batch, prompt, generator=torch.Generator().manual_seed(0), **options)


def test_a_new_robot_changes_nothing_for_the_old_one(model, tokenizer, robot, make_batch):
    prompt = model.prompt(tokenizer, robot.embodiment)
    batch = make_batch(prompt, *TEXTS)
    before, loss = copy.deepcopy(model.state_dict()), losses(model, batch, prompt)
    model.add_embodiment("hand", HAND)
    after = model.state_dict()
    assert {name for name in after if name not in before} == {
        f"expert.heads.hand.{name}" for name in model.expert.heads["hand"].state_dict()
    }
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    again = losses(model, batch, prompt)
    assert all(torch.equal(again[name], value) for name, value in loss.items())


def test_a_model_with_a_new_robot_is_rebuilt_from_its_configuration(model, tokenizer):
    model.add_embodiment("hand", HAND)
    assert model.embodiment("hand") == HAND
    config = DexVLAConfig.from_json(json.loads(json.dumps(model.config.to_json())), "config.json: model")
    assert config == model.config
    again = DexVLA(config)
    again.load_state_dict(model.state_dict())
    assert again.expert.embodiments == model.expert.embodiments
    assert again.prompt(tokenizer, "hand").cameras == HAND.cameras


def test_a_name_that_is_taken_leaves_the_model_as_it_was(model, robot):
    config = model.config
    with pytest.raises(UserError, match=f"'{robot.embodiment}' has a head already"):
        model.add_embodiment(robot.embodiment, HAND)
    assert model.config is config


def test_a_mixed_batch_weighs_its_parts_by_what_they_hold(model, tokenizer, robot, make_batch, hand_batch):
    """Actions by rows, language by reasoning tokens, grounding by cells; each part as on its own."""
    model.add_embodiment("hand", HAND)
    prompts = [model.prompt(tokenizer, name) for name in (robot.embodiment, "hand")]
    batches = [make_batch(prompts[0], *TEXTS, chunks=2), hand_batch(prompts[1])]
    mixed = losses(model, batches, prompts, repeats=2)

    # The draws of a mixed batch are those of its parts, one behind the other.
    generator = torch.Generator().manual_seed(0)
    apart = [
        model(batch, prompt, repeats=2, generator=generator)
        for batch, prompt in zip(batches, prompts, strict=True)
    ]
    rows, tokens = [2 * 2 * 16, 2 * 6], [int((b.tokens.labels[:, 1:] != -100).sum()) for b in batches]
    for name, weights in (("action_loss", rows), ("language_loss", tokens), ("language_accuracy", tokens)):
        expected = sum(part[name] * n for part, n in zip(apart, weights, strict=True)) / sum(weights)
        torch.testing.assert_close(mixed[name], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mixed["loss"], mixed["action_loss"] + mixed["language_loss"])


def test_every_head_and_all_of_the_trunk_learn_from_a_mixed_batch(
    model, tokenizer, robot, make_batch, hand_batch
):
    model.add_embodiment("hand", HAND)
    with torch.no_grad():
        for weight in model.expert.heads["hand"].parameters():
            weight.normal_(0, 0.1)
    prompts = [model.prompt(tokenizer, name) for name in (robot.embodiment, "hand")]
    batches = [make_batch(prompts[0], *TEXTS), hand_batch(prompts[1])]
    losses(model, batches, prompts)["loss"].backward()
    silent = [
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert silent == []


def test_parts_without_grounding_are_left_out_of_it(model, tokenizer, robot, make_batch, hand_batch):
    model.add_embodiment("hand", HAND)
    prompts = [model.prompt(tokenizer, name) for name in (robot.embodiment, "hand")]
    batches = [make_batch(prompts[0], *TEXTS), hand_batch(prompts[1], grounding=True)]

    class Head(torch.nn.Module):
        def forward(self, tokens):
            return tokens.mean(dim=2)[:, None].expand(-1, 2, -1)

    options = {"grounding_head": Head(), "grounding_weight": 2.0}
    mixed = losses(model, batches, prompts, **options)
    alone = losses(model, batches[1], prompts[1], **options)
    assert mixed["grounding_loss"] > 0
    torch.testing.assert_close(mixed["grounding_loss"], alone["grounding_loss"])
    assert not losses(model, batches[:1], prompts[:1], **options)["grounding_loss"].any()


def test_chunks_that_do_not_fit_the_head_are_refused(model, tokenizer, robot, make_batch):
    prompt = model.prompt(tokenizer, robot.embodiment)
    batch = make_batch(prompt, *TEXTS)
    longer = dataclasses.replace(batch, actions=torch.zeros(2, 1, 17, len(robot.action)))
    with pytest.raises(UserError, match=r"actions of embodiment .* \(8, 17, 7\), .* horizon 16"):
        losses(model, longer, prompt)
    narrow = dataclasses.replace(batch, state=torch.zeros(2, 1, 6))
    with pytest.raises(UserError, match=r"state of embodiment .* shape \(2, 1, 6\), expected is \(2, 7\)"):
        losses(model, narrow, prompt)
