"""The backbone of every family against transformers' own forward pass."""

import pytest
import torch

from dexvla_model.errors import UserError
from dexvla_model.fusion import Fusion
from dexvla_model.vlm import Backbone, backbone_preset
from dexvla_model.vlm.kv_cache import KeyValueCache

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("left", [False, True])
def test_states_and_logits_equal_those_of_transformers(make_scene, preset, used, left):
    scene = make_scene(preset, left=left)
    inputs, at = scene.transformers_inputs(), used(scene.tokens)
    with torch.no_grad():
        theirs = scene.vlm.qwen(**inputs, output_hidden_states=True)
    # With gradients, so that the form of attention that trains is the one compared.
    states = scene.states()
    torch.testing.assert_close(states[at], theirs.hidden_states[-1][at], **CLOSE)
    torch.testing.assert_close(scene.vlm.logits(states)[at], theirs.logits[at], **CLOSE)


@torch.no_grad()
def test_states_without_gradients_are_the_same(make_scene, preset):
    scene = make_scene(preset)
    with torch.enable_grad():
        training = scene.states().detach()
    torch.testing.assert_close(scene.states(), training, **CLOSE)


def test_gradients_equal_those_of_transformers(make_scene, preset, used):
    scene = make_scene(preset)
    at = used(scene.tokens)
    scene.vlm.qwen(**scene.transformers_inputs()).logits[at].square().mean().backward()
    theirs = {name: weight.grad.clone() for name, weight in scene.vlm.qwen.named_parameters()}
    scene.vlm.zero_grad()
    scene.vlm.logits(scene.states())[at].square().mean().backward()
    for name, weight in scene.vlm.qwen.named_parameters():
        scale = theirs[name].abs().max()
        torch.testing.assert_close(weight.grad, theirs[name], rtol=1e-3, atol=1e-5 * scale, msg=name)


@pytest.mark.parametrize("left", [False, True])
def test_positions_equal_those_of_transformers(make_scene, preset, used, left):
    scene = make_scene(preset, left=left, system="be brief")
    inputs, at = scene.transformers_inputs(), used(scene.tokens)
    theirs, _ = scene.vlm.qwen.model.get_rope_index(
        inputs["input_ids"],
        inputs["mm_token_type_ids"],
        inputs["image_grid_thw"],
        attention_mask=inputs["attention_mask"],
    )
    ours = scene.prompt.place(scene.tokens).position_ids.expand(-1, 2, -1)
    assert torch.equal(ours[:, at], theirs[:, at])


@torch.no_grad()
def test_padding_on_either_side_gives_the_same_condition(make_scene, preset, used):
    scene = make_scene(preset)
    fusion = Fusion(scene.vlm.config.width)
    for weight in fusion.parameters():
        weight.normal_(0, 0.1)
    conditions = []
    for left in (False, True):
        tokens = make_scene(preset, left=left).tokens
        assert used(tokens)[:, 0].all() != left
        states = scene.states(tokens)
        assert torch.isfinite(states).all()
        conditions.append(fusion(states, tokens.prompt_mask, tokens.reasoning_mask))
    torch.testing.assert_close(*conditions, **CLOSE)
    alone = scene.prompt.encode(["go"], ["done"])
    images = {role: batch[1:] for role, batch in scene.images.items()}
    where = scene.prompt.place(alone)
    seen = scene.vlm.encode_images(images)
    states = scene.vlm.read(alone.input_ids, seen, where.image_slots, where.position_ids)
    torch.testing.assert_close(
        conditions[0][1:], fusion(states, alone.prompt_mask, alone.reasoning_mask), **CLOSE
    )


@torch.no_grad()
def test_a_cache_changes_nothing(make_scene, preset):
    """The images come first, the texts behind them in pieces, one of them forgotten and read again."""
    scene = make_scene(preset)
    vlm, where = scene.vlm, scene.prompt.place(scene.tokens)
    at_once = scene.states()
    seen = vlm.encode_images(scene.images)
    embedded = vlm.embed(scene.tokens.input_ids, seen, where.image_slots)
    cos, sin = vlm.rotary(where.position_ids)
    cache, parts, length = KeyValueCache(200), [], embedded.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
    for a, b in ((0, 40), (40, 41), (41, 50), (41, length)):
        cache.rewind(a)
        images = {"image_tokens": seen, "image_slots": where.image_slots} if a == 0 else {}
        mask = causal[:, :, a:b, :b] if a else None
        rotary = cos[:, a:b], sin[:, a:b]
        parts.append(vlm.hidden_states(embedded[:, a:b], rotary, cache, mask=mask, **images))
        cache.advance(b - a)
    del parts[2]
    torch.testing.assert_close(torch.cat(parts, dim=1), at_once, **CLOSE)


def test_a_cache_cannot_go_on_to_what_it_has_not_read():
    with pytest.raises(ValueError, match="holds 0 tokens"):
        KeyValueCache(8).rewind(3)


@torch.no_grad()
def test_images_do_not_see_each_other(make_scene, preset):
    scene = make_scene(preset)
    both = scene.vlm.encode_images(scene.images)
    second = scene.vlm.encode_images({role: batch[1:] for role, batch in scene.images.items()})
    torch.testing.assert_close(both.tokens[1:], second.tokens, **CLOSE)
    alone = scene.vlm.encode_images({"wrist": scene.images["wrist"]}, first_camera=1)
    torch.testing.assert_close(both.tokens[:, 20:], alone.tokens, **CLOSE)
    assert len(both.deepstack) == len(alone.deepstack) == (2 if preset == "qwen3-vl-nano" else 0)
    for ours, theirs in zip(both.deepstack, alone.deepstack):
        torch.testing.assert_close(ours[:, 20:], theirs, **CLOSE)


def test_rotary_frequencies_stay_exact_in_bfloat16_and_without_memory(preset):
    exact = Backbone(backbone_preset(preset))
    rounded = Backbone(backbone_preset(preset)).to(torch.bfloat16)
    with torch.device("meta"):
        empty = Backbone(backbone_preset(preset))
    empty.to_empty(device="cpu")
    for other in (rounded, empty):
        for ours, theirs in zip(other._rotaries(), exact._rotaries()):
            assert ours.inv_freq.dtype == torch.float32
            assert torch.equal(ours.inv_freq, theirs.inv_freq)


@pytest.mark.parametrize(
    ("preset_name", "parameters"),
    [
        ("qwen2-vl-2b", 2_208_985_600),
        ("qwen2-vl-7b", 8_291_375_616),
        ("qwen2.5-vl-3b", 3_754_622_976),
        ("qwen3-vl-2b", 2_127_532_032),
    ],
)
def test_the_published_sizes_can_be_built(preset_name, parameters):
    with torch.device("meta"):
        backbone = Backbone(backbone_preset(preset_name))
    assert sum(weight.numel() for weight in backbone.parameters()) == parameters


def test_bad_configurations_are_refused():
    with pytest.raises(UserError, match="'huge' is unknown, allowed are .*tiny"):
        backbone_preset("huge")
    with pytest.raises(UserError, match="vlm.text.layers is unknown, allowed are .*num_hidden_layers"):
        backbone_preset("tiny", text={"layers": 3})
    with pytest.raises(UserError, match="mrope_section"):
        backbone_preset("tiny", text={"hidden_size": 200}).to_transformers()
    with pytest.raises(UserError, match="head"):
        backbone_preset("qwen3-vl-nano", text={"head_dim": 16}).to_transformers()
    with pytest.raises(UserError, match="vlm.family is 'qwen9', allowed are qwen2_vl, qwen2_5_vl, qwen3_vl"):
        type(backbone_preset("nano"))({}, {}, family="qwen9")
