"""The backbone's fast path, against transformers' own forward."""

import pytest
import torch
from transformers import DynamicCache

from dexvla_model.dexvla import DexVLA
from dexvla_model.errors import UserError
from dexvla_model.vlm import Backbone, backbone_preset
from dexvla_model.vlm.images import pixel_values


@pytest.fixture
def scene(make_model, make_images, tokenizer, robot):
    """A model, its prompt, padded tokens of two prompts, and their images."""
    model = make_model(1)
    # Zero positions, because transformers' Qwen2-VL has none.
    for weight in model.vlm.patch_positions.parameters():
        weight.data.zero_()
    prompt = model.prompt(tokenizer, robot.embodiment)
    tokens = prompt.encode(["put the red cube in the tray", "go"], ["move above the cube at 10 -20", "done"])
    return model, prompt, tokens, make_images(2)


def transformers_inputs(model: DexVLA, tokens, images):
    """The same input as its own processor would make it: images sample by sample."""
    values, grids = [], []
    for row in range(len(tokens.input_ids)):
        for batch in images.values():
            value, grid = pixel_values(batch[row : row + 1], model.vlm.geometry)
            values.append(value)
            grids.append(grid)
    qwen = model.vlm.qwen
    return {
        "input_ids": tokens.input_ids,
        "attention_mask": (tokens.prompt_mask | (tokens.labels != -100)).long(),
        "pixel_values": torch.cat(values),
        "image_grid_thw": torch.cat(grids),
        "mm_token_type_ids": (tokens.input_ids == qwen.config.image_token_id).int(),
    }


def our_hidden_states(model, prompt, tokens, images, cache=None):
    embedded = model.vlm.embed(tokens.input_ids, model.vlm.encode_images(images), prompt.image_slots)
    return model.vlm.hidden_states(embedded, prompt.position_ids(embedded.shape[1]), cache)


def test_logits_equal_those_of_transformers(scene):
    model, prompt, tokens, images = scene
    theirs = model.vlm.qwen(**transformers_inputs(model, tokens, images)).logits
    # With gradients, so that the form of attention that trains is the one compared.
    ours = model.vlm.logits(our_hidden_states(model, prompt, tokens, images))
    used = tokens.prompt_mask | (tokens.labels != -100)
    torch.testing.assert_close(ours[used], theirs[used], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_logits_without_gradients_are_the_same(scene):
    model, prompt, tokens, images = scene
    with torch.enable_grad():
        training = our_hidden_states(model, prompt, tokens, images).detach()
    torch.testing.assert_close(
        our_hidden_states(model, prompt, tokens, images), training, rtol=1e-4, atol=1e-5
    )


def test_gradients_equal_those_of_transformers(scene):
    model, prompt, tokens, images = scene
    used = tokens.prompt_mask | (tokens.labels != -100)
    model.vlm.qwen(**transformers_inputs(model, tokens, images)).logits[used].square().mean().backward()
    theirs = {name: weight.grad.clone() for name, weight in model.vlm.qwen.named_parameters()}
    model.zero_grad()
    model.vlm.logits(our_hidden_states(model, prompt, tokens, images))[used].square().mean().backward()
    for name, weight in model.vlm.qwen.named_parameters():
        torch.testing.assert_close(weight.grad, theirs[name], rtol=1e-3, atol=1e-5, msg=name)


def test_positions_equal_those_of_transformers(scene):
    model, prompt, tokens, images = scene
    inputs = transformers_inputs(model, tokens, images)
    theirs, _ = model.vlm.qwen.model.get_rope_index(
        inputs["input_ids"],
        inputs["mm_token_type_ids"],
        inputs["image_grid_thw"],
        attention_mask=inputs["attention_mask"],
    )
    ours = prompt.position_ids(tokens.input_ids.shape[1]).expand(-1, 2, -1)
    used = inputs["attention_mask"].bool()
    assert torch.equal(ours[:, used], theirs[:, used])


@torch.no_grad()
def test_a_cache_changes_nothing(scene):
    model, prompt, tokens, images = scene
    embedded = model.vlm.embed(tokens.input_ids, model.vlm.encode_images(images), prompt.image_slots)
    positions = prompt.position_ids(embedded.shape[1])
    at_once = model.vlm.hidden_states(embedded, positions)
    cache = DynamicCache(config=model.vlm.qwen.config.text_config)
    parts = [
        model.vlm.hidden_states(embedded[:, a:b], positions[:, :, a:b], cache)
        for a, b in ((0, 40), (40, 41), (41, embedded.shape[1]))
    ]
    torch.testing.assert_close(torch.cat(parts, dim=1), at_once, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_images_of_one_sample_do_not_see_those_of_another(scene):
    model, _, _, images = scene
    both = model.vlm.encode_images(images)
    second = model.vlm.encode_images({role: batch[1:] for role, batch in images.items()})
    torch.testing.assert_close(both[1:], second, rtol=1e-4, atol=1e-5)


def test_rotary_frequencies_stay_exact_in_bfloat16(model_config):
    exact = Backbone(model_config.vlm)
    rounded = Backbone(model_config.vlm).to(torch.bfloat16)
    for ours, theirs in zip(rounded._rotaries(), exact._rotaries()):
        assert ours.inv_freq.dtype == torch.float32
        assert torch.equal(ours.inv_freq, theirs.inv_freq)


def test_the_published_size_can_be_built():
    with torch.device("meta"):
        backbone = Backbone(backbone_preset("qwen2-vl-2b"))
    # 2.21 billion, as published for Qwen2-VL-2B with tied embeddings.
    assert sum(weight.numel() for weight in backbone.parameters()) == 2_208_985_600


def test_bad_configurations_are_refused():
    with pytest.raises(UserError, match="'huge' is unknown, allowed are .*tiny"):
        backbone_preset("huge")
    with pytest.raises(UserError, match="vlm.text.layers is unknown, allowed are .*num_hidden_layers"):
        backbone_preset("tiny", text={"layers": 3})
    with pytest.raises(UserError, match="mrope_section"):
        backbone_preset("tiny", text={"hidden_size": 200}).to_transformers()
