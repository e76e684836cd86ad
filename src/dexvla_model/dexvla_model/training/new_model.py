"""Models that are trained from random weights, or from parts of others."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from dexvla_model.checkpoint import Checkpoint
from dexvla_model.conditioning import (
    Stage1Config,
    Stage1Model,
    image_encoder_preset,
    sentence_encoder_preset,
)
from dexvla_model.conditioning.config import IMAGE_ENCODER_PRESETS, SENTENCE_ENCODER_PRESETS
from dexvla_model.conditioning.pretrained import (
    image_encoder_of_folder,
    load_image_encoder,
    load_sentence_encoder,
    sentence_encoder_of_folder,
)
from dexvla_model.data.measure import measure_statistics
from dexvla_model.dexvla import DexVLA, DexVLAConfig
from dexvla_model.embodiment import Embodiment
from dexvla_model.errors import UserError
from dexvla_model.expert import ExpertConfig, SamplingConfig, expert_preset, own_solver
from dexvla_model.normalization import Statistics
from dexvla_model.training.model_config import ModelConfig
from dexvla_model.training.new_robot import embodiment_of
from dexvla_model.training.robots import TrainedRobot
from dexvla_model.vlm import initialise_number_embeddings
from dexvla_model.vlm.config import backbone_preset
from dexvla_model.vlm.tokenizer import load_tokenizer, special_token_ids, train_tokenizer


def fitted_tokenizer(robots: Sequence[TrainedRobot], vocabulary_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of the texts of all robots' frames."""
    return train_tokenizer([text for robot in robots for text in robot.frames.texts()], vocabulary_size)


def embodiments_of(robots: Sequence[TrainedRobot]) -> dict[str, Embodiment]:
    """The robots as a model sees them, by embodiment."""
    return {robot.embodiment: embodiment_of(robot.description, robot.frames.horizon) for robot in robots}


def measured(robots: Sequence[TrainedRobot], known: Mapping[str, Statistics]) -> dict[str, Statistics]:
    """Statistics of every robot: those that are known, or of its frames."""
    return {
        robot.embodiment: known.get(robot.embodiment) or measure_statistics(robot.frames, robot.description)
        for robot in robots
    }


def new_dexvla(
    model_config: ModelConfig,
    robots: Sequence[TrainedRobot],
    backbone: Checkpoint | None = None,
    expert: ExpertConfig | None = None,
    statistics: Mapping[str, Statistics] | None = None,
) -> Checkpoint:
    """A DexVLA with a fresh head for each robot, and what it measures from their frames.

    Args:
        backbone: a checkpoint whose backbone and tokenizer it takes; otherwise the preset's, with random
            weights, and a tokenizer that is fitted to the texts of all robots.
        expert: of which size its expert is, where the training file names no preset.
        statistics: of robots that are known already.

    Raises:
        UserError: the presets' changes do not fit, or a robot's frames cannot be measured.
    """
    if backbone is None:
        tokenizer = fitted_tokenizer(robots, model_config.vocabulary_size)
        vlm = backbone_preset(
            model_config.vlm, special_token_ids(tokenizer), vision=model_config.vision, text=model_config.text
        )
        system, most = DexVLAConfig.system, DexVLAConfig.max_reasoning_tokens
    else:
        tokenizer, vlm = backbone.tokenizer, backbone.model.config.vlm
        system = backbone.model.config.system
        most = getattr(backbone.model.config, "max_reasoning_tokens", DexVLAConfig.max_reasoning_tokens)
    if model_config.expert is not None:
        changes = {"condition_width": vlm.width} | model_config.expert_changes
        expert = expert_preset(model_config.expert, **changes)
    config = DexVLAConfig(
        vlm=vlm,
        expert=expert,
        embodiments=embodiments_of(robots),
        system=system,
        max_reasoning_tokens=most,
        sampling=SamplingConfig(own_solver(expert.objective), noise_scale=model_config.sampling_noise),
    )
    model = DexVLA(config)
    if backbone is None:
        initialise_number_embeddings(model.vlm, tokenizer)
    else:
        model.vlm = backbone.model.vlm
    descriptions = {robot.embodiment: robot.description for robot in robots}
    return Checkpoint(model, tokenizer, measured(robots, statistics or {}), descriptions, {})


def new_stage1(model_config: ModelConfig, robots: Sequence[TrainedRobot]) -> Checkpoint:
    """The model of stage 1 with a head for each robot; encoders are presets, or folders of pretrained ones.

    Raises:
        UserError: a name or folder is unknown, the presets' changes do not fit, or frames cannot be measured.
    """
    image_folder = _folder(model_config.image_encoder, IMAGE_ENCODER_PRESETS, "image_encoder")
    text_folder = _folder(model_config.sentence_encoder, SENTENCE_ENCODER_PRESETS, "sentence_encoder")
    image_changes, text_changes = model_config.image_changes or {}, model_config.sentence_changes or {}
    if text_folder is None:
        tokenizer = fitted_tokenizer(robots, model_config.vocabulary_size)
        size = special_token_ids(tokenizer)["vocab_size"]
        ids = {"vocab_size": size, "pad_token_id": tokenizer.pad_token_id}
        # A frozen encoder of random weights would tell texts apart by accident alone.
        text = sentence_encoder_preset(
            model_config.sentence_encoder, **({"frozen": False} | ids | text_changes)
        )
    else:
        tokenizer = load_tokenizer(text_folder)
        text = sentence_encoder_of_folder(text_folder, **text_changes)
    image = (
        image_encoder_preset(model_config.image_encoder, **image_changes)
        if image_folder is None
        else image_encoder_of_folder(image_folder, **image_changes)
    )
    expert = expert_preset(model_config.expert, **model_config.expert_changes)
    model = Stage1Model(
        Stage1Config(
            image=image,
            text=text,
            expert=expert,
            embodiments=embodiments_of(robots),
            hidden_width=model_config.hidden_width,
            sampling=SamplingConfig(own_solver(expert.objective), noise_scale=model_config.sampling_noise),
        )
    )
    if image_folder is not None:
        load_image_encoder(model.conditioner, image_folder)
    if text_folder is not None:
        load_sentence_encoder(model.conditioner, text_folder)
    descriptions = {robot.embodiment: robot.description for robot in robots}
    return Checkpoint(model, tokenizer, measured(robots, {}), descriptions, {})


def _folder(name: str, presets: Mapping[str, object], key: str) -> Path | None:
    """None for a preset, the folder otherwise."""
    if name in presets:
        return None
    if not Path(name).is_dir():
        raise UserError(
            f"model.{key} is {name!r}, allowed are {', '.join(presets)} or a folder with pretrained weights."
        )
    return Path(name)
