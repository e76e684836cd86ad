"""Stage 1: the expert's condition from image features and a sentence, in the vision-language model's
place."""

from dexvla_model.conditioning.conditioner import Conditioner
from dexvla_model.conditioning.config import (
    IMAGE_ENCODER_PRESETS,
    SENTENCE_ENCODER_PRESETS,
    ImageEncoderConfig,
    SentenceEncoderConfig,
    image_encoder_preset,
    sentence_encoder_preset,
)
from dexvla_model.conditioning.stage1 import Stage1Config, Stage1Model
from dexvla_model.conditioning.stage1_policy import Stage1Policy

__all__ = [
    "IMAGE_ENCODER_PRESETS",
    "SENTENCE_ENCODER_PRESETS",
    "Conditioner",
    "ImageEncoderConfig",
    "SentenceEncoderConfig",
    "Stage1Config",
    "Stage1Model",
    "Stage1Policy",
    "image_encoder_preset",
    "sentence_encoder_preset",
]
