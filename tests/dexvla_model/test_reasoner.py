"""What a cycle keeps from the one before, and that it changes nothing."""

import numpy as np
import pytest
import torch

from dexvla_model.dexvla_policy import DexVLAPolicy
from dexvla_model.reasoner import Reasoner

INSTRUCTION = "put the red cube in the tray"


@pytest.fixture(params=["each camera for itself", "all together"])
def reasoner(request, make_model, tokenizer, robot, monkeypatch):
    model = make_model(3, std=0.2)
    if request.param == "each camera for itself":
        monkeypatch.setattr("dexvla_model.reasoner._WIDE_TOWER", 1)
    made = Reasoner(model, model.prompt(tokenizer, robot.embodiment))
    made.each = request.param == "each camera for itself"
    return made


@pytest.fixture
def encoded(reasoner, monkeypatch):
    """The roles whose images were encoded, in order."""
    roles, encode = [], reasoner.model.vlm.encode_images

    def counted(images, *args):
        roles.extend(images)
        return encode(images, *args)

    monkeypatch.setattr(reasoner.model.vlm, "encode_images", counted)
    return roles


def test_an_image_is_encoded_once(reasoner, encoded, make_images):
    images, newer = make_images(1, 0), make_images(1, 1)
    scene, wrist = images
    first = reasoner.decode(images, INSTRUCTION)
    again = reasoner.decode({role: image.clone() for role, image in images.items()}, INSTRUCTION)
    assert encoded == [scene, wrist]
    assert torch.equal(first.hidden_states, again.hidden_states)
    reasoner.decode({scene: images[scene], wrist: newer[wrist]}, INSTRUCTION)
    assert encoded == [scene, wrist, *([] if reasoner.each else [scene]), wrist]


def test_an_image_that_was_kept_gives_the_same_as_one_that_was_not(reasoner, make_images):
    """Bit for bit: one camera sends a new image, the other does not."""
    images, newer = make_images(1, 0), make_images(1, 1)
    scene, wrist = images
    reasoner.decode(images, INSTRUCTION)
    mixed = {scene: images[scene], wrist: newer[wrist]}
    kept = reasoner.decode(mixed, INSTRUCTION)
    reasoner.forget()
    fresh = reasoner.decode(mixed, INSTRUCTION)
    assert kept.ids == fresh.ids
    assert torch.equal(kept.hidden_states, fresh.hidden_states)


def test_one_pixel_is_a_new_image(reasoner, encoded, make_images):
    images = make_images(1, 0)
    reasoner.decode(images, INSTRUCTION)
    changed = {role: image.clone() for role, image in images.items()}
    changed["wrist"][0, -1, -1, 2] ^= 1
    reasoner.decode(changed, INSTRUCTION)
    assert encoded == [*images, *(["wrist"] if reasoner.each else images)]


def test_the_memory_of_the_cache_and_the_fixed_head_are_used_again(reasoner, make_images):
    reasoner.decode(make_images(1, 0), INSTRUCTION)
    cache, head = reasoner._cache, reasoner._head_states
    keys = cache._layers[0][0]
    fixed = keys[:, :, : head.shape[1]].clone()
    for seed, instruction in enumerate(("go", INSTRUCTION, "close the gripper")):
        reasoner.decode(make_images(1, seed), instruction)
    assert reasoner._cache is cache
    assert cache._layers[0][0] is keys
    assert torch.equal(keys[:, :, : head.shape[1]], fixed)
    assert reasoner._head_states is head


def test_a_longer_instruction_gets_a_larger_cache(reasoner, make_images):
    images = make_images(1, 0)
    short = reasoner.decode(images, "go")
    capacity = reasoner._cache.capacity
    reasoner.decode(images, "put it there and " * 20)
    assert reasoner._cache.capacity > capacity
    again = reasoner.decode(images, "go")
    assert again.ids == short.ids
    torch.testing.assert_close(again.hidden_states, short.hidden_states)


def test_reset_forgets_what_was_computed_with_the_weights(
    make_model, tokenizer, statistics, robot, make_observation
):
    policy = DexVLAPolicy(make_model(3), tokenizer, statistics, robot)
    observation = make_observation()
    policy.reason(observation, INSTRUCTION)
    policy.model.load_state_dict(make_model(4).state_dict())
    policy.reset(0)
    changed = policy.reason(observation, INSTRUCTION)
    other = DexVLAPolicy(make_model(4), tokenizer, statistics, robot).reason(observation, INSTRUCTION)
    assert changed.text == other.text
    np.testing.assert_array_equal(changed.condition, other.condition)
