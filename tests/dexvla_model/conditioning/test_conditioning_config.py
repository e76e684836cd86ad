"""Sizes of the encoders: presets, and values that are refused by name."""

import json
from dataclasses import asdict

import pytest

from dexvla_model.conditioning import (
    IMAGE_ENCODER_PRESETS,
    SENTENCE_ENCODER_PRESETS,
    ImageEncoderConfig,
    SentenceEncoderConfig,
    image_encoder_preset,
    sentence_encoder_preset,
)
from dexvla_model.conditioning.image_encoder import ImageEncoder
from dexvla_model.conditioning.sentence_encoder import SentenceEncoder
from dexvla_model.errors import UserError


def count(module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_the_published_sizes_are_those_of_the_published_networks():
    """ResNet-50 and ResNet-18 without classifier, and DistilBERT-base, as their authors count them."""
    assert count(ImageEncoder(image_encoder_preset("resnet-50"), 768).resnet) == 23_508_032
    assert count(ImageEncoder(image_encoder_preset("resnet-18"), 768).resnet) == 11_176_512
    assert count(SentenceEncoder(sentence_encoder_preset("distilbert-base"))) == 66_362_880


@pytest.mark.parametrize("name", IMAGE_ENCODER_PRESETS)
def test_image_presets_survive_json(name):
    config = image_encoder_preset(name)
    assert ImageEncoderConfig.from_json(json.loads(json.dumps(asdict(config))), "file") == config


@pytest.mark.parametrize("name", SENTENCE_ENCODER_PRESETS)
def test_sentence_presets_survive_json(name):
    config = sentence_encoder_preset(name)
    assert SentenceEncoderConfig.from_json(json.loads(json.dumps(asdict(config))), "file") == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "max"}, "image.pooling is 'max', allowed are spatial_softmax, average"),
        ({"normalization": "batch"}, "image.normalization is 'batch', allowed are group, frozen_batch"),
        ({"layer_type": "wide"}, "image.layer_type is 'wide'"),
        ({"depths": (1,)}, "image.depths has 1 stages, image.hidden_sizes has 2"),
        ({"depths": (1, 0)}, r"image.depths\[1\] is 0"),
        ({"hidden_sizes": 32}, "image.hidden_sizes is 32, needed is a list"),
        ({"hidden_sizes": (16, 24)}, "groups of 16 channels, which do not divide the 24 channels"),
        ({"keypoints": True}, "image.keypoints is True"),
        ({"film_from_stage": -1}, "image.film_from_stage is -1"),
        ({"colour": 1}, "image encoder preset resnet-nano: key 'colour' is unknown"),
    ],
)
def test_bad_image_encoders_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        image_encoder_preset("resnet-nano", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "text.heads is 3, no divisor of text.width 32"),
        ({"layers": 0}, "text.layers is 0"),
        ({"pad_token_id": 512}, "text.pad_token_id is 512, it must be below text.vocab_size 512"),
        ({"frozen": 1}, "text.frozen is 1"),
        ({"dropout": 0.1}, "key 'dropout' is unknown"),
    ],
)
def test_bad_sentence_encoders_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        sentence_encoder_preset("distilbert-nano", **changes)


def test_unknown_presets_are_named_with_the_known_ones():
    with pytest.raises(UserError, match="image encoder preset 'resnet-51' is unknown, allowed are resnet-18"):
        image_encoder_preset("resnet-51")
    with pytest.raises(
        UserError, match="sentence encoder preset 'bert' is unknown, allowed are distilbert-base"
    ):
        sentence_encoder_preset("bert")
