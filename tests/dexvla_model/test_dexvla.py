"""The whole model: configuration, losses, what depends on what."""

import dataclasses
import json

import pytest
import torch

from dexvla_model.dexvla import DexVLA, DexVLAConfig
from dexvla_model.errors import UserError
from dexvla_model.vlm import backbone_preset, special_token_ids

INSTRUCTIONS = ["put the red cube in the tray", "go", "put the red cube in the tray"]
SUB_STEPS = ["move above the cube at 10 -20", "done", "close the gripper"]


@pytest.fixture
def model(make_model):
    return make_model(2)


@pytest.fixture
def prompt(model, tokenizer, robot):
    return model.prompt(tokenizer, robot.embodiment)


def losses(model, batch, prompt, seed=0, **options):
    return model(batch, prompt, generator=torch.Generator().manual_seed(seed), **options)


def test_the_loss_is_made_of_its_parts(model, prompt, make_batch):
    result = losses(model, make_batch(prompt, INSTRUCTIONS, SUB_STEPS), prompt, language_weight=0.3)
    torch.testing.assert_close(result["loss"], result["action_loss"] + 0.3 * result["language_loss"])


def test_the_language_loss_equals_that_of_transformers(model, prompt, make_batch):
    batch = make_batch(prompt, INSTRUCTIONS, SUB_STEPS)
    hidden = model.read(batch, prompt)
    expected = model.vlm.qwen.loss_function(
        logits=model.vlm.logits(hidden),
        labels=batch.tokens.labels,
        vocab_size=model.config.vlm.special_tokens["vocab_size"],
    )
    torch.testing.assert_close(losses(model, batch, prompt)["language_loss"], expected.detach())


def test_every_weight_learns(model, prompt, make_batch):
    losses(model, make_batch(prompt, INSTRUCTIONS, SUB_STEPS, chunks=2), prompt)["loss"].backward()
    # The last layer's norm inside transformers' merger and all else has a gradient.
    without = [
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert without == []


def test_training_brings_the_losses_down(model_config, tokenizer, robot, make_batch):
    torch.manual_seed(0)
    model = DexVLA(model_config)
    prompt = model.prompt(tokenizer, robot.embodiment)
    batch = make_batch(prompt, INSTRUCTIONS, SUB_STEPS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for step in range(40):
        result = losses(model, batch, prompt, seed=step, repeats=8)
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
        history.append(result)
    first, last = history[0], history[-1]
    assert last["language_loss"] < 0.2 * first["language_loss"]
    assert last["language_accuracy"] > 0.9
    assert last["action_loss"] < 0.8 * first["action_loss"]


@torch.no_grad()
def test_padding_of_other_prompts_does_not_change_a_sample(model, prompt, make_batch):
    batch = make_batch(prompt, INSTRUCTIONS, SUB_STEPS)
    alone = dataclasses.replace(
        batch,
        tokens=batch.tokens[torch.tensor([1])],
        images={role: images[1:2] for role, images in batch.images.items()},
    )
    length = alone.tokens.input_ids.shape[1]
    assert length < batch.tokens.input_ids.shape[1]
    torch.testing.assert_close(
        model.read(batch, prompt)[1:2, :length], model.read(alone, prompt), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_images_instruction_and_reasoning_all_reach_the_condition(model, prompt, make_batch):
    def condition(batch):
        hidden = model.read(batch, prompt)
        return model.fusion(hidden, batch.tokens.prompt_mask, batch.tokens.reasoning_mask)[0]

    batch = make_batch(prompt, INSTRUCTIONS, SUB_STEPS)
    original = condition(batch)
    for role in batch.images:
        images = dict(batch.images) | {role: 255 - batch.images[role]}
        assert not torch.allclose(condition(dataclasses.replace(batch, images=images)), original)
    for instructions, sub_steps in ((["go"] * 3, SUB_STEPS), (INSTRUCTIONS, ["done"] * 3)):
        tokens = prompt.encode(instructions, sub_steps)
        assert not torch.allclose(condition(dataclasses.replace(batch, tokens=tokens)), original)


def test_it_trains_under_bfloat16(model, prompt, make_batch):
    with torch.autocast("cpu", torch.bfloat16):
        result = losses(model, make_batch(prompt, INSTRUCTIONS, SUB_STEPS), prompt)
    exact = losses(model, make_batch(prompt, INSTRUCTIONS, SUB_STEPS), prompt)
    torch.testing.assert_close(result["loss"].float(), exact["loss"], rtol=0.05, atol=0)


def test_the_configuration_survives_json(model_config):
    text = json.dumps(model_config.to_json())
    assert DexVLAConfig.from_json(json.loads(text), "config.json") == model_config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("expert", "condition_width"), 32, "condition_width is 32, it must equal .* 64"),
        (("expert", "deepth"), 3, "config.json: expert: key 'deepth' is unknown, allowed are depth"),
        (("vlm", "colour"), 3, "config.json: vlm: key 'colour' is unknown"),
        (("system",), None, None),
        (("max_reasoning_tokens",), 0, "max_reasoning_tokens is 0"),
        (("embodiments",), [], "config.json: embodiments is .*, needed is a table"),
    ],
)
def test_a_bad_configuration_names_its_key(model_config, path, value, message):
    values = json.loads(json.dumps(model_config.to_json()))
    target = values
    for key in path[:-1]:
        target = target[key]
    if message is None:
        del target[path[-1]]
        assert DexVLAConfig.from_json(values, "config.json") == model_config
        return
    target[path[-1]] = value
    with pytest.raises(UserError, match=message):
        DexVLAConfig.from_json(values, "config.json")


def test_a_missing_key_is_named(model_config):
    values = model_config.to_json()
    del values["expert"]["depth"]
    with pytest.raises(UserError, match="config.json: expert: key 'depth' is missing"):
        DexVLAConfig.from_json(values, "config.json")


def test_an_unknown_embodiment_is_named(model, tokenizer):
    with pytest.raises(UserError, match="no embodiment 'dog', it has: ur5e"):
        model.prompt(tokenizer, "dog")


def test_images_that_the_family_cannot_cut_into_tokens_are_refused(model_config, tokenizer):
    """140 x 112 pixels are whole tokens of 28 pixels, as Qwen2-VL has them, but not of Qwen3-VL's 32."""
    vlm = backbone_preset("qwen3-vl-nano", special_token_ids(tokenizer))
    with pytest.raises(UserError, match=r"cameras.scene .* is 140 x 112 pixels, .* multiples of 32 .* qwen3_vl"):
        dataclasses.replace(model_config, vlm=vlm)


def test_a_batch_beyond_the_context_is_refused(make_model, tokenizer, robot, make_batch):
    model = make_model()
    prompt = model.prompt(tokenizer, robot.embodiment)
    batch = make_batch(prompt, ["go " * 300], ["done"])
    with pytest.raises(UserError, match="has [0-9]+ tokens, .*max_position_embeddings has 512: shorten"):
        model.read(batch, prompt)
