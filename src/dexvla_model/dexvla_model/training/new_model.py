"""A model that is trained from random weights."""

from collections.abc import Sequence

from dexvla_model.checkpoint import Checkpoint
from dexvla_model.data.measure import measure_statistics
from dexvla_model.dexvla import DexVLA, DexVLAConfig
from dexvla_model.expert import SamplingConfig, expert_preset
from dexvla_model.training.config import ModelConfig
from dexvla_model.training.new_robot import embodiment_of
from dexvla_model.training.robots import TrainedRobot
from dexvla_model.vlm import initialise_number_embeddings
from dexvla_model.vlm.config import backbone_preset
from dexvla_model.vlm.tokenizer import special_token_ids, train_tokenizer


def new_checkpoint(model_config: ModelConfig, robots: Sequence[TrainedRobot]) -> Checkpoint:
    """A fresh model with a head for each robot, and what it measures from their frames.

    The tokenizer is fitted to the texts of all robots; each has statistics of its own.

    Raises:
        UserError: the presets' changes do not fit, or a robot's frames cannot be measured.
    """
    texts = [text for robot in robots for text in robot.frames.texts()]
    tokenizer = train_tokenizer(texts, model_config.vocabulary_size)
    vlm = backbone_preset(
        model_config.vlm, special_token_ids(tokenizer), vision=model_config.vision, text=model_config.text
    )
    changes = {"condition_width": vlm.width} | model_config.expert_changes
    config = DexVLAConfig(
        vlm=vlm,
        expert=expert_preset(model_config.expert, **changes),
        embodiments={
            robot.embodiment: embodiment_of(robot.description, robot.frames.horizon) for robot in robots
        },
        sampling=SamplingConfig(noise_scale=model_config.sampling_noise),
    )
    statistics = {robot.embodiment: measure_statistics(robot.frames, robot.description) for robot in robots}
    model = DexVLA(config)
    initialise_number_embeddings(model.vlm, tokenizer)
    descriptions = {robot.embodiment: robot.description for robot in robots}
    return Checkpoint(model, tokenizer, statistics, descriptions, {})
