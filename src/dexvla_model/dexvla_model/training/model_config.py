"""What a training file says about a new model: its sizes, and how it samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexvla_model.resources import checkpoint_folder
from dexvla_model.yaml_reader import MappingReader


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a new model, and how it samples.

    Attributes:
        vlm: name of a preset; None where `vlm_checkpoint` is given, or in stage 1.
        vlm_checkpoint: folder of a published Qwen-VL, or of a checkpoint whose backbone and tokenizer are
            taken.
        expert: name of a preset; None to take that of the initial checkpoint.
        vision, text, expert_changes: fields of the presets to replace.
        image_encoder, sentence_encoder: of stage 1, names of presets or folders with pretrained weights.
        image_changes, sentence_changes: fields of these to replace.
        hidden_width: of the MLP behind the encoders of stage 1.
        action_tokens: fields of `ActionTokensConfig`, for the baseline whose language model says the actions
            and which has no expert; None for a DexVLA.
        vocabulary_size: of the tokenizer that is fitted to the datasets' texts.
        sampling_noise: `noise_scale` of `SamplingConfig`.
        horizon: rows of an action chunk, where the robot's entry says nothing else; None to take it from the
            demonstrations.
    """

    vlm: str | None
    vision: dict[str, Any]
    text: dict[str, Any]
    expert: str | None
    expert_changes: dict[str, Any]
    vocabulary_size: int
    sampling_noise: float
    horizon: int | None
    vlm_checkpoint: Path | None = None
    image_encoder: str = "resnet-tiny"
    image_changes: dict[str, Any] | None = None
    sentence_encoder: str = "distilbert-tiny"
    sentence_changes: dict[str, Any] | None = None
    hidden_width: int = 256
    action_tokens: dict[str, Any] | None = None


def read_model(reader: MappingReader, stage: int | str) -> ModelConfig:
    """The table `model`, with the keys that a stage has."""
    horizon = reader.integer("horizon", 1, 1000) if reader.has("horizon") else None
    common = {
        "expert_changes": reader.mapping("expert_changes", optional=True).all(),
        "vocabulary_size": reader.integer("vocabulary_size", 300, 200_000, default=1024),
        "sampling_noise": reader.number("sampling_noise", 0.0, 1.0, default=1.0),
        "horizon": horizon,
    }
    tokens = None
    if stage == "joint" and reader.has("action_tokens"):
        tokens = reader.mapping("action_tokens").all()
    expert = None
    if tokens is None and (stage in (1, "joint") or reader.has("expert")):
        expert = reader.text("expert")
    if stage == 1:
        config = ModelConfig(
            vlm=None, vision={}, text={}, expert=expert, **common,
            image_encoder=reader.text("image_encoder", default="resnet-tiny"),
            image_changes=reader.mapping("image_changes", optional=True).all(),
            sentence_encoder=reader.text("sentence_encoder", default="distilbert-tiny"),
            sentence_changes=reader.mapping("sentence_changes", optional=True).all(),
            hidden_width=reader.integer("hidden_width", 1, 65536, default=256),
        )
    else:
        given = _given(reader, "vlm_checkpoint")
        checkpoint = checkpoint_folder(reader.text("vlm_checkpoint")) if given else None
        if checkpoint is not None and reader.has("vlm"):
            raise reader.error("vlm_checkpoint", repr(str(checkpoint)), "vlm is given too: choose one")
        config = ModelConfig(
            vlm=reader.text("vlm") if reader.has("vlm") else None,
            vlm_checkpoint=checkpoint,
            vision=reader.mapping("vision", optional=True).all(),
            text=reader.mapping("text", optional=True).all(),
            expert=expert, action_tokens=tokens, **common,
        )
    reader.finish()
    return config


def _given(reader: MappingReader, key: str) -> bool:
    """Whether a key is there and does not say `none`; so that one on the command line can take it away."""
    return reader.has(key) and reader.take(key) not in (None, "none")
